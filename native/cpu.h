/*
 * cpu.h - which instruction sets the kernels may use, found at run time
 *
 * One binary serves every processor of an architecture.  SIMD code is compiled with per-function target attributes and
 * reached only through these flags.
 */
#ifndef TORCH_CHECKPOINT_CPU_H_
#define TORCH_CHECKPOINT_CPU_H_

#if defined(__x86_64__) || defined(_M_X64)
#define TORCH_CHECKPOINT_X64 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define TORCH_CHECKPOINT_ARM64 1
#endif

// Marks a function as compiled for more than the baseline; MSVC accepts every intrinsic everywhere.
#if defined(__GNUC__)
#define TORCH_CHECKPOINT_TARGET(sets) __attribute__((target(sets)))
#else
#define TORCH_CHECKPOINT_TARGET(sets)
#endif

namespace torch_checkpoint {

struct CpuFeatures {
  bool avx2 = false;
  bool f16c = false;
  bool pclmulqdq = false;
  bool vpclmulqdq = false;
  bool neon = false;
  bool arm_crc = false;
};

// What may be used now: what the processor has, or nothing after ForcePlain(true).
CpuFeatures ActiveCpuFeatures();

// Process-wide; for tests and benches, which compare the plain code with the fast.
void ForcePlain(bool plain);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_CPU_H_
