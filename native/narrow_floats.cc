/*
 * narrow_floats.cc - see narrow_floats.h
 *
 * One function, Narrow(), rounds for all formats, on the bits and without a branch, so that no rounding mode or
 * flush-to-zero setting of the process can change a result, and so that the compiler can run it on eight elements at
 * once.  Each loop is compiled twice on x86-64: for the baseline and, reached through CpuFeatures, for AVX2.
 */
#include "narrow_floats.h"

#include <algorithm>
#include <cstring>

#include "cpu.h"
#include "output_pieces.h"

#if defined(TORCH_CHECKPOINT_X64)
#include <immintrin.h>
#endif

#if defined(__GNUC__)
#define TORCH_CHECKPOINT_INLINE inline __attribute__((always_inline))
#else
#define TORCH_CHECKPOINT_INLINE __forceinline
#endif

namespace torch_checkpoint {

namespace {

constexpr uint32_t kInfinity = 0x7F800000;

// What a format is: 1 sign bit, kExponentBits, kMantissaBits, and
//   kOverflow     code of what rounds to more than its largest number, infinity included: that number's own or the next
//   kNan          code of NaN
//   kUnsignedZero no minus zero, and overflow and NaN have no sign either: their code is the one minus zero would have
struct Float16 {
  static constexpr int kExponentBits = 5, kMantissaBits = 10, kBias = 15;
  static constexpr uint32_t kOverflow = 0x7C00, kNan = 0x7E00;
  static constexpr bool kUnsignedZero = false;
};
// No infinity; too large becomes the largest number (older PyTorch made it NaN).
struct E4M3FN {
  static constexpr int kExponentBits = 4, kMantissaBits = 3, kBias = 7;
  static constexpr uint32_t kOverflow = 0x7E, kNan = 0x7F;
  static constexpr bool kUnsignedZero = false;
};
struct E4M3FNUZ {
  static constexpr int kExponentBits = 4, kMantissaBits = 3, kBias = 8;
  static constexpr uint32_t kOverflow = 0x80, kNan = 0x80;
  static constexpr bool kUnsignedZero = true;
};
struct E5M2 {
  static constexpr int kExponentBits = 5, kMantissaBits = 2, kBias = 15;
  static constexpr uint32_t kOverflow = 0x7C, kNan = 0x7F;
  static constexpr bool kUnsignedZero = false;
};
struct E5M2FNUZ {
  static constexpr int kExponentBits = 5, kMantissaBits = 2, kBias = 16;
  static constexpr uint32_t kOverflow = 0x80, kNan = 0x80;
  static constexpr bool kUnsignedZero = true;
};

// Nearest multiple of 2^shift, ties to even, divided by it; shift from 1 to 25, bits below 2^24.
TORCH_CHECKPOINT_INLINE uint32_t RoundShift(uint32_t bits, uint32_t shift) {
  return (bits + (1u << (shift - 1)) - 1 + (bits >> shift & 1)) >> shift;
}

template <typename Format>
TORCH_CHECKPOINT_INLINE uint32_t Narrow(uint32_t bits) {
  constexpr int kM = Format::kMantissaBits;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  const uint32_t sign = bits >> 31 << (Format::kExponentBits + kM);

  // Normal in the target: the mantissa is shortened and a carry out of it lands in the exponent, where it belongs.
  constexpr uint32_t kShorter = 23 - kM;
  const uint32_t odd = magnitude >> kShorter & 1;
  const uint32_t normal = ((magnitude + (1u << (kShorter - 1)) - 1 + odd) >> kShorter) - (uint32_t{127 - Format::kBias} << kM);

  // Subnormal there: the code counts units of 2^(1 - bias - M).  Everything that is subnormal in float32 is far below
  // half a unit, so the hidden bit may be set for it too.
  const uint32_t exponent = magnitude >> 23;
  const uint32_t hidden = (magnitude & 0x7FFFFF) | 0x800000;
  constexpr uint32_t kUnitShift = static_cast<uint32_t>(151 - Format::kBias - kM);
  const uint32_t shift = exponent >= kUnitShift ? 1 : std::min<uint32_t>(kUnitShift - exponent, 25);
  const uint32_t subnormal = RoundShift(hidden, shift);

  constexpr uint32_t kFirstNormal = uint32_t{128 - Format::kBias} << 23;
  uint32_t code = magnitude < kFirstNormal ? subnormal : normal;
  // The code of an overflow is kLargest or the one after it, and infinity is far above.
  code = std::min(code, Format::kOverflow);
  code = magnitude > kInfinity ? Format::kNan : code;
  if (Format::kUnsignedZero) return code == 0 || code == Format::kNan ? code : code | sign;
  return code | sign;
}

template <typename Format>
struct NarrowTo {
  static TORCH_CHECKPOINT_INLINE uint8_t Cast(uint32_t bits) { return static_cast<uint8_t>(Narrow<Format>(bits)); }
};

// As VCVTPS2PH: the payload's upper bits survive, and the NaN is quiet.
template <>
struct NarrowTo<Float16> {
  static TORCH_CHECKPOINT_INLINE uint16_t Cast(uint32_t bits) {
    const uint32_t payload = (bits & 0x7FFFFFFF) > kInfinity ? bits >> 13 & 0x1FF : 0;
    return static_cast<uint16_t>(Narrow<Float16>(bits) | payload);
  }
};

// The upper half of a float32.  Rounding up carries the largest numbers to infinity by itself.
template <BFloat16Nan kNan>
struct BFloat16 {
  static TORCH_CHECKPOINT_INLINE uint16_t Cast(uint32_t bits) {
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7FFFFFFF) > kInfinity ? static_cast<uint32_t>(kNan) : rounded);
  }
};

// An exponent alone; the sign is dropped.  Halfway goes up, except from code 0, which has no even neighbour below; what
// is not finite is NaN (0xFF), and so is what rounds to 2^128.
struct E8M0FNU {
  static TORCH_CHECKPOINT_INLINE uint8_t Cast(uint32_t bits) {
    const uint32_t exponent = bits >> 23 & 0xFF, fraction = bits & 0x7FFFFF;
    const uint32_t up = fraction > 0x400000 || (fraction == 0x400000 && exponent > 0) ? 1 : 0;
    return static_cast<uint8_t>(exponent == 0xFF ? 0xFF : exponent + up);
  }
};

template <typename T, typename Caster>
TORCH_CHECKPOINT_INLINE void Loop(const uint8_t* source, uint8_t* target, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    std::memcpy(&bits, source + i * sizeof(bits), sizeof(bits));
    const T code = Caster::Cast(bits);
    std::memcpy(target + i * sizeof(T), &code, sizeof(T));
  }
}

// max|x| of a block, with NaN as 0.  Magnitudes order as their bits do.
TORCH_CHECKPOINT_INLINE float LargestMagnitude(const float* block) {
  uint32_t largest = 0;
  for (size_t i = 0; i < kQ8BlockElements; i++) {
    uint32_t bits;
    std::memcpy(&bits, block + i, sizeof(bits));
    bits &= 0x7FFFFFFF;
    largest = std::max(largest, bits > kInfinity ? 0 : bits);
  }
  float magnitude;
  std::memcpy(&magnitude, &largest, sizeof(magnitude));
  return magnitude;
}

TORCH_CHECKPOINT_INLINE void QuantizeBlocks(const uint8_t* source, uint8_t* target, size_t blocks) {
  for (; blocks > 0; blocks--, source += kQ8BlockElements * sizeof(float), target += kQ8BlockBytes) {
    float block[kQ8BlockElements];
    std::memcpy(block, source, sizeof(block));
    // ggml multiplies by the inverse of the scale as float32, before the scale is rounded to float16.
    const float scale = LargestMagnitude(block) / 127.0f;
    const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    uint32_t scale_bits;
    std::memcpy(&scale_bits, &scale, sizeof(scale_bits));
    const uint16_t half = NarrowTo<Float16>::Cast(scale_bits);
    std::memcpy(target, &half, sizeof(half));
    int8_t quantized[kQ8BlockElements];
    for (size_t i = 0; i < kQ8BlockElements; i++) {
      // NaN, and infinity times zero, are not between the bounds; finite elements are, up to one rounding of 127.
      const float x = block[i] * inverse, bounded = x >= -128.0f && x <= 128.0f ? x : 0.0f;
      // roundf() by hand, for the compiler to vectorize: the remainder is exact.
      const int32_t whole = static_cast<int32_t>(bounded);
      const float rest = bounded - static_cast<float>(whole);
      quantized[i] = static_cast<int8_t>(whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0));
    }
    std::memcpy(target + sizeof(half), quantized, sizeof(quantized));
  }
}

// Inlined into one function for each instruction set, which is what makes the compiler vectorize for it.
TORCH_CHECKPOINT_INLINE void CastWith(Kernel kernel, BFloat16Nan nan, const uint8_t* source, uint8_t* target,
                                      size_t count) {
  switch (kernel) {
    case Kernel::kFloat16:
      return Loop<uint16_t, NarrowTo<Float16>>(source, target, count);
    case Kernel::kBFloat16:
      return nan == BFloat16Nan::kScalar ? Loop<uint16_t, BFloat16<BFloat16Nan::kScalar>>(source, target, count)
                                         : Loop<uint16_t, BFloat16<BFloat16Nan::kVector>>(source, target, count);
    case Kernel::kFloat8E4M3FN:
      return Loop<uint8_t, NarrowTo<E4M3FN>>(source, target, count);
    case Kernel::kFloat8E4M3FNUZ:
      return Loop<uint8_t, NarrowTo<E4M3FNUZ>>(source, target, count);
    case Kernel::kFloat8E5M2:
      return Loop<uint8_t, NarrowTo<E5M2>>(source, target, count);
    case Kernel::kFloat8E5M2FNUZ:
      return Loop<uint8_t, NarrowTo<E5M2FNUZ>>(source, target, count);
    case Kernel::kFloat8E8M0FNU:
      return Loop<uint8_t, E8M0FNU>(source, target, count);
    default:
      return;  // IsNarrowFloat() was asked before
  }
}

void CastPlain(Kernel kernel, BFloat16Nan nan, const uint8_t* source, uint8_t* target, size_t count) {
  CastWith(kernel, nan, source, target, count);
}
void QuantizePlain(const uint8_t* source, uint8_t* target, size_t blocks) { QuantizeBlocks(source, target, blocks); }

#if defined(TORCH_CHECKPOINT_X64)
TORCH_CHECKPOINT_TARGET("avx2,f16c")
void CastAvx2(Kernel kernel, BFloat16Nan nan, const uint8_t* source, uint8_t* target, size_t count) {
  size_t done = 0;
  if (kernel == Kernel::kFloat16) {
    for (; done + 8 <= count; done += 8) {
      const __m256 floats = _mm256_loadu_ps(reinterpret_cast<const float*>(source + done * sizeof(float)));
      const __m128i halves = _mm256_cvtps_ph(floats, _MM_FROUND_TO_NEAREST_INT);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(target + done * sizeof(uint16_t)), halves);
    }
  }
  CastWith(kernel, nan, source + done * sizeof(float), target + done * KernelItemsize(kernel), count - done);
}
TORCH_CHECKPOINT_TARGET("avx2")
void QuantizeAvx2(const uint8_t* source, uint8_t* target, size_t blocks) { QuantizeBlocks(source, target, blocks); }
#endif

}  // namespace

bool IsNarrowFloat(Kernel kernel) {
  return kernel == Kernel::kFloat16 || kernel == Kernel::kBFloat16 || kernel >= Kernel::kFloat8E4M3FN;
}

void CastFloat32(Kernel kernel, BFloat16Nan nan, const uint8_t* source, uint8_t* target, size_t count) {
#if defined(TORCH_CHECKPOINT_X64)
  const CpuFeatures cpu = ActiveCpuFeatures();
  if (cpu.avx2 && cpu.f16c) return CastAvx2(kernel, nan, source, target, count);
#endif
  CastPlain(kernel, nan, source, target, count);
}

void QuantizeQ8(const uint8_t* source, uint8_t* target, size_t blocks) {
#if defined(TORCH_CHECKPOINT_X64)
  if (ActiveCpuFeatures().avx2) return QuantizeAvx2(source, target, blocks);
#endif
  QuantizePlain(source, target, blocks);
}

Status CastFloat32Guarded(Kernel kernel, BFloat16Nan nan, const SourceSpan& source, uint8_t* target, size_t count) {
  return InOutputPieces(sizeof(float), source, KernelItemsize(kernel), target, count,
                        [kernel, nan](const uint8_t* from, uint8_t* to, size_t length) {
                          CastFloat32(kernel, nan, from, to, length);
                        });
}

Status QuantizeQ8Guarded(const SourceSpan& source, uint8_t* target, size_t blocks) {
  return InOutputPieces(kQ8BlockElements * sizeof(float), source, kQ8BlockBytes, target, blocks,
                        [](const uint8_t* from, uint8_t* to, size_t length) { QuantizeQ8(from, to, length); });
}

}  // namespace torch_checkpoint
