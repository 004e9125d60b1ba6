/*
 * kernels_test.cc - risk: SIMD and plain conversions differ; a strided copy differs from the obvious loop
 */
#include <cmath>
#include <cstdlib>

#include "check.h"
#include "cpu.h"
#include "element_kernels.h"
#include "strided_copy.h"

using namespace torch_checkpoint;

static std::vector<float> Convert(Kernel kernel, const std::vector<uint8_t>& bytes, bool plain) {
  ForcePlain(plain);
  check::Guarded input(bytes);
  std::vector<float> output(bytes.size() / KernelItemsize(kernel));
  CHECK(ToFloat32Guarded(kernel, SourceSpan({input.data(), bytes.size()}), output.data(), output.size()).ok());
  ForcePlain(false);
  return output;
}

static bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST(SimdEqualsPlainOverAllHalves) {
  std::vector<uint8_t> all(2 * 65536);
  for (size_t i = 0; i < 65536; i++) all[2 * i] = static_cast<uint8_t>(i), all[2 * i + 1] = static_cast<uint8_t>(i >> 8);
  for (Kernel kernel : {Kernel::kFloat16, Kernel::kBFloat16, Kernel::kInt16, Kernel::kUInt16}) {
    CHECK(SameBits(Convert(kernel, all, true), Convert(kernel, all, false)));
  }
}

TEST(SimdEqualsPlainForEveryKernelAndLength) {
  for (size_t k = 0; k < kKernelCount; k++) {
    const Kernel kernel = static_cast<Kernel>(k);
    for (size_t count = 0; count < 70; count++) {
      const std::vector<uint8_t> bytes = check::RandomBytes(count * KernelItemsize(kernel), k * 100 + count + 1);
      CHECK(SameBits(Convert(kernel, bytes, true), Convert(kernel, bytes, false)));
    }
    const std::vector<uint8_t> large = check::RandomBytes(((size_t{5} << 20) / 4 + 3) * KernelItemsize(kernel), k + 1);
    CHECK(SameBits(Convert(kernel, large, true), Convert(kernel, large, false)));
  }
}

TEST(PlainValues) {
  auto one = [](Kernel kernel, std::vector<uint8_t> bytes) { return Convert(kernel, bytes, true)[0]; };
  CHECK(one(Kernel::kFloat16, {0x00, 0x3C}) == 1.0f && one(Kernel::kFloat16, {0x01, 0x00}) == std::ldexp(1.0f, -24));
  CHECK(std::isinf(one(Kernel::kFloat16, {0x00, 0xFC})) && one(Kernel::kBFloat16, {0x80, 0x3F}) == 1.0f);
  CHECK(one(Kernel::kFloat8E4M3FN, {0x7E}) == 448.0f && std::isnan(one(Kernel::kFloat8E4M3FN, {0xFF})));
  CHECK(one(Kernel::kFloat8E4M3FNUZ, {0x7F}) == 240.0f && std::isnan(one(Kernel::kFloat8E4M3FNUZ, {0x80})));
  CHECK(one(Kernel::kFloat8E5M2, {0x7B}) == 57344.0f && one(Kernel::kFloat8E5M2FNUZ, {0x01}) == std::ldexp(1.0f, -17));
  CHECK(one(Kernel::kFloat8E8M0FNU, {0x00}) == std::ldexp(1.0f, -127) && one(Kernel::kFloat8E8M0FNU, {127}) == 1.0f);
  CHECK(one(Kernel::kInt64, {1, 0, 0, 1, 0, 0, 0, 0x80}) == -9223372036854775808.0f && one(Kernel::kBool, {2}) == 1.0f);
  // Halfway to even: 2^63 + 2^39 rounds down, one more rounds up.
  CHECK(one(Kernel::kUInt64, {0, 0, 0, 0, 0x80, 0, 0, 0x80}) == 9223372036854775808.0f);
  CHECK(one(Kernel::kUInt64, {1, 0, 0, 0, 0x80, 0, 0, 0x80}) == 9223373136366403584.0f);
}

TEST(DequantizeWrapsLikePyTorch) {
  const std::vector<int32_t> values = {INT32_MIN, INT32_MAX, 0, 16777219};
  float out[4];
  const SourceSpan source(ByteSpan{reinterpret_cast<const uint8_t*>(values.data()), sizeof(out)});
  CHECK(DequantizeGuarded(Kernel::kInt32, source, out, 4, 0.5f, 7).ok());
  CHECK(out[0] == static_cast<float>(INT32_MAX - 6) * 0.5f && out[2] == -3.5f && out[3] == 16777212.0f * 0.5f);
}

TEST(ByteSwapReversesEachElement) {
  for (size_t width : {1, 2, 4, 8, 16}) {
    const std::vector<uint8_t> original = check::RandomBytes(width * 5, width);
    std::vector<uint8_t> bytes = original;
    ByteSwap(bytes.data(), bytes.size(), width);
    for (size_t i = 0; i < bytes.size(); i++) CHECK(bytes[i] == original[i / width * width + width - 1 - i % width]);
  }
}

TEST(GatherEqualsTheObviousLoop) {
  check::Random random(5);
  for (int round = 0; round < 4000; round++) {
    static constexpr size_t kItemsizes[] = {1, 2, 4, 8, 16, 3};
    StridedWindow window;
    window.itemsize = kItemsizes[random.Below(6)];
    const size_t rank = random.Below(6);
    uint64_t last = window.storage_offset = random.Below(5), numel = 1;
    const uint64_t largest = rank < 3 ? 70 : 6;
    for (size_t d = 0; d < rank; d++) {
      window.shape.push_back(random.Below(40) == 0 ? 0 : 1 + random.Below(largest));
      window.stride.push_back(random.Below(4) == 0 ? 1 : random.Below(12));
      numel *= window.shape[d];
    }
    for (size_t d = 0; d < rank && numel > 0; d++) last += (window.shape[d] - 1) * window.stride[d];
    // The source ends with the last element that is needed, at a guard page.
    check::Guarded source(check::RandomBytes((last + 1) * window.itemsize, static_cast<uint64_t>(round) + 1));
    const Result<uint64_t> checked = CheckWindow(window, source.size());
    CHECK(checked.ok() && checked.value() == numel);
    if (numel > 0 && last > 0) CHECK(!CheckWindow(window, source.size() - 1).ok());
    std::vector<uint8_t> target(numel * window.itemsize), expected;
    CHECK(GatherGuarded(source.data(), window, target.data()));
    std::vector<uint64_t> index(rank, 0);
    for (uint64_t i = 0; i < numel; i++) {
      uint64_t rest = i, element = window.storage_offset;
      for (size_t d = rank; d-- > 0; rest /= window.shape[d]) element += rest % window.shape[d] * window.stride[d];
      const uint8_t* bytes = source.data() + element * window.itemsize;
      expected.insert(expected.end(), bytes, bytes + window.itemsize);
    }
    CHECK(target == expected);
  }
}

TEST(GatherRefusesOverflow) {
  CHECK(!CheckWindow({8, {1ull << 40, 1ull << 40}, {1ull << 40, 1}, 0}, 1000).ok());
  CHECK(!CheckWindow({8, {2}, {UINT64_MAX}, 5}, 1000).ok());
  CHECK(!CheckWindow({1, {1ull << 33, 1ull << 33}, {0, 0}, 0}, 1000).ok());
  CHECK(!CheckWindow({4, {}, {}, 250}, 1000).ok() && CheckWindow({4, {}, {}, 249}, 1000).ok());
}
