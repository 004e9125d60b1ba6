/** What a tensor contributes to an output file: a slice of the input where its bytes lie as they are wanted, else pieces. */
import type { Span } from '../binding';
import type { DType } from '../dtype';
import { CheckpointError } from '../errors';
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
    const { source, nbytes } = tensor.storage;
    const isWhole = isContiguous(tensor.shape, tensor.stride) && tensor.storageOffset === 0 && tensor.nbytes === nbytes;
    if (!source.asyncOnly || !isWhole || tensor.dtype.elementsPerByte > 1) {
      yield* encodedPieces(await atHand(tensor), this.#encoding, this.#through);
      return;
    }
    const pieces = source.open?.() ?? chunksOf(source);
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

/**
 * The tensor itself, or over a copy in memory where its bytes are on a server or in a stream and it does not take them in
 * their order.
 */
async function atHand(tensor: Tensor): Promise<Tensor> {
  const { storage, shape, stride, storageOffset } = tensor;
  if (!storage.source.asyncOnly) return tensor;
  const copy = new Uint8Array(storage.nbytes);
  let at = 0;
  for await (const chunk of storage.source.open?.() ?? storage.chunks()) {
    copy.set(chunk, at);
    at += chunk.byteLength;
  }
  return over(tensor, new MemoryBytes(copy), shape, stride, storageOffset);
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
