/*
 * cpu.cc - CPUID on x86-64, the auxiliary vector on arm64 Linux, fixed answers on arm64 macOS and Windows
 */
#include "cpu.h"

#include <atomic>

#if defined(TORCH_CHECKPOINT_X64) && defined(_MSC_VER)
#include <intrin.h>
#endif
#if defined(TORCH_CHECKPOINT_ARM64) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace torch_checkpoint {

namespace {

std::atomic<bool> force_plain{false};

// An instruction set counts only when the operating system saves its registers too.
CpuFeatures DetectCpuFeatures() {
  CpuFeatures features;
#if defined(TORCH_CHECKPOINT_X64) && defined(__GNUC__)
  __builtin_cpu_init();
  // These also ask the operating system whether it saves the wide registers.
  features.avx2 = __builtin_cpu_supports("avx2");
  features.pclmulqdq = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  features.vpclmulqdq = features.avx2 && __builtin_cpu_supports("vpclmulqdq");
  // Every processor with AVX2 converts half precision; compilers before GCC 11 do not know the name "f16c".
  features.f16c = features.avx2;
#elif defined(TORCH_CHECKPOINT_X64)
  int leaf1[4], leaf7[4];
  __cpuid(leaf1, 1);
  __cpuidex(leaf7, 7, 0);
  const bool saves_wide = (leaf1[2] >> 27 & 1) != 0 && (_xgetbv(0) & 6) == 6;  // OSXSAVE, then XMM and YMM state
  features.pclmulqdq = (leaf1[2] >> 1 & 1) != 0 && (leaf1[2] >> 19 & 1) != 0;
  features.avx2 = saves_wide && (leaf7[1] >> 5 & 1) != 0;
  features.f16c = features.avx2 && (leaf1[2] >> 29 & 1) != 0;
  features.vpclmulqdq = features.avx2 && (leaf7[2] >> 10 & 1) != 0;
#elif defined(TORCH_CHECKPOINT_ARM64)
  features.neon = true;
#if defined(__linux__)
  features.arm_crc = (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#else
  features.arm_crc = true;  // every Apple and every Windows-on-ARM processor
#endif
#endif
  return features;
}

}  // namespace

CpuFeatures ActiveCpuFeatures() {
  static const CpuFeatures detected = DetectCpuFeatures();
  return force_plain.load(std::memory_order_relaxed) ? CpuFeatures() : detected;
}

void ForcePlain(bool plain) { force_plain.store(plain, std::memory_order_relaxed); }

}  // namespace torch_checkpoint
