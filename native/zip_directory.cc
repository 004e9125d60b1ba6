/*
 * zip_directory.cc - central directory -> records, each proven
 *
 * The central directory is the authority for sizes; a local header is read to learn where its payload begins, and to see
 * that it is the header the directory means (signature and name).  Local sizes are not compared: PyTorch writes zeros
 * there and the truth into a data descriptor.
 *
 * Memory: the directory is read through a window, for bringing in fresh memory is most of what it would cost to hold it.
 * Local headers are read in batches in file order, with gaps skipped, so a directory of a million records costs some
 * thousand reads and a sparse file of terabytes stays unread.  All indices below are proven against what was read by
 * ByteCursor; all file offsets by RangeInside().
 */
#include "zip_directory.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "fresh_pages.h"
#include "zip_end.h"
#include "zip_format.h"

namespace torch_checkpoint {

// A million records with long names take 200 MB; past this the directory itself is the attack.
static constexpr uint64_t kMaxDirectoryBytes = uint64_t{1} << 31;
// One read covers headers up to this far apart: reading 16 KiB more is cheaper than a second call.
static constexpr uint64_t kBatchGapBytes = 16 << 10;
static constexpr uint64_t kBatchBytes = 256 << 10;
// Longer than any entry: 46 bytes and three parts of up to 65535.
static constexpr uint64_t kWindowBytes = 256 << 10;

using ULL = unsigned long long;

namespace {

// Upper half of code page 437, the encoding of names without the UTF-8 flag (APPNOTE appendix D), as UTF-16.
constexpr uint16_t kCodePage437[128] = {
    0x00C7, 0x00FC, 0x00E9, 0x00E2, 0x00E4, 0x00E0, 0x00E5, 0x00E7, 0x00EA, 0x00EB, 0x00E8, 0x00EF, 0x00EE, 0x00EC,
    0x00C4, 0x00C5, 0x00C9, 0x00E6, 0x00C6, 0x00F4, 0x00F6, 0x00F2, 0x00FB, 0x00F9, 0x00FF, 0x00D6, 0x00DC, 0x00A2,
    0x00A3, 0x00A5, 0x20A7, 0x0192, 0x00E1, 0x00ED, 0x00F3, 0x00FA, 0x00F1, 0x00D1, 0x00AA, 0x00BA, 0x00BF, 0x2310,
    0x00AC, 0x00BD, 0x00BC, 0x00A1, 0x00AB, 0x00BB, 0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556,
    0x2555, 0x2563, 0x2551, 0x2557, 0x255D, 0x255C, 0x255B, 0x2510, 0x2514, 0x2534, 0x252C, 0x251C, 0x2500, 0x253C,
    0x255E, 0x255F, 0x255A, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256C, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559,
    0x2558, 0x2552, 0x2553, 0x256B, 0x256A, 0x2518, 0x250C, 0x2588, 0x2584, 0x258C, 0x2590, 0x2580, 0x03B1, 0x00DF,
    0x0393, 0x03C0, 0x03A3, 0x03C3, 0x00B5, 0x03C4, 0x03A6, 0x0398, 0x03A9, 0x03B4, 0x221E, 0x03C6, 0x03B5, 0x2229,
    0x2261, 0x00B1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00F7, 0x2248, 0x00B0, 0x2219, 0x00B7, 0x221A, 0x207F, 0x00B2,
    0x25A0, 0x00A0,
};

// Strict UTF-8: shortest forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view text) {
  uint8_t any = 0;
  for (char c : text) any |= static_cast<uint8_t>(c);
  if (any < 0x80) return true;
  for (size_t i = 0; i < text.size();) {
    const uint8_t lead = static_cast<uint8_t>(text[i++]);
    if (lead < 0x80) continue;
    const int follow = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (lead < 0xC2 || lead > 0xF4) return false;
    uint32_t code = lead & (0x3F >> follow);
    for (int k = 0; k < follow; k++, i++) {
      if (i == text.size() || (static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) return false;
      code = code << 6 | (static_cast<uint8_t>(text[i]) & 0x3F);
    }
    if (follow == 2 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) return false;
    if (follow == 3 && (code < 0x10000 || code > 0x10FFFF)) return false;
  }
  return true;
}

std::string DecodeCodePage437(std::string_view text) {
  std::string decoded;
  for (char c : text) {
    const uint8_t byte = static_cast<uint8_t>(c);
    const uint32_t code = byte < 0x80 ? byte : kCodePage437[byte - 0x80];
    if (code < 0x80) {
      decoded += static_cast<char>(code);
    } else if (code < 0x800) {
      decoded += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
    } else {
      decoded += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
                  static_cast<char>(0x80 | (code & 0x3F))};
    }
  }
  return decoded;
}

// Replaces the saturated ones of the four fields by those of the Zip64 extra field (APPNOTE 4.5.3), which holds only
// the saturated ones, in this order.
Status ApplyZip64Extra(std::string_view extra, uint64_t* byte_length, uint64_t* stored_length, uint64_t* header_offset,
                       uint32_t* disk, uint64_t entry_offset) {
  if (*byte_length != kZipSee64U32 && *stored_length != kZipSee64U32 && *header_offset != kZipSee64U32 &&
      *disk != kZipSee64U16) {
    return Status();
  }
  ByteCursor fields(reinterpret_cast<const uint8_t*>(extra.data()), extra.size());
  while (fields.remaining() >= 4) {
    const uint16_t id = fields.U16();
    const uint16_t length = fields.U16();
    // 0 - header id, 2 - length of the body (4.5.1).  Extra fields that are not ours are stepped over.
    if (id != kZip64ExtraId) {
      fields.Skip(length);
      if (!fields.ok()) break;
      continue;
    }
    const std::string_view body = fields.Bytes(length);
    ByteCursor wide(reinterpret_cast<const uint8_t*>(body.data()), body.size());
    // 0 - uncompressed size, 8 - compressed size, 16 - local header offset, 24 - disk: each only if saturated outside, so
    // the positions move up when one is missing
    if (*byte_length == kZipSee64U32) *byte_length = wide.U64();
    if (*stored_length == kZipSee64U32) *stored_length = wide.U64();
    if (*header_offset == kZipSee64U32) *header_offset = wide.U64();
    if (*disk == kZipSee64U16) *disk = wide.U32();
    if (fields.ok() && wide.ok()) return Status();
    return MakeError(ErrorCode::kZipCorrupt, "the zip64 extra field has %u bytes, too few for the fields it must hold",
                     length)
        .At(entry_offset);
  }
  return MakeError(ErrorCode::kZipCorrupt, "a size or offset refers to a zip64 extra field that is not there")
      .At(entry_offset);
}

// A name as it stands in the file, in UTF-8.  One that is not UTF-8 cannot become so by its flag; one that is has been
// written by a tool that meant it.
void AppendName(std::string_view raw, ZipNames* names) {
  if (IsUtf8(raw)) {
    names->insert(names->end(), raw.begin(), raw.end());
  } else {
    const std::string decoded = DecodeCodePage437(raw);
    names->insert(names->end(), decoded.begin(), decoded.end());
  }
}

bool IsNameOf(std::string_view raw, std::string_view name) {
  return raw == name || (!IsUtf8(raw) && DecodeCodePage437(raw) == name);
}

// Reads one entry, whose name it leaves in `*raw_name`; the cursor is not ok() when the entry goes on behind what it has.
Status ParseEntry(ByteCursor* cursor, uint64_t entry_offset, uint64_t i, ZipRecord* record, std::string_view* raw_name) {
  // 0 - central file header signature, 0x02014B50 (APPNOTE 4.3.12)
  const uint32_t signature = cursor->U32();
  // 4 - version made by: the tool and host system; PyTorch writes 0
  // 6 - version needed to extract: 0 or 20 from PyTorch, 45 from tools that use Zip64; what we cannot extract shows
  //     in the method and not here
  cursor->Skip(4);
  // 8 - general purpose bit flags (4.4.4): bit 0 encrypted, bit 3 sizes in a data descriptor, bit 11 UTF-8 name
  const uint16_t flags = cursor->U16();
  // 10 - compression method: 0 stored, 8 deflated; others are refused when the record is read
  const uint16_t method = cursor->U16();
  // 12 - last modification time, 14 - date: always 0 from PyTorch
  cursor->Skip(4);
  // 16 - crc-32 of the inflated bytes; 0 when PyTorch was told not to compute it
  const uint32_t crc32 = cursor->U32();
  // 20 - compressed (stored) size, 24 - uncompressed (inflated) size; 0xFFFFFFFF: see the Zip64 extra field
  uint64_t stored_length = cursor->U32();
  uint64_t byte_length = cursor->U32();
  // 28 - file name length, 30 - extra field length, 32 - file comment length: of the three parts after the fixed 46
  //      bytes.  PyTorch's alignment padding ("FB") is in the local header only
  const uint16_t name_length = cursor->U16();
  const uint16_t extra_length = cursor->U16();
  const uint16_t comment_length = cursor->U16();
  // 34 - number of the disk with the local header; 0xFFFF: see the Zip64 extra field
  uint32_t disk = cursor->U16();
  // 36 - internal attributes (text or binary), 38 - external attributes (mode bits): of no meaning for a record
  cursor->Skip(6);
  // 42 - relative offset of the local header; 0xFFFFFFFF: see the Zip64 extra field
  uint64_t header_offset = cursor->U32();
  // 46 - file name, extra field, file comment
  const std::string_view name = cursor->Bytes(name_length);
  const std::string_view extra = cursor->Bytes(extra_length);
  cursor->Skip(comment_length);
  if (!cursor->ok()) return Status();
  if (signature != kZipCentralSignature) {
    return MakeError(ErrorCode::kZipCorrupt, "found %08x where entry %llu of the central directory must be, expected %08x",
                     signature, static_cast<ULL>(i), kZipCentralSignature)
        .At(entry_offset);
  }
  Status status = ApplyZip64Extra(extra, &byte_length, &stored_length, &header_offset, &disk, entry_offset);
  if (!status.ok()) return status;
  if (disk != 0) {
    return MakeError(ErrorCode::kUnsupported, "a record on disk %u of a split zip archive", disk).At(entry_offset);
  }
  if (name.find('\0') != std::string_view::npos) {
    return MakeError(ErrorCode::kZipCorrupt, "the name of entry %llu contains a NUL byte", static_cast<ULL>(i))
        .At(entry_offset);
  }
  // A stored record is a view of its bytes: both sizes must be the same.  An encrypted one carries 12 bytes more.
  const bool encrypted = (flags & kZipFlagEncrypted) != 0;
  if (method == kZipMethodStored && stored_length != byte_length && !encrypted) {
    return MakeError(ErrorCode::kZipCorrupt, "entry \"%.*s\" is stored with %llu bytes but claims %llu",
                     static_cast<int>(name.size()), name.data(), static_cast<ULL>(stored_length),
                     static_cast<ULL>(byte_length))
        .At(entry_offset);
  }
  *record = {header_offset, 0, stored_length, byte_length, crc32, 0, name_length, method, encrypted};
  *raw_name = name;
  return Status();
}

// Fills `directory` from the central directory.
Status ParseEntries(const ByteSource& source, const ZipEnd& end, ZipDirectory* directory) {
  directory->records.reserve(end.record_count);
  // All of the directory but its fixed parts may be names.
  directory->names.reserve(static_cast<size_t>(end.directory_bytes - end.record_count * kZipCentralBytes));
  const uint64_t directory_end = end.directory_offset + end.directory_bytes;
  std::vector<uint8_t> window;
  uint64_t window_begin = end.directory_offset, entry_offset = end.directory_offset;
  for (uint64_t i = 0; i < end.record_count; i++) {
    ZipRecord record;
    std::string_view name;
    for (bool read_on = false;; read_on = true) {
      if (read_on || window.empty()) {
        window_begin = entry_offset;
        window.resize(static_cast<size_t>(std::min(kWindowBytes, directory_end - entry_offset)));
        Status status = source.ReadAt(window_begin, window.data(), window.size());
        if (!status.ok()) return status;
      }
      const size_t at = static_cast<size_t>(entry_offset - window_begin);
      ByteCursor cursor(window.data() + at, window.size() - at);
      Status status = ParseEntry(&cursor, entry_offset, i, &record, &name);
      if (!status.ok()) return status;
      if (cursor.ok()) {
        entry_offset += cursor.position();
        break;
      }
      if (read_on || window_begin + window.size() == directory_end) {
        return MakeError(ErrorCode::kZipCorrupt, "the central directory ends inside entry %llu of %llu",
                         static_cast<ULL>(i), static_cast<ULL>(end.record_count))
            .At(entry_offset);
      }
    }
    AppendName(name, &directory->names);
    if (directory->names.size() > UINT32_MAX) {
      return MakeError(ErrorCode::kLimitExceeded, "the names of the records take more than 4 GiB").At(entry_offset);
    }
    record.name_end = static_cast<uint32_t>(directory->names.size());
    directory->records.push_back(record);
  }
  if (entry_offset != directory_end) {
    // Bytes that no entry claims could be a second directory for a reader that counts differently.
    return MakeError(ErrorCode::kZipCorrupt, "%llu bytes follow the last of %llu central directory entries",
                     static_cast<ULL>(directory_end - entry_offset), static_cast<ULL>(end.record_count))
        .At(entry_offset);
  }
  return Status();
}

// Indices of the records by position in the file; none where that is the order they have.
std::vector<uint32_t> FileOrder(const ZipRecords& records) {
  auto earlier = [](const ZipRecord& a, const ZipRecord& b) { return a.header_offset < b.header_offset; };
  // Every known writer lists records in the order it wrote them.
  if (std::is_sorted(records.begin(), records.end(), earlier)) return {};
  std::vector<uint32_t> order(records.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return earlier(records[a], records[b]); });
  return order;
}

// Checks one local header and sets the payload's place.  `bytes` holds the header and its name.
Status CheckLocalHeader(const uint8_t* bytes, uint64_t limit, std::string_view name, ZipRecord* record) {
  // 0 - local file header signature, 0x04034B50 (4.3.7)
  if (LoadU32(bytes) != kZipLocalSignature) {
    return MakeError(ErrorCode::kZipCorrupt, "found %08x where the local header of \"%.*s\" must be, expected %08x",
                     LoadU32(bytes), static_cast<int>(name.size()), name.data(), kZipLocalSignature)
        .At(record->header_offset);
  }
  // 4 - version needed, 6 - flags, 8 - method, 10 - time, 12 - date, 14 - crc-32, 18 - stored size, 22 - inflated size:
  // not read.  The directory has said all of it, and PyTorch writes zeros for the last three.
  // 26 - file name length, 28 - extra field length; 30 - file name, then the extra field with the padding
  ByteCursor lengths(bytes + kZipLocalNameLengthOffset, 4);
  const uint16_t name_length = lengths.U16();
  const uint16_t extra_length = lengths.U16();
  if (name_length != record->raw_name_length ||
      !IsNameOf({reinterpret_cast<const char*>(bytes) + kZipLocalBytes, name_length}, name)) {
    return MakeError(ErrorCode::kZipCorrupt, "the local header of \"%.*s\" carries another name",
                     static_cast<int>(name.size()), name.data())
        .At(record->header_offset);
  }
  record->byte_offset = record->header_offset + kZipLocalBytes + name_length + extra_length;
  if (!RangeInside(record->byte_offset, record->stored_length, limit)) {
    return MakeError(ErrorCode::kZipCorrupt, "record \"%.*s\" with %llu bytes from byte %llu must end by byte %llu",
                     static_cast<int>(name.size()), name.data(), static_cast<ULL>(record->stored_length),
                     static_cast<ULL>(record->byte_offset), static_cast<ULL>(limit))
        .At(record->header_offset);
  }
  return Status();
}

// Reads every local header, proves each record inside [0, limit) and apart from its neighbours.
//
// Walking in file order makes overlap a comparison with the record before: each header must begin where the last payload
// has ended.  Data descriptors and padding between records are skipped over without a look.
Status LocatePayloads(const ByteSource& source, uint64_t limit, ZipDirectory* directory) {
  ZipRecords& records = directory->records;
  const std::vector<uint32_t> order = FileOrder(records);
  auto at = [&](size_t i) { return order.empty() ? i : order[i]; };
  std::vector<uint8_t> batch;
  uint64_t batch_begin = 0, batch_end = 0, previous_end = 0;
  for (size_t i = 0; i < records.size(); i++) {
    ZipRecord& record = records[at(i)];
    const std::string_view name = directory->NameOf(at(i));
    const uint64_t header_bytes = kZipLocalBytes + record.raw_name_length;
    if (!RangeInside(record.header_offset, header_bytes, limit)) {
      return MakeError(ErrorCode::kZipCorrupt, "the local header of \"%.*s\" is at byte %llu, expected below %llu",
                       static_cast<int>(name.size()), name.data(), static_cast<ULL>(record.header_offset),
                       static_cast<ULL>(limit))
          .At(record.header_offset);
    }
    if (record.header_offset < previous_end) {
      return MakeError(ErrorCode::kZipCorrupt, "record \"%.*s\" begins at byte %llu, inside the one before it",
                       static_cast<int>(name.size()), name.data(), static_cast<ULL>(record.header_offset))
          .At(record.header_offset);
    }
    if (record.header_offset < batch_begin || record.header_offset + header_bytes > batch_end) {
      // Extend the read over the headers that follow closely.  Their offsets are unproven but bounded by `limit`.
      batch_begin = record.header_offset;
      batch_end = batch_begin + header_bytes;
      for (size_t next = i + 1; next < records.size(); next++) {
        const ZipRecord& following = records[at(next)];
        const uint64_t following_bytes = kZipLocalBytes + following.raw_name_length;
        if (!RangeInside(following.header_offset, following_bytes, limit)) break;
        const uint64_t following_end = following.header_offset + following_bytes;
        if (following.header_offset > batch_end + kBatchGapBytes || following_end > batch_begin + kBatchBytes) break;
        batch_end = std::max(batch_end, following_end);
      }
      batch.resize(static_cast<size_t>(batch_end - batch_begin));
      Status status = source.ReadAt(batch_begin, batch.data(), batch.size());
      if (!status.ok()) return status;
    }
    Status status = CheckLocalHeader(batch.data() + (record.header_offset - batch_begin), limit, name, &record);
    if (!status.ok()) return status;
    previous_end = record.byte_offset + record.stored_length;
  }
  return Status();
}

// `folder/` of a name `folder/<decimal>`, which nothing but that number makes; empty for other names.
std::string_view FolderOfNumber(std::string_view name, uint64_t* number) {
  const size_t slash = name.rfind('/');
  const std::string_view digits = slash == std::string_view::npos ? std::string_view() : name.substr(slash + 1);
  if (digits.empty() || digits.size() > 18 || (digits[0] == '0' && digits.size() > 1)) return {};
  *number = 0;
  for (char c : digits) {
    if (c < '0' || c > '9') return {};
    *number = *number * 10 + static_cast<uint64_t>(c - '0');
  }
  return name.substr(0, slash + 1);
}

// Indices of the records whose names have to be compared with one another: in the first folder of numbers those that
// ascend, as PyTorch writes its storages, are apart by that.  All records when a number there does not ascend.
std::vector<uint32_t> NamesToCompare(const ZipDirectory& directory) {
  std::vector<uint32_t> others;
  std::string_view ascending;
  uint64_t last = 0, number;
  for (size_t i = 0; i < directory.records.size(); i++) {
    const std::string_view folder = FolderOfNumber(directory.NameOf(i), &number);
    if (folder.empty() || (!ascending.empty() && folder != ascending)) {
      others.push_back(static_cast<uint32_t>(i));
      continue;
    }
    if (!ascending.empty() && number <= last) {
      others.resize(directory.records.size());
      std::iota(others.begin(), others.end(), 0);
      return others;
    }
    ascending = folder;
    last = number;
  }
  return others;
}

// Refuses two equal names: readers disagree on which of two counts, so that a scanner could be shown one and a loader the
// other.
Status CompareNames(const ZipDirectory& directory) {
  std::vector<std::pair<uint64_t, uint32_t>> hashed;
  for (uint32_t i : NamesToCompare(directory)) {
    hashed.emplace_back(std::hash<std::string_view>()(directory.NameOf(i)), i);
  }
  // Sorted by hash and then by name: no choice of names makes this slower than n log n.
  std::sort(hashed.begin(), hashed.end(), [&](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : directory.NameOf(a.second) < directory.NameOf(b.second);
  });
  for (size_t i = 1; i < hashed.size(); i++) {
    if (hashed[i].first != hashed[i - 1].first) continue;
    const std::string_view name = directory.NameOf(hashed[i].second);
    if (name != directory.NameOf(hashed[i - 1].second)) continue;
    return MakeError(ErrorCode::kZipCorrupt, "two records have the name \"%.*s\"", static_cast<int>(name.size()),
                     name.data())
        .At(directory.records[std::max(hashed[i].second, hashed[i - 1].second)].header_offset);
  }
  return Status();
}

// The stages in order: bound, parse, prove against the local headers, compare names.  Nothing of the directory is
// returned before all of them have passed.
Result<ZipDirectory> ParseFromEnd(const ByteSource& source, const ZipEnd& end, uint64_t max_records) {
  if (end.record_count > max_records) {
    return MakeError(ErrorCode::kLimitExceeded, "the zip container has %llu records, the limit is %llu",
                     static_cast<ULL>(end.record_count), static_cast<ULL>(max_records));
  }
  if (end.directory_bytes > kMaxDirectoryBytes) {
    return MakeError(ErrorCode::kLimitExceeded, "the zip central directory has %llu bytes, the limit is %llu",
                     static_cast<ULL>(end.directory_bytes), static_cast<ULL>(kMaxDirectoryBytes));
  }
  ZipDirectory directory;
  Status status = ParseEntries(source, end, &directory);
  if (status.ok()) status = LocatePayloads(source, end.directory_offset, &directory);
  if (status.ok()) status = CompareNames(directory);
  if (!status.ok()) return std::move(status.error());
  return directory;
}

}  // namespace

Result<ZipDirectory> ParseZipDirectory(const ByteSource& source, uint64_t max_records) {
  Result<std::vector<ZipEnd>> ends = FindZipEnds(source);
  if (!ends.ok()) return std::move(ends.error());
  Result<ZipDirectory> first = ParseFromEnd(source, ends.value()[0], max_records);
  for (size_t i = 1; i < ends.value().size() && !first.ok(); i++) {
    Result<ZipDirectory> other = ParseFromEnd(source, ends.value()[i], max_records);
    if (other.ok()) return other;
  }
  return first;
}

}  // namespace torch_checkpoint
