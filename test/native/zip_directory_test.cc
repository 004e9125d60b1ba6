/*
 * zip_directory_test.cc - risk: a ZIP file that lies about itself gets a record into bytes that are not its own
 *
 * Every input ends at a guard page.
 */
#include "zip_directory.h"

#include "check.h"
#include "zip_builder.h"

using namespace torch_checkpoint;

static Result<ZipDirectory> Parse(const std::vector<uint8_t>& bytes, uint64_t max_records = 1000) {
  check::Guarded input(bytes);
  MemorySource source(ByteSpan{input.data(), input.size()});
  return ParseZipDirectory(source, max_records);
}

static bool FailsWith(const std::vector<uint8_t>& bytes, ErrorCode code, const char* text) {
  const Result<ZipDirectory> result = Parse(bytes);
  if (!result.ok() && result.error().code == code && result.error().message.find(text) != std::string::npos) return true;
  std::printf("found: %s\n", result.ok() ? "success" : result.error().message.c_str());
  return false;
}

static std::vector<ZipEntry> Sample() {
  return {{"a/data.pkl", "pickle bytes"}, {"a/data/0", std::string(100, 'x')}, {"a/empty", "", 0x0800}, {"a/dir/", "", 0}};
}

static std::vector<uint8_t> Build(const std::vector<ZipEntry>& entries, bool zip64 = true, const std::string& comment = "") {
  ZipBuilder zip;
  zip.Build(entries, zip64, comment);
  return zip.bytes;
}

TEST(ReadsRecordsWithAndWithoutZip64) {
  for (bool zip64 : {true, false}) {
    const std::vector<uint8_t> bytes = Build(Sample(), zip64);
    const Result<ZipDirectory> result = Parse(bytes);
    CHECK(result.ok());
    const ZipRecords& records = result.value().records;
    CHECK(records.size() == 4 && result.value().NameOf(0) == "a/data.pkl" && result.value().NameOf(3) == "a/dir/");
    CHECK(records[1].byte_offset % 64 == 0 && records[1].byte_length == 100 && records[1].crc32 == 7);
    CHECK(bytes[records[1].byte_offset] == 'x' && bytes[records[1].byte_offset - 1] == 'Z');
  }
}

TEST(ToleratesJunkBehindTheEndAndCommentsThatLookLikeOne) {
  std::vector<uint8_t> bytes = Build(Sample());
  bytes.insert(bytes.end(), 40, 0xAA);
  CHECK(Parse(bytes).ok());
  ZipBuilder fake;
  fake.Text("PK\5\6");
  fake.bytes.resize(22, 0);
  const std::string comment = "before " + std::string(fake.bytes.begin(), fake.bytes.end()) + " after";
  for (bool zip64 : {true, false}) {
    const Result<ZipDirectory> result = Parse(Build(Sample(), zip64, comment));
    CHECK(result.ok() && result.value().records.size() == 4);
  }
}

TEST(RefusesContradictions) {
  CHECK(FailsWith(Build({{"a", "xx"}, {"a", "yy"}}), ErrorCode::kZipCorrupt, "two records have the name"));
  CHECK(FailsWith(Build({{std::string("a\0b", 3), "xx"}}), ErrorCode::kZipCorrupt, "NUL"));
  CHECK(FailsWith(Build({{"a", "xx"}, {"b", "yy", 0x808, 0, 0}}), ErrorCode::kZipCorrupt, "inside the one before it"));
  CHECK(FailsWith(Build({{"a", "xx", 0x808, 0, 5}}), ErrorCode::kZipCorrupt, "where the local header of"));
  CHECK(FailsWith(Build({{"a", "xx", 0x808, 0, 4000}}), ErrorCode::kZipCorrupt, "the local header of \"a\" is at byte 4000"));
  CHECK(FailsWith(Build({{"a", "xx", 0x808, 0, -1, 500}}), ErrorCode::kZipCorrupt, "must end by"));
  CHECK(FailsWith(Build({{"a", std::string(200, 'x'), 0x808, 0, -1, 330}, {"b", std::string(200, 'y')}}),
                  ErrorCode::kZipCorrupt, "inside the one before it"));
  CHECK(FailsWith(Build({{"a", "xx", 0x808, 0, 0xFFFFFFFF}}), ErrorCode::kZipCorrupt, "zip64 extra field"));
  CHECK(FailsWith(Build({{"aa", "xx", 0x808, 0, -1, -1, "bb"}}), ErrorCode::kZipCorrupt, "another name"));
  std::vector<uint8_t> limit = Build(Sample());
  CHECK(!Parse(limit, 3).ok() && Parse(limit, 3).error().code == ErrorCode::kLimitExceeded);
}

TEST(EqualNamesAreFoundWhereverTheyStand) {
  auto records = [](std::initializer_list<const char*> names) {
    std::vector<ZipEntry> entries;
    for (const char* name : names) entries.push_back({name, "x"});
    return Build(entries);
  };
  CHECK(Parse(records({"a/p", "a/data/0", "a/data/1", "a/data/10", "a/data/11", "a/x/0", "a/x/1"})).ok());
  CHECK(Parse(records({"a/data/0", "a/data/1", "a/data/01", "a/data/1x", "a/data/"})).ok());
  CHECK(Parse(records({"a/data/2", "a/data/1", "a/data/0", "a/p"})).ok());
  for (const auto& twice : {records({"a/data/0", "a/data/1", "a/data/2", "a/data/1"}), records({"a/data/7", "a/data/7"}),
                            records({"a/data/0", "a/x/0", "a/data/1", "a/x/0"}), records({"a/p", "a/data/0", "a/p"}),
                            records({"a/data/3", "a/data/1", "a/q", "a/data/3"})}) {
    CHECK(FailsWith(twice, ErrorCode::kZipCorrupt, "two records have the name"));
  }
}

TEST(DirectoriesLargerThanTheWindow) {
  std::vector<ZipEntry> entries;
  for (int i = 0; i < 40; i++) entries.push_back({"a/" + std::string(20000 + i, 'n'), std::string(1, static_cast<char>(i))});
  const std::vector<uint8_t> bytes = Build(entries);
  const Result<ZipDirectory> result = Parse(bytes);
  CHECK(result.ok() && result.value().records.size() == entries.size());
  for (size_t i = 0; i < entries.size(); i++) {
    CHECK(result.value().NameOf(i) == entries[i].name && bytes[result.value().records[i].byte_offset] == i);
  }
}

TEST(RefusesSplitArchives) {
  ZipBuilder zip;
  zip.Build(Sample(), false);
  zip.bytes[zip.end_offset + 4] = 1;
  CHECK(FailsWith(zip.bytes, ErrorCode::kUnsupported, "several disks"));
}

TEST(MarksEncryptedRecordsAndListsEveryMethod) {
  const Result<ZipDirectory> result = Parse(Build({{"a", "xx", 0x809, 8}, {"b", "yy", 0x808, 99}}));
  CHECK(result.ok() && result.value().records[0].encrypted && result.value().records[1].method == 99);
}

TEST(DecodesNames) {
  const Result<ZipDirectory> result = Parse(Build({{"caf\xC3\xA9", "x"}, {"caf\x82", "y", 8}, {"\xED\xA0\x80", "z"}}));
  CHECK(result.ok() == false);  // the first two are the same name once decoded
  const Result<ZipDirectory> apart = Parse(Build({{"caf\xC3\xA9", "x"}, {"c\x82", "y", 8}}));
  CHECK(apart.ok() && apart.value().NameOf(0) == "caf\xC3\xA9" && apart.value().NameOf(1) == "c\xC3\xA9");
}

TEST(ListsAreProvenWhateverTheirOrder) {
  ZipBuilder zip;
  zip.Build({{"a", "xx"}, {"b", "yy"}});
  // Swap the offsets and names of the two entries, which are of one length: still a valid archive.
  uint8_t* first = zip.bytes.data() + zip.directory_offset;
  for (size_t i = 0; i < 47; i++) std::swap(first[i], first[47 + i]);
  const Result<ZipDirectory> result = Parse(zip.bytes);
  CHECK(result.ok() && result.value().NameOf(0) == "b");
}

TEST(TellsHowMuchOfACutFileIsMissing) {
  const std::vector<uint8_t> whole = Build(Sample());
  for (size_t length = 4; length < whole.size(); length++) {
    const Result<ZipDirectory> result = Parse({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
    CHECK(!result.ok());
    if (result.error().code != ErrorCode::kTruncated) {
      CHECK(length > whole.size() - 22);
      continue;
    }
    const size_t at = result.error().message.find("at least ");
    CHECK(at != std::string::npos);
    const uint64_t missing = std::stoull(result.error().message.substr(at + 9));
    CHECK(missing >= 1 && length + missing <= whole.size());
  }
  CHECK(FailsWith({'n', 'o', ' ', 'z', 'i', 'p'}, ErrorCode::kZipCorrupt, "no zip end record"));
  CHECK(FailsWith({}, ErrorCode::kZipCorrupt, "no zip end record"));
}

TEST(TellsWhereAnArchiveEndsThatTooMuchFollows) {
  for (bool zip64 : {true, false}) {
    for (uint8_t fill : {0x00, 0x55}) {
      std::vector<uint8_t> bytes = Build(Sample(), zip64, "comment");
      const std::string end = "the zip ends at byte " + std::to_string(bytes.size()) + ", and 70000 bytes";
      bytes.insert(bytes.end(), 70000, fill);
      CHECK(FailsWith(bytes, ErrorCode::kZipCorrupt, (end + (fill == 0 ? " of zeros follow" : " follow")).c_str()));
    }
  }
}

TEST(NoSingleChangedByteIsDangerous) {
  const std::vector<uint8_t> whole = Build(Sample());
  for (size_t i = 0; i < whole.size(); i++) {
    for (uint8_t change : {0x01, 0x80, 0xFF}) {
      std::vector<uint8_t> bytes = whole;
      bytes[i] ^= change;
      const Result<ZipDirectory> result = Parse(bytes);
      if (!result.ok()) continue;
      for (const ZipRecord& record : result.value().records) {
        CHECK(RangeInside(record.byte_offset, record.stored_length, bytes.size()));
      }
    }
  }
}
