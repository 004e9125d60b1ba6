/*
 * mapped_file.h - an open file: a private mapping where there is one, positioned reads beside it
 *
 * Ownership.  A MappedFile lives in a shared_ptr.  The JS handle has one, every window (an ArrayBuffer over a range of
 * the mapping) has one, every running worker has one; the mapping goes when the last of them does.  It is never unmapped
 * under a reader.
 *
 * What native code reads.  The file by position: that cannot fault, and a small buffer that is read again and again costs
 * less than the page faults of a mapping that is looked at once (measured on 4 GiB, warm: 11 GB/s against 2 to 16).  Only
 * pages that JavaScript wrote to through a window are read from memory.  Where the host refuses external memory a window
 * is an overlay, a private mapping of its own inside memory of the JS engine; its written pages are looked for there.
 *
 * A file that became shorter.  Reads by position come back short; reads of the mapping fault (guarded) or, within the
 * last page, silently give zeros, so every read of the mapping is followed by a look at the present size.
 */
#ifndef TORCH_CHECKPOINT_MAPPED_FILE_H_
#define TORCH_CHECKPOINT_MAPPED_FILE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bytes.h"
#include "error.h"
#include "os_file.h"

namespace torch_checkpoint {

// A good size for a read by position: the bytes are still in the second-level cache when they are used.
constexpr size_t kReadPieceBytes = 256 << 10;

// kAuto maps local files and reads network ones; kMap fails where mapping is refused; kRead never maps.
enum class IoMode : uint8_t { kAuto, kMap, kRead };

enum class FileState : uint8_t { kSame, kTruncated, kModified };

class MappedFile final : public ByteSource, public std::enable_shared_from_this<MappedFile> {
 public:
  // A share in the file whose mapping holds the address; null when none does.  For a worker that reads memory of
  // JavaScript: a window may be detached meanwhile, and with it goes the share that it had.
  static std::shared_ptr<MappedFile> MappedAt(const void* address);
  static Result<std::shared_ptr<MappedFile>> OpenPath(const std::string& path, IoMode mode);
  static Result<std::shared_ptr<MappedFile>> OpenDescriptor(int descriptor, IoMode mode);
  ~MappedFile() override;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // As it was when the file was opened; all ranges are measured against it.
  const FileStat& opened() const { return opened_; }
  uint64_t byte_length() const override { return opened_.byte_length; }
  OsFile os_file() const { return file_; }
  // Null when the file is read by position or empty.
  uint8_t* mapping() const { return mapping_; }

  Status ReadAt(uint64_t offset, void* target, size_t count) const override;
  // ReadAt on several threads when that pays.
  Status ReadAtParallel(uint64_t offset, uint8_t* target, size_t count) const;

  // Whether a read of the range would give the bytes of the file, because no window showed it or none was written to.
  bool IsUnwritten(uint64_t offset, uint64_t count) const;
  // kTruncated when the file no longer reaches `end`; kIo when it does but `faulted` says that a page was unreadable.
  Status CheckStillThere(uint64_t end, bool faulted) const;

  // True once JavaScript may have written to the mapping or an overlay.
  bool touched() const { return touched_.load(std::memory_order_acquire); }
  void MarkTouched() { touched_.store(true, std::memory_order_release); }
  // Maps [offset, offset + count) over page-aligned memory, which from now on is what reads of that range see.
  bool AddOverlay(uint64_t offset, uint64_t count, uint8_t* address);
  // The memory of the overlays is about to go away.
  void DropOverlays();

  Result<FileState> CompareWithOpened() const;

 private:
  struct Overlay {
    uint64_t offset;
    uint64_t count;
    uint8_t* address;
  };

  MappedFile(OsFile file, const FileStat& opened) : file_(file), opened_(opened) {}
  static Result<std::shared_ptr<MappedFile>> FromOsFile(Result<OsFile> file, IoMode mode);
  Status ReadByPosition(uint64_t offset, uint8_t* target, size_t count) const;
  // Where JavaScript sees the byte at `offset`: in an overlay, in the mapping, or nowhere (null).  `covered` is how far,
  // within `count`, that answer holds.
  const uint8_t* SeenAt(uint64_t offset, uint64_t count, uint64_t* covered) const;

  const OsFile file_;
  const FileStat opened_;
  uint8_t* mapping_ = nullptr;
  std::atomic<bool> touched_{false};
  mutable std::mutex overlay_mutex_;
  std::vector<Overlay> overlays_;  // guarded by overlay_mutex_
};

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_MAPPED_FILE_H_
