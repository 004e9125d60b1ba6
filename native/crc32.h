/*
 * crc32.h - the CRC-32 of ZIP (polynomial 0x04C11DB7, reflected, as in zlib)
 */
#ifndef TORCH_CHECKPOINT_CRC32_H_
#define TORCH_CHECKPOINT_CRC32_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "error.h"
#include "mapped_file.h"

namespace torch_checkpoint {

// The checksum of the bytes before (`crc`, 0 for none) continued over `count` more.  The fastest code of this processor.
uint32_t Crc32(uint32_t crc, const void* bytes, size_t count);

// The reference: slicing by 8, no special instructions.
uint32_t Crc32Plain(uint32_t crc, const void* bytes, size_t count);

// The checksum of A followed by B, from the checksums of both and the length of B.
uint32_t Crc32Combine(uint32_t crc_a, uint32_t crc_b, uint64_t b_length);

struct ByteRange {
  uint64_t byte_offset;
  uint64_t byte_length;
};

// The checksum `*crc` of the bytes before, continued over a range that lies inside the file.
Status Crc32OfRange(const MappedFile& file, ByteRange range, uint32_t* crc);

// Checksums of ranges that the caller has proven to lie inside the file, on `threads` threads; long ranges are split.
Result<std::vector<uint32_t>> Crc32OfRanges(const MappedFile& file, const std::vector<ByteRange>& ranges,
                                            unsigned threads);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_CRC32_H_
