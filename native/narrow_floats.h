/*
 * narrow_floats.h - float32 to the floating point types of 16 bits and less, and to ggml's Q8_0 blocks
 *
 * Every cast gives the bits that PyTorch 2.13 gives on x86-64: rounded to nearest, ties to even, with the overflow rule of
 * the target type (narrow_floats.cc lists them).  A float64 is rounded to float32 first, there as here.
 *
 * NaN.  float16 keeps sign and the upper bits of the payload and becomes quiet; the 8-bit types have one code, with a sign
 * where they have two.  PyTorch writes a bfloat16 NaN as 0x7FC0 or, where its loop was vectorized, as 0xFFFF: the caller says.
 */
#ifndef TORCH_CHECKPOINT_NARROW_FLOATS_H_
#define TORCH_CHECKPOINT_NARROW_FLOATS_H_

#include <cstddef>
#include <cstdint>

#include "element_kernels.h"

namespace torch_checkpoint {

// Whether CastFloat32() has this target: the seven types below 32 bits.
bool IsNarrowFloat(Kernel kernel);

// How NaN is written in bfloat16; other targets have one way.
enum class BFloat16Nan : uint16_t { kScalar = 0x7FC0, kVector = 0xFFFF };

// One thread, no guard.  `source` has no alignment; `target` gets KernelItemsize(kernel) bytes for each element.
void CastFloat32(Kernel kernel, BFloat16Nan nan, const uint8_t* source, uint8_t* target, size_t count);
// Over `count` elements of a span, guarded and on several threads where that pays.
Status CastFloat32Guarded(Kernel kernel, BFloat16Nan nan, const SourceSpan& source, uint8_t* target, size_t count);

// A block of Q8_0 (ggml-common.h, block_q8_0): 0 - scale as float16, 2 - 32 signed bytes.  An element is scale * byte.
constexpr size_t kQ8BlockElements = 32;
constexpr size_t kQ8BlockBytes = 2 + kQ8BlockElements;

// As quantize_row_q8_0_ref() in ggml: scale = max|x| / 127, byte = x * (1 / scale) rounded half away from zero, all in
// float32, and the scale rounded to float16 only when it is stored.  NaN counts as 0, for which ggml has no rule; a block
// with an infinity has an infinite scale and zero bytes.
void QuantizeQ8(const uint8_t* source, uint8_t* target, size_t blocks);
Status QuantizeQ8Guarded(const SourceSpan& source, uint8_t* target, size_t blocks);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_NARROW_FLOATS_H_
