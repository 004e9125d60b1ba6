/**
 * Casts from float32 to other floating encodings, bit for bit as PyTorch 2.13 casts a contiguous tensor on x86
 * (aten/src/ATen/cpu/vec) and as ggml quantizes (ggml/src/ggml-quants.c, `quantize_row_q8_0_ref`): the rules stand with the
 * kernels, in native/narrow_floats.h.
 */
import { native } from '../binding';
import { DType } from '../dtype';
import { isMiniFloat } from '../tensor/minifloat';

/** Elements and bytes of a block of ggml's Q8_0: a float16 scale and 32 signed bytes. */
export const Q8_0_BLOCK_ELEMENTS = 32;
export const Q8_0_BLOCK_BYTES = 34;

/** Converts `source.length` elements into as many of `target`, which starts at a multiple of its itemsize. */
export type Cast = (source: Float32Array, target: Uint8Array) => void;

/** Whole blocks: `source.length` is a multiple of 32. NaN counts as 0, for which ggml has no rule. */
export const float32ToQ8_0: Cast = (source, target) => native({}, (addon) => addon.quantizeQ8_0(source, target));

/** The cast to `dtype` of elements that were `from` and are float32 now; undefined where there is none. */
export function castFromFloat32(dtype: DType, from: DType = DType.float32): Cast | undefined {
  if (dtype === DType.float64)
    return (source, target) => new Float64Array(target.buffer, target.byteOffset, source.length).set(source);
  if (dtype === DType.float32)
    return (source, target) => new Float32Array(target.buffer, target.byteOffset, source.length).set(source);
  const { kernel } = dtype;
  if (kernel === undefined || !isMiniFloat(dtype)) return undefined;
  // PyTorch casts what is narrower than float32 one by one, all else in vectors.
  const vectorNan = from.itemsize >= DType.float32.itemsize;
  return (source, target) => native({}, (addon) => addon.castFloat32(kernel, source, target, vectorNan));
}
