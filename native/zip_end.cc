/*
 * zip_end.cc - end of central directory record, its Zip64 companions, and the diagnosis when there is none
 *
 * The end record is the only structure of a ZIP file that is searched for.  Its 22 bytes are followed by a comment of up
 * to 65,535 bytes, so it lies in the last 65,557; PyTorch looks there and ignores what follows the record, and so do we.
 */
#include "zip_end.h"

#include <algorithm>
#include <cstring>

#include "zip_format.h"

namespace torch_checkpoint {

// More signatures than this in the last 64 KiB are an attack on the reader's time.
static constexpr size_t kMaxCandidates = 8;
// A cut file is walked only to make a better message; stop looking for the end of a record after this many bytes.
static constexpr uint64_t kMaxScanBytes = uint64_t{1} << 30;

using ULL = unsigned long long;

namespace {

// Reads the Zip64 end record through its locator, which stands directly before the end record at `end_offset`.
// `found` stays false when there is no locator.
Status ReadZip64End(const ByteSource& source, uint64_t end_offset, ZipEnd* end, uint64_t* ends_begin, bool* found) {
  *found = false;
  if (end_offset < kZip64LocatorBytes) return Status();
  const uint64_t locator_offset = end_offset - kZip64LocatorBytes;
  uint8_t bytes[kZip64EndBytes];
  Status status = source.ReadAt(locator_offset, bytes, kZip64LocatorBytes);
  if (!status.ok()) return status;
  ByteCursor locator(bytes, kZip64LocatorBytes);
  // 0 - zip64 end of central directory locator signature, 0x07064B50 (APPNOTE 4.3.15)
  if (locator.U32() != kZip64LocatorSignature) return Status();
  // 4 - number of the disk with the zip64 end of central directory record
  const uint32_t end_disk = locator.U32();
  // 8 - relative offset of that record, from the start of its disk
  const uint64_t zip64_offset = locator.U64();
  // 16 - total number of disks: 1 from most writers, 0 from some
  const uint32_t disks = locator.U32();
  if (end_disk != 0 || disks > 1) {
    return MakeError(ErrorCode::kUnsupported, "a zip archive split over %u disks", disks).At(locator_offset);
  }
  if (!RangeInside(zip64_offset, kZip64EndBytes, locator_offset)) {
    return MakeError(ErrorCode::kZipCorrupt, "the zip64 locator points to byte %llu, expected below %llu",
                     static_cast<ULL>(zip64_offset), static_cast<ULL>(locator_offset))
        .At(locator_offset);
  }
  status = source.ReadAt(zip64_offset, bytes, kZip64EndBytes);
  if (!status.ok()) return status;
  ByteCursor record(bytes, kZip64EndBytes);
  // 0 - zip64 end of central directory signature, 0x06064B50 (4.3.14)
  const uint32_t signature = record.U32();
  // 4 - size of the rest of the record; version 2 and extensible data may make it longer, never shorter
  const uint64_t rest = record.U64();
  // 12 - version made by, 14 - version needed
  record.Skip(4);
  // 16 - this disk, 20 - disk where the directory starts
  const uint32_t disk = record.U32();
  const uint32_t directory_disk = record.U32();
  // 24 - entries in the directory on this disk, 32 - entries in the directory
  const uint64_t here = record.U64();
  end->record_count = record.U64();
  // 40 - size of the central directory, 48 - its offset from the start of the first disk
  // 56 - extensible data sector: not read
  end->directory_bytes = record.U64();
  end->directory_offset = record.U64();
  if (signature != kZip64EndSignature) {
    return MakeError(ErrorCode::kZipCorrupt, "found %08x where the zip64 end record must be, expected %08x", signature,
                     kZip64EndSignature)
        .At(zip64_offset);
  }
  const uint64_t min_rest = kZip64EndBytes - kZip64EndUncountedBytes;
  if (rest < min_rest || rest > locator_offset - zip64_offset - kZip64EndUncountedBytes) {
    return MakeError(ErrorCode::kZipCorrupt, "the zip64 end record claims %llu bytes, expected %llu to %llu",
                     static_cast<ULL>(rest), static_cast<ULL>(min_rest),
                     static_cast<ULL>(locator_offset - zip64_offset - kZip64EndUncountedBytes))
        .At(zip64_offset + 4);
  }
  if (disk != 0 || directory_disk != 0 || here != end->record_count) {
    return MakeError(ErrorCode::kUnsupported, "a zip archive split over several disks").At(zip64_offset + 16);
  }
  *ends_begin = zip64_offset;
  *found = true;
  return Status();
}

// Reads the end record at `offset`, which lies inside the source with its 22 bytes.  `exact` says that the directory
// ends where the end records begin.
Result<ZipEnd> ReadEnd(const ByteSource& source, uint64_t offset, const uint8_t* bytes, bool* exact) {
  ByteCursor record(bytes, kZipEndBytes);
  // 0 - end of central directory signature, 0x06054B50 (4.3.16), matched by the caller
  record.Skip(4);
  // 4 - number of this disk, 6 - disk where the central directory starts
  const uint16_t disk = record.U16();
  const uint16_t directory_disk = record.U16();
  // 8 - entries in the directory on this disk, 10 - entries in the directory; 0xFFFF: see Zip64
  const uint16_t here = record.U16();
  const uint16_t total = record.U16();
  // 12 - size of the central directory, 16 - its offset; 0xFFFFFFFF: see Zip64
  const uint32_t directory_bytes = record.U32();
  const uint32_t directory_offset = record.U32();
  // 20 - archive comment length; 22 - the comment, which may be followed by anything
  const uint16_t comment = record.U16();
  if (comment > source.byte_length() - offset - kZipEndBytes) {
    return MakeError(ErrorCode::kZipCorrupt, "the archive comment claims %u bytes, %llu follow", comment,
                     static_cast<ULL>(source.byte_length() - offset - kZipEndBytes))
        .At(offset + 20);
  }

  ZipEnd end = {offset, directory_offset, directory_bytes, total};
  uint64_t ends_begin = offset;
  // PyTorch always writes the Zip64 records; they count when there, and must be there when a field says so.
  bool has_zip64;
  Status status = ReadZip64End(source, offset, &end, &ends_begin, &has_zip64);
  if (!status.ok()) return std::move(status.error());
  if (has_zip64) {
    // Two answers to one question are a sign of an attack: unsaturated fields must agree.
    const bool agrees = (total == kZipSee64U16 || total == end.record_count) &&
                        (directory_bytes == kZipSee64U32 || directory_bytes == end.directory_bytes) &&
                        (directory_offset == kZipSee64U32 || directory_offset == end.directory_offset);
    if (!agrees) {
      return MakeError(ErrorCode::kZipCorrupt,
                       "the end record tells of %u records at byte %u, its zip64 companion of %llu at byte %llu", total,
                       directory_offset, static_cast<ULL>(end.record_count), static_cast<ULL>(end.directory_offset))
          .At(offset);
    }
  } else if (disk != 0 || directory_disk != 0 || here != total) {
    return MakeError(ErrorCode::kUnsupported, "a zip archive split over several disks").At(offset + 4);
  } else if (directory_offset == kZipSee64U32 || directory_bytes == kZipSee64U32) {
    return MakeError(ErrorCode::kZipCorrupt, "the end record refers to a zip64 end record that is not there").At(offset);
  }
  if (!RangeInside(end.directory_offset, end.directory_bytes, ends_begin)) {
    return MakeError(ErrorCode::kZipCorrupt, "the central directory is at byte %llu with %llu bytes, expected to end by %llu",
                     static_cast<ULL>(end.directory_offset), static_cast<ULL>(end.directory_bytes),
                     static_cast<ULL>(ends_begin))
        .At(offset);
  }
  if (end.record_count > end.directory_bytes / kZipCentralBytes) {
    return MakeError(ErrorCode::kZipCorrupt, "%llu records cannot fit a central directory of %llu bytes",
                     static_cast<ULL>(end.record_count), static_cast<ULL>(end.directory_bytes))
        .At(offset);
  }
  // The count is only a claim so far, but one that the directory's bytes could hold: memory for it may be asked for.
  if (end.record_count > 0) {
    uint8_t signature[4];
    status = source.ReadAt(end.directory_offset, signature, sizeof(signature));
    if (!status.ok()) return std::move(status.error());
    if (LoadU32(signature) != kZipCentralSignature) {
      return MakeError(ErrorCode::kZipCorrupt, "found %08x where the central directory must begin, expected %08x",
                       LoadU32(signature), kZipCentralSignature)
          .At(end.directory_offset);
    }
  }
  *exact = end.directory_offset + end.directory_bytes == ends_begin;
  return end;
}

// For messages only.  A payload may contain the signature, so a hit counts only when its own size field agrees with the
// distance.
//
// Where the payload that starts at `begin` ends, judged by a data descriptor whose sizes say so; 0 when none is found
// within `budget` bytes.  `end` receives the first byte behind the descriptor.
Result<uint64_t> FindDescriptor(const ByteSource& source, uint64_t begin, uint64_t* budget, uint64_t* end) {
  constexpr size_t kWindow = 1 << 16;
  std::vector<uint8_t> window(kWindow + kZipDescriptor64Bytes);
  const uint64_t length = source.byte_length();
  for (uint64_t at = begin; at + kZipDescriptorBytes <= length && *budget > 0; at += kWindow) {
    const size_t count = static_cast<size_t>(std::min<uint64_t>(window.size(), length - at));
    *budget -= std::min<uint64_t>(*budget, count);
    Status status = source.ReadAt(at, window.data(), count);
    if (!status.ok()) return std::move(status.error());
    for (size_t i = 0; i < std::min(count, kWindow); i++) {
      const void* found = std::memchr(window.data() + i, 'P', std::min(count, kWindow) - i);
      if (found == nullptr) break;
      i = static_cast<size_t>(static_cast<const uint8_t*>(found) - window.data());
      if (count - i < kZipDescriptorBytes || LoadU32(&window[i]) != kZipDescriptorSignature) continue;
      const uint64_t payload = at + i - begin;
      // 4 - crc-32, 8 - stored size in 64 or 32 bits, then the inflated size likewise
      if (count - i >= kZipDescriptor64Bytes && LoadU64(&window[i + 8]) == payload) {
        *end = at + i + kZipDescriptor64Bytes;
        return payload;
      }
      if (LoadU32(&window[i + 8]) == payload) {
        *end = at + i + kZipDescriptorBytes;
        return payload;
      }
    }
  }
  *end = 0;
  return uint64_t{0};
}

// The plausible end records of a source that ended at `length`; empty when there is none, with what the last one lacks.
Result<std::vector<ZipEnd>> SearchEnds(const ByteSource& source, uint64_t length, Status* first_failure) {
  const size_t tail_bytes = static_cast<size_t>(std::min<uint64_t>(length, kZipMaxCommentBytes + kZipEndBytes));
  std::vector<uint8_t> tail(tail_bytes);
  Status status = source.ReadAt(length - tail_bytes, tail.data(), tail_bytes);
  if (!status.ok()) return std::move(status.error());

  std::vector<ZipEnd> exact_ends, other_ends;
  size_t candidates = 0;
  // From the back: the last record that parses is the one that most tools use.
  for (size_t i = tail_bytes < kZipEndBytes ? 0 : tail_bytes - kZipEndBytes + 1; i-- > 0;) {
    if (tail[i] != 'P' || LoadU32(&tail[i]) != kZipEndSignature) continue;
    if (++candidates > kMaxCandidates) break;
    bool exact = false;
    Result<ZipEnd> end = ReadEnd(source, length - tail_bytes + i, &tail[i], &exact);
    if (end.ok()) {
      (exact ? exact_ends : other_ends).push_back(end.value());
    } else if (first_failure->ok()) {
      *first_failure = std::move(end.error());
    }
  }
  exact_ends.insert(exact_ends.end(), other_ends.begin(), other_ends.end());
  return exact_ends;
}

// For messages only: the byte behind an archive whose end record lies before `length`; 0 when there is none.
Result<uint64_t> ArchiveEnd(const ByteSource& source, uint64_t length) {
  Status ignored;
  Result<std::vector<ZipEnd>> ends = SearchEnds(source, std::min(length, source.byte_length()), &ignored);
  if (!ends.ok()) return std::move(ends.error());
  if (ends.value().empty()) return uint64_t{0};
  const uint64_t offset = ends.value().front().end_record_offset;
  // 20 - archive comment length
  uint8_t comment[2];
  Status status = source.ReadAt(offset + 20, comment, sizeof(comment));
  if (!status.ok()) return std::move(status.error());
  return offset + kZipEndBytes + LoadU16(comment);
}

// For messages only: the byte behind the last one that is not zero, as far as `kMaxScanBytes` tell.
Result<uint64_t> SkipZerosBack(const ByteSource& source) {
  std::vector<uint8_t> window(1 << 16);
  uint64_t end = source.byte_length();
  const uint64_t stop = end - std::min(end, kMaxScanBytes);
  while (end > stop) {
    const size_t count = static_cast<size_t>(std::min<uint64_t>(window.size(), end - stop));
    Status status = source.ReadAt(end - count, window.data(), count);
    if (!status.ok()) return std::move(status.error());
    for (size_t i = count; i-- > 0;) {
      if (window[i] != 0) return end - count + i + 1;
    }
    end -= count;
  }
  return end;
}

// For messages only: the byte behind the central directory entries that begin at `at`.
Result<uint64_t> SkipDirectory(const ByteSource& source, uint64_t at) {
  uint8_t bytes[kZipCentralBytes];
  while (RangeInside(at, kZipCentralBytes, source.byte_length())) {
    Status status = source.ReadAt(at, bytes, kZipCentralBytes);
    if (!status.ok()) return std::move(status.error());
    if (LoadU32(bytes) != kZipCentralSignature) break;
    // 28 - name length, 30 - extra length, 32 - comment length
    at += kZipCentralBytes + LoadU16(bytes + 28) + LoadU16(bytes + 30) + LoadU16(bytes + 32);
  }
  return at;
}

}  // namespace

Result<std::vector<ZipEnd>> FindZipEnds(const ByteSource& source) {
  Status first_failure;
  Result<std::vector<ZipEnd>> ends = SearchEnds(source, source.byte_length(), &first_failure);
  if (!ends.ok() || !ends.value().empty()) return ends;
  if (!first_failure.ok()) return std::move(first_failure.error());
  return DescribeMissingEnd(source);
}

Error DescribeMissingEnd(const ByteSource& source) {
  const uint64_t length = source.byte_length();
  uint8_t header[kZipLocalBytes];
  if (length >= 4) {
    Status status = source.ReadAt(0, header, 4);
    if (!status.ok()) return std::move(status.error());
  }
  if (length < 4 || LoadU32(header) != kZipLocalSignature) {
    return MakeError(ErrorCode::kZipCorrupt, "no zip end record found in the last %llu of %llu bytes",
                     static_cast<ULL>(std::min<uint64_t>(length, kZipMaxCommentBytes + kZipEndBytes)),
                     static_cast<ULL>(length));
  }

  // Walk the local headers: each one met needs a directory entry, and the last payload may tell its own end.
  uint64_t at = 0, records = 0, expected = kZipEndBytes, budget = kMaxScanBytes;
  while (RangeInside(at, kZipLocalBytes, length)) {
    Status status = source.ReadAt(at, header, kZipLocalBytes);
    if (!status.ok()) return std::move(status.error());
    if (LoadU32(header) != kZipLocalSignature) break;
    ByteCursor cursor(header, kZipLocalBytes);
    // 0 - signature, 4 - version needed
    cursor.Skip(6);
    // 6 - flags
    const uint16_t flags = cursor.U16();
    // 8 - method, 10 - time, 12 - date, 14 - crc-32
    cursor.Skip(10);
    // 18 - stored size, 22 - inflated size
    const uint64_t stored = cursor.U32();
    cursor.Skip(4);
    // 26 - name length, 28 - extra length
    const uint64_t name = cursor.U16();
    const uint64_t payload = at + kZipLocalBytes + name + cursor.U16();
    records++;
    expected += kZipCentralBytes + name;
    uint64_t next = payload + stored;
    if ((flags & kZipFlagDescriptor) != 0 && stored == 0 && payload < length) {
      Result<uint64_t> found = FindDescriptor(source, payload, &budget, &next);
      if (!found.ok()) return std::move(found.error());
      if (next == 0) {  // the record that was cut: of unknown length, but its descriptor is missing too
        next = length + kZipDescriptorBytes;
      }
    }
    at = next;
  }
  // `at` is where the directory would begin, or already begins: then the archive may be whole, and too much follow it.
  const Result<uint64_t> zeros_begin = SkipZerosBack(source);
  if (!zeros_begin.ok()) return zeros_begin.error();
  const Result<uint64_t> directory_end = SkipDirectory(source, at);
  if (!directory_end.ok()) return directory_end.error();
  for (const uint64_t before : {zeros_begin.value() + kZipEndBytes,
                                directory_end.value() + kZip64EndBytes + kZip64LocatorBytes + kZipEndBytes}) {
    const Result<uint64_t> end = ArchiveEnd(source, before);
    if (!end.ok()) return end.error();
    if (end.value() == 0) continue;
    return MakeError(ErrorCode::kZipCorrupt,
                     "the zip ends at byte %llu, and %llu bytes%s follow it: no reader looks for its end so far from that of "
                     "the file",
                     static_cast<ULL>(end.value()), static_cast<ULL>(length - end.value()),
                     zeros_begin.value() <= end.value() ? " of zeros" : "");
  }
  const uint64_t whole = at + expected;
  const uint64_t missing = whole > length ? whole - length : 1;
  return MakeError(ErrorCode::kTruncated,
                   "the zip central directory is missing: the file has %llu bytes with %llu records and was cut, at least "
                   "%llu more bytes expected",
                   static_cast<ULL>(length), static_cast<ULL>(records), static_cast<ULL>(missing))
      .At(length);
}

}  // namespace torch_checkpoint
