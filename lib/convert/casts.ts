/**
 * Casts from float32 to narrower floating dtypes, one function for each, bit for bit as PyTorch 2.13 casts a contiguous
 * tensor on x86 (aten/src/ATen/cpu/vec): to nearest, ties to even. NaNs too: float16 keeps the payload as the F16C
 * instructions do, bfloat16 writes 0xffff for float32 and float64 and 0x7fc0 for narrower ones, which PyTorch casts one by
 * one, the float8 formats have one code for each sign or one at all.
 *
 * All of them work on the bits and never make a JavaScript number of an element.
 */
import { DType } from '../dtype';
import { miniFloat } from '../tensor/minifloat';

/** Converts `source.length` elements into as many of `target`, which starts at a multiple of its itemsize. */
export type Cast = (source: Float32Array, target: Uint8Array) => void;

/** The cast to `dtype` of elements that were `from` and are float32 now; undefined where there is none. */
export function castFromFloat32(dtype: DType, from: DType = DType.float32): Cast | undefined {
  switch (dtype) {
    case DType.float64:
      return (source, target) => new Float64Array(target.buffer, target.byteOffset, source.length).set(source);
    case DType.float32:
      return (source, target) => new Float32Array(target.buffer, target.byteOffset, source.length).set(source);
    case DType.float16:
      return (source, target) =>
        float32ToFloat16(source, new Uint16Array(target.buffer, target.byteOffset, source.length));
    case DType.bfloat16: {
      const nan = from.itemsize < DType.float32.itemsize ? 0x7fc0 : 0xffff;
      return (source, target) =>
        float32ToBFloat16(source, new Uint16Array(target.buffer, target.byteOffset, source.length), nan);
    }
  }
  const table = float8Table(dtype);
  return table && ((source, target) => float32ToFloat8(source, target, table));
}

function bitsOf(source: Float32Array): Uint32Array {
  return new Uint32Array(source.buffer, source.byteOffset, source.length);
}

function float32ToBFloat16(source: Float32Array, target: Uint16Array, nan: number): void {
  const bits = bitsOf(source);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!;
    // The carry out of the lower half rounds; of two equally near values the even one stays.
    target[i] = (x & 0x7fffffff) > 0x7f800000 ? nan : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
}

export function float32ToFloat16(source: Float32Array, target: Uint16Array): void {
  const bits = bitsOf(source);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!;
    const sign = (x >>> 16) & 0x8000;
    const magnitude = x & 0x7fffffff;
    if (magnitude >= 0x47800000) {
      // 65536 and more, infinity, and NaN, which is made quiet.
      target[i] = sign | (magnitude > 0x7f800000 ? 0x7e00 | ((magnitude >>> 13) & 0x3ff) : 0x7c00);
    } else if (magnitude >= 0x38800000) {
      // Normal: the exponent is rebased by 112; the carry may make it infinity, which is right from 65520 on.
      target[i] = sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
    } else if (magnitude > 0x33000000) {
      // Subnormal: 2^-24 is the unit. Half of it (0x33000000) and less is zero.
      const shift = 126 - (magnitude >>> 23);
      const mantissa = (magnitude & 0x7fffff) | 0x800000;
      const kept = mantissa >>> shift;
      const rest = mantissa & ((1 << shift) - 1);
      const half = 1 << (shift - 1);
      target[i] = sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
    } else {
      target[i] = sign;
    }
  }
}

/**
 * To 8 bits by table: at most 3 bits of the mantissa are kept, so that the upper 16 bits of a float32, and whether any
 * lower one is set, decide.
 */
function float32ToFloat8(source: Float32Array, target: Uint8Array, table: Uint8Array): void {
  const bits = bitsOf(source);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!;
    target[i] = table[((x >>> 16) << 1) | ((x & 0xffff) === 0 ? 0 : 1)]!;
  }
}

/** NaN as each format has it, for a clear and a set sign bit. */
const FLOAT8_NANS: ReadonlyMap<DType, readonly [number, number]> = new Map([
  [DType.float8_e4m3fn, [0x7f, 0xff]],
  [DType.float8_e5m2, [0x7f, 0xff]],
  [DType.float8_e4m3fnuz, [0x80, 0x80]],
  [DType.float8_e5m2fnuz, [0x80, 0x80]],
  [DType.float8_e8m0fnu, [0xff, 0xff]],
]);

const tables = new Map<DType, Uint8Array>();

function float8Table(dtype: DType): Uint8Array | undefined {
  const nans = FLOAT8_NANS.get(dtype);
  const codec = miniFloat(dtype);
  if (!nans || !codec) return undefined;
  let table = tables.get(dtype);
  if (table) return table;
  table = new Uint8Array(1 << 17);
  const word = new DataView(new ArrayBuffer(4));
  for (let index = 0; index < table.length; index++) {
    const bits = ((index >>> 1) << 16) | (index & 1);
    word.setInt32(0, bits);
    const nan = (bits & 0x7fffffff) > 0x7f800000;
    table[index] = nan ? nans[bits >>> 31 ? 1 : 0] : codec.encode(word.getFloat32(0));
  }
  tables.set(dtype, table);
  return table;
}
