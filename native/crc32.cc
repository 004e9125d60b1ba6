/*
 * crc32.cc - plain CRC-32, combination, dispatch, and checksums of ranges of a file
 *
 * Bit order is reflected throughout: the coefficient of x^31 is bit 0.  Appending n zero bytes to a message multiplies
 * its CRC by x^(8n) modulo the polynomial, which is all that Crc32Combine() does.
 */
#include "crc32.h"

#include <algorithm>
#include <array>
#include <vector>

#include "bytes.h"
#include "crc32_simd.h"
#include "parallel.h"
#include "source_span.h"

namespace torch_checkpoint {

// The polynomial without x^32, reflected.
static constexpr uint32_t kPolynomial = 0xEDB88320;
// x^0, reflected.
static constexpr uint32_t kOne = 0x80000000;

// Work unit of one thread: long enough to forget the combination, short enough to share a single large storage.
static constexpr uint64_t kRangePieceBytes = uint64_t{8} << 20;

namespace {

using SliceTables = std::array<std::array<uint32_t, 256>, 8>;

// tables[k][b]: the CRC of byte b followed by k zero bytes.
constexpr SliceTables MakeSliceTables() {
  SliceTables tables{};
  for (uint32_t b = 0; b < 256; b++) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][b] = crc;
  }
  for (uint32_t b = 0; b < 256; b++) {
    for (size_t k = 1; k < 8; k++) {
      tables[k][b] = (tables[k - 1][b] >> 8) ^ tables[0][tables[k - 1][b] & 0xFF];
    }
  }
  return tables;
}

constexpr SliceTables kTables = MakeSliceTables();

// a * b modulo the polynomial.
constexpr uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? kPolynomial : 0);
  }
  return product;
}

// powers[k]: x^(8 * 2^k), what 2^k zero bytes multiply by.
constexpr std::array<uint32_t, 64> MakeZeroBytePowers() {
  std::array<uint32_t, 64> powers{};
  uint32_t power = kOne >> 8;
  for (uint32_t& entry : powers) {
    entry = power;
    power = Multiply(power, power);
  }
  return powers;
}

constexpr std::array<uint32_t, 64> kZeroBytePowers = MakeZeroBytePowers();

}  // namespace

// Eight table look-ups for eight bytes, independent of each other, instead of a chain of eight.
uint32_t UpdateCrcPlain(uint32_t state, const uint8_t* bytes, size_t count) {
  for (; count >= 8; bytes += 8, count -= 8) {
    const uint32_t low = LoadU32(bytes) ^ state;
    const uint32_t high = LoadU32(bytes + 4);
    state = kTables[7][low & 0xFF] ^ kTables[6][low >> 8 & 0xFF] ^ kTables[5][low >> 16 & 0xFF] ^ kTables[4][low >> 24] ^
            kTables[3][high & 0xFF] ^ kTables[2][high >> 8 & 0xFF] ^ kTables[1][high >> 16 & 0xFF] ^ kTables[0][high >> 24];
  }
  for (; count > 0; bytes++, count--) state = (state >> 8) ^ kTables[0][(state ^ *bytes) & 0xFF];
  return state;
}

uint32_t Crc32Plain(uint32_t crc, const void* bytes, size_t count) {
  return ~UpdateCrcPlain(~crc, static_cast<const uint8_t*>(bytes), count);
}

uint32_t Crc32(uint32_t crc, const void* bytes, size_t count) {
  const uint8_t* p = static_cast<const uint8_t*>(bytes);
#if defined(TORCH_CHECKPOINT_X64)
  const CpuFeatures cpu = ActiveCpuFeatures();
  if (cpu.vpclmulqdq && count >= kWideFoldMinBytes) return ~UpdateCrcVpclmul(~crc, p, count);
  if (cpu.pclmulqdq && count >= kFoldMinBytes) return ~UpdateCrcPclmul(~crc, p, count);
#elif defined(TORCH_CHECKPOINT_ARM64)
  if (ActiveCpuFeatures().arm_crc) return ~UpdateCrcArm(~crc, p, count);
#endif
  return ~UpdateCrcPlain(~crc, p, count);
}

// Both CRCs start from and end with inverted registers; in the sum those inversions cancel, so the plain values combine.
// One multiplication for each set bit of the length: 0.06 microseconds for a typical one.
uint32_t Crc32Combine(uint32_t crc_a, uint32_t crc_b, uint64_t b_length) {
  for (size_t k = 0; b_length != 0; b_length >>= 1, k++) {
    if ((b_length & 1) != 0) crc_a = Multiply(kZeroBytePowers[k], crc_a);
  }
  return crc_a ^ crc_b;
}

Status Crc32OfRange(const MappedFile& file, ByteRange range, uint32_t* crc) {
  return SourceSpan(&file, range.byte_offset, range.byte_length)
      .ForEachPiece(0, range.byte_length, 1,
                    [crc](const uint8_t* bytes, uint64_t, size_t count) { *crc = Crc32(*crc, bytes, count); });
}

Result<std::vector<uint32_t>> Crc32OfRanges(const MappedFile& file, const std::vector<ByteRange>& ranges,
                                            unsigned threads) {
  struct Piece {
    size_t range;
    ByteRange bytes;
    uint32_t crc;
  };
  std::vector<Piece> pieces;
  pieces.reserve(ranges.size());
  for (size_t i = 0; i < ranges.size(); i++) {
    for (uint64_t done = 0; done < ranges[i].byte_length; done += kRangePieceBytes) {
      const uint64_t count = std::min(kRangePieceBytes, ranges[i].byte_length - done);
      pieces.push_back({i, {ranges[i].byte_offset + done, count}, 0});
    }
  }

  // Two levels.  Pieces bound the work that cannot be shared: a single storage of gigabytes is summed by all threads and
  // its parts combined.  Tasks bound the overhead:
  //
  // Tasks of about kRangePieceBytes, so that thousands of tiny records do not cost a hand-over each.
  std::vector<size_t> task_begins;
  uint64_t task_bytes = kRangePieceBytes;
  for (size_t i = 0; i < pieces.size(); i++) {
    if (task_bytes + pieces[i].bytes.byte_length > kRangePieceBytes) {
      task_begins.push_back(i);
      task_bytes = 0;
    }
    task_bytes += pieces[i].bytes.byte_length;
  }
  task_begins.push_back(pieces.size());

  FirstFailure failure;
  RunParallel(task_begins.size() - 1, threads, [&](size_t task) {
    for (size_t i = task_begins[task]; i < task_begins[task + 1] && !failure.happened(); i++) {
      failure.Note(Crc32OfRange(file, pieces[i].bytes, &pieces[i].crc));
    }
  });
  Status status = failure.status();
  if (!status.ok()) return std::move(status.error());

  std::vector<uint32_t> checksums(ranges.size(), 0);
  // The parts of a range stand in `pieces` in its order, which the combination needs.
  for (const Piece& piece : pieces) {
    checksums[piece.range] = Crc32Combine(checksums[piece.range], piece.crc, piece.bytes.byte_length);
  }
  return checksums;
}

}  // namespace torch_checkpoint
