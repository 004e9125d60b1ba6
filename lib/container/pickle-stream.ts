/**
 * Pickles one after another, with raw bytes between them: the body of legacy streams and of the members of a tar.
 *
 * How long a pickle is, only its opcodes tell. They are walked first, without a stack or a memo, so that exactly the
 * bytes of the pickle are read and nothing of the gigabytes behind it.
 */
import { CheckpointError } from '../errors';
import { HIGHEST_PROTOCOL, Op } from '../pickle/opcodes';
import type { PyValue } from '../pickle/values';
import type { ByteSource } from '../source/byte-source';
import type { PickleOptions, ReadContext } from './container';

const FIRST_READ_BYTES = 16 << 10;
const MAX_READ_BYTES = 1 << 20;
/** Read at once where numbers stand between small runs of bytes: a page, which the system reads anyway. */
const READ_AHEAD_BYTES = 4096;

/** What follows an opcode: a number of bytes, a length in so many bytes and that many more, or so many lines. */
const UNKNOWN = 0;
const BYTES = 1;
const COUNTED = 2;
const LINES = 3;

/** By opcode: the kind of its argument, and the number that goes with it (Python's Lib/pickletools.py). */
const ARGUMENT_KIND = new Uint8Array(256);
const ARGUMENT_SIZE = new Uint8Array(256);
for (const opcode of Object.values(Op)) if (typeof opcode === 'number') ARGUMENT_KIND[opcode] = BYTES;
for (const [kind, size, opcodes] of [
  [BYTES, 1, [Op.BININT1, Op.BINGET, Op.BINPUT, Op.PROTO, Op.EXT1]],
  [BYTES, 2, [Op.BININT2, Op.EXT2]],
  [BYTES, 4, [Op.BININT, Op.LONG_BINGET, Op.LONG_BINPUT, Op.EXT4]],
  [BYTES, 8, [Op.BINFLOAT, Op.FRAME]],
  [COUNTED, 1, [Op.SHORT_BINSTRING, Op.SHORT_BINBYTES, Op.SHORT_BINUNICODE, Op.LONG1]],
  [COUNTED, 4, [Op.BINSTRING, Op.BINBYTES, Op.BINUNICODE, Op.LONG4]],
  [COUNTED, 8, [Op.BINUNICODE8, Op.BINBYTES8, Op.BYTEARRAY8]],
  [LINES, 1, [Op.FLOAT, Op.INT, Op.LONG, Op.PERSID, Op.STRING, Op.UNICODE, Op.GET, Op.PUT]],
  [LINES, 2, [Op.GLOBAL, Op.INST]],
] as const) {
  for (const opcode of opcodes) {
    ARGUMENT_KIND[opcode] = kind;
    ARGUMENT_SIZE[opcode] = size;
  }
}

export type PickleExtent =
  | { readonly kind: 'whole'; readonly byteEnd: number; readonly opcodes: number }
  /** The bytes end first; `byteNeeded` is where the argument that was cut ends, if it says so. */
  | { readonly kind: 'truncated'; readonly byteNeeded: number; readonly opcodes: number }
  | { readonly kind: 'opcode'; readonly byteOffset: number; readonly opcode: number; readonly opcodes: number }
  | { readonly kind: 'long'; readonly opcodes: number };

/** Walks the opcodes of a pickle up to its STOP, within `byteEnd` and `maxBytes`. */
export function walkPickle(source: ByteSource, byteOffset: number, byteEnd: number, maxBytes: number): PickleExtent {
  let chunk: Uint8Array = new Uint8Array(0);
  let chunkStart = byteOffset;
  let readBytes = FIRST_READ_BYTES;
  let position = byteOffset;
  let opcodes = 0;
  /** Makes `n` bytes from `position` on readable in `chunk`; false at the end. */
  const need = (n: number): boolean => {
    if (position + n <= chunkStart + chunk.length) return true;
    if (position + n > byteEnd) return false;
    chunk = source.read(position, Math.min(readBytes, byteEnd - position));
    chunkStart = position;
    readBytes = Math.min(MAX_READ_BYTES, 2 * readBytes);
    return position + n <= chunkStart + chunk.length;
  };
  /** Moves behind the next newline. */
  const skipLine = (): boolean => {
    while (need(1)) {
      const at = chunk.indexOf(0x0a, position - chunkStart);
      if (at >= 0) {
        position = chunkStart + at + 1;
        return true;
      }
      position = chunkStart + chunk.length;
    }
    return false;
  };
  while (need(1)) {
    if (position - byteOffset > maxBytes) return { kind: 'long', opcodes };
    const opcode = chunk[position - chunkStart] as number;
    const argument = ARGUMENT_KIND[opcode] as number;
    if (argument === UNKNOWN) return { kind: 'opcode', byteOffset: position, opcode, opcodes };
    opcodes++;
    position++;
    if (opcode === Op.STOP) return { kind: 'whole', byteEnd: position, opcodes };
    const size = ARGUMENT_SIZE[opcode] as number;
    if (argument === LINES) {
      for (let line = 0; line < size; line++) {
        if (!skipLine()) return { kind: 'truncated', byteNeeded: byteEnd + 1, opcodes };
      }
    } else if (size > 0) {
      if (!need(size)) return { kind: 'truncated', byteNeeded: position + size, opcodes };
      const length = argument === COUNTED ? littleEndian(chunk, position - chunkStart, size) : 0;
      position += size + length;
      if (position > byteEnd) return { kind: 'truncated', byteNeeded: position, opcodes };
    }
  }
  return { kind: 'truncated', byteNeeded: position + 1, opcodes };
}

function littleEndian(bytes: Uint8Array, at: number, n: number): number {
  let value = 0;
  for (let i = n - 1; i >= 0; i--) value = value * 256 + (bytes[at + i] as number);
  return value;
}

export class PickleStream {
  readonly #source: ByteSource;
  readonly #context: ReadContext;
  readonly #byteEnd: number;
  /** Where the next pickle or number begins, in the source. */
  position: number;
  #ahead: Uint8Array = new Uint8Array(0);
  #aheadStart = 0;

  constructor(source: ByteSource, context: ReadContext, byteOffset = 0, byteEnd = source.byteLength) {
    this.#source = source;
    this.#context = context;
    this.position = byteOffset;
    this.#byteEnd = byteEnd;
  }

  /** Runs the pickle at `position` and moves behind it. */
  unpickle(options: PickleOptions): PyValue {
    const start = this.position;
    const { record } = options;
    const end = this.#findEnd(record);
    const { value } = this.#context.unpickle(this.#source.read(start, end - start), { ...options, baseOffset: start });
    this.position = end;
    return value;
  }

  #findEnd(record: string | undefined): number {
    const { maxPickleBytes } = this.#context.limits;
    const extent = walkPickle(this.#source, this.position, this.#byteEnd, maxPickleBytes);
    const path = this.#source.name;
    switch (extent.kind) {
      case 'whole':
        return extent.byteEnd;
      case 'truncated':
        throw new CheckpointError(
          'TRUNCATED',
          `pickle data was truncated: it goes on to byte ${extent.byteNeeded} at least, the bytes end at ${this.#byteEnd}`,
          {
            path,
            record,
            byteOffset: this.position,
          },
        );
      case 'opcode': {
        const shown = `\\x${extent.opcode.toString(16).padStart(2, '0')}`;
        const what = `invalid load key, '${shown}': not an opcode of pickle protocols 0 to ${HIGHEST_PROTOCOL}`;
        throw new CheckpointError('PICKLE_CORRUPT', what, { path, record, byteOffset: extent.byteOffset });
      }
      case 'long':
        throw new CheckpointError('LIMIT_EXCEEDED', `the pickle is longer than maxPickleBytes (${maxPickleBytes})`, {
          path,
          record,
          byteOffset: this.position,
        });
    }
  }

  /** A signed 64-bit number that must be a count; `what` names it in errors. */
  readCount(what: string): number {
    const at = this.position;
    const bytes = this.#take(8);
    const value = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigInt64(0, true);
    if (value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    throw new CheckpointError('LEGACY_CORRUPT', `${what} is ${value}, a count was expected`, {
      path: this.#source.name,
      byteOffset: at,
    });
  }

  readInt32(): number {
    const bytes = this.#take(4);
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getInt32(0, true);
  }

  /** Moves over raw bytes; returns where they start. `what` names them in errors. */
  skip(byteLength: number, what: string): number {
    const start = this.position;
    if (byteLength > this.#byteEnd - start) {
      throw new CheckpointError(
        'TRUNCATED',
        `unexpected EOF, expected ${start + byteLength - this.#byteEnd} more bytes. The file might be corrupted. ` +
          `${what} has ${byteLength} bytes, ${this.#byteEnd - start} are left`,
        { path: this.#source.name, byteOffset: start },
      );
    }
    this.position += byteLength;
    return start;
  }

  #take(byteLength: number): Uint8Array {
    const start = this.skip(byteLength, 'a number');
    let at = start - this.#aheadStart;
    if (at < 0 || at + byteLength > this.#ahead.length) {
      this.#ahead = this.#source.read(start, Math.min(READ_AHEAD_BYTES, this.#byteEnd - start));
      this.#aheadStart = start;
      at = 0;
    }
    return this.#ahead.subarray(at, at + byteLength);
  }
}
