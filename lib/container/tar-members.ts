/**
 * The members of an uncompressed POSIX tar (IEEE Std 1003.1, ustar; GNU and v7 are read alike): names and places only.
 */
import { CheckpointError, isCheckpointError } from '../errors';
import type { ByteSource } from '../source/byte-source';

const BLOCK_BYTES = 512;
/** Field offsets in a header. */
const NAME_END = 100;
const SIZE = 124;
const CHECKSUM = 148;
const TYPE = 156;
/** The oldest checkpoints have four members; this is for tars of something else. */
const MAX_MEMBERS = 10_000;

export interface TarMember {
  readonly name: string;
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** True for a block whose recorded checksum is that of its bytes: the only mark that every kind of tar has. */
export function isTarHeader(block: Uint8Array): boolean {
  if (block.length < BLOCK_BYTES) return false;
  const recorded = octal(block, CHECKSUM, 8);
  if (recorded === undefined || recorded === 0) return false;
  let sum = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) sum += i >= CHECKSUM && i < CHECKSUM + 8 ? 0x20 : (block[i] as number);
  return sum === recorded;
}

/** Regular members in order; throws when the archive is cut short or a header is damaged. */
export function readTarMembers(source: ByteSource): TarMember[] {
  return [...tarMembers(source, false)];
}

/** Those before the first damage; the last one may end behind the file. */
export function tarMembersUpTo(source: ByteSource): TarMember[] {
  const members: TarMember[] = [];
  try {
    for (const member of tarMembers(source, true)) members.push(member);
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
  }
  return members;
}

function* tarMembers(source: ByteSource, isCut: boolean): Generator<TarMember, void, undefined> {
  let members = 0;
  const fail = (what: string, byteOffset: number): CheckpointError =>
    new CheckpointError('LEGACY_CORRUPT', what, { path: source.name, byteOffset });
  for (let at = 0; at + BLOCK_BYTES <= source.byteLength; ) {
    const header = source.read(at, BLOCK_BYTES);
    if (header.every((byte) => byte === 0)) break;
    if (!isTarHeader(header)) throw fail('a tar header with a right checksum was expected', at);
    const byteLength = memberLength(header);
    if (byteLength === undefined) throw fail('the size of a tar member is no number', at);
    const name = text(header.subarray(0, NAME_END));
    const byteOffset = at + BLOCK_BYTES;
    if (byteOffset + byteLength > source.byteLength && !isCut) {
      throw new CheckpointError(
        'TRUNCATED',
        `tar member "${name}" ends at byte ${byteOffset + byteLength}, the file has ${source.byteLength}`,
        { path: source.name, byteOffset: at },
      );
    }
    const type = String.fromCharCode(header[TYPE] as number);
    // '0' and NUL are regular files; links, folders and pax headers hold nothing that is looked for.
    if (type === '0' || type === '\0') yield { name, byteOffset, byteLength };
    if (++members > MAX_MEMBERS) throw fail(`the tar has more than ${MAX_MEMBERS} members`, at);
    at = byteOffset + Math.ceil(byteLength / BLOCK_BYTES) * BLOCK_BYTES;
  }
}

/** Octal digits, or GNU's big-endian binary when the first bit is set. */
function memberLength(header: Uint8Array): number | undefined {
  if (((header[SIZE] as number) & 0x80) === 0) return octal(header, SIZE, 12) ?? undefined;
  let value = (header[SIZE] as number) & 0x7f;
  for (let i = 1; i < 12; i++) value = value * 256 + (header[SIZE + i] as number);
  return Number.isSafeInteger(value) ? value : undefined;
}

function octal(header: Uint8Array, start: number, length: number): number | undefined {
  const digits = text(header.subarray(start, start + length)).trim();
  if (digits === '') return 0;
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : undefined;
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end)).toString('latin1');
}
