/** The elements of a whole tensor in other forms: as arrays, as another dtype, and compared with those of another. */
import { native } from '../binding';
import { DType, type TypedArray } from '../dtype';
import { CheckpointError } from '../errors';
import { safeInteger } from '../pickle/values';
import type { Elements, NestedArray } from './creation';
import { castElements, elementAccess, type Scalar } from './elements';
import { freshBytes, tooLarge } from './fresh-bytes';
import { contiguousSpan, ElementReader, gather, gatherBlocks, type Source } from './gather';
import { isContiguous, listOf, numelOf } from './geometry';
import { isMiniFloat } from './minifloat';
import { MemoryBytes, MetaBytes } from './storage';

function arrayType(dtype: DType): NonNullable<DType['array']> {
  if (!dtype.array)
    throw new CheckpointError('UNSUPPORTED', `no array stands for ${dtype.name}`, {
      hint: 'toBytes() gives the bytes',
    });
  return dtype.array;
}

/** See `Tensor.asTypedArray`. */
export function arrayView(source: Source): TypedArray {
  const { dtype, storage } = source;
  const reason = noViewReason(source);
  if (reason) throw new CheckpointError('UNSUPPORTED', `the tensor ${reason}`, { hint: 'toTypedArray() copies' });
  const ArrayType = arrayType(dtype);
  const byteLength = dtype.byteLength(numelOf(source.shape));
  const byteOffset = source.storageOffset * dtype.itemsize;
  if (byteLength === 0) {
    storage.span();
    return new ArrayType(0);
  }
  const bytes = viewOfPart(source, byteOffset, byteLength);
  // Windows of a file begin at pages, so that only files with unaligned records come here.
  if (bytes.byteOffset % ArrayType.BYTES_PER_ELEMENT !== 0) {
    throw new CheckpointError('UNSUPPORTED', `the tensor is not aligned in memory for ${dtype.name}`, {
      hint: 'toTypedArray() copies',
    });
  }
  return new ArrayType(bytes.buffer, bytes.byteOffset, byteLength / ArrayType.BYTES_PER_ELEMENT);
}

function noViewReason({ dtype, shape, stride, conj, neg }: Source): string | undefined {
  if (dtype.elementsPerByte > 1) return `packs ${dtype.elementsPerByte} elements of ${dtype.name} into a byte`;
  if (!isContiguous(shape, stride)) return `of shape ${listOf(shape)} with strides ${listOf(stride)} is not contiguous`;
  if (conj) return 'is lazily conjugated';
  return neg ? 'is lazily negated' : undefined;
}

/** A small window on a storage that no array can hold whole is still a view. */
function viewOfPart({ storage }: Source, byteOffset: number, byteLength: number): Uint8Array {
  let whole: Uint8Array;
  try {
    whole = storage.bytes();
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.code !== 'ARRAY_TOO_LARGE') throw error;
    if (byteLength === storage.nbytes) throw tooLarge(byteLength);
    return storage.source.slice(byteOffset, byteLength).bytes();
  }
  return whole.subarray(byteOffset, byteOffset + byteLength);
}

/** See `Tensor.toTypedArray`. */
export function arrayCopy(source: Source): TypedArray {
  const ArrayType = arrayType(source.dtype);
  const bytes = gather(source);
  return new ArrayType(bytes.buffer, bytes.byteOffset, bytes.byteLength / ArrayType.BYTES_PER_ELEMENT);
}

/** See `Tensor.toFloat32Array`. */
export function toFloat32(source: Source, into?: Float32Array): Float32Array {
  const { dtype } = source;
  const { kernel } = dtype;
  const numel = numelOf(source.shape);
  if (kernel === undefined)
    throw new TypeError(`${dtype.name} does not convert to float32; toTypedArray() gives its own elements`);
  const target = into ?? freshFloats(numel);
  if (target.length !== numel) throw new RangeError(`the target has ${target.length} elements, the tensor ${numel}`);
  if (isContiguous(source.shape, source.stride) && !source.neg) {
    const span = contiguousSpan(source);
    if (numel > 0) native(source.storage.place, (addon) => addon.toFloat32(kernel, span, target));
    return target;
  }
  for (const { start, numel: count, bytes } of gatherBlocks(source)) {
    native({}, (addon) => addon.toFloat32(kernel, bytes, target.subarray(start, start + count)));
  }
  return target;
}

export function freshFloats(numel: number): Float32Array {
  const bytes = freshBytes(numel * 4);
  return new Float32Array(bytes.buffer, bytes.byteOffset, numel);
}

/** Numbers that nested arrays may hold: each takes eight bytes or more. */
const MAX_NESTED = 2 ** 28;
/** Elements of an expanded tensor that are compared one by one: a storage of a few bytes can claim 2^53. */
const MAX_EXPANDED = 2 ** 32;

/** See `Tensor.toArray`. */
export function toNested(source: Source): NestedArray {
  // Every level has an array of its own for each index of the levels above it, also where there are no elements.
  const arrays = source.shape.reduce((product, size) => product * Math.max(size, 1), 1);
  if (arrays > MAX_NESTED) {
    throw new CheckpointError(
      'ARRAY_TOO_LARGE',
      `nested arrays of shape [${source.shape.join(', ')}] would not fit in memory`,
      {
        hint: 'use toTypedArray(), or chunks() of the storage',
      },
    );
  }
  const flat: Scalar[] = [];
  new ElementReader(source).each((value) => flat.push(typeof value === 'bigint' ? safeInteger(value) : value));
  return nest(flat, source.shape);
}

/** Elements in C order as nested arrays of `shape`. */
export function nest(flat: readonly Scalar[], shape: readonly number[]): NestedArray {
  if (shape.length === 0) return flat[0] as Scalar;
  let level: readonly NestedArray[] = flat;
  for (let d = shape.length - 1; d > 0; d--) {
    const size = shape[d]!;
    const inner = level;
    level = Array.from({ length: numelOf(shape.slice(0, d)) }, (_, i) => inner.slice(i * size, (i + 1) * size));
  }
  return level;
}

/** A contiguous copy in another dtype, rounded as PyTorch rounds. */
export function castTo(source: Source, dtype: DType): Elements {
  for (const d of [source.dtype, dtype]) {
    if (d.kind === 'quantized' || d.kind === 'bits') throw new TypeError(`"copy_" not implemented for '${d.name}'`);
  }
  const { shape } = source;
  const byteLength = dtype.byteLength(numelOf(shape));
  if (source.storage.isMeta) return { dtype, shape, bytes: new MetaBytes(byteLength) };
  if (dtype === DType.float32 && source.dtype.kernel !== undefined) {
    const floats = toFloat32(source);
    return {
      dtype,
      shape,
      bytes: new MemoryBytes(new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength)),
    };
  }
  const target = freshBytes(byteLength);
  if (!castNarrow(source, dtype, target)) {
    for (const { start, numel, bytes } of gatherBlocks(source)) {
      castElements(source.dtype, bytes, dtype, target.subarray(start * dtype.itemsize), numel);
    }
  }
  return { dtype, shape, bytes: new MemoryBytes(target) };
}

/** Casts to floats of 16 and 8 bits are native: everything goes through float32, as in PyTorch. False for other casts. */
function castNarrow(source: Source, dtype: DType, target: Uint8Array): boolean {
  const from = source.dtype.kernel;
  const { kernel, itemsize } = dtype;
  if (from === undefined || kernel === undefined || !isMiniFloat(dtype)) return false;
  const isSingle = source.dtype === DType.float32;
  if (isSingle && isContiguous(source.shape, source.stride) && !source.neg) {
    const span = contiguousSpan(source);
    if (target.length > 0) native(source.storage.place, (addon) => addon.castFloat32(kernel, span, target, false));
    return true;
  }
  let floats = new Float32Array(0);
  for (const { start, numel, bytes } of gatherBlocks(source)) {
    const part = target.subarray(start * itemsize, (start + numel) * itemsize);
    if (isSingle) {
      native({}, (addon) => addon.castFloat32(kernel, bytes, part, false));
      continue;
    }
    if (floats.length < numel) floats = new Float32Array(numel);
    const block = floats.subarray(0, numel);
    native({}, (addon) => {
      addon.toFloat32(from, bytes, block);
      addon.castFloat32(kernel, block, part, false);
    });
  }
  return true;
}

/** Both have the same shape. NaN equals nothing, -0 equals 0. */
export function equalValues(a: Source, b: Source): boolean {
  if (a.dtype.elementsPerByte > 1 || b.dtype.elementsPerByte > 1) {
    return a.dtype === b.dtype && Buffer.compare(gather(a), gather(b)) === 0;
  }
  // Cut alike, so that both give pieces of the same elements.
  const flat = isContiguous(a.shape, a.stride) && isContiguous(b.shape, b.stride);
  if (!flat && numelOf(a.shape) > MAX_EXPANDED) {
    throw new CheckpointError('ARRAY_TOO_LARGE', `${numelOf(a.shape)} elements are too many to compare one by one`, {
      hint: 'compare the tensors that they are views of',
    });
  }
  const others = gatherBlocks(b, flat);
  const same = sameElements(a.dtype, b.dtype);
  for (const { numel, bytes } of gatherBlocks(a, flat)) {
    const other = others.next().value;
    if (!other || !same(bytes, other.bytes, numel)) return false;
  }
  if (numelOf(a.shape) === 0) [a, b].map((tensor) => tensor.storage.span());
  return true;
}

type SameElements = (a: Uint8Array, b: Uint8Array, numel: number) => boolean;

function sameElements(a: DType, b: DType): SameElements {
  if (a === b && !a.isFloatingPoint && !a.isComplex) return (x, y) => Buffer.compare(x, y) === 0;
  const isNumbers = a.array === Float32Array || a.array === Float64Array;
  if (a === b && isNumbers) {
    const ArrayType = a.array as typeof Float64Array;
    // Pieces begin at the start of their buffers.
    return (x, y) =>
      sameNumbers(
        new ArrayType(x.buffer, 0, x.length / ArrayType.BYTES_PER_ELEMENT),
        new ArrayType(y.buffer, 0, y.length / ArrayType.BYTES_PER_ELEMENT),
      );
  }
  const first = elementAccess(a);
  const second = elementAccess(b);
  return (x, y, numel) => {
    const viewX = new DataView(x.buffer);
    const viewY = new DataView(y.buffer);
    for (let i = 0; i < numel; i++) {
      if (!sameScalar(first.read(viewX, i * a.itemsize), second.read(viewY, i * b.itemsize))) return false;
    }
    return true;
  };
}

function sameNumbers(x: Float64Array, y: Float64Array): boolean {
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
}

function sameScalar(x: Scalar, y: Scalar): boolean {
  if (typeof x === 'object' || typeof y === 'object') {
    const [re, im] = typeof x === 'object' ? [x.re, x.im] : [x, 0];
    return typeof y === 'object' ? sameScalar(re, y.re) && im === y.im : sameScalar(re, y) && im === 0;
  }
  // Between a bigint and a number `==` compares exactly; booleans are 0 and 1.
  // biome-ignore lint/suspicious/noDoubleEquals: see above
  return x == y;
}
