/** Pickles in a run of bytes: the first, those behind it, and those in the blobs they carry. */
import { isLegacyStream } from '../container/magic';
import { walkPickle } from '../container/pickle-stream';
import { Op } from '../pickle/opcodes';
import { RUNS_SOURCE } from '../pickle/verdicts';
import type { ByteSource } from '../source/byte-source';
import { type Blob, type PickleGlobals, pickleGlobals } from './pickle-globals';
import type { Findings } from './scan-findings';

/** The highest that Python writes. */
const MAX_PROTOCOL = 5;
/** Magic number, version, system info, object, keys: what torch.load unpickles of a legacy stream. */
const LEGACY_PICKLES = 5;
const MAX_PICKLES_IN_A_ROW = 10_000;
/** As much of a pickle is walked for its globals. */
const MAX_PICKLE_BYTES = 2 ** 30;
/** What a text pickle can begin with, besides its globals. */
const TEXT_STARTS = new Set([
  Op.MARK,
  Op.EMPTY_LIST,
  Op.EMPTY_DICT,
  Op.EMPTY_TUPLE,
  Op.GLOBAL,
  Op.INT,
  Op.LONG,
  Op.FLOAT,
  Op.STRING,
  Op.UNICODE,
  Op.NONE,
  Op.SHORT_BINSTRING,
  Op.BINUNICODE,
  Op.BININT,
  Op.BININT1,
  Op.PERSID,
  Op.EMPTY_SET,
]);
/** `module.name`, as Python spells names. */
const IDENTIFIER = /^[\p{L}_][\p{L}\p{N}_]*(?:\.[\p{L}_<][\p{L}\p{N}_<>]*)+$/u;

export interface Region {
  readonly source: ByteSource;
  readonly start: number;
  readonly end: number;
  readonly record?: string | undefined;
}

/** What to do with bytes that a pickle carries. */
export type OnBlob = (blob: Blob, record: string | undefined) => void;

/** True when the first bytes are those of a pickle of protocol 2 or later. */
export function hasProtocol(head: Uint8Array): boolean {
  return head[0] === Op.PROTO && head.length > 1 && (head[1] as number) <= MAX_PROTOCOL;
}

/**
 * Walks the pickles of a region, one after another. `expected`: the bytes are meant to be a pickle, so that a broken one
 * is told; elsewhere only what proves to be a pickle counts. Returns how many there were.
 */
export function scanPickles(
  { source, start, end, record }: Region,
  findings: Findings,
  expected: boolean,
  onBlob: OnBlob,
): number {
  const place = record === undefined ? {} : { record };
  const head = source.read(start, Math.min(64, end - start));
  const legacy = isLegacyStream(head);
  const limit = legacy ? LEGACY_PICKLES : MAX_PICKLES_IN_A_ROW;
  let count = 0;
  let at = start;
  while (at < end && count < limit) {
    const found = readPickle(source, at, end, legacy || (count === 0 && expected));
    if (!found) break;
    count++;
    findings.pickles++;
    const byteOffset = at - (record === undefined ? 0 : start);
    if (count === 2 && !legacy)
      findings.add({
        kind: 'trailing-pickle',
        severity: 'note',
        message: 'another pickle follows the first',
        ...place,
        byteOffset,
      });
    report(found, byteOffset, findings, record, onBlob);
    if (!found.whole) {
      const at = byteOffset + found.byteEnd;
      findings.add({
        kind: 'broken-pickle',
        severity: 'warning',
        message: 'the pickle cannot be followed to its end; what it names before is listed',
        ...place,
        byteOffset: at,
      });
      return count;
    }
    at += found.byteEnd;
  }
  if (count > 0 && at < end && !legacy && expected) {
    findings.add({
      kind: 'trailing-data',
      severity: 'note',
      message: `${end - at} bytes follow the pickle`,
      ...place,
      byteOffset: at - (record === undefined ? 0 : start),
    });
  }
  return count;
}

function report(
  found: PickleGlobals,
  byteOffset: number,
  findings: Findings,
  record: string | undefined,
  onBlob: OnBlob,
): void {
  const place = record === undefined ? {} : { record };
  for (const { name, verdict, byteOffset: at } of found.globals) {
    findings.addGlobal(name, verdict, { ...place, byteOffset: byteOffset + at });
    if (RUNS_SOURCE.has(name))
      findings.add({
        kind: 'python-code',
        severity: 'warning',
        message: 'the pickle carries the source text of a graph module, which loading runs',
        ...place,
        byteOffset: byteOffset + at,
      });
  }
  for (const code of found.extensions) {
    findings.add({
      kind: 'extension-code',
      severity: 'warning',
      message: `names extension code ${code}, which only the reader's registry resolves`,
      ...place,
      byteOffset,
    });
  }
  for (const blob of found.blobs) onBlob(blob, record);
}

/** The globals of a pickle at `at`; undefined when the bytes are none, as far as one can tell. */
function readPickle(source: ByteSource, at: number, end: number, expected: boolean): PickleGlobals | undefined {
  const head = source.read(at, Math.min(2, end - at));
  const marked = hasProtocol(head);
  if (!expected && !marked && !TEXT_STARTS.has(head[0] as Op)) return undefined;
  const extent = walkPickle(source, at, end, MAX_PICKLE_BYTES);
  if (!expected && extent.kind !== 'whole' && !marked) return undefined;
  const bytes =
    extent.kind === 'whole'
      ? extent.byteEnd - at
      : extent.kind === 'opcode'
        ? extent.byteOffset - at
        : Math.min(end - at, MAX_PICKLE_BYTES);
  const found = pickleGlobals(source.read(at, bytes));
  if (expected) return found;
  // Weights can look like an opcode or two, but they do not name classes by chance, nor hide a name and end in order.
  const names = found.globals.some(({ name }) => IDENTIFIER.test(name));
  return names || (found.whole && found.globals.length > 0 && marked) || carriesBlob(found) ? found : undefined;
}

function carriesBlob({ whole, blobs }: PickleGlobals): boolean {
  return whole && blobs.length > 0;
}

const CARVE_PIECE_BYTES = 1 << 20;

/** Pickles anywhere in a region, found by the opcode that begins those of protocol 2 and later. */
export function carvePickles({ source, start, end, record }: Region, findings: Findings, onBlob: OnBlob): number {
  let count = 0;
  for (let piece = start; piece < end; piece += CARVE_PIECE_BYTES) {
    const bytes = source.read(piece, Math.min(CARVE_PIECE_BYTES + 1, end - piece));
    for (
      let hit = bytes.indexOf(Op.PROTO);
      hit >= 0 && hit < CARVE_PIECE_BYTES;
      hit = bytes.indexOf(Op.PROTO, hit + 1)
    ) {
      if ((bytes[hit + 1] ?? 255) > MAX_PROTOCOL) continue;
      const found = readPickle(source, piece + hit, end, false);
      if (!found) continue;
      count++;
      findings.pickles++;
      report(found, piece + hit - start, findings, record, onBlob);
      if (count >= MAX_PICKLES_IN_A_ROW) return count;
    }
  }
  return count;
}
