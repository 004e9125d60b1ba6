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
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bytes.h"
#include "error.h"

namespace torch_checkpoint {

struct ZipRecord {
  // UTF-8; points into the ZipDirectory that holds the record.
  std::string_view name;
  // True when every byte of the name is below 0x80.
  bool name_is_ascii;
  bool encrypted;
  uint16_t method;
  // Of the inflated bytes, as recorded; 0 when not recorded.
  uint32_t crc32;
  uint64_t header_offset;
  // Where the payload begins, its bytes in the file, and its bytes once inflated.
  uint64_t byte_offset;
  uint64_t stored_length;
  uint64_t byte_length;
};

struct ZipDirectory {
  // In the order of the central directory.
  std::vector<ZipRecord> records;

  // Owners of the names: the directory as read, and names that had to be decoded.
  std::unique_ptr<uint8_t[]> directory_bytes;
  std::deque<std::string> decoded_names;
};

// Reads a directory of at most `max_records` records.
//
// kZipCorrupt with the offset of the contradiction; kTruncated for a ZIP file that lost its end; kLimitExceeded;
// kUnsupported for an archive split over several disks.
Result<ZipDirectory> ParseZipDirectory(const ByteSource& source, uint64_t max_records);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ZIP_DIRECTORY_H_
