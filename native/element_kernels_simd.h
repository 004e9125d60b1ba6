/*
 * element_kernels_simd.h - the accelerated conversions, one file per architecture
 *
 * Each returns how many elements from the front it converted; the plain code does the rest.  Zero for a kernel without
 * an accelerated version, so a new one is added in one place.  The caller has checked CpuFeatures.
 */
#ifndef TORCH_CHECKPOINT_ELEMENT_KERNELS_SIMD_H_
#define TORCH_CHECKPOINT_ELEMENT_KERNELS_SIMD_H_

#include "cpu.h"
#include "element_kernels.h"

namespace torch_checkpoint {

#if defined(TORCH_CHECKPOINT_X64)
size_t ToFloat32Avx2(Kernel kernel, const uint8_t* source, float* target, size_t count);
#endif

#if defined(TORCH_CHECKPOINT_ARM64)
size_t ToFloat32Neon(Kernel kernel, const uint8_t* source, float* target, size_t count);
#endif

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ELEMENT_KERNELS_SIMD_H_
