/*
 * crc32_arm64.cc - CRC-32 with the instructions of ARMv8; three interleaved streams are not needed to outrun a disk
 */
#include "crc32_simd.h"

#if defined(TORCH_CHECKPOINT_ARM64)

#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <arm_acle.h>
#endif

#include <cstring>

namespace torch_checkpoint {

#if defined(__clang__)
#define ARM_CRC_TARGET TORCH_CHECKPOINT_TARGET("crc")
#else
#define ARM_CRC_TARGET TORCH_CHECKPOINT_TARGET("+crc")
#endif

ARM_CRC_TARGET uint32_t UpdateCrcArm(uint32_t state, const uint8_t* bytes, size_t count) {
  for (; count >= 8; bytes += 8, count -= 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    state = __crc32d(state, word);
  }
  for (; count > 0; bytes++, count--) state = __crc32b(state, *bytes);
  return state;
}

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ARM64
