/**
 * ggml's Q8_0: blocks of 32 elements, each a float16 scale and 32 int8 (ggml/src/ggml-quants.c, `quantize_row_q8_0_ref`).
 * Every step is in float32, as there.
 */
import { float32ToFloat16 } from './casts';

export const Q8_0_BLOCK_ELEMENTS = 32;
export const Q8_0_BLOCK_BYTES = 34;

/** Quantizes whole blocks: `source.length` is a multiple of 32, `target` has 34 bytes for each. */
export function float32ToQ8_0(source: Float32Array, target: Uint8Array): void {
  const scale = new Float32Array(1);
  const half = new Uint16Array(1);
  for (let from = 0, to = 0; from < source.length; from += Q8_0_BLOCK_ELEMENTS, to += Q8_0_BLOCK_BYTES) {
    let largest = 0;
    for (let i = 0; i < Q8_0_BLOCK_ELEMENTS; i++) {
      const magnitude = Math.abs(source[from + i]!);
      if (magnitude > largest) largest = magnitude;
    }
    const d = Math.fround(largest / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    scale[0] = d;
    float32ToFloat16(scale, half);
    target[to] = half[0]! & 0xff;
    target[to + 1] = half[0]! >>> 8;
    for (let i = 0; i < Q8_0_BLOCK_ELEMENTS; i++) {
      const x = Math.fround(source[from + i]! * inverse);
      // roundf: halves away from zero. Storing wraps as C's conversion to int8_t does.
      target[to + 2 + i] = x < 0 ? -Math.floor(0.5 - x) : Math.floor(x + 0.5);
    }
  }
}
