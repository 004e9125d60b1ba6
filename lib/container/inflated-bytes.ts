/**
 * Deflated records: inflated when first looked at, with what the directory declares as the bound.
 *
 * Python's zipfile and `zip -r` make such archives of checkpoints; TorchScript deflates its sources. All records of one
 * checkpoint share a budget, because a bomb may be cut into many small ones.
 */
import { promisify } from 'node:util';
import { inflateRaw, inflateRawSync } from 'node:zlib';
import type { NativeFile, Span } from '../binding';
import { CheckpointError } from '../errors';
import type { Limits } from '../limits';
import { MemoryBytes, type StorageBytes } from '../tensor/storage';

/** zlib collects its output in pieces of this size. */
const MAX_PIECE_BYTES = 4 << 20;
const MIN_PIECE_BYTES = 64;

/**
 * What is needed at once, such as a pickle, is followed byte by byte, and a longer one than this has names: those of layers
 * and optimizers deflate to a fifth, a list of one number to a five-hundredth.
 */
const LONG_PICKLE_BYTES = 32 << 20;
const LONG_PICKLE_RATIO = 100;

/** What the deflated records of one checkpoint may still inflate to. */
export class InflateBudget {
  readonly #limits: Limits;
  readonly #longPickleRatio: number;
  #leftBytes: number;

  constructor(limits: Limits) {
    this.#limits = limits;
    this.#leftBytes = limits.maxInflatedBytes;
    const isGiven = Object.hasOwn(limits, 'maxInflateRatio');
    this.#longPickleRatio = isGiven ? limits.maxInflateRatio : LONG_PICKLE_RATIO;
  }

  /** The same as `spend` for a record that is needed at once. */
  spendOnPickle(storedLength: number, byteLength: number, record: string): void {
    const ratio = byteLength > LONG_PICKLE_BYTES ? this.#longPickleRatio : this.#limits.maxInflateRatio;
    this.spend(storedLength, byteLength, record, ratio);
  }

  /** Throws LIMIT_EXCEEDED rather than let `storedLength` bytes become `byteLength`. */
  spend(storedLength: number, byteLength: number, record: string, ratio = this.#limits.maxInflateRatio): void {
    const { maxInflatedBytes } = this.#limits;
    if (byteLength > storedLength * ratio + MIN_PIECE_BYTES) {
      throw new CheckpointError(
        'LIMIT_EXCEEDED',
        `${storedLength} deflated bytes claim to be ${byteLength}, more than limits.maxInflateRatio (${ratio}) allows`,
        { record, hint: 'raise the limit if the file is trusted' },
      );
    }
    if (byteLength > this.#leftBytes) {
      throw new CheckpointError(
        'LIMIT_EXCEEDED',
        `the deflated records inflate to more than limits.maxInflatedBytes (${maxInflatedBytes})`,
        { record, hint: 'raise the limit if the file is trusted' },
      );
    }
    this.#leftBytes -= byteLength;
  }
}

/** Inflates a record that is needed now and was paid for. */
export function inflate(stored: Uint8Array, byteLength: number, record: string): Uint8Array {
  try {
    return checkLength(inflateRawSync(stored, options(byteLength)), byteLength, record);
  } catch (error) {
    throw failure(error, byteLength, record);
  }
}

// One byte more than declared, so that a longer stream is seen to be longer; zlib wants at least one.
function options(byteLength: number): { maxOutputLength: number; chunkSize: number } {
  return {
    maxOutputLength: byteLength + 1,
    chunkSize: Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, byteLength + 1)),
  };
}

function checkLength(inflated: Uint8Array, byteLength: number, record: string): Uint8Array {
  if (inflated.byteLength === byteLength) return inflated;
  throw new CheckpointError(
    'ZIP_CORRUPT',
    `the record inflates to ${inflated.byteLength} bytes, the directory says ${byteLength}`,
    { record },
  );
}

function failure(error: unknown, byteLength: number, record: string): unknown {
  if (error instanceof CheckpointError) return error;
  const longer = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
  const what = longer
    ? `the record inflates to more than the ${byteLength} bytes of the directory`
    : `the deflated record is damaged: ${(error as Error).message}`;
  return new CheckpointError('ZIP_CORRUPT', what, { record, cause: error });
}

export class InflatedBytes implements StorageBytes {
  readonly byteLength: number;
  readonly zeroCopy = false;
  readonly #stored: StorageBytes;
  readonly #record: string;
  readonly #budget: InflateBudget;
  #inflated: Uint8Array | undefined;
  #inflating: Promise<Uint8Array> | undefined;

  constructor(stored: StorageBytes, byteLength: number, record: string, budget: InflateBudget) {
    this.#stored = stored;
    this.byteLength = byteLength;
    this.#record = record;
    this.#budget = budget;
  }

  bytes(): Uint8Array {
    // Asked for even when not needed: it throws CLOSED after close.
    const stored = this.#stored.bytes();
    this.#inflated ??= this.#inflateNow(stored);
    return this.#inflated;
  }

  #inflateNow(stored: Uint8Array): Uint8Array {
    this.#budget.spend(stored.byteLength, this.byteLength, this.#record);
    return aligned(inflate(stored, this.byteLength, this.#record));
  }

  span(): Span {
    return this.bytes();
  }

  file(): NativeFile | undefined {
    return this.#inflated ? undefined : this.#stored.file?.();
  }

  async read(target: Uint8Array, byteOffset: number): Promise<number> {
    if (!this.#inflated) {
      this.#inflating ??= this.#inflate();
      try {
        this.#inflated ??= await this.#inflating;
      } finally {
        this.#inflating = undefined;
      }
    }
    const part = this.#inflated.subarray(byteOffset, byteOffset + target.byteLength);
    target.set(part);
    return part.byteLength;
  }

  async #inflate(): Promise<Uint8Array> {
    const stored = new Uint8Array(this.#stored.byteLength);
    const count = await this.#stored.read(stored, 0);
    this.#budget.spend(stored.byteLength, this.byteLength, this.#record);
    try {
      const inflated = await promisify<Uint8Array, object, Buffer>(inflateRaw)(
        stored.subarray(0, count),
        options(this.byteLength),
      );
      return aligned(checkLength(inflated, this.byteLength, this.#record));
    } catch (error) {
      throw failure(error, this.byteLength, this.#record);
    }
  }

  slice(byteOffset: number, byteLength: number): StorageBytes {
    return new MemoryBytes(this.bytes().subarray(byteOffset, byteOffset + byteLength), false);
  }
}

/** zlib may give a part of a shared pool. */
function aligned(bytes: Uint8Array): Uint8Array {
  const { buffer, byteOffset, byteLength } = bytes;
  return byteOffset % 8 === 0 ? new Uint8Array(buffer, byteOffset, byteLength) : new Uint8Array(bytes);
}
