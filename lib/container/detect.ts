/**
 * Which container a file is, by its content: names and extensions lie too often.
 *
 * The order is that of torch.load (format.md 5.4), safetensors first: zip, with TorchScript told by its records; tar;
 * the legacy stream; last a bare pickle. What is none of them gets the error that says what it is.
 */
import { CheckpointError } from '../errors';
import { DEFAULT_LIMITS, type Limits } from '../limits';
import { Op } from '../pickle/opcodes';
import type { ByteSource } from '../source/byte-source';
import { readBarePickle } from './bare-pickle';
import type { ContainerKind } from './container';
import { DISTRIBUTED_CHECKPOINT, DISTRIBUTED_NAME } from './distributed';
import { readLegacy } from './legacy';
import { lookAlike } from './look-alikes';
import { isLegacyStream, isZip, SNIFF_BYTES, safetensorsHeaderLength } from './magic';
import { walkPickle } from './pickle-stream';
import { readSafetensors } from './safetensors';
import { describeUnknown, type Sniffed, sniff } from './signatures';
import { FIRST_TAR_MEMBER, readTar, TAR_MEMBERS } from './tar';
import { isTarHeader, readTarMembers } from './tar-members';
import { ZipArchive } from './zip-archive';
import { zipKind } from './zip-kinds';

/** A pickle of protocol 2 or later says so; the number may be that of a future one. */
const MAX_PLAUSIBLE_PROTOCOL = 10;
/** A walk of this length without an unknown opcode is no accident. */
const ENOUGH_OPCODES = 64;

/** Throws a `CheckpointError` for everything that is no checkpoint; `limits` bound the directory of a zip. */
export function detect(source: ByteSource, limits: Limits = DEFAULT_LIMITS): ContainerKind {
  const head = source.read(0, Math.min(SNIFF_BYTES, source.byteLength));
  if (safetensorsHeaderLength(head, limits.maxHeaderBytes) !== undefined)
    return { format: 'safetensors', read: readSafetensors };
  // One save behind another: readers of zips would find the last of them, if any.
  if (isZip(head) && DISTRIBUTED_NAME.test(source.name ?? ''))
    throw notACheckpoint(
      { ...DISTRIBUTED_CHECKPOINT, message: 'the file is a part of a checkpoint by torch.distributed.checkpoint' },
      source,
    );
  if (isZip(head)) return zipKind(new ZipArchive(source, limits));
  if (isTarHeader(head)) return tarKind(source);
  if (isLegacyStream(head)) return { format: 'legacy', read: readLegacy };
  const foreign = sniff(head, source.byteLength);
  if (foreign) throw notACheckpoint(foreign, source);
  if (looksLikePickle(head, source, limits)) return { format: 'pickle', read: readBarePickle };
  const alike = lookAlike(head, source);
  throw notACheckpoint(alike ? { ...alike, code: 'NOT_A_CHECKPOINT' } : describeUnknown(head), source);
}

function notACheckpoint(found: Sniffed, source: ByteSource): CheckpointError {
  return new CheckpointError(found.code, found.message, { path: source.name, hint: found.hint });
}

function tarKind(source: ByteSource): ContainerKind {
  const members = new Map(readTarMembers(source).map((member) => [member.name, member]));
  if (TAR_MEMBERS.every((name) => members.has(name)))
    return { format: 'tar', read: (_source, context) => readTar(source, members, context) };
  if (members.has(FIRST_TAR_MEMBER)) {
    const missing = TAR_MEMBERS.filter((name) => !members.has(name));
    throw new CheckpointError(
      'TRUNCATED',
      `the tar of PyTorch 0.1 ends at byte ${source.byteLength}, before its ${missing.join(', ')}`,
      { path: source.name },
    );
  }
  const names = [...members.keys()];
  const inside = names.find((name) => /\.(?:pt|pth|bin|ckpt|safetensors|pkl)$/i.test(name));
  const listed = names.slice(0, 3).map((name) => JSON.stringify(name.slice(0, 80)));
  throw new CheckpointError(
    'NOT_A_CHECKPOINT',
    `the file is a tar of ${names.length} ${names.length === 1 ? 'file' : 'files'} (${listed.join(', ')}), not a checkpoint`,
    {
      path: source.name,
      hint: inside === undefined ? 'unpack it first' : `unpack it and load "${inside}"`,
    },
  );
}

/** Whether the opcodes make sense up to a STOP, or for long enough. */
export function looksLikePickle(head: Uint8Array, source: ByteSource, limits: Limits): boolean {
  if (head[0] === Op.PROTO) return (head[1] ?? 255) <= MAX_PLAUSIBLE_PROTOCOL;
  const extent = walkPickle(source, 0, source.byteLength, limits.maxPickleBytes);
  if (extent.kind === 'whole') return extent.opcodes > 1;
  return extent.kind !== 'opcode' && extent.opcodes >= ENOUGH_OPCODES;
}
