/*
 * element_kernels_avx2.cc - conversions to float32, 8 or 16 elements a step (AVX2 and F16C)
 *
 * Only formats that have an instruction for it.  The integer and float64 instructions round to nearest even, as does the
 * plain code; VCVTPH2PS quiets signalling NaNs and keeps the payload, as the plain code does on purpose.
 */
#include "element_kernels_simd.h"

#if defined(TORCH_CHECKPOINT_X64)

#include <immintrin.h>

namespace torch_checkpoint {

namespace {

#define AVX2_TARGET TORCH_CHECKPOINT_TARGET("avx2,f16c")

AVX2_TARGET inline __m128i Load16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
AVX2_TARGET inline __m128i Load8(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
AVX2_TARGET inline __m256i Load32(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

// Eight elements each.
struct Float16 {
  static constexpr size_t kItemsize = 2;
  AVX2_TARGET static __m256 Convert(const uint8_t* p) { return _mm256_cvtph_ps(Load16(p)); }
};
struct BFloat16 {
  static constexpr size_t kItemsize = 2;
  AVX2_TARGET static __m256 Convert(const uint8_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(Load16(p)), 16));
  }
};
struct Int8 {
  static constexpr size_t kItemsize = 1;
  AVX2_TARGET static __m256 Convert(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(Load8(p))); }
};
struct UInt8 {
  static constexpr size_t kItemsize = 1;
  AVX2_TARGET static __m256 Convert(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(Load8(p))); }
};
struct Int16 {
  static constexpr size_t kItemsize = 2;
  AVX2_TARGET static __m256 Convert(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(Load16(p))); }
};
struct UInt16 {
  static constexpr size_t kItemsize = 2;
  AVX2_TARGET static __m256 Convert(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(Load16(p))); }
};
struct Int32 {
  static constexpr size_t kItemsize = 4;
  AVX2_TARGET static __m256 Convert(const uint8_t* p) { return _mm256_cvtepi32_ps(Load32(p)); }
};
struct Float64 {
  static constexpr size_t kItemsize = 8;
  AVX2_TARGET static __m256 Convert(const uint8_t* p) {
    const __m128 low = _mm256_cvtpd_ps(_mm256_loadu_pd(reinterpret_cast<const double*>(p)));
    const __m128 high = _mm256_cvtpd_ps(_mm256_loadu_pd(reinterpret_cast<const double*>(p + 32)));
    return _mm256_set_m128(high, low);
  }
};
struct Bool {
  static constexpr size_t kItemsize = 1;
  AVX2_TARGET static __m256 Convert(const uint8_t* p) {
    const __m256i is_zero = _mm256_cmpeq_epi32(_mm256_cvtepu8_epi32(Load8(p)), _mm256_setzero_si256());
    return _mm256_andnot_ps(_mm256_castsi256_ps(is_zero), _mm256_set1_ps(1.0f));
  }
};

template <typename Format>
AVX2_TARGET size_t Run(const uint8_t* source, float* target, size_t count) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256 first = Format::Convert(source + i * Format::kItemsize);
    const __m256 second = Format::Convert(source + (i + 8) * Format::kItemsize);
    _mm256_storeu_ps(target + i, first);
    _mm256_storeu_ps(target + i + 8, second);
  }
  return i;
}

}  // namespace

size_t ToFloat32Avx2(Kernel kernel, const uint8_t* source, float* target, size_t count) {
  switch (kernel) {
    case Kernel::kFloat64:
      return Run<Float64>(source, target, count);
    case Kernel::kFloat16:
      return Run<Float16>(source, target, count);
    case Kernel::kBFloat16:
      return Run<BFloat16>(source, target, count);
    case Kernel::kInt8:
      return Run<Int8>(source, target, count);
    case Kernel::kUInt8:
      return Run<UInt8>(source, target, count);
    case Kernel::kInt16:
      return Run<Int16>(source, target, count);
    case Kernel::kUInt16:
      return Run<UInt16>(source, target, count);
    case Kernel::kInt32:
      return Run<Int32>(source, target, count);
    case Kernel::kBool:
      return Run<Bool>(source, target, count);
    default:
      return 0;
  }
}

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_X64
