/*
 * mapped_file.cc - see mapped_file.h for ownership and for what a read sees
 */
#include "mapped_file.h"

#include <algorithm>
#include <map>

#include "fault_guard.h"
#include "fresh_pages.h"
#include "parallel.h"

namespace torch_checkpoint {

// A copy out of the page cache is bound by memory; below this a second thread costs more than it brings.
static constexpr size_t kParallelReadBytes = size_t{8} << 20;

namespace {

// The mapped files of the process by where their mappings begin.  Never destroyed: files may outlive static objects.
struct Mappings {
  std::mutex mutex;
  std::map<uintptr_t, MappedFile*> files;
};
Mappings& AllMappings() {
  static Mappings* const mappings = new Mappings;
  return *mappings;
}

}  // namespace

std::shared_ptr<MappedFile> MappedFile::MappedAt(const void* address) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(address);
  Mappings& mappings = AllMappings();
  std::lock_guard<std::mutex> lock(mappings.mutex);
  auto after = mappings.files.upper_bound(at);
  if (after == mappings.files.begin()) return nullptr;
  const auto& [begin, file] = *std::prev(after);
  // Null also for a file that is just being given up: its destructor waits for the lock.
  return at - begin < file->byte_length() ? file->weak_from_this().lock() : nullptr;
}

Result<std::shared_ptr<MappedFile>> MappedFile::OpenPath(const std::string& path, IoMode mode) {
  return FromOsFile(OpenForReading(path), mode);
}

Result<std::shared_ptr<MappedFile>> MappedFile::OpenDescriptor(int descriptor, IoMode mode) {
  return FromOsFile(DuplicateForReading(descriptor), mode);
}

// Takes over `file`: from here on every way out closes it.
Result<std::shared_ptr<MappedFile>> MappedFile::FromOsFile(Result<OsFile> file, IoMode mode) {
  if (!file.ok()) return std::move(file.error());
  Result<FileStat> opened = StatFile(file.value());
  if (!opened.ok()) {
    CloseFile(file.value());
    return std::move(opened.error());
  }
  std::shared_ptr<MappedFile> result(new MappedFile(file.value(), opened.value()));
  // A page of a network file can fail or stall inside JavaScript, where nothing catches it; and an empty file has nothing
  // to map.
  const bool wanted = mode == IoMode::kMap || (mode == IoMode::kAuto && !IsNetworkFile(result->file_));
  if (wanted && result->byte_length() > 0) {
    result->mapping_ = MapPrivate(result->file_, result->byte_length());
    if (result->mapping_ == nullptr && mode == IoMode::kMap) {
      return MakeError(ErrorCode::kIo, "the operating system refuses to map the file; use io: \"read\"");
    }
    if (result->mapping_ != nullptr) {
      Mappings& mappings = AllMappings();
      std::lock_guard<std::mutex> lock(mappings.mutex);
      mappings.files[reinterpret_cast<uintptr_t>(result->mapping_)] = result.get();
    }
  }
  return result;
}

MappedFile::~MappedFile() {
  if (mapping_ != nullptr) {
    Mappings& mappings = AllMappings();
    std::lock_guard<std::mutex> lock(mappings.mutex);
    mappings.files.erase(reinterpret_cast<uintptr_t>(mapping_));
    UnmapPrivate(mapping_, byte_length());
  }
  CloseFile(file_);
}

Status MappedFile::CheckStillThere(uint64_t end, bool faulted) const {
  Result<FileStat> now = StatFile(file_);
  if (!now.ok()) return std::move(now.error());
  const uint64_t present = now.value().byte_length;
  if (present < end) {
    return MakeError(ErrorCode::kTruncated, "the file has %llu bytes now; %llu were there when it was opened",
                     static_cast<unsigned long long>(present), static_cast<unsigned long long>(byte_length()))
        .At(present);
  }
  if (faulted) return MakeError(ErrorCode::kIo, "a mapped page could not be read from the disk");
  return Status();
}

// Short reads are legal anywhere (signals, network file systems) and mean the end only when they are empty.
Status MappedFile::ReadByPosition(uint64_t offset, uint8_t* target, size_t count) const {
  const uint64_t end = offset + count;
  while (count > 0) {
    Result<size_t> got = ReadSome(file_, offset, target, count);
    if (!got.ok()) return std::move(got.error());
    if (got.value() == 0) {
      Status state = CheckStillThere(end, false);
      if (!state.ok()) return state;
      return MakeError(ErrorCode::kTruncated, "the file ended early").At(offset);
    }
    target += got.value();
    offset += got.value();
    count -= got.value();
  }
  return Status();
}

// Overlays are few (windows of up to 4 GiB) and not sorted; the lock is held for the walk and not while the memory is read,
// which a pin keeps alive (js_views.h).
const uint8_t* MappedFile::SeenAt(uint64_t offset, uint64_t count, uint64_t* covered) const {
  std::lock_guard<std::mutex> lock(overlay_mutex_);
  uint64_t next = offset + count;
  for (const Overlay& overlay : overlays_) {
    if (offset >= overlay.offset && offset < overlay.offset + overlay.count) {
      *covered = std::min(count, overlay.offset + overlay.count - offset);
      return overlay.address + (offset - overlay.offset);
    }
    if (overlay.offset > offset) next = std::min(next, overlay.offset);
  }
  *covered = next - offset;
  return mapping_ == nullptr ? nullptr : mapping_ + offset;
}

bool MappedFile::IsUnwritten(uint64_t offset, uint64_t count) const {
  if (!touched()) return true;
  for (const uint64_t end = offset + count; offset < end;) {
    uint64_t covered;
    const uint8_t* seen = SeenAt(offset, end - offset, &covered);
    if (seen != nullptr && MayBeWritten(seen, covered)) return false;
    offset += covered;
  }
  return true;
}

// Piecewise, because a range may begin in the plain mapping, cross an overlay and end in the mapping again, and because
// few of its pages will have been written to.
Status MappedFile::ReadAt(uint64_t offset, void* target, size_t count) const {
  uint8_t* out = static_cast<uint8_t*>(target);
  if (!touched()) return ReadByPosition(offset, out, count);
  const uint64_t end = offset + count;
  while (offset < end) {
    uint64_t covered;
    const uint8_t* seen = SeenAt(offset, std::min<uint64_t>(end - offset, kReadPieceBytes), &covered);
    if (seen == nullptr || !MayBeWritten(seen, covered)) {
      Status status = ReadByPosition(offset, out, covered);
      if (!status.ok()) return status;
    } else if (!GuardedCopy(out, seen, covered)) {
      return CheckStillThere(end, true);
    }
    out += covered;
    offset += covered;
  }
  return CheckStillThere(end, false);
}

// Parts are counted from the start of the target: memory of this size begins on a page of its own.
Status MappedFile::ReadAtParallel(uint64_t offset, uint8_t* target, size_t count) const {
  if (count < kParallelReadBytes) {
    PopulateForWriting(target, count);
    return ReadAt(offset, target, count);
  }
  const size_t parts = (count + FreshPages::kUnit - 1) / FreshPages::kUnit;
  FreshPages fresh(target, count);
  FirstFailure failure;
  RunParallel(parts, UsefulThreads(), [&](size_t part) {
    const size_t begin = part * FreshPages::kUnit, length = std::min(FreshPages::kUnit, count - begin);
    fresh.Prepare(target + begin, length);
    failure.Note(ReadAt(offset + begin, target + begin, length));
  });
  return failure.status();
}

bool MappedFile::AddOverlay(uint64_t offset, uint64_t count, uint8_t* address) {
  const uint64_t page = PageBytes();
  if (!MapPrivateOver(file_, offset, (count + page - 1) & ~(page - 1), address)) return false;
  std::lock_guard<std::mutex> lock(overlay_mutex_);
  overlays_.push_back({offset, count, address});
  return true;
}

void MappedFile::DropOverlays() {
  std::lock_guard<std::mutex> lock(overlay_mutex_);
  overlays_.clear();
}

Result<FileState> MappedFile::CompareWithOpened() const {
  Result<FileStat> now = StatFile(file_);
  if (!now.ok()) return std::move(now.error());
  if (now.value().byte_length < byte_length()) return FileState::kTruncated;
  // A descriptor leads to the opened inode whatever becomes of the path, so on most file systems size and time decide.
  const bool same = now.value().byte_length == byte_length() && now.value().mtime_ns == opened_.mtime_ns &&
                    now.value().inode == opened_.inode && now.value().device == opened_.device;
  return same ? FileState::kSame : FileState::kModified;
}

}  // namespace torch_checkpoint
