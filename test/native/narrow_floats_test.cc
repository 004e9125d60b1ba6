/*
 * narrow_floats_test.cc - risk: a cast rounds, overflows or treats zero otherwise than the target type does
 *
 * The expectation is made without bit tricks: a type is the list of its numbers, and a cast picks the nearest one, of two
 * the one with the even code.
 */
#include <cmath>
#include <limits>

#include "bytes.h"
#include "check.h"
#include "cpu.h"
#include "narrow_floats.h"

using namespace torch_checkpoint;

namespace {

float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
uint32_t ToBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// Inputs: every float16, every upper half of a float32 with the lower halves around a tie, and random ones.
std::vector<uint32_t> Inputs() {
  std::vector<uint32_t> inputs;
  for (uint32_t high = 0; high < 65536; high++) {
    float value;
    const uint16_t half = static_cast<uint16_t>(high);
    ToFloat32(Kernel::kFloat16, reinterpret_cast<const uint8_t*>(&half), &value, 1);
    inputs.push_back(ToBits(value));
    for (uint32_t low : {0x0000u, 0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) inputs.push_back(high << 16 | low);
  }
  check::Random random(21);
  for (int i = 0; i < 300003; i++) inputs.push_back(static_cast<uint32_t>(random.Next() >> 32));
  return inputs;
}

struct Type {
  Kernel kernel;
  uint32_t sign;      // the sign bit of a code, 0 where there is none
  uint32_t largest;   // code of the largest number
  uint32_t overflow;  // what too large becomes, and whether that has a sign
  bool overflow_signed;
  bool minus_zero;
};

constexpr Type kTypes[] = {
    {Kernel::kFloat16, 0x8000, 0x7BFF, 0x7C00, true, true},    {Kernel::kBFloat16, 0x8000, 0x7F7F, 0x7F80, true, true},
    {Kernel::kFloat8E4M3FN, 0x80, 0x7E, 0x7E, true, true},     {Kernel::kFloat8E4M3FNUZ, 0x80, 0x7F, 0x80, false, false},
    {Kernel::kFloat8E5M2, 0x80, 0x7B, 0x7C, true, true},       {Kernel::kFloat8E5M2FNUZ, 0x80, 0x7F, 0x80, false, false},
};

std::vector<uint8_t> Cast(Kernel kernel, const std::vector<uint32_t>& inputs, BFloat16Nan nan = BFloat16Nan::kScalar) {
  std::vector<uint8_t> target(inputs.size() * KernelItemsize(kernel));
  CastFloat32(kernel, nan, reinterpret_cast<const uint8_t*>(inputs.data()), target.data(), inputs.size());
  return target;
}

uint32_t Code(const std::vector<uint8_t>& codes, size_t itemsize, size_t i) {
  return itemsize == 2 ? LoadU16(&codes[2 * i]) : codes[i];
}

}  // namespace

TEST(CastsPickTheNearestNumber) {
  const std::vector<uint32_t> inputs = Inputs();
  for (const Type& type : kTypes) {
    const size_t itemsize = KernelItemsize(type.kernel);
    std::vector<double> numbers(type.largest + 1);
    for (uint32_t code = 0; code <= type.largest; code++) {
      float value;
      ToFloat32(type.kernel, reinterpret_cast<const uint8_t*>(&code), &value, 1);
      numbers[code] = value;
    }
    // Rounding to what would be the next number if there were one.
    const double limit = numbers[type.largest] + (numbers[type.largest] - numbers[type.largest - 1]) / 2;
    const bool largest_is_even = type.largest % 2 == 0;
    const std::vector<uint8_t> codes = Cast(type.kernel, inputs);
    for (size_t i = 0; i < inputs.size(); i++) {
      const float value = FromBits(inputs[i]);
      if (std::isnan(value)) continue;
      const double magnitude = std::fabs(static_cast<double>(value));
      const uint32_t sign = std::signbit(value) ? type.sign : 0;
      uint32_t expected;
      if (magnitude > limit || (magnitude == limit && !largest_is_even)) {
        expected = type.overflow + (type.overflow_signed ? sign : 0);
      } else {
        const auto above = std::lower_bound(numbers.begin(), numbers.end(), magnitude);
        uint32_t code = static_cast<uint32_t>(above - numbers.begin());
        if (code > type.largest) {
          code = type.largest;
        } else if (code > 0 && *above != magnitude) {
          const double up = numbers[code] - magnitude, down = magnitude - numbers[code - 1];
          if (down < up || (down == up && code % 2 == 1)) code--;
        }
        expected = code == 0 && !type.minus_zero ? 0 : code + sign;
      }
      CHECK(Code(codes, itemsize, i) == expected);
    }
  }
}

TEST(CastsOfNanAndScales) {
  const std::vector<uint32_t> nans = {0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0xFFE54321, 0x7FA12345};
  // As PyTorch 2.13 gives them.
  const uint32_t halves[] = {0x7E00, 0x7E00, 0xFFFF, 0xFF2A, 0x7F09};
  // More copies than a vector is long, so that both loops see each.
  std::vector<uint32_t> inputs;
  for (int i = 0; i < 20; i++) inputs.insert(inputs.end(), nans.begin(), nans.end());
  for (bool plain : {false, true}) {
    ForcePlain(plain);
    for (size_t i = 0; i < inputs.size(); i++) {
      const uint32_t sign = inputs[i] >> 31 << 7;
      CHECK(Code(Cast(Kernel::kFloat16, inputs), 2, i) == halves[i % nans.size()]);
      CHECK(Code(Cast(Kernel::kBFloat16, inputs), 2, i) == 0x7FC0);
      CHECK(Code(Cast(Kernel::kBFloat16, inputs, BFloat16Nan::kVector), 2, i) == 0xFFFF);
      CHECK(Cast(Kernel::kFloat8E4M3FN, inputs)[i] == (0x7F | sign) && Cast(Kernel::kFloat8E5M2, inputs)[i] == (0x7F | sign));
      CHECK(Cast(Kernel::kFloat8E4M3FNUZ, inputs)[i] == 0x80 && Cast(Kernel::kFloat8E5M2FNUZ, inputs)[i] == 0x80);
      CHECK(Cast(Kernel::kFloat8E8M0FNU, inputs)[i] == 0xFF);
    }
  }
  ForcePlain(false);
  // 1, just below 1.5, 1.5, the smallest normal, halfway below and above it, -4, the largest, infinity.
  const std::vector<uint32_t> scales = {0x3F800000, 0x3FBFFFFF, 0x3FC00000, 0x00800000, 0x00400000,
                                        0x00400001, 0xC0800000, 0x7F7FFFFF, 0x7F800000};
  CHECK(Cast(Kernel::kFloat8E8M0FNU, scales) == (std::vector<uint8_t>{127, 127, 128, 1, 0, 1, 129, 255, 255}));
}

TEST(FastCastsEqualPlainOnes) {
  const std::vector<uint32_t> inputs = Inputs();
  for (size_t number = 0; number < kKernelCount; number++) {
    const Kernel kernel = static_cast<Kernel>(number);
    if (!IsNarrowFloat(kernel)) continue;
    ForcePlain(true);
    const std::vector<uint8_t> plain = Cast(kernel, inputs);
    ForcePlain(false);
    CHECK(Cast(kernel, inputs) == plain);
    // Any length and alignment, up to a guard page on both sides; and split over threads.
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(inputs.data());
    for (size_t count : {size_t{0}, size_t{1}, size_t{7}, size_t{33}}) {
      check::Guarded source(bytes, count * 4), target(std::vector<uint8_t>(count * KernelItemsize(kernel)));
      CastFloat32(kernel, BFloat16Nan::kScalar, source.data(), target.data(), count);
      CHECK(std::memcmp(target.data(), plain.data(), target.size()) == 0);
    }
    std::vector<uint32_t> many;
    while (many.size() * KernelItemsize(kernel) < size_t{9} << 20) many.insert(many.end(), inputs.begin(), inputs.end());
    std::vector<uint8_t> threaded(many.size() * KernelItemsize(kernel) + 1);
    const SourceSpan source(ByteSpan{reinterpret_cast<const uint8_t*>(many.data()), many.size() * sizeof(many[0])});
    CHECK(CastFloat32Guarded(kernel, BFloat16Nan::kScalar, source, threaded.data() + 1, many.size()).ok());
    for (size_t i = 0; i + plain.size() <= threaded.size() - 1; i += plain.size()) {
      CHECK(std::memcmp(threaded.data() + 1 + i, plain.data(), plain.size()) == 0);
    }
  }
}

TEST(BlocksAreQuantizedAsGgmlDoes) {
  check::Random random(5);
  std::vector<float> values;
  for (int block = 0; block < 5000; block++) {
    const float scale = std::ldexp(1.0f, static_cast<int>(random.Below(40)) - 30);
    for (size_t i = 0; i < kQ8BlockElements; i++) {
      values.push_back((static_cast<float>(random.Below(1 << 20)) / (1 << 19) - 1) * scale);
    }
  }
  std::fill_n(values.begin(), kQ8BlockElements, 0.0f);
  values[32] = values[64] = 127;  // ties: 0.5, 1.5 and -2.5 with a scale of 1
  for (size_t i = 33; i < 64; i++) values[i] = static_cast<float>(i % 7) - 2.5f;
  values[70] = std::numeric_limits<float>::quiet_NaN();
  values[96] = std::numeric_limits<float>::infinity();
  const size_t blocks = values.size() / kQ8BlockElements;
  for (bool plain : {false, true}) {
    ForcePlain(plain);
    check::Guarded target(std::vector<uint8_t>(blocks * kQ8BlockBytes));
    const SourceSpan source(ByteSpan{reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)});
    CHECK(QuantizeQ8Guarded(source, target.data(), blocks).ok());
    for (size_t block = 0; block < blocks; block++) {
      const float* x = &values[block * kQ8BlockElements];
      const uint8_t* out = target.data() + block * kQ8BlockBytes;
      float largest = 0;
      for (size_t i = 0; i < kQ8BlockElements; i++) largest = std::fmax(largest, std::fabs(x[i]));
      const float scale = largest / 127, inverse = scale != 0 ? 1 / scale : 0;
      const std::vector<uint8_t> half = Cast(Kernel::kFloat16, {ToBits(scale)});
      CHECK(std::memcmp(out, half.data(), 2) == 0);
      for (size_t i = 0; i < kQ8BlockElements; i++) {
        const float rounded = std::round(x[i] * inverse);
        CHECK(static_cast<int8_t>(out[2 + i]) == (std::isnan(rounded) ? 0 : static_cast<int>(rounded)));
      }
    }
  }
  ForcePlain(false);
}
