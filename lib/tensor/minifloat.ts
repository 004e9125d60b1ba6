/**
 * Floating point types of 16 bits and less, which JavaScript has no arrays for.
 *
 * Each is one row of four facts, from which both directions are derived. PyTorch's casts to them all go through
 * float32 first (c10/util/{Half,BFloat16,Float8_*}.h), so a double is rounded twice, here as there.
 */
import { DType } from '../dtype';

interface MiniFloat {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly bias: number;
  /**
   * What the extreme codes mean. `ieee`: all-ones exponents are inf and NaN. `fn`: no inf, the largest code of each sign
   * is NaN, and what is too large becomes the largest number, inf too (PyTorch 2.13; older ones made it NaN). `fnuz`: no inf and no -0, whose code is the one NaN. `scale`: an unsigned power of two, the last code NaN.
   */
  readonly codes: 'ieee' | 'fn' | 'fnuz' | 'scale';
  /** The code a NaN is written as, without its sign, and whether it has one. */
  readonly nan: number;
  readonly nanSigned: boolean;
}

const FORMATS = new Map<DType, MiniFloat>([
  [DType.float16, { exponentBits: 5, mantissaBits: 10, bias: 15, codes: 'ieee', nan: 0x7e00, nanSigned: true }],
  [DType.bfloat16, { exponentBits: 8, mantissaBits: 7, bias: 127, codes: 'ieee', nan: 0x7fc0, nanSigned: false }],
  [DType.float8_e4m3fn, { exponentBits: 4, mantissaBits: 3, bias: 7, codes: 'fn', nan: 0x7f, nanSigned: true }],
  [DType.float8_e4m3fnuz, { exponentBits: 4, mantissaBits: 3, bias: 8, codes: 'fnuz', nan: 0x80, nanSigned: false }],
  [DType.float8_e5m2, { exponentBits: 5, mantissaBits: 2, bias: 15, codes: 'ieee', nan: 0x7f, nanSigned: true }],
  [DType.float8_e5m2fnuz, { exponentBits: 5, mantissaBits: 2, bias: 16, codes: 'fnuz', nan: 0x80, nanSigned: false }],
  [DType.float8_e8m0fnu, { exponentBits: 8, mantissaBits: 0, bias: 127, codes: 'scale', nan: 0xff, nanSigned: false }],
]);

/** From code to value and back; undefined for dtypes that are not of this kind. */
export interface MiniFloatCodec {
  decode(bits: number): number;
  encode(value: number): number;
}

const codecs = new Map<DType, MiniFloatCodec>();

export function isMiniFloat(dtype: DType): boolean {
  return FORMATS.has(dtype);
}

export function miniFloat(dtype: DType): MiniFloatCodec | undefined {
  const format = FORMATS.get(dtype);
  if (!format) return undefined;
  let codec = codecs.get(dtype);
  if (!codec) {
    const size = 2 ** (format.exponentBits + format.mantissaBits + (format.codes === 'scale' ? 0 : 1));
    const values = Float64Array.from({ length: size }, (_, bits) => decode(format, bits));
    codec = { decode: (bits) => values[bits]!, encode: (value) => encode(format, Math.fround(value)) };
    codecs.set(dtype, codec);
  }
  return codec;
}

function decode({ exponentBits, mantissaBits, bias, codes, nan }: MiniFloat, bits: number): number {
  if (codes === 'scale') return bits === nan ? Number.NaN : 2 ** (bits - bias);
  const signBit = 2 ** (exponentBits + mantissaBits);
  const magnitude = bits % signBit;
  const exponent = Math.floor(magnitude / 2 ** mantissaBits);
  const mantissa = magnitude % 2 ** mantissaBits;
  const sign = bits >= signBit ? -1 : 1;
  if (codes === 'ieee' && exponent === 2 ** exponentBits - 1)
    return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (codes === 'fn' && magnitude === nan) return Number.NaN;
  if (codes === 'fnuz' && bits === nan) return Number.NaN;
  const step = 2 ** (Math.max(exponent, 1) - bias - mantissaBits);
  return sign * step * (exponent === 0 ? mantissa : mantissa + 2 ** mantissaBits);
}

const floatBits = new DataView(new ArrayBuffer(4));

/** `value` is a float32. Rounds to nearest, ties to even; what is too large becomes what the format has for it. */
function encode(format: MiniFloat, value: number): number {
  const { exponentBits, mantissaBits, bias, codes, nan, nanSigned } = format;
  if (codes === 'scale') return encodeScale(value, nan);
  const sign = value < 0 || Object.is(value, -0) ? 2 ** (exponentBits + mantissaBits) : 0;
  if (Number.isNaN(value)) return nanSigned ? nan + nanSign(value, exponentBits + mantissaBits) : nan;
  const inf = (2 ** exponentBits - 1) * 2 ** mantissaBits;
  const tooLarge = codes === 'ieee' ? inf + sign : codes === 'fn' ? nan - 1 + sign : nan;
  const magnitude = Math.abs(value);
  if (magnitude === Number.POSITIVE_INFINITY) return tooLarge;
  if (magnitude === 0) return codes === 'fnuz' ? 0 : sign;
  const lowest = 1 - bias;
  floatBits.setFloat32(0, magnitude);
  const exponent = Math.max((floatBits.getUint32(0) >>> 23) - 127, lowest);
  const steps = roundHalfEven(magnitude / 2 ** (exponent - mantissaBits));
  // A carry out of the mantissa lands in the exponent, where it belongs; subnormals have exponent `lowest`, code 0.
  const code = (exponent - lowest) * 2 ** mantissaBits + steps;
  const largest = codes === 'ieee' ? inf - 1 : nan - 1;
  if (code > largest) return tooLarge;
  return code === 0 && codes === 'fnuz' ? 0 : code + sign;
}

function nanSign(value: number, shift: number): number {
  floatBits.setFloat32(0, value);
  return floatBits.getUint32(0) >>> 31 ? 2 ** shift : 0;
}

/** An exponent alone, the sign dropped. Halfway goes up unless the code is 0, which has no even neighbour below. */
function encodeScale(value: number, nan: number): number {
  if (!Number.isFinite(value)) return nan;
  floatBits.setFloat32(0, value);
  const bits = floatBits.getUint32(0) & 0x7fffffff;
  const exponent = bits >>> 23;
  const fraction = bits & 0x7fffff;
  return exponent + (fraction > 0x400000 || (fraction === 0x400000 && exponent > 0) ? 1 : 0);
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
