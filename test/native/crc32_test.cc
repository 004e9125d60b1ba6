/*
 * crc32_test.cc - risk: the fast code differs from the plain code at some length or alignment, or reads too far
 */
#include "crc32.h"

#include "check.h"
#include "cpu.h"

using namespace torch_checkpoint;

TEST(KnownChecksums) {
  for (bool plain : {true, false}) {
    ForcePlain(plain);
    CHECK(Crc32(0, "", 0) == 0);
    CHECK(Crc32(0, "123456789", 9) == 0xCBF43926);
    CHECK(Crc32(0, "The quick brown fox jumps over the lazy dog", 43) == 0x414FA339);
    const std::vector<uint8_t> zeros(32, 0), ones(4, 0xFF);
    CHECK(Crc32(0, zeros.data(), 32) == 0x190A55AD);
    CHECK(Crc32(0, ones.data(), 4) == 0xFFFFFFFF);
  }
}

TEST(FastEqualsPlainAtEveryLengthAndAlignment) {
  ForcePlain(false);
  const std::vector<uint8_t> bytes = check::RandomBytes(1200 + 64, 1);
  for (size_t length = 0; length <= 1100; length++) {
    for (size_t offset = 0; offset < 64; offset += length < 300 ? 1 : 7) {
      CHECK(Crc32(0x12345678, bytes.data() + offset, length) == Crc32Plain(0x12345678, bytes.data() + offset, length));
    }
    check::Guarded input(bytes.data(), length);
    CHECK(Crc32(0, input.data(), length) == Crc32Plain(0, input.data(), length));
  }
}

TEST(ContinuedAndCombinedChecksumsAgree) {
  const std::vector<uint8_t> bytes = check::RandomBytes(5000, 2);
  const uint32_t whole = Crc32Plain(0, bytes.data(), bytes.size());
  for (size_t cut = 0; cut <= bytes.size(); cut += 13) {
    const uint32_t first = Crc32(0, bytes.data(), cut);
    CHECK(Crc32(first, bytes.data() + cut, bytes.size() - cut) == whole);
    CHECK(Crc32Combine(first, Crc32(0, bytes.data() + cut, bytes.size() - cut), bytes.size() - cut) == whole);
  }
}
