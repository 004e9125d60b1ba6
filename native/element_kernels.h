/*
 * element_kernels.h - element types to float32, quantized elements to float32, byte order
 *
 * Every conversion gives the bits that PyTorch 2.13 gives on x86-64, NaN payloads included.  The plain code is the
 * reference; SIMD code is compared with it over all inputs of 16 bits and fewer.
 *
 * Sources have no alignment.  Elements are little-endian, as is every host we build for.
 */
#ifndef TORCH_CHECKPOINT_ELEMENT_KERNELS_H_
#define TORCH_CHECKPOINT_ELEMENT_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "error.h"
#include "source_span.h"

namespace torch_checkpoint {

// The numbers are the contract with lib/binding.ts (`const enum Kernel`).
enum class Kernel : uint8_t {
  kFloat64,
  kFloat32,
  kFloat16,
  kBFloat16,
  kInt8,
  kUInt8,
  kInt16,
  kUInt16,
  kInt32,
  kUInt32,
  kInt64,
  kUInt64,
  kBool,
  kFloat8E4M3FN,
  kFloat8E4M3FNUZ,
  kFloat8E5M2,
  kFloat8E5M2FNUZ,
  kFloat8E8M0FNU,
};
constexpr size_t kKernelCount = 18;

// Bytes of one source element.
size_t KernelItemsize(Kernel kernel);

// One thread, no guard.
void ToFloat32(Kernel kernel, const uint8_t* source, float* target, size_t count);

// (x - zero_point) * scale; the difference in int32 (wrapping), then float32, as PyTorch's per-tensor dequantize does.
// Only kInt8, kUInt8 and kInt32.
void Dequantize(Kernel kernel, const uint8_t* source, float* target, size_t count, float scale, int32_t zero_point);

// Runs either of the above over `count` elements of a span, guarded and on several threads where that pays.
Status ToFloat32Guarded(Kernel kernel, const SourceSpan& source, float* target, size_t count);
Status DequantizeGuarded(Kernel kernel, const SourceSpan& source, float* target, size_t count, float scale,
                         int32_t zero_point);

// Reverses every `width` bytes, in place; `byte_length` is a multiple of `width`, which is 1, 2, 4, 8 or 16.
void ByteSwap(uint8_t* bytes, size_t byte_length, size_t width);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ELEMENT_KERNELS_H_
