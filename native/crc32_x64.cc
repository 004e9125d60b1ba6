/*
 * crc32_x64.cc - CRC-32 by carry-less multiplication
 *
 * A message is a polynomial; its high part H may be replaced by H * x^n mod P placed n bits lower, which keeps the
 * remainder.  Each step multiplies the 64-bit halves of an accumulator by two constants, x^(n+32) and x^(n-32) mod P,
 * and adds the result to the data n bits further on.  (Intel, "Fast CRC Computation for Generic Polynomials Using
 * PCLMULQDQ Instruction", 2009.)  Four accumulators hide the latency of the multiplier.
 *
 * At the end one 128-bit accumulator stands for everything before; the plain code sums its 16 bytes and the rest of the
 * message, so no Barrett reduction is needed.
 */
#include "crc32_simd.h"

#if defined(TORCH_CHECKPOINT_X64)

#include <immintrin.h>

namespace torch_checkpoint {

namespace {

// x^exponent mod P in the form that PCLMULQDQ wants for reflected data: 33 bits, reflected, one place up.
constexpr uint64_t FoldConstant(unsigned exponent) {
  uint32_t remainder = 1;  // not reflected: bit k is the coefficient of x^k
  for (unsigned i = 0; i < exponent; i++) remainder = (remainder << 1) ^ ((remainder >> 31) != 0 ? 0x04C11DB7 : 0);
  uint64_t reflected = 0;
  for (int bit = 0; bit < 32; bit++) reflected |= static_cast<uint64_t>(remainder >> bit & 1) << (31 - bit);
  return reflected << 1;
}

static_assert(FoldConstant(512 + 32) == 0x154442BD4 && FoldConstant(512 - 32) == 0x1C6E41596,
              "the published constants for a step of 512 bits");

// The constants for a step of kBits: the low half is further from the end.
template <unsigned kBits>
struct Fold {
  static constexpr uint64_t kLow = FoldConstant(kBits + 32);
  static constexpr uint64_t kHigh = FoldConstant(kBits - 32);
};

#define FOLD_TARGET TORCH_CHECKPOINT_TARGET("pclmul,sse4.1")
#define WIDE_TARGET TORCH_CHECKPOINT_TARGET("avx2,pclmul,vpclmulqdq")

template <unsigned kBits>
FOLD_TARGET inline __m128i FoldInto(__m128i accumulator, __m128i data) {
  constexpr long long kLow = static_cast<long long>(Fold<kBits>::kLow);
  constexpr long long kHigh = static_cast<long long>(Fold<kBits>::kHigh);
  const __m128i constants = _mm_set_epi64x(kHigh, kLow);
  const __m128i low = _mm_clmulepi64_si128(accumulator, constants, 0x00);
  const __m128i high = _mm_clmulepi64_si128(accumulator, constants, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), data);
}

FOLD_TARGET inline __m128i Load(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

// Sums the accumulator, then folds and sums what is left of the message.
FOLD_TARGET uint32_t Finish(__m128i accumulator, const uint8_t* bytes, size_t count) {
  for (; count >= 16; bytes += 16, count -= 16) accumulator = FoldInto<128>(accumulator, Load(bytes));
  uint8_t last[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(last), accumulator);
  return UpdateCrcPlain(UpdateCrcPlain(0, last, sizeof(last)), bytes, count);
}

WIDE_TARGET inline __m256i LoadWide(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

template <unsigned kBits>
WIDE_TARGET inline __m256i FoldWideInto(__m256i accumulator, __m256i data) {
  constexpr long long kLow = static_cast<long long>(Fold<kBits>::kLow);
  constexpr long long kHigh = static_cast<long long>(Fold<kBits>::kHigh);
  const __m256i constants = _mm256_set_epi64x(kHigh, kLow, kHigh, kLow);
  const __m256i low = _mm256_clmulepi64_epi128(accumulator, constants, 0x00);
  const __m256i high = _mm256_clmulepi64_epi128(accumulator, constants, 0x11);
  return _mm256_xor_si256(_mm256_xor_si256(low, high), data);
}

}  // namespace

// The register goes into the first 32 bits of the message, which is what "continue from this CRC" means.
FOLD_TARGET uint32_t UpdateCrcPclmul(uint32_t state, const uint8_t* bytes, size_t count) {
  __m128i a = _mm_xor_si128(Load(bytes), _mm_cvtsi32_si128(static_cast<int>(state)));
  __m128i b = Load(bytes + 16);
  __m128i c = Load(bytes + 32);
  __m128i d = Load(bytes + 48);
  for (bytes += 64, count -= 64; count >= 64; bytes += 64, count -= 64) {
    a = FoldInto<512>(a, Load(bytes));
    b = FoldInto<512>(b, Load(bytes + 16));
    c = FoldInto<512>(c, Load(bytes + 32));
    d = FoldInto<512>(d, Load(bytes + 48));
  }
  return Finish(FoldInto<128>(FoldInto<128>(FoldInto<128>(a, b), c), d), bytes, count);
}

// Each half of a 256-bit accumulator is folded by itself over 1024 bits; at the end the two are 128 bits apart.
WIDE_TARGET uint32_t UpdateCrcVpclmul(uint32_t state, const uint8_t* bytes, size_t count) {
  const __m256i seed = _mm256_zextsi128_si256(_mm_cvtsi32_si128(static_cast<int>(state)));
  __m256i a = _mm256_xor_si256(LoadWide(bytes), seed);
  __m256i b = LoadWide(bytes + 32);
  __m256i c = LoadWide(bytes + 64);
  __m256i d = LoadWide(bytes + 96);
  for (bytes += 128, count -= 128; count >= 128; bytes += 128, count -= 128) {
    a = FoldWideInto<1024>(a, LoadWide(bytes));
    b = FoldWideInto<1024>(b, LoadWide(bytes + 32));
    c = FoldWideInto<1024>(c, LoadWide(bytes + 64));
    d = FoldWideInto<1024>(d, LoadWide(bytes + 96));
  }
  const __m256i last = FoldWideInto<256>(FoldWideInto<256>(FoldWideInto<256>(a, b), c), d);
  return Finish(FoldInto<128>(_mm256_castsi256_si128(last), _mm256_extracti128_si256(last, 1)), bytes, count);
}

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_X64
