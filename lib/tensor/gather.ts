/**
 * Bytes of a window on a storage: contiguous copies in C order, made piece by piece and without a view of the mapping.
 *
 * Files are read through native code here, so that one cut short is an error; only `asTypedArray` and `Storage.bytes`
 * hand out memory of a mapping.
 */
import { native, type Span } from '../binding';
import { CheckpointError, type ErrorDetails } from '../errors';
import { Complex } from '../pickle/values';
import { type ElementAccess, elementAccess, type Scalar } from './elements';
import { freshBytes } from './fresh-bytes';
import { type Block, blocks, isContiguous, numelOf, type Window } from './geometry';
import type { Storage } from './storage';

/** A window with its bytes; `conj` and `neg` are PyTorch's lazy bits, to be applied to what is read. */
export interface Source extends Window {
  readonly storage: Storage;
  readonly conj: boolean;
  readonly neg: boolean;
}

/** Elements that are gathered or cast at a time: a few MiB stay in cache. */
const BLOCK_ELEMENTS = 1 << 18;
/** Below this a loop here is faster than a call of native code. */
const SMALL_ELEMENTS = 64;
/** Strided elements of a file are gathered this many bytes at a time: what lies between them is read for each block. */
const FILE_BLOCK_BYTES = 16 << 20;
/** Single elements of a file are read in pages of this size. */
const PAGE_BYTES = 4096;

/** A part of a run of bytes; no copy. */
export function partOf(span: Span, byteOffset: number, byteLength: number): Span {
  return span instanceof Uint8Array
    ? span.subarray(byteOffset, byteOffset + byteLength)
    : [span[0], span[1] + byteOffset, byteLength];
}

/** Copies bytes into `target`. Throws TRUNCATED, at `place`, where the file has become shorter. */
export function readSpan(span: Span, byteOffset: number, target: Uint8Array, place: ErrorDetails): void {
  if (target.length === 0) return;
  let count: number;
  if (span instanceof Uint8Array) {
    const part = span.subarray(byteOffset, byteOffset + target.length);
    count = part.length;
    target.set(part);
  } else {
    count = native(place, (addon) => addon.fileReadSync(span[0], span[1] + byteOffset, target));
  }
  // Bounds were proved when the tensor was made; only memory that was detached since is shorter.
  if (count !== target.length) {
    throw new CheckpointError(
      'TRUNCATED',
      `${count} of ${target.length} bytes are left at byte ${byteOffset} of the storage`,
      place,
    );
  }
}

/** The bytes of a contiguous window, for native code; no copy. Packed dtypes begin at a whole byte. */
export function contiguousSpan(source: Source): Span {
  const { dtype } = source;
  const byteOffset = (source.storageOffset / dtype.elementsPerByte) * dtype.itemsize;
  return partOf(source.storage.span(), byteOffset, dtype.byteLength(numelOf(source.shape)));
}

function gatherBlock({ dtype, storage }: Source, span: Span, block: Block, target: Uint8Array): void {
  const { itemsize } = dtype;
  const { shape, stride, storageOffset } = block;
  if (isContiguous(shape, stride)) {
    readSpan(span, storageOffset * itemsize, target, storage.place);
  } else if (span instanceof Uint8Array && block.numel <= SMALL_ELEMENTS) {
    const index = new Array<number>(shape.length).fill(0);
    let from = storageOffset;
    for (let at = 0; at < target.length; at += itemsize) {
      for (let b = 0; b < itemsize; b++) target[at + b] = span[from * itemsize + b]!;
      from = advance(index, shape, stride, from);
    }
  } else {
    native(storage.place, (addon) =>
      addon.gather(span, itemsize, Float64Array.from(shape), Float64Array.from(stride), storageOffset, target),
    );
  }
}

/** The storage element after `from` in C order; `index` is moved along and wraps at the end. */
function advance(index: number[], shape: readonly number[], stride: readonly number[], from: number): number {
  for (let d = shape.length - 1; d >= 0; d--) {
    from += stride[d]!;
    index[d]!++;
    if (index[d]! < shape[d]!) break;
    from -= shape[d]! * stride[d]!;
    index[d] = 0;
  }
  return from;
}

export interface GatheredBlock {
  /** Index of the first element, in C order. */
  readonly start: number;
  readonly numel: number;
  readonly bytes: Uint8Array;
}

/**
 * Walks the elements in C order, in copies of at most BLOCK_ELEMENTS, cut as `blocks` cuts them; lazy bits are applied. The array is reused: it is
 * the caller's until the next step. Packed dtypes have no such pieces.
 */
export function* gatherBlocks(source: Source, flat?: boolean): Generator<GatheredBlock, void, undefined> {
  const span = source.storage.span();
  let scratch = new Uint8Array(0);
  let piece = new Uint8Array(0);
  const { itemsize } = source.dtype;
  for (const { whole, parts } of runs(blocks(source, BLOCK_ELEMENTS, flat), runElements(source, span))) {
    const byteLength = whole.numel * itemsize;
    if (scratch.length < byteLength) scratch = new Uint8Array(byteLength);
    const bytes = scratch.subarray(0, byteLength);
    gatherBlock(source, span, whole, bytes);
    applyLazyBits(source, bytes);
    if (parts.length === 1) {
      yield { start: whole.start, numel: whole.numel, bytes };
      continue;
    }
    // Pieces begin at the start of their buffer, also those of a run.
    for (const { start, numel } of parts) {
      if (piece.length < numel * itemsize) piece = new Uint8Array(numel * itemsize);
      const part = piece.subarray(0, numel * itemsize);
      part.set(bytes.subarray((start - whole.start) * itemsize, (start - whole.start + numel) * itemsize));
      yield { start, numel, bytes: part };
    }
  }
}

/** How many elements are gathered in one go. */
function runElements({ dtype, shape, stride }: Source, span: Span): number {
  return span instanceof Uint8Array || isContiguous(shape, stride) ? 0 : FILE_BLOCK_BYTES / dtype.itemsize;
}

/** Blocks that continue each other along their first dimension, joined up to `atOnce` elements. */
function* runs(parts: Iterable<Block>, atOnce: number): Generator<{ whole: Block; parts: Block[] }> {
  let whole: Block | undefined;
  let members: Block[] = [];
  for (const block of parts) {
    if (whole && whole.numel + block.numel <= atOnce && continues(whole, block)) {
      const [rows, ...rest] = whole.shape as [number, ...number[]];
      whole = { ...whole, shape: [rows + block.shape[0]!, ...rest], numel: whole.numel + block.numel };
      members.push(block);
      continue;
    }
    if (whole) yield { whole, parts: members };
    whole = block;
    members = [block];
  }
  if (whole) yield { whole, parts: members };
}

function continues(before: Block, after: Block): boolean {
  const { shape, stride, storageOffset } = before;
  if (shape.length === 0 || shape.length !== after.shape.length) return false;
  return (
    after.storageOffset === storageOffset + shape[0]! * stride[0]! &&
    stride.every((step, d) => after.stride[d] === step) &&
    shape.every((size, d) => d === 0 || after.shape[d] === size)
  );
}

/** A copy of all elements, contiguous in C order; lazy bits are applied. Throws ARRAY_TOO_LARGE. */
export function gather(source: Source): Uint8Array {
  const { dtype } = source;
  const numel = numelOf(source.shape);
  const bytes = freshBytes(dtype.byteLength(numel));
  if (numel === 0) {
    source.storage.span();
  } else if (dtype.elementsPerByte > 1) {
    gatherPacked(source, bytes);
  } else {
    const { shape, stride, storageOffset } = source;
    gatherBlock(source, source.storage.span(), { shape, stride, storageOffset, start: 0, numel }, bytes);
    applyLazyBits(source, bytes);
  }
  return bytes;
}

function gatherPacked(source: Source, bytes: Uint8Array): void {
  const perByte = source.dtype.elementsPerByte;
  if (isContiguous(source.shape, source.stride) && source.storageOffset % perByte === 0) {
    readSpan(source.storage.span(), source.storageOffset / perByte, bytes, source.storage.place);
    return;
  }
  const reader = new ElementReader(source);
  let at = 0;
  reader.each((value) => {
    bytes[Math.floor(at / perByte)]! |= (value as number) << ((at % perByte) * (8 / perByte));
    at++;
  });
}

function applyLazyBits({ dtype, conj, neg }: Source, bytes: Uint8Array): void {
  if (!neg && !(conj && dtype.isComplex)) return;
  const access = elementAccess(dtype);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += dtype.itemsize)
    access.write(view, at, lazily(access.read(view, at), conj, neg));
}

function lazily(value: Scalar, conj: boolean, neg: boolean): Scalar {
  if (value instanceof Complex) return new Complex(neg ? -value.re : value.re, conj !== neg ? -value.im : value.im);
  return neg && typeof value !== 'boolean' ? -value : value;
}

/** Reads single elements, at the cost of those alone: a page of the file at a time, nothing is kept but the last one. */
export class ElementReader {
  readonly #source: Source;
  readonly #access: ElementAccess;
  readonly #span: Span;
  readonly #byteLength: number;
  #page: DataView | undefined;
  #pageStart = 0;

  constructor(source: Source) {
    this.#source = source;
    this.#access = elementAccess(source.dtype);
    this.#span = source.storage.span();
    this.#byteLength = source.storage.nbytes;
  }

  /** The element at `index` of the storage, lazy bits applied. */
  at(index: number): Scalar {
    const { dtype, conj, neg } = this.#source;
    const perByte = dtype.elementsPerByte;
    if (perByte > 1) {
      const byte = this.#read(Math.floor(index / perByte), 1) as number;
      const bits = 8 / perByte;
      return (byte >> ((index % perByte) * bits)) & (2 ** bits - 1);
    }
    const value = this.#read(index * dtype.itemsize, dtype.itemsize);
    return conj || neg ? lazily(value, conj, neg) : value;
  }

  /** Calls `visit` with every element in C order. */
  each(visit: (value: Scalar) => void): void {
    const { shape, stride, storageOffset } = this.#source;
    const index = new Array<number>(shape.length).fill(0);
    let at = storageOffset;
    for (let left = numelOf(shape); left > 0; left--) {
      visit(this.at(at));
      at = advance(index, shape, stride, at);
    }
  }

  #read(byteOffset: number, byteLength: number): Scalar {
    let page = this.#page;
    const within = byteOffset - this.#pageStart;
    if (page && within >= 0 && within + byteLength <= page.byteLength) return this.#access.read(page, within);
    if (this.#span instanceof Uint8Array) {
      page = new DataView(this.#span.buffer, this.#span.byteOffset, this.#span.byteLength);
      this.#pageStart = 0;
    } else {
      // Storages may begin anywhere, so that pages count from their start; PAGE_BYTES is a multiple of every itemsize.
      this.#pageStart = byteOffset - (byteOffset % PAGE_BYTES);
      const bytes = new Uint8Array(Math.min(PAGE_BYTES, this.#byteLength - this.#pageStart));
      readSpan(this.#span, this.#pageStart, bytes, this.#source.storage.place);
      page = new DataView(bytes.buffer);
    }
    this.#page = page;
    return this.#access.read(page, byteOffset - this.#pageStart);
  }
}

/**
 * All elements as numbers in C order: for indices, sizes and scales that describe another tensor. They are read whole, so
 * that one which repeats its storage (a stride of 0) cannot claim more than the file holds; that is TENSOR_CORRUPT.
 */
export function numbersOf(source: Source): number[] {
  const byteLength = source.dtype.byteLength(numelOf(source.shape));
  if (byteLength > source.storage.nbytes) {
    throw new CheckpointError(
      'TENSOR_CORRUPT',
      `${byteLength} bytes of indices in a storage of ${source.storage.nbytes} bytes`,
    );
  }
  const numbers: number[] = [];
  new ElementReader(source).each((value) => numbers.push(Number(value)));
  return numbers;
}
