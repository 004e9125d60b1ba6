/**
 * A run of element bytes on one device, untyped as PyTorch's UntypedStorage: what tensors are windows on.
 *
 * A storage knows where its bytes come from only through `StorageBytes`; the implementations stand in `source/`.
 */
import { inspect } from 'node:util';
import { type NativeFile, native, type Span } from '../binding';
import type { DType } from '../dtype';
import { CheckpointError, type ErrorDetails } from '../errors';
import { printer } from '../pickle/values';

/** Where the bytes of a storage are, little-endian. Every read is bounded by `byteLength`. */
export interface StorageBytes {
  readonly byteLength: number;
  /** The file they are read from, as errors call it. */
  readonly name?: string | undefined;
  /** True when `bytes()` gives memory of the file itself and not a copy. */
  readonly zeroCopy: boolean;
  /**
   * All bytes as one array: a view where `zeroCopy`, else a copy that is made once and kept. Throws ARRAY_TOO_LARGE
   * where the host has no such array, CLOSED after close, UNSUPPORTED where the bytes can only be read asynchronously.
   */
  bytes(): Uint8Array;
  /** The same bytes for native code, without making a JavaScript view of a mapping. */
  span(): Span;
  /** Copies from `byteOffset` into `target`; resolves with the bytes copied, fewer only at the end. */
  read(target: Uint8Array, byteOffset: number): Promise<number>;
  /** The bytes of a part, sharing memory with this whole. */
  slice(byteOffset: number, byteLength: number): StorageBytes;
  /** True where `bytes` and `span` do not work: the bytes are on a server, or still to come from a stream. */
  readonly asyncOnly?: boolean;
  /** The open file that the bytes are still read from; absent where they are in memory or come from elsewhere. */
  file?(): NativeFile | undefined;
  /** All bytes in order, where they come from a stream; it proves their number. */
  open?(): AsyncIterable<Uint8Array>;
}

/** Chunks are small enough to stay in cache and large enough to hide the cost of a call. */
const DEFAULT_CHUNK_BYTES = 4 << 20;

/** A run of bytes that tensors are windows on: one object per storage in the file. */
export class Storage {
  /** Name of the storage in its file: the record under `data/`, or the key of the legacy stream. */
  readonly key: string;
  /** Where the storage is, in PyTorch's words: `cpu`, `cuda:0`, `meta`. */
  readonly location: string;
  /** The dtype of the typed storage class it was first mentioned as; uint8 for an untyped one. */
  readonly dtype: DType;
  /** @internal */
  readonly source: StorageBytes;
  /** True for PyTorch's UntypedStorage, whose length in a pickle counts bytes. @internal */
  readonly untyped: boolean;

  /** @internal */
  constructor(key: string, location: string, dtype: DType, source: StorageBytes, untyped = false) {
    this.key = key;
    this.location = location;
    this.dtype = dtype;
    this.source = source;
    this.untyped = untyped;
  }

  get nbytes(): number {
    return this.source.byteLength;
  }

  /** True when `bytes()` is a view of the file and costs nothing. */
  get zeroCopy(): boolean {
    return this.source.zeroCopy;
  }

  /** True when there are no bytes behind it: the meta device. */
  get isMeta(): boolean {
    return this.location === 'meta';
  }

  /**
   * All bytes, little-endian (also of a big-endian file). A view of the file where `zeroCopy`: private copy-on-write, so
   * that writing to it never changes the file; its buffer may span neighbouring storages. Throws ARRAY_TOO_LARGE where
   * the host's arrays are too short (use `read` or `chunks`), NO_DATA on the meta device, CLOSED after close.
   */
  bytes(): Uint8Array {
    this.#demandData();
    return this.source.bytes();
  }

  /** The bytes for native code and for bounded copies, without a view of the mapping. @internal */
  span(): Span {
    this.#demandData();
    return this.source.span();
  }

  /** For errors of what reads the span. @internal */
  get place(): ErrorDetails {
    return { path: this.source.name };
  }

  /** Copies bytes from `byteOffset` on into `target`; resolves with the number copied. For storages of any size. */
  async read(target: Uint8Array, byteOffset = 0): Promise<number> {
    this.#demandData();
    if (!Number.isSafeInteger(byteOffset) || byteOffset < 0 || byteOffset > this.nbytes) {
      throw new RangeError(`byteOffset ${byteOffset} is outside the storage of ${this.nbytes} bytes`);
    }
    return this.source.read(target, byteOffset);
  }

  /** The bytes in order, in arrays of at most `size` bytes; each is the caller's to keep. */
  async *chunks(size = DEFAULT_CHUNK_BYTES): AsyncGenerator<Uint8Array, void, undefined> {
    if (!Number.isSafeInteger(size) || size < 1) throw new RangeError(`chunk size ${size} is not a positive integer`);
    this.#demandData();
    yield* chunksOf(this.source, size);
  }

  /** The same bytes under another location: for `registerDevice` and mapLocation functions. */
  withLocation(location: string): Storage {
    return new Storage(this.key, location, this.dtype, this.source, this.untyped);
  }

  /** The text that PyTorch prints. */
  toString(): string {
    return printer.repr(this);
  }

  [inspect.custom](): string {
    return printer.repr(this);
  }

  #demandData(): void {
    if (this.isMeta)
      throw new CheckpointError(
        'NO_DATA',
        `${this.key ? `storage "${this.key}"` : 'a storage'} is on the meta device and has no bytes`,
      );
  }
}

/** Makes the storages of a checkpoint when they are asked for, each once. */
export interface StorageShelf {
  storageAt(place: number): Storage;
}

/** The bytes of a source in order, in arrays of at most `size` bytes. */
export async function* chunksOf(
  source: StorageBytes,
  size = DEFAULT_CHUNK_BYTES,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < source.byteLength; ) {
    const chunk = new Uint8Array(Math.min(size, source.byteLength - at));
    const count = await source.read(chunk, at);
    if (count === 0) throw new CheckpointError('TRUNCATED', `a storage ends after ${at} of ${source.byteLength} bytes`);
    yield count === chunk.length ? chunk : chunk.subarray(0, count);
    at += count;
  }
}

/** Bytes that live in JavaScript memory. */
export class MemoryBytes implements StorageBytes {
  readonly #bytes: Uint8Array;
  readonly zeroCopy: boolean;
  /** `zeroCopy`: whether these are the caller's own bytes, rather than a copy made on the way. */
  constructor(bytes: Uint8Array, zeroCopy = true) {
    this.#bytes = bytes;
    this.zeroCopy = zeroCopy;
  }
  get byteLength(): number {
    return this.#bytes.byteLength;
  }
  bytes(): Uint8Array {
    return this.#bytes;
  }
  span(): Span {
    return this.#bytes;
  }
  read(target: Uint8Array, byteOffset: number): Promise<number> {
    const part = this.#bytes.subarray(byteOffset, byteOffset + target.byteLength);
    target.set(part);
    return Promise.resolve(part.byteLength);
  }
  slice(byteOffset: number, byteLength: number): StorageBytes {
    return new MemoryBytes(this.#bytes.subarray(byteOffset, byteOffset + byteLength), this.zeroCopy);
  }
}

/** Bytes of a big-endian file: swapped once, on first use. */
export class SwappedBytes implements StorageBytes {
  readonly zeroCopy = false;
  readonly #source: StorageBytes;
  readonly #width: number;
  #swapped: Uint8Array | undefined;
  /** `width`: the bytes that change order together, 2, 4 or 8. */
  constructor(source: StorageBytes, width: number) {
    this.#source = source;
    this.#width = width;
  }
  get byteLength(): number {
    return this.#source.byteLength;
  }
  bytes(): Uint8Array {
    if (!this.#swapped) {
      // Not slice(): that of a Buffer is no copy, and the caller's own bytes would be swapped.
      const copy = new Uint8Array(this.#source.bytes());
      native({}, (addon) => addon.byteSwap(copy, this.#width));
      this.#swapped = copy;
    }
    return this.#swapped;
  }
  span(): Span {
    return this.bytes();
  }
  file(): NativeFile | undefined {
    return this.#swapped ? undefined : this.#source.file?.();
  }
  read(target: Uint8Array, byteOffset: number): Promise<number> {
    const part = this.bytes().subarray(byteOffset, byteOffset + target.byteLength);
    target.set(part);
    return Promise.resolve(part.byteLength);
  }
  slice(byteOffset: number, byteLength: number): StorageBytes {
    return new MemoryBytes(this.bytes().subarray(byteOffset, byteOffset + byteLength), false);
  }
}

/** No bytes: the meta device, where a storage has a length only. */
export class MetaBytes implements StorageBytes {
  readonly byteLength: number;
  readonly zeroCopy = false;
  constructor(byteLength: number) {
    this.byteLength = byteLength;
  }
  bytes(): Uint8Array {
    throw new CheckpointError('NO_DATA', 'a storage on the meta device has no bytes');
  }
  span(): Span {
    return this.bytes();
  }
  read(): Promise<number> {
    return Promise.reject(new CheckpointError('NO_DATA', 'a storage on the meta device has no bytes'));
  }
  slice(_byteOffset: number, byteLength: number): StorageBytes {
    return new MetaBytes(byteLength);
  }
}
