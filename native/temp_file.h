/*
 * temp_file.h - a file that appears whole or not at all
 *
 * Output goes to `.torch-checkpoint-<name>-<16 hex digits>.tmp` beside its target and is renamed over it in the end, so
 * that nobody sees half a checkpoint and a target that is mapped, by us or by others, keeps its bytes.  A target that is
 * a symbolic link stays one: the file it points to is replaced.
 *
 * A writer that died leaves its temporary file.  The next writer of the same target removes it; how a dead writer is
 * told from a live one is described in the implementation.  Several live writers of one target all succeed, and the last
 * one to commit wins.
 *
 * Implemented by temp_file_posix.cc and temp_file_windows.cc; names by temp_file.cc.
 */
#ifndef TORCH_CHECKPOINT_TEMP_FILE_H_
#define TORCH_CHECKPOINT_TEMP_FILE_H_

#include <cstdint>
#include <string>

#include "error.h"
#include "os_file.h"

namespace torch_checkpoint {

class TempFile {
 public:
  // Removes what dead writers left for this target, then creates the temporary file and reserves `byte_length` bytes
  // (0: none).  kDiskFull when they are not there; kWriteFailed with the path for everything else.
  static Result<TempFile> Create(const std::string& target, uint64_t byte_length);
  TempFile(TempFile&& other) noexcept;
  TempFile& operator=(TempFile&& other) = delete;
  // Removes the file unless it was committed.
  ~TempFile();

  OsFile os_file() const { return file_; }

  // Cuts the file to `byte_length`, makes it durable where asked, and puts it in the place of the target.
  Status Commit(uint64_t byte_length, bool fsync);
  // Removes the name; the open file stays writable (and its bytes go) until the object does.  Idempotent.
  void Remove();

 private:
  TempFile(OsFile file, std::string temp_path, std::string target_path, uint64_t reserved)
      : file_(file), temp_path_(std::move(temp_path)), target_path_(std::move(target_path)), reserved_(reserved) {}

  OsFile file_;
  std::string temp_path_;  // empty once the name is gone
  std::string target_path_;
  uint64_t reserved_;
};

// The common beginning of the temporary names of `base`, the target's name without its folder.  Never so long that the
// whole name passes the 255 bytes that file systems allow.
std::string TempNamePrefix(const std::string& base);
// A fresh name with that beginning.
std::string MakeTempName(const std::string& prefix);
// True when `name` could have come from MakeTempName(prefix).
bool IsTempName(const std::string& name, const std::string& prefix);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_TEMP_FILE_H_
