/**
 * Single elements: from bytes to JavaScript values and back, with PyTorch's casting rules.
 *
 * The access to a dtype is derived from its row in the dtype table. Values of 64-bit integers are bigints here; what is
 * handed to users goes through `safeInteger`.
 */
import { DType } from '../dtype';
import { Complex } from '../pickle/values';
import { miniFloat } from './minifloat';

/** One element: bigint for 64-bit integers, boolean for bool, Complex for complex, else a number. */
export type Scalar = number | bigint | boolean | Complex;

export interface ElementAccess {
  read(view: DataView, byteOffset: number): Scalar;
  /** Stores `value` as PyTorch casts it: floats truncate towards integers, integers wrap, complex drops its imaginary part. */
  write(view: DataView, byteOffset: number, value: Scalar): void;
}

const accesses = new Map<DType, ElementAccess>();

/** How elements of `dtype` are read and written. Packed dtypes give and take whole bytes. */
export function elementAccess(dtype: DType): ElementAccess {
  let access = accesses.get(dtype);
  if (!access) {
    access = makeAccess(dtype);
    accesses.set(dtype, access);
  }
  return access;
}

function makeAccess(dtype: DType): ElementAccess {
  const codec = miniFloat(dtype);
  switch (dtype.kind) {
    case 'float':
      if (dtype === DType.float64) {
        return { read: (v, at) => v.getFloat64(at, true), write: (v, at, x) => v.setFloat64(at, toDouble(x), true) };
      }
      if (!codec) {
        return { read: (v, at) => v.getFloat32(at, true), write: (v, at, x) => v.setFloat32(at, toSingle(x), true) };
      }
      return dtype.itemsize === 2
        ? {
            read: (v, at) => codec.decode(v.getUint16(at, true)),
            write: (v, at, x) => v.setUint16(at, codec.encode(toSingle(x)), true),
          }
        : {
            read: (v, at) => codec.decode(v.getUint8(at)),
            write: (v, at, x) => v.setUint8(at, codec.encode(toSingle(x))),
          };
    case 'complex':
      return complexAccess(dtype);
    case 'bool':
      return { read: (v, at) => v.getUint8(at) !== 0, write: (v, at, x) => v.setUint8(at, isTrue(x) ? 1 : 0) };
    case 'int':
      return integerAccess(dtype.itemsize, true);
    case 'uint':
    case 'bits':
      return integerAccess(dtype.itemsize, false);
    case 'quantized':
      return integerAccess(dtype.itemsize, dtype === DType.qint8 || dtype === DType.qint32);
  }
}

function complexAccess(dtype: DType): ElementAccess {
  const part = dtype.itemsize / 2;
  const access = elementAccess(part === 8 ? DType.float64 : part === 4 ? DType.float32 : DType.float16);
  return {
    read: (v, at) => new Complex(access.read(v, at) as number, access.read(v, at + part) as number),
    write: (v, at, x) => {
      access.write(v, at, x instanceof Complex ? x.re : x);
      access.write(v, at + part, x instanceof Complex ? x.im : 0);
    },
  };
}

function integerAccess(itemsize: number, signed: boolean): ElementAccess {
  switch (itemsize) {
    case 1:
      return signed
        ? { read: (v, at) => v.getInt8(at), write: (v, at, x) => v.setInt8(at, toInt32(x)) }
        : { read: (v, at) => v.getUint8(at), write: (v, at, x) => v.setUint8(at, toUint8(x)) };
    case 2:
      return signed
        ? { read: (v, at) => v.getInt16(at, true), write: (v, at, x) => v.setInt16(at, toInt32(x), true) }
        : { read: (v, at) => v.getUint16(at, true), write: (v, at, x) => v.setUint16(at, toInt32(x), true) };
    case 4:
      return signed
        ? { read: (v, at) => v.getInt32(at, true), write: (v, at, x) => v.setInt32(at, toInt32(x), true) }
        : { read: (v, at) => v.getUint32(at, true), write: (v, at, x) => v.setUint32(at, toUint32(x), true) };
    default:
      return signed
        ? { read: (v, at) => v.getBigInt64(at, true), write: (v, at, x) => v.setBigInt64(at, toInt64(x), true) }
        : { read: (v, at) => v.getBigUint64(at, true), write: (v, at, x) => v.setBigUint64(at, toUint64(x), true) };
  }
}

/** False for zero only: NaN is true, as in C. */
function isTrue(value: Scalar): boolean {
  if (value instanceof Complex) return value.re !== 0 || value.im !== 0;
  return typeof value === 'bigint' ? value !== 0n : value !== 0 && value !== false;
}

function toDouble(value: Scalar): number {
  return value instanceof Complex ? value.re : Number(value);
}

/** The nearest float32; a large bigint is rounded once, not first to a double. */
function toSingle(value: Scalar): number {
  if (typeof value !== 'bigint') return Math.fround(toDouble(value));
  const magnitude = value < 0n ? -value : value;
  if (magnitude <= 2n ** 53n) return Math.fround(Number(value));
  // 54 bits and more: keep the upper ones and let the lowest kept bit say whether anything below was set. Bits that
  // decide a rounding to 24 survive, and the double is exact.
  const shift = BigInt(magnitude.toString(2).length - 53);
  const sticky = magnitude & ((1n << shift) - 1n) ? 1n : 0n;
  const kept = Number((magnitude >> shift) | sticky) * 2 ** Number(shift);
  return Math.fround(value < 0n ? -kept : kept);
}

// C++ leaves floats outside an integer type undefined. These four are what PyTorch does on x86, where such a conversion
// gives the smallest signed integer, and unsigned ones are made of signed ones. 8 and 16 bits go through
// int32, but uint8 through int64.

function toInt32(value: Scalar): number {
  if (typeof value === 'bigint') return Number(BigInt.asIntN(32, value));
  const number = Math.trunc(toDouble(value));
  return number >= -(2 ** 31) && number < 2 ** 31 ? number : -(2 ** 31);
}

function toUint8(value: Scalar): number {
  const isSmall = typeof value === 'number' && Math.abs(value) < 2 ** 31;
  return isSmall ? Math.trunc(value) : Number(BigInt.asUintN(8, toInt64(value)));
}

function toUint32(value: Scalar): number {
  if (typeof value === 'bigint') return Number(BigInt.asUintN(32, value));
  const number = toDouble(value);
  return number >= 2 ** 31 ? toInt32(number - 2 ** 31) + 2 ** 31 : toInt32(number);
}

function toInt64(value: Scalar): bigint {
  if (typeof value === 'bigint') return value;
  const number = Math.trunc(toDouble(value));
  return number >= -(2 ** 63) && number < 2 ** 63 ? BigInt(number) : -(2n ** 63n);
}

function toUint64(value: Scalar): bigint {
  if (typeof value === 'bigint') return value;
  const number = toDouble(value);
  return number >= 2 ** 63 ? toInt64(number - 2 ** 63) + 2n ** 63n : toInt64(number);
}

/** Casts `count` elements between two contiguous runs of bytes. */
export function castElements(from: DType, source: Uint8Array, to: DType, target: Uint8Array, count: number): void {
  const input = elementAccess(from);
  const output = elementAccess(to);
  const sourceView = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const targetView = new DataView(target.buffer, target.byteOffset, target.byteLength);
  // Integers wrap among themselves, also those of 32 bits that are no int32; bigints do it by themselves.
  const wraps = from === DType.uint32 && !to.isFloatingPoint && !to.isComplex && to !== DType.bool;
  for (let i = 0; i < count; i++) {
    const value = input.read(sourceView, i * from.itemsize);
    output.write(targetView, i * to.itemsize, wraps ? BigInt(value as number) : value);
  }
}
