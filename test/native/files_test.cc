/*
 * files_test.cc - risk: a file cut short under a mapping, leftovers of dead writers, a sink that loses or reorders bytes
 */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "check.h"
#include "crc32.h"
#include "fault_guard.h"
#include "file_sink.h"
#include "parallel.h"
#include "source_span.h"
#include "strided_read.h"

using namespace torch_checkpoint;

// A folder of its own for each case, removed at the end.
class Folder {
 public:
  Folder() {
    char path[] = "/tmp/torch-checkpoint-test-XXXXXX";
    path_ = std::string(mkdtemp(path)) + "/";
  }
  ~Folder() {
    if (std::system(("rm -rf " + path_).c_str()) != 0) std::printf("cannot remove %s\n", path_.c_str());
  }
  std::string operator/(const std::string& name) const { return path_ + name; }
  size_t Count() const {
    FILE* listing = popen(("ls -A " + path_ + " | wc -l").c_str(), "r");
    unsigned long count = 0;
    if (std::fscanf(listing, "%lu", &count) != 1) count = 999;
    pclose(listing);
    return count;
  }

 private:
  std::string path_;
};

static void WriteFile(const std::string& path, const std::vector<uint8_t>& bytes) {
  FILE* file = std::fopen(path.c_str(), "wb");
  CHECK(bytes.empty() || std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
  std::fclose(file);
}

static std::vector<uint8_t> ReadFile(const std::string& path) {
  std::vector<uint8_t> bytes;
  FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return bytes;
  for (int c; (c = std::fgetc(file)) != EOF;) bytes.push_back(static_cast<uint8_t>(c));
  std::fclose(file);
  return bytes;
}

TEST(OpenRefusesWhatIsNotARegularFile) {
  Folder folder;
  CHECK(MappedFile::OpenPath(folder / "none", IoMode::kAuto).error().code == ErrorCode::kNotFound);
  CHECK(MappedFile::OpenPath(folder / "", IoMode::kAuto).error().code == ErrorCode::kNotACheckpoint);
  CHECK(MappedFile::OpenPath("/dev/zero", IoMode::kAuto).error().code == ErrorCode::kUnsupported);
  mkfifo((folder / "pipe").c_str(), 0600);
  CHECK(MappedFile::OpenPath(folder / "pipe", IoMode::kAuto).error().code == ErrorCode::kUnsupported);
  WriteFile(folder / "empty", {});
  CHECK(MappedFile::OpenPath(folder / "empty", IoMode::kMap).ok());
}

TEST(ReadsSeeWhatWasWrittenToTheMappingAndToOverlays) {
  Folder folder;
  const size_t page = PageBytes();
  std::vector<uint8_t> bytes = check::RandomBytes(4 * page + 10, 3);
  WriteFile(folder / "f", bytes);
  std::shared_ptr<MappedFile> file = MappedFile::OpenPath(folder / "f", IoMode::kMap).value();
  void* memory = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(file->AddOverlay(page, page, static_cast<uint8_t*>(memory)));
  file->MarkTouched();
  bytes[0] = file->mapping()[0] = 1;
  bytes[page + 5] = static_cast<uint8_t*>(memory)[5] = 2;
  std::vector<uint8_t> all(bytes.size());
  CHECK(file->ReadAt(0, all.data(), all.size()).ok() && all == bytes);
  CHECK(!file->IsUnwritten(0, 1) && !file->IsUnwritten(page, 1) && !file->IsUnwritten(0, bytes.size()));
#if defined(__linux__)
  // Looking at a page is not writing to it.
  CHECK(file->mapping()[3 * page] == bytes[3 * page] && file->IsUnwritten(2 * page, 2 * page + 10));
#endif
  const SourceSpan across(file.get(), page - 3, page), expected(ByteSpan{bytes.data() + page - 3, page});
  CHECK(SpansEqual(across, expected).value());
  file->DropOverlays();
  munmap(memory, page);
}

TEST(ACutFileIsAnErrorAndNotASignal) {
  Folder folder;
  const size_t page = PageBytes();
  WriteFile(folder / "f", std::vector<uint8_t>(4 * page, 9));
  for (bool touched : {false, true}) {
    CHECK(truncate((folder / "f").c_str(), static_cast<off_t>(4 * page)) == 0);
    std::shared_ptr<MappedFile> file = MappedFile::OpenPath(folder / "f", IoMode::kMap).value();
    if (touched) file->MarkTouched();
    CHECK(truncate((folder / "f").c_str(), static_cast<off_t>(page + 7)) == 0);
    std::vector<uint8_t> all(4 * page);
    const Status status = file->ReadAt(0, all.data(), all.size());
    CHECK(!status.ok() && status.error().code == ErrorCode::kTruncated && *status.error().byte_offset == page + 7);
    // Inside the last page the mapping gives zeros and no fault: still an error.
    CHECK(!file->ReadAt(page, all.data(), 100).ok() && file->ReadAt(page, all.data(), 7).ok());
    CHECK(Crc32OfRanges(*file, {{0, page}, {2 * page, page}}, 2).error().code == ErrorCode::kTruncated);
    CHECK(file->CompareWithOpened().value() == FileState::kTruncated);
    // Guards nest, and the outer one still works after the inner one was used up.
    const uint8_t* gone = file->mapping() + 3 * page;
    volatile uint8_t sink = 0;
    CHECK(!Guarded([&] {
      if (Guarded([&] { sink = *gone; })) std::abort();
      sink = *gone;
      std::abort();
    }));
  }
}

TEST(TempNamesFitAndAreTold) {
  const std::string prefix = TempNamePrefix("model.pt");
  CHECK(IsTempName(MakeTempName(prefix), prefix) && !IsTempName(".torch-checkpoint-model.pt-12.tmp", prefix));
  CHECK(!IsTempName(MakeTempName(TempNamePrefix("model.pt-0123456789abcdef")), prefix));
  const std::string long_prefix = TempNamePrefix(std::string(255, 'n'));
  CHECK(MakeTempName(long_prefix).size() <= 255 && long_prefix != TempNamePrefix(std::string(254, 'n')));
}

TEST(LeftoversOfDeadWritersGoAndThoseOfLiveOnesStay) {
  Folder folder;
  const std::string prefix = TempNamePrefix("t");
  WriteFile(folder / MakeTempName(prefix), {1, 2, 3});                   // dead
  WriteFile(folder / "other", {1});
  CHECK(symlink((folder / "other").c_str(), (folder / MakeTempName(prefix)).c_str()) == 0);  // not ours
  Result<std::shared_ptr<FileSink>> first = FileSink::Create(folder / "t", 0);
  CHECK(folder.Count() == 3);  // other, the link, the first writer
  Result<std::shared_ptr<FileSink>> second = FileSink::Create(folder / "t", 100);
  CHECK(first.ok() && second.ok() && folder.Count() == 4);
  CHECK(first.value()->Commit(false).ok() && second.value()->Commit(true).ok());
  CHECK(folder.Count() == 3 && ReadFile(folder / "t").empty() && ReadFile(folder / "other").size() == 1);
  // A writer that is killed.
  const pid_t child = fork();
  if (child == 0) {
    Result<std::shared_ptr<FileSink>> doomed = FileSink::Create(folder / "t", 0);
    _exit(doomed.ok() && folder.Count() == 4 ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  CHECK(status == 0 && folder.Count() == 4);
  CHECK(FileSink::Create(folder / "t", 0).ok());  // and dropped at once
  CHECK(folder.Count() == 3);
}

TEST(LinksStayAndModesAreKept) {
  Folder folder;
  WriteFile(folder / "real", {1});
  chmod((folder / "real").c_str(), 0640);
  CHECK(symlink("real", (folder / "link").c_str()) == 0 && symlink("new", (folder / "dangling").c_str()) == 0);
  for (const char* name : {"link", "dangling"}) CHECK(FileSink::Create(folder / name, 0).value()->Commit(false).ok());
  struct stat status;
  CHECK(lstat((folder / "link").c_str(), &status) == 0 && S_ISLNK(status.st_mode));
  CHECK(stat((folder / "real").c_str(), &status) == 0 && (status.st_mode & 0777) == 0640 && status.st_size == 0);
  CHECK(lstat((folder / "new").c_str(), &status) == 0 && S_ISREG(status.st_mode));
  CHECK(FileSink::Create("/dev/null", 0).error().code == ErrorCode::kWriteFailed);
  CHECK(FileSink::Create(folder / "none/x", 0).error().code == ErrorCode::kWriteFailed);
}

TEST(SinkWritesEverythingInOrder) {
  Folder folder;
  const std::vector<uint8_t> from_file = check::RandomBytes((size_t{9} << 20) + 77, 8);
  std::vector<uint8_t> memory = check::RandomBytes(300000, 9);
  std::memcpy(memory.data(), "PK\7\10\1\2\3\4", 8);
  WriteFile(folder / "source", from_file);
  for (IoMode mode : {IoMode::kMap, IoMode::kRead}) {
    for (bool touched : {false, true}) {
      std::shared_ptr<MappedFile> file = MappedFile::OpenPath(folder / "source", mode).value();
      if (touched) file->MarkTouched();
      std::shared_ptr<FileSink> sink = FileSink::Create(folder / "out", 10 << 20).value();
      SinkBatch batch;
      batch.arena = {memory.data(), 100};
      batch.sources = {{file.get(), {}}, {nullptr, {memory.data(), memory.size()}}};
      batch.segments = {{0, 5, from_file.size() - 5, kCrcBegin},
                        {kSourceArena, 10, 20, kCrcEnd | kDescriptor},
                        {1, 0, memory.size(), kCrcBegin}};
      CHECK(CheckBatch(batch).ok());
      SinkReport report;
      CHECK(sink->Append(batch, &report).ok());
      CHECK(report.checksums.size() == 3 && report.checksums[1] == 0);
      batch.segments = {{kSourceZeros, 0, 9000, kCrcEnd | kDescriptor64}, {0, 0, 0, kCrcBegin | kCrcEnd | kCrcZero}};
      CHECK(sink->Append(batch, &report).ok());
      CHECK(sink->Commit(false).ok());

      std::vector<uint8_t> expected(from_file.begin() + 5, from_file.end());
      expected.insert(expected.end(), memory.begin() + 10, memory.begin() + 30);
      CHECK(report.checksums[0] == Crc32Plain(0, expected.data(), expected.size()));
      const size_t run = expected.size();
      const std::vector<uint8_t> out = ReadFile(folder / "out");
      CHECK(out.size() == run + 16 + memory.size() + 9000 + 24);
      CHECK(std::memcmp(out.data(), expected.data(), run) == 0 && LoadU32(&out[run]) == 0x08074B50);
      CHECK(LoadU32(&out[run + 4]) == report.checksums[0] && LoadU32(&out[run + 12]) == run);
      CHECK(std::memcmp(&out[run + 16], memory.data(), memory.size()) == 0);
      CHECK(report.checksums[4] == 1 && report.checksums[5] == 0x04030201);
      CHECK(report.checksums[3] == Crc32Plain(0, &out[run + 16], memory.size() + 9000));
      CHECK(LoadU64(&out[out.size() - 8]) == memory.size() + 9000);
      CHECK(report.kernel_bytes + report.written_bytes + 40 >= out.size());
    }
  }
  SinkBatch wrong;
  wrong.segments = {{kSourceArena, 0, 1, 0}};
  CHECK(!CheckBatch(wrong).ok());
  wrong.segments = {{7, 0, 0, 0}};
  CHECK(!CheckBatch(wrong).ok());
}

TEST(LongRangesBeginAndEndAnywhere) {
  Folder folder;
  const std::vector<uint8_t> bytes = check::RandomBytes((size_t{2} << 20) + 5, 4);
  WriteFile(folder / "source", bytes);
  std::shared_ptr<MappedFile> file = MappedFile::OpenPath(folder / "source", IoMode::kMap).value();
  std::shared_ptr<FileSink> sink = FileSink::Create(folder / "out", 0).value();
  SinkBatch batch;
  batch.arena = {bytes.data(), 9};
  batch.sources = {{file.get(), {}}, {nullptr, {bytes.data(), bytes.size()}}};
  batch.segments = {{kSourceArena, 0, 9, 0}, {0, 1, bytes.size() - 1, 0}, {kSourceArena, 0, 9, 0}, {1, 2, 600000, 0}};
  SinkReport report;
  CHECK(sink->Append(batch, &report).ok() && sink->Commit(false).ok());
  std::vector<uint8_t> expected(bytes.begin(), bytes.begin() + 9);
  expected.insert(expected.end(), bytes.begin() + 1, bytes.end());
  expected.insert(expected.end(), bytes.begin(), bytes.begin() + 9);
  expected.insert(expected.end(), bytes.begin() + 2, bytes.begin() + 600002);
  CHECK(ReadFile(folder / "out") == expected && report.checksums.empty());
  CHECK(report.kernel_bytes + report.written_bytes == expected.size());
}

TEST(WhatATaskThrowsIsThrownWhenAllHaveLeft) {
  for (int round = 0; round < 200; round++) {
    std::atomic<int> inside{0};
    bool caught = false;
    try {
      RunParallel(16, 4, [&](size_t i) {
        inside++;
        if (i % 5 == 3) {
          inside--;
          throw std::bad_alloc();
        }
        std::this_thread::yield();
        inside--;
      });
    } catch (const std::bad_alloc&) {
      caught = true;
    }
    CHECK(caught && inside == 0);
  }
}

TEST(AMappedFileIsFoundByItsMemory) {
  Folder folder;
  WriteFile(folder / "f", std::vector<uint8_t>(10000, 1));
  std::shared_ptr<MappedFile> file = MappedFile::OpenPath(folder / "f", IoMode::kMap).value();
  const uint8_t* mapping = file->mapping();
  CHECK(MappedFile::MappedAt(mapping) == file && MappedFile::MappedAt(mapping + 9999) == file);
  CHECK(MappedFile::MappedAt(mapping + 10000) == nullptr && MappedFile::MappedAt(&folder) == nullptr);
  file.reset();
  CHECK(MappedFile::MappedAt(mapping) == nullptr);
}

TEST(AGatherFromAFileEqualsOneFromMemory) {
  Folder folder;
  const std::vector<uint8_t> bytes = check::RandomBytes(size_t{4} << 20, 6);
  WriteFile(folder / "f", bytes);
  std::shared_ptr<MappedFile> file = MappedFile::OpenPath(folder / "f", IoMode::kRead).value();
  const SourceSpan span(file.get(), 3, bytes.size() - 3);
  CHECK(span.memory() == nullptr);
  check::Random random(7);
  for (int round = 0; round < 600; round++) {
    static constexpr size_t kItemsizes[] = {1, 2, 4, 8, 16, 3};
    StridedWindow window{kItemsizes[random.Below(6)], {}, {}, random.Below(50)};
    uint64_t last = window.storage_offset, numel = 1;
    for (size_t rank = random.Below(5); rank > 0; rank--) {
      // Strides from none to gaps that are not read through.
      const uint64_t extent = 1 + random.Below(12), stride = random.Below(uint64_t{1} << random.Below(15));
      if ((last + (extent - 1) * stride + 1) * window.itemsize > span.byte_length()) break;
      window.shape.push_back(extent);
      window.stride.push_back(stride);
      last += (extent - 1) * stride;
      numel *= extent;
    }
    std::vector<uint8_t> expected(numel * window.itemsize);
    CHECK(GatherGuarded(bytes.data() + 3, window, expected.data()));
    for (uint64_t max_bytes : {uint64_t{1}, uint64_t{500}, uint64_t{40000}, kGatherBytes}) {
      check::Guarded target(std::vector<uint8_t>(expected.size()));
      CHECK(GatherFromSpan(span, window, target.data(), max_bytes).ok());
      CHECK(std::memcmp(target.data(), expected.data(), expected.size()) == 0);
    }
  }
  CHECK(GatherFromSpan(span, {4, {3, 0}, {1, 1}, 0}, nullptr).ok());
  CHECK(truncate((folder / "f").c_str(), 5000) == 0);
  std::vector<uint8_t> target(4000);
  CHECK(GatherFromSpan(span, {4, {10, 100}, {100, 1}, 1000}, target.data()).error().code == ErrorCode::kTruncated);
}

TEST(ASinkThatIsDroppedOrFailsLeavesNothing) {
  Folder folder;
  WriteFile(folder / "source", std::vector<uint8_t>(size_t{2} << 20, 1));
  std::shared_ptr<MappedFile> file = MappedFile::OpenPath(folder / "source", IoMode::kMap).value();
  {
    std::shared_ptr<FileSink> sink = FileSink::Create(folder / "out", 0).value();
    CHECK(truncate((folder / "source").c_str(), 4096) == 0);
    SinkBatch batch;
    batch.sources = {{file.get(), {}}};
    batch.segments = {{0, 0, size_t{2} << 20, kCrcBegin | kCrcEnd}};
    SinkReport report;
    const Status status = sink->Append(batch, &report);
    CHECK(!status.ok() && status.error().code == ErrorCode::kTruncated);
    CHECK(!sink->Append({}, &report).ok() && !sink->Commit(false).ok());
    CHECK(folder.Count() == 2);
  }
  CHECK(folder.Count() == 1);
}
