/** How far the elements of two tensors of one dtype and shape are apart, piece by piece. */
import { setImmediate } from 'node:timers/promises';
import { native } from '../binding';
import { DType } from '../dtype';
import { Complex } from '../pickle/values';
import { type ElementAccess, elementAccess, type Scalar } from '../tensor/elements';
import { contiguousSpan, gather, gatherBlocks } from '../tensor/gather';
import type { Tensor } from '../tensor/tensor';

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
  /** The largest distance in representable values between, of floating dtypes. */
  readonly maxUlp?: number;
}

/** Pieces between two looks at the event loop. */
const PIECES_BETWEEN_TURNS = 16;

/** Undefined when all elements are equal within the tolerance: NaN equals NaN, -0 equals 0. */
export async function elementDifference(
  a: Tensor,
  b: Tensor,
  tolerance: Tolerance,
  signal?: AbortSignal,
): Promise<ElementDifference | undefined> {
  if (a.numel === 0 || a.isMeta || b.isMeta) return undefined;
  if (sameBytes(a, b)) return undefined;
  const { dtype } = a;
  if (dtype.elementsPerByte > 1) return packedDifference(gather(a), gather(b), dtype);
  const difference = new Difference(dtype, tolerance);
  const flat = a.isContiguous() && b.isContiguous();
  const others = gatherBlocks(b, flat);
  let pieces = 0;
  for (const { bytes, numel } of gatherBlocks(a, flat)) {
    const other = others.next().value;
    if (!other) break;
    if (Buffer.compare(bytes, other.bytes) !== 0) difference.add(bytes, other.bytes, numel);
    if (++pieces % PIECES_BETWEEN_TURNS !== 0) continue;
    await setImmediate();
    signal?.throwIfAborted();
  }
  return difference.count > 0 ? difference.result : undefined;
}

/** Native comparison of whole windows: most tensors of two checkpoints of one model family are the same. */
function sameBytes(a: Tensor, b: Tensor): boolean {
  const isPlain = (tensor: Tensor): boolean =>
    tensor.isContiguous() && !tensor.conj && !tensor.neg && tensor.storageOffset % tensor.dtype.elementsPerByte === 0;
  if (!isPlain(a) || !isPlain(b)) return false;
  // A long comparison would hold up everything else, also a signal.
  if (a.nbytes > MAX_NATIVE_BYTES) return false;
  const [first, second] = [contiguousSpan(a), contiguousSpan(b)];
  return native({}, (addon) => addon.equal(first, second));
}

const MAX_NATIVE_BYTES = 256 << 20;

class Difference {
  count = 0;
  #maxAbs = 0;
  #maxUlp = 0;
  readonly #dtype: DType;
  readonly #access: ElementAccess;
  readonly #tolerance: Tolerance;

  constructor(dtype: DType, tolerance: Tolerance) {
    this.#dtype = dtype;
    this.#access = elementAccess(dtype);
    this.#tolerance = tolerance;
  }

  get result(): ElementDifference {
    return {
      count: this.count,
      maxAbs: this.#maxAbs,
      ...(this.#dtype.isFloatingPoint ? { maxUlp: this.#maxUlp } : {}),
    };
  }

  add(a: Uint8Array, b: Uint8Array, numel: number): void {
    if (this.#dtype === DType.float32) {
      this.#addFloat32(a, b, numel);
      return;
    }
    const { itemsize } = this.#dtype;
    const viewA = new DataView(a.buffer, a.byteOffset, a.byteLength);
    const viewB = new DataView(b.buffer, b.byteOffset, b.byteLength);
    for (let at = 0; at < numel * itemsize; at += itemsize) {
      const distance = distanceOf(this.#access.read(viewA, at), this.#access.read(viewB, at), this.#tolerance);
      if (distance === 0) continue;
      this.#note(distance);
      if (this.#dtype.isFloatingPoint)
        this.#noteUlp(distance, bitsAt(viewA, at, itemsize), bitsAt(viewB, at, itemsize));
    }
  }

  /** The same without a call for each element. */
  #addFloat32(a: Uint8Array, b: Uint8Array, numel: number): void {
    const x = new Float32Array(a.buffer, a.byteOffset, numel);
    const y = new Float32Array(b.buffer, b.byteOffset, numel);
    const bitsX = new Uint32Array(a.buffer, a.byteOffset, numel);
    const bitsY = new Uint32Array(b.buffer, b.byteOffset, numel);
    for (let i = 0; i < numel; i++) {
      if (x[i] === y[i]) continue;
      const distance = numberDistance(x[i] as number, y[i] as number, this.#tolerance);
      if (distance === 0) continue;
      this.#note(distance);
      if (distance < Number.POSITIVE_INFINITY)
        this.#maxUlp = Math.max(this.#maxUlp, Math.abs(ordered32(bitsX[i] as number) - ordered32(bitsY[i] as number)));
      else this.#maxUlp = Number.POSITIVE_INFINITY;
    }
  }

  #note(distance: number): void {
    this.count++;
    if (distance > this.#maxAbs) this.#maxAbs = distance;
  }

  #noteUlp(distance: number, a: bigint, b: bigint): void {
    if (distance === Number.POSITIVE_INFINITY) {
      this.#maxUlp = Number.POSITIVE_INFINITY;
      return;
    }
    const { itemsize } = this.#dtype;
    // float8_e8m0fnu has no sign.
    const isSigned = this.#dtype !== DType.float8_e8m0fnu;
    const steps = ordered(a, itemsize, isSigned) - ordered(b, itemsize, isSigned);
    this.#maxUlp = Math.max(this.#maxUlp, Number(steps < 0n ? -steps : steps));
  }
}

/** Floats of one sign are in the order of their bits; negative ones count down from zero. */
function ordered32(bits: number): number {
  return bits < 0x80000000 ? bits : 0x80000000 - bits;
}

function ordered(bits: bigint, itemsize: number, isSigned: boolean): bigint {
  const sign = 1n << BigInt(itemsize * 8 - 1);
  return !isSigned || bits < sign ? bits : sign - bits;
}

function bitsAt(view: DataView, at: number, itemsize: number): bigint {
  if (itemsize === 8) return view.getBigUint64(at, true);
  return BigInt(
    itemsize === 4 ? view.getUint32(at, true) : itemsize === 2 ? view.getUint16(at, true) : view.getUint8(at),
  );
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
  let [count, maxAbs] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    if (a[i] === b[i]) continue;
    for (let shift = 0; shift < 8; shift += width) {
      const distance = Math.abs((((a[i] as number) >> shift) & mask) - (((b[i] as number) >> shift) & mask));
      if (distance > 0) count++;
      maxAbs = Math.max(maxAbs, distance);
    }
  }
  return count > 0 ? { count, maxAbs } : undefined;
}
