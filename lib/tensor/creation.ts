/** New elements: from typed arrays, from nested JavaScript arrays, and from one value. */
import { DType } from '../dtype';
import { Complex } from '../pickle/values';
import { castElements, elementAccess, type Scalar } from './elements';
import { freshBytes } from './fresh-bytes';
import { listOf, numelOf } from './geometry';
import { MemoryBytes, type StorageBytes } from './storage';

/** A scalar, or arrays of arrays of scalars, as deep as a tensor has dimensions. */
export type NestedArray = Scalar | readonly NestedArray[];

/** What a tensor is made of: `bytes` has `shape`'s elements, contiguous. */
export interface Elements {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: StorageBytes;
}

/** A copy of a shape from the caller, checked. */
export function shapeOf(shape: readonly number[]): number[] {
  for (const size of shape) {
    if (!Number.isSafeInteger(size)) throw new TypeError(`a shape has integers, not ${String(size)}`);
    if (size < 0) throw new RangeError(`Trying to create tensor with negative dimension ${size}: ${listOf(shape)}`);
  }
  return [...shape];
}

const ARRAY_DTYPES: Record<string, DType> = {
  Float64Array: DType.float64,
  Float32Array: DType.float32,
  Float16Array: DType.float16,
  BigInt64Array: DType.int64,
  BigUint64Array: DType.uint64,
  Int32Array: DType.int32,
  Uint32Array: DType.uint32,
  Int16Array: DType.int16,
  Uint16Array: DType.uint16,
  Int8Array: DType.int8,
  Uint8Array: DType.uint8,
  Uint8ClampedArray: DType.uint8,
};

/** Elements over a typed array: shared where its bytes are the dtype's own, else cast. */
export function elementsOf(
  array: ArrayBufferView,
  wanted: DType | undefined,
  wantedShape: readonly number[] | undefined,
): Elements {
  const kind = Object.prototype.toString.call(array).slice(8, -1);
  const own = ARRAY_DTYPES[kind];
  if (!own) throw new TypeError(`a tensor is made from a typed array or nested arrays, not from a ${kind}`);
  const dtype = wanted ?? own;
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const count = array.byteLength / own.itemsize;
  // Half types are shown as Uint16Array on hosts without Float16Array, and are taken as that everywhere.
  const isBits =
    dtype.array?.name === kind || (kind === 'Uint16Array' && dtype.swapWidth === 2 && dtype.kind !== 'int');
  if (isBits) {
    const perElement = dtype.arrayPerElement;
    const numel = (count / perElement) * dtype.elementsPerByte;
    const shape = shapeFor(numel, wantedShape, dtype);
    return { dtype, shape, bytes: new MemoryBytes(bytes) };
  }
  if (dtype.kind === 'quantized' || dtype.kind === 'bits')
    throw new TypeError(`${kind} does not hold elements of ${dtype.name}`);
  // Numbers for a complex dtype come in pairs, whatever array they are in.
  const pairs = dtype.isComplex ? 2 : 1;
  const shape = shapeFor(count / pairs, wantedShape, dtype);
  const target = freshBytes(dtype.byteLength(count / pairs));
  castElements(own, bytes, partOf(dtype), target, count);
  return { dtype, shape, bytes: new MemoryBytes(target) };
}

/** What the real and imaginary parts of a complex dtype are; other dtypes are their own. */
function partOf(dtype: DType): DType {
  if (!dtype.isComplex) return dtype;
  return dtype === DType.complex128 ? DType.float64 : dtype === DType.complex64 ? DType.float32 : DType.float16;
}

function shapeFor(numel: number, wanted: readonly number[] | undefined, dtype: DType): readonly number[] {
  const shape = wanted ? shapeOf(wanted) : [numel];
  // The bytes of packed elements may end in unused bits.
  const fits =
    dtype.elementsPerByte > 1 ? dtype.byteLength(numelOf(shape)) === dtype.byteLength(numel) : numelOf(shape) === numel;
  if (!fits || !Number.isSafeInteger(numel))
    throw new RangeError(`shape '${listOf(shape)}' is invalid for input of size ${numel}`);
  return shape;
}

/** Elements copied from nested arrays, which must be even. */
export function fromNested(
  data: NestedArray,
  wanted: DType | undefined,
  wantedShape: readonly number[] | undefined,
): Elements {
  const found: number[] = [];
  for (let level = data; Array.isArray(level); level = level[0] as NestedArray) {
    found.push(level.length);
    if (level.length === 0) break;
  }
  const flat: Scalar[] = [];
  flatten(data, found, 0, flat);
  const dtype = wanted ?? dtypeOf(flat);
  if (dtype.kind === 'quantized' || dtype.kind === 'bits')
    throw new TypeError(`a tensor of ${dtype.name} is not made from numbers`);
  const paired =
    dtype.isComplex && found.length > 0 && flat.length > 0 && !flat.some((value) => value instanceof Complex);
  if (paired && found.at(-1) !== 2) {
    throw new RangeError(
      `numbers for ${dtype.name} come in pairs [re, im], the innermost arrays have ${String(found.at(-1))}`,
    );
  }
  const values = paired ? pairUp(flat) : flat;
  const shape = wantedShape ? shapeOf(wantedShape) : paired ? found.slice(0, -1) : found;
  if (numelOf(shape) !== values.length)
    throw new RangeError(`shape '${listOf(shape)}' is invalid for input of size ${values.length}`);
  const bytes = freshBytes(dtype.byteLength(values.length));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const access = elementAccess(dtype);
  for (const [i, value] of values.entries()) access.write(view, i * dtype.itemsize, integral(value, dtype));
  return { dtype, shape, bytes: new MemoryBytes(bytes) };
}

/** Integers that JavaScript holds as numbers wrap in integer dtypes instead of being out of a float's range. */
function integral(value: Scalar, dtype: DType): Scalar {
  const isInteger = dtype.kind === 'int' || dtype.kind === 'uint';
  return isInteger && typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : value;
}

function pairUp(flat: readonly Scalar[]): Complex[] {
  return Array.from({ length: flat.length / 2 }, (_, i) => new Complex(Number(flat[2 * i]), Number(flat[2 * i + 1])));
}

function flatten(data: NestedArray, shape: readonly number[], dim: number, flat: Scalar[]): void {
  if (dim === shape.length) {
    if (Array.isArray(data))
      throw new RangeError(`expected a number at dim ${dim} (got a sequence of length ${data.length})`);
    if (!isScalar(data))
      throw new TypeError(`an element of a tensor cannot be ${data === null ? 'null' : typeof data}`);
    flat.push(data);
    return;
  }
  const expected = shape[dim]!;
  if (!Array.isArray(data))
    throw new RangeError(`expected sequence of length ${expected} at dim ${dim} (got a number)`);
  if (data.length !== expected)
    throw new RangeError(`expected sequence of length ${expected} at dim ${dim} (got ${data.length})`);
  for (const item of data as readonly NestedArray[]) flatten(item, shape, dim + 1, flat);
}

function isScalar(value: unknown): value is Scalar {
  return (
    typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean' || value instanceof Complex
  );
}

/** The widest kind among the values: Complex, then numbers, then bigints, then booleans; no values are float32. */
function dtypeOf(flat: readonly Scalar[]): DType {
  if (flat.some((value) => value instanceof Complex)) return DType.complex64;
  if (flat.length === 0 || flat.some((value) => typeof value === 'number')) return DType.float32;
  return flat.some((value) => typeof value === 'bigint') ? DType.int64 : DType.bool;
}

/** `shape` full of one value. */
export function filled(shape: readonly number[], value: Scalar, dtype: DType): Elements {
  const bytes = freshBytes(dtype.byteLength(numelOf(shape)));
  const pattern = new Uint8Array(dtype.itemsize);
  elementAccess(dtype).write(new DataView(pattern.buffer), 0, integral(value, dtype));
  if (bytes.length > 0) bytes.set(pattern);
  // Each copy doubles what is filled. Fresh memory is not cleared, so that zeros are written too.
  for (let done = pattern.length; done < bytes.length; done *= 2)
    bytes.copyWithin(done, 0, Math.min(done, bytes.length - done));
  return { dtype, shape, bytes: new MemoryBytes(bytes) };
}

/** 0, 1, ... below `end`. */
export function arangeElements(end: number, dtype: DType): Elements {
  const numel = Math.max(0, Math.ceil(end));
  const bytes = freshBytes(dtype.byteLength(numel));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const access = elementAccess(dtype);
  for (let i = 0; i < numel; i++) access.write(view, i * dtype.itemsize, integral(i, dtype));
  return { dtype, shape: [numel], bytes: new MemoryBytes(bytes) };
}
