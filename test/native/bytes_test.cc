/*
 * bytes_test.cc - risk: an integer read past the end of input; an error code without a text
 */
#include "bytes.h"

#include "check.h"

using namespace torch_checkpoint;

TEST(CursorReadsLittleEndianAtAnyAlignment) {
  check::Guarded input({0xFF, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E});
  ByteCursor cursor(input.data(), input.size());
  cursor.Skip(1);
  CHECK(cursor.U16() == 0x0201);
  CHECK(cursor.U32() == 0x06050403);
  CHECK(cursor.U64() == 0x0E0D0C0B0A090807);
  CHECK(cursor.ok() && cursor.remaining() == 0);
}

TEST(CursorFailsStickyAndStaysInside) {
  for (size_t size = 0; size < 8; size++) {
    check::Guarded input(std::vector<uint8_t>(size, 1));
    ByteCursor cursor(input.data(), input.size());
    CHECK(cursor.U64() == 0);
    CHECK(!cursor.ok());
    cursor.Skip(0);
    CHECK(cursor.Bytes(0).empty() && cursor.U16() == 0 && !cursor.ok() && cursor.position() == 0);
  }
  ByteCursor huge(nullptr, 0);
  huge.Skip(SIZE_MAX);
  CHECK(!huge.ok());
}

TEST(RangeInsideDoesNotOverflow) {
  CHECK(RangeInside(0, 0, 0));
  CHECK(RangeInside(5, 5, 10));
  CHECK(!RangeInside(6, 5, 10));
  CHECK(!RangeInside(UINT64_MAX, 1, 10));
  CHECK(!RangeInside(1, UINT64_MAX, 10));
}

TEST(EveryErrorCodeHasItsName) {
  CHECK(std::string(ErrorCodeName(ErrorCode::kNotFound)) == "NOT_FOUND");
  CHECK(std::string(ErrorCodeName(ErrorCode::kWriteFailed)) == "WRITE_FAILED");
  CHECK(ErrorCodeName(ErrorCode::kBadArgument) == nullptr && ErrorCodeName(ErrorCode::kOutOfMemory) == nullptr);
}
