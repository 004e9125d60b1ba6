/*
 * crc32_simd.h - the accelerated parts of crc32.cc, one file per architecture
 *
 * These work on the raw register: inverted on the way in and out by crc32.cc.  The caller has checked CpuFeatures.
 */
#ifndef TORCH_CHECKPOINT_CRC32_SIMD_H_
#define TORCH_CHECKPOINT_CRC32_SIMD_H_

#include <cstddef>
#include <cstdint>

#include "cpu.h"

namespace torch_checkpoint {

// The plain code on the raw register.
uint32_t UpdateCrcPlain(uint32_t state, const uint8_t* bytes, size_t count);

#if defined(TORCH_CHECKPOINT_X64)
// Carry-less multiplication, 4 x 128 bits a step; at least kFoldMinBytes.
constexpr size_t kFoldMinBytes = 64;
uint32_t UpdateCrcPclmul(uint32_t state, const uint8_t* bytes, size_t count);
// The same, 4 x 256 bits a step; at least kWideFoldMinBytes.
constexpr size_t kWideFoldMinBytes = 256;
uint32_t UpdateCrcVpclmul(uint32_t state, const uint8_t* bytes, size_t count);
#endif

#if defined(TORCH_CHECKPOINT_ARM64)
// The CRC32 instructions of ARMv8.
uint32_t UpdateCrcArm(uint32_t state, const uint8_t* bytes, size_t count);
#endif

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_CRC32_SIMD_H_
