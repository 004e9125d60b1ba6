/** How far the elements of two tensors of one dtype and shape are apart, piece by piece. */
import { setImmediate } from 'node:timers/promises';
import { native } from '../binding';
import { DType } from '../dtype';
import { Complex } from '../pickle/values';
import { type ElementAccess, elementAccess, type Scalar } from '../tensor/elements';
import { contiguousSpan, gather, gatherBlocks, partOf, readSpan } from '../tensor/gather';
import type { Tensor } from '../tensor/tensor';
import { Numbers } from './numbers';

export interface Tolerance {
  /** Elements are equal when |a - b| <= atol + rtol * |b|, as in NumPy; both 0 by default. */
  readonly rtol: number;
  readonly atol: number;
}

export interface ElementDifference {
  /** Elements that differ by more than the tolerance. */
  readonly count: number;
  /** The largest |a - b|; Infinity where one is infinite or NaN and the other is not. */
  readonly maxAbs: number;
  /** The largest |a - b| / |b|; Infinity where b is 0. */
  readonly maxRel: number;
  /** The largest distance in representable values between, of floating dtypes. */
  readonly maxUlp?: number;
}

/**
 * Bytes that native code compares in one call: both sides stay in the cache, and allocators give the same memory to each
 * call. From 128 KiB on they ask the system for fresh pages, which costs fifty times what the comparison does.
 */
const PIECE_BYTES = 64 << 10;
/** Time between two looks at the event loop. */
const TURN_MILLISECONDS = 50;

/** Undefined when all elements are equal within the tolerance: NaN equals NaN, -0 equals 0. */
export async function elementDifference(
  a: Tensor,
  b: Tensor,
  tolerance: Tolerance,
  signal?: AbortSignal,
): Promise<ElementDifference | undefined> {
  if (a.numel === 0 || a.isMeta || b.isMeta) return undefined;
  const { dtype } = a;
  const isPacked = dtype.elementsPerByte > 1;
  const difference = new Difference(dtype, tolerance);
  const pairs = isPlain(a) && isPlain(b) ? unequalPieces(a, b) : isPacked ? undefined : unequalBlocks(a, b);
  if (!pairs) return packedDifference(gather(a), gather(b), dtype);
  let turn = performance.now();
  for (const pair of pairs) {
    if (pair && isPacked) return packedDifference(gather(a), gather(b), dtype);
    if (pair) difference.add(pair.a, pair.b, pair.numel);
    if (performance.now() - turn < TURN_MILLISECONDS) continue;
    await setImmediate();
    signal?.throwIfAborted();
    turn = performance.now();
  }
  return difference.count > 0 ? difference.result : undefined;
}

interface Pair {
  readonly a: Uint8Array;
  readonly b: Uint8Array;
  readonly numel: number;
}

/** The bytes in the file are those of the elements. */
function isPlain(tensor: Tensor): boolean {
  return (
    tensor.isContiguous() && !tensor.conj && !tensor.neg && tensor.storageOffset % tensor.dtype.elementsPerByte === 0
  );
}

/** Native comparison first: most tensors of two checkpoints of one model family are the same. Undefined where equal. */
function* unequalPieces(a: Tensor, b: Tensor): Generator<Pair | undefined, void, undefined> {
  const [first, second] = [contiguousSpan(a), contiguousSpan(b)];
  const { itemsize } = a.dtype;
  const byteLength = a.dtype.byteLength(a.numel);
  const room = Math.min(PIECE_BYTES, byteLength);
  const [left, right] = [new Uint8Array(room), new Uint8Array(room)];
  for (let at = 0; at < byteLength; at += PIECE_BYTES) {
    const count = Math.min(PIECE_BYTES, byteLength - at);
    if (native({}, (addon) => addon.equal(partOf(first, at, count), partOf(second, at, count)))) {
      yield undefined;
      continue;
    }
    const pair = { a: left.subarray(0, count), b: right.subarray(0, count), numel: count / itemsize };
    readSpan(first, at, pair.a, a.storage.place);
    readSpan(second, at, pair.b, b.storage.place);
    yield pair;
  }
}

/** Elements that lie scattered, or are not stored as they are. */
function* unequalBlocks(a: Tensor, b: Tensor): Generator<Pair | undefined, void, undefined> {
  const flat = a.isContiguous() && b.isContiguous();
  const others = gatherBlocks(b, flat);
  for (const { bytes, numel } of gatherBlocks(a, flat)) {
    const other = others.next().value;
    if (!other) return;
    yield Buffer.compare(bytes, other.bytes) === 0 ? undefined : { a: bytes, b: other.bytes, numel };
  }
}

class Difference {
  count = 0;
  #maxAbs = 0;
  #maxRel = 0;
  #maxUlp = 0;
  readonly #dtype: DType;
  readonly #access: ElementAccess;
  readonly #numbers: readonly [a: Numbers, b: Numbers];
  readonly #tolerance: Tolerance;

  constructor(dtype: DType, tolerance: Tolerance) {
    this.#dtype = dtype;
    this.#access = elementAccess(dtype);
    this.#numbers = [new Numbers(dtype), new Numbers(dtype)];
    this.#tolerance = tolerance;
  }

  get result(): ElementDifference {
    return {
      count: this.count,
      maxAbs: this.#maxAbs,
      maxRel: this.#maxRel,
      ...(this.#dtype.isFloatingPoint ? { maxUlp: this.#maxUlp } : {}),
    };
  }

  add(a: Uint8Array, b: Uint8Array, numel: number): void {
    const dtype = this.#dtype;
    // Complex numbers have two parts, and doubles do not hold every 64-bit integer.
    if (dtype.isComplex || dtype === DType.int64 || dtype === DType.uint64) this.#addScalars(a, b, numel);
    else this.#addNumbers(a, b, numel);
  }

  #addNumbers(a: Uint8Array, b: Uint8Array, numel: number): void {
    const [x, y] = [this.#numbers[0].in(a, numel), this.#numbers[1].in(b, numel)];
    const { isFloatingPoint, itemsize } = this.#dtype;
    // float8_e8m0fnu has no sign.
    const isSigned = this.#dtype !== DType.float8_e8m0fnu;
    const steps = isFloatingPoint ? stepCounter(a, b, itemsize, isSigned) : undefined;
    for (let i = 0; i < numel; i++) {
      if (x[i] === y[i]) continue;
      const [left, right] = [x[i] as number, y[i] as number];
      const distance = numberDistance(left, right, this.#tolerance);
      if (distance === 0) continue;
      this.#note(distance, Math.abs(right));
      if (!steps) continue;
      const ulp = distance === Number.POSITIVE_INFINITY ? distance : steps(i);
      if (ulp > this.#maxUlp) this.#maxUlp = ulp;
    }
  }

  #addScalars(a: Uint8Array, b: Uint8Array, numel: number): void {
    const { itemsize } = this.#dtype;
    const viewA = new DataView(a.buffer, a.byteOffset, a.byteLength);
    const viewB = new DataView(b.buffer, b.byteOffset, b.byteLength);
    for (let at = 0; at < numel * itemsize; at += itemsize) {
      const other = this.#access.read(viewB, at);
      const distance = distanceOf(this.#access.read(viewA, at), other, this.#tolerance);
      if (distance !== 0) this.#note(distance, magnitudeOf(other));
    }
  }

  #note(distance: number, magnitude: number): void {
    this.count++;
    if (distance > this.#maxAbs) this.#maxAbs = distance;
    const relative = distance === Number.POSITIVE_INFINITY ? distance : distance / magnitude;
    if (relative > this.#maxRel) this.#maxRel = relative;
  }
}

function magnitudeOf(value: Scalar): number {
  return value instanceof Complex ? Math.hypot(value.re, value.im) : Math.abs(Number(value));
}

/** Counts the representable values between the elements of two arrays at an index. */
function stepCounter(a: Uint8Array, b: Uint8Array, itemsize: number, isSigned: boolean): (index: number) => number {
  if (itemsize === 8) {
    const [x, y] = [bits64(a), bits64(b)];
    return (i) => {
      const steps = ordered64(x[i] as bigint) - ordered64(y[i] as bigint);
      return Number(steps < 0n ? -steps : steps);
    };
  }
  const [x, y] = [bitsOf(a, itemsize), bitsOf(b, itemsize)];
  const sign = isSigned ? 2 ** (itemsize * 8 - 1) : Number.POSITIVE_INFINITY;
  const ordered = (bits: number): number => (bits < sign ? bits : sign - bits);
  return (i) => Math.abs(ordered(x[i] as number) - ordered(y[i] as number));
}

function bits64({ buffer, byteOffset, byteLength }: Uint8Array): BigUint64Array {
  return new BigUint64Array(buffer, byteOffset, byteLength / 8);
}

function bitsOf({ buffer, byteOffset, byteLength }: Uint8Array, itemsize: number): ArrayLike<number> {
  if (itemsize === 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  if (itemsize === 2) return new Uint16Array(buffer, byteOffset, byteLength / 2);
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Floats of one sign are in the order of their bits; negative ones count down from zero. */
function ordered64(bits: bigint): bigint {
  const SIGN = 1n << 63n;
  return bits < SIGN ? bits : SIGN - bits;
}

/** 0 where equal within the tolerance, else the distance. */
function distanceOf(a: Scalar, b: Scalar, tolerance: Tolerance): number {
  if (typeof a === 'bigint' && typeof b === 'bigint') {
    if (a === b) return 0;
    const distance = Number(a < b ? b - a : a - b);
    return distance <= tolerance.atol + tolerance.rtol * Math.abs(Number(b)) ? 0 : distance;
  }
  if (a instanceof Complex && b instanceof Complex) {
    if (sameNumber(a.re, b.re) && sameNumber(a.im, b.im)) return 0;
    const distance = Math.hypot(a.re - b.re, a.im - b.im);
    if (Number.isNaN(distance)) return Number.POSITIVE_INFINITY;
    return distance <= tolerance.atol + tolerance.rtol * Math.hypot(b.re, b.im) ? 0 : distance;
  }
  return numberDistance(Number(a), Number(b), tolerance);
}

function numberDistance(a: number, b: number, { rtol, atol }: Tolerance): number {
  if (sameNumber(a, b)) return 0;
  const distance = Math.abs(a - b);
  // One of them is NaN or infinite: no tolerance makes that near.
  if (!Number.isFinite(distance) && !(Number.isFinite(a) && Number.isFinite(b))) return Number.POSITIVE_INFINITY;
  return distance <= atol + rtol * Math.abs(b) ? 0 : distance;
}

function sameNumber(a: number, b: number): boolean {
  return a === b || (a !== a && b !== b);
}

/** Packed integers by their own bits; the bits behind the last element do not count. */
function packedDifference(a: Uint8Array, b: Uint8Array, { elementsPerByte }: DType): ElementDifference | undefined {
  const width = 8 / elementsPerByte;
  const mask = 2 ** width - 1;
  let [count, maxAbs, maxRel] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    if (a[i] === b[i]) continue;
    for (let shift = 0; shift < 8; shift += width) {
      const other = ((b[i] as number) >> shift) & mask;
      const distance = Math.abs((((a[i] as number) >> shift) & mask) - other);
      if (distance === 0) continue;
      count++;
      maxAbs = Math.max(maxAbs, distance);
      maxRel = Math.max(maxRel, distance / other);
    }
  }
  return count > 0 ? { count, maxAbs, maxRel } : undefined;
}
