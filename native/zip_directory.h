/*
 * zip_directory.h - the records of a ZIP container
 *
 * Invariant of a ZipDirectory that ParseZipDirectory() returned: every record's payload
 * [byte_offset, byte_offset + stored_length) lies inside the source and before the central directory; no two records
 * overlap, headers included; names are unique, free of NUL and valid UTF-8.  Later stages slice without checking again.
 */
#ifndef TORCH_CHECKPOINT_ZIP_DIRECTORY_H_
#define TORCH_CHECKPOINT_ZIP_DIRECTORY_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "bytes.h"
#include "error.h"
#include "fresh_pages.h"

namespace torch_checkpoint {

// Packed: a checkpoint may have a million of them.
struct ZipRecord {
  uint64_t header_offset;
  // Where the payload begins, its bytes in the file, and its bytes once inflated.
  uint64_t byte_offset;
  uint64_t stored_length;
  uint64_t byte_length;
  // Of the inflated bytes, as recorded; 0 when not recorded.
  uint32_t crc32;
  // Where its name ends in ZipDirectory::names.
  uint32_t name_end;
  // Bytes of the name as it stands in the file.
  uint16_t raw_name_length;
  uint16_t method;
  bool encrypted;
};

using ZipRecords = std::vector<ZipRecord, HugePageAllocator<ZipRecord>>;
using ZipNames = std::vector<char, HugePageAllocator<char>>;

struct ZipDirectory {
  // In the order of the central directory.
  ZipRecords records;
  // Their names in UTF-8, one behind the other in the same order.
  ZipNames names;

  std::string_view NameOf(size_t index) const {
    const size_t begin = index == 0 ? 0 : records[index - 1].name_end;
    return std::string_view(names.data() + begin, records[index].name_end - begin);
  }
};

// Reads a directory of at most `max_records` records.
//
// kZipCorrupt with the offset of the contradiction; kTruncated for a ZIP file that lost its end; kLimitExceeded;
// kUnsupported for an archive split over several disks.
Result<ZipDirectory> ParseZipDirectory(const ByteSource& source, uint64_t max_records);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ZIP_DIRECTORY_H_
