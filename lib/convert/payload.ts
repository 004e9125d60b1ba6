/** What a tensor contributes to an output file: a slice of the input where its bytes lie as they are wanted, else pieces. */
import type { Span } from '../binding';
import type { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { WIDEST_ITEM_BYTES } from '../source/byte-source';
import { iterableReader, spool } from '../source/spool';
import { isContiguous } from '../tensor/geometry';
import { chunksOf, MemoryBytes, Storage, type StorageBytes } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { type Encoding, encodedBytes, encodedPieces } from './elements';

/**
 * The elements of `tensor` in C order, encoded. Contiguous ones of the same dtype are a slice of their storage, which a
 * file sink copies in the kernel; nothing is read here. `through`: a dtype whose precision the elements lose on the way.
 */
export function payloadOf(tensor: Tensor, encoding: Encoding, through?: DType): StorageBytes {
  const { dtype, storage } = tensor;
  const byteLength = encodedBytes(encoding, tensor.numel);
  if (byteLength === 0) return new MemoryBytes(new Uint8Array(0));
  const asStored =
    encoding === dtype &&
    !through &&
    isContiguous(tensor.shape, tensor.stride) &&
    !tensor.neg &&
    !(tensor.conj && dtype.isComplex);
  if (!asStored) return new EncodedBytes(tensor, encoding, through);
  const byteOffset = tensor.storageOffset * dtype.itemsize;
  if (byteOffset === 0 && byteLength === storage.nbytes) return storage.source;
  return new SlicedBytes(storage.source, byteOffset, byteLength);
}

/** A part of a storage. The cut is made when it is used: of an inflated or byte-swapped record it needs all bytes. */
class SlicedBytes implements StorageBytes {
  readonly byteLength: number;
  readonly zeroCopy = false;
  readonly #whole: StorageBytes;
  readonly #byteOffset: number;

  constructor(whole: StorageBytes, byteOffset: number, byteLength: number) {
    this.#whole = whole;
    this.#byteOffset = byteOffset;
    this.byteLength = byteLength;
  }

  get asyncOnly(): boolean {
    return this.#whole.asyncOnly ?? false;
  }

  bytes(): Uint8Array {
    return this.#whole.slice(this.#byteOffset, this.byteLength).bytes();
  }

  span(): Span {
    return this.#whole.slice(this.#byteOffset, this.byteLength).span();
  }

  read(target: Uint8Array, byteOffset: number): Promise<number> {
    const count = Math.max(0, Math.min(target.byteLength, this.byteLength - byteOffset));
    return this.#whole.read(target.subarray(0, count), this.#byteOffset + byteOffset);
  }

  slice(byteOffset: number, byteLength: number): StorageBytes {
    return new SlicedBytes(this.#whole, this.#byteOffset + byteOffset, byteLength);
  }
}

/** Converted at once when they are written: thousands of them go to native code in one call, in a few MiB. */
const SMALL_BYTES = 8192;

/** Elements that are gathered or cast on the way: they exist only a piece at a time. */
export class EncodedBytes implements StorageBytes {
  readonly byteLength: number;
  readonly zeroCopy = false;
  readonly asyncOnly: boolean;
  readonly #tensor: Tensor;
  readonly #encoding: Encoding;
  readonly #through: DType | undefined;

  constructor(tensor: Tensor, encoding: Encoding, through?: DType) {
    this.#tensor = tensor;
    this.#encoding = encoding;
    this.#through = through;
    this.byteLength = encodedBytes(encoding, tensor.numel);
    this.asyncOnly = this.byteLength > SMALL_BYTES || (tensor.storage.source.asyncOnly ?? false);
  }

  async *open(): AsyncGenerator<Uint8Array, void, undefined> {
    const tensor = this.#tensor;
    if (!tensor.storage.source.asyncOnly) {
      yield* encodedPieces(tensor, this.#encoding, this.#through);
      return;
    }
    const pieces = inOrder(tensor);
    if (!pieces) {
      const { near, close } = await spooled(tensor);
      try {
        yield* encodedPieces(near, this.#encoding, this.#through);
      } finally {
        close();
      }
      return;
    }
    for await (const blocks of wholeBlocks(pieces, BLOCK_ELEMENTS * tensor.dtype.itemsize)) {
      const length = blocks.byteLength / tensor.dtype.itemsize;
      const part = over(tensor, new MemoryBytes(blocks), [length], [1], 0);
      yield* encodedPieces(part, this.#encoding, this.#through);
    }
  }

  bytes(): Uint8Array {
    if (this.asyncOnly)
      throw new CheckpointError('NO_DATA', 'elements that are converted on the way are not in memory');
    return Buffer.concat([...encodedPieces(this.#tensor, this.#encoding, this.#through)]);
  }

  span(): Span {
    return this.bytes();
  }

  /** Whole, or in order from `open`: a position would mean converting all before it. */
  async read(target: Uint8Array, byteOffset: number): Promise<number> {
    const part = this.bytes().subarray(byteOffset, byteOffset + target.byteLength);
    target.set(part);
    return part.byteLength;
  }

  slice(byteOffset: number, byteLength: number): StorageBytes {
    return new MemoryBytes(
      byteLength === 0 ? new Uint8Array(0) : this.bytes().subarray(byteOffset, byteOffset + byteLength),
      false,
    );
  }
}

/** No encoding has blocks of more elements, and none of another size that does not divide it. */
const BLOCK_ELEMENTS = 32;

/** The same bytes in pieces of whole blocks; only the last may end inside one. */
async function* wholeBlocks(
  pieces: AsyncIterable<Uint8Array>,
  blockBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let rest: Uint8Array = new Uint8Array(0);
  for await (const piece of pieces) {
    const joined = Buffer.concat([rest, piece]);
    const whole = joined.length - (joined.length % blockBytes);
    rest = joined.subarray(whole);
    if (whole > 0) yield joined.subarray(0, whole);
  }
  if (rest.length > 0) yield rest;
}

/** The bytes that a tensor reaches, from the first to behind the last, in its storage. */
function windowOf({ dtype, shape, stride, storageOffset }: Tensor): { start: number; byteLength: number } {
  const per = dtype.elementsPerByte;
  const last = shape.reduce((sum, size, d) => sum + (size - 1) * (stride[d] as number), storageOffset);
  const start = Math.floor(storageOffset / per) * dtype.itemsize;
  return { start, byteLength: (Math.floor(last / per) + 1) * dtype.itemsize - start };
}

/** The bytes of a tensor on a server or in a stream as they come, where that is the order of its elements. */
function inOrder(tensor: Tensor): AsyncIterable<Uint8Array> | undefined {
  const { source, nbytes } = tensor.storage;
  if (tensor.dtype.elementsPerByte > 1 || !isContiguous(tensor.shape, tensor.stride)) return undefined;
  const { start, byteLength } = windowOf(tensor);
  if (byteLength === nbytes) return source.open?.() ?? chunksOf(source);
  return source.open ? undefined : chunksOf(source.slice(start, byteLength));
}

/**
 * A tensor on a server or in a stream whose elements are taken in another order than its bytes come: over a copy of what
 * it reaches, in memory while that is small, in a nameless temporary file beyond that.
 */
async function spooled(tensor: Tensor): Promise<{ readonly near: Tensor; close(): void }> {
  const { storage, dtype, shape, stride, storageOffset } = tensor;
  const { source } = storage;
  // A stream has no middle to begin at.
  const { start, byteLength } = source.open ? { start: 0, byteLength: storage.nbytes } : windowOf(tensor);
  const pieces = source.open?.() ?? chunksOf(source.slice(start, byteLength));
  const copy = await spool(iterableReader(pieces), { maxBytes: byteLength, expectedBytes: byteLength });
  const bytes = copy.storageBytes(0, byteLength, WIDEST_ITEM_BYTES);
  const offset = storageOffset - (start / dtype.itemsize) * dtype.elementsPerByte;
  return { near: over(tensor, bytes, shape, stride, offset), close: () => copy.close() };
}

/** The same kind of tensor over other bytes. */
function over(
  { storage: { key, location, dtype: of, untyped }, dtype, conj, neg }: Tensor,
  bytes: StorageBytes,
  shape: readonly number[],
  stride: readonly number[],
  storageOffset: number,
): Tensor {
  const made = new Tensor(new Storage(key, location, of, bytes, untyped), dtype, shape, stride, storageOffset);
  made.conj = conj;
  made.neg = neg;
  return made;
}
