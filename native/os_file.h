/*
 * os_file.h - what we ask of the operating system about files, one function per system call
 *
 * Implemented by os_file_posix.cc and os_file_windows.cc.  No state and no policy here: mapped_file decides when to map
 * and temp_file how to replace.  Paths are UTF-8.
 */
#ifndef TORCH_CHECKPOINT_OS_FILE_H_
#define TORCH_CHECKPOINT_OS_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "error.h"

namespace torch_checkpoint {

#if defined(_WIN32)
using OsFile = void*;  // HANDLE
#else
using OsFile = int;
#endif

struct FileStat {
  uint64_t byte_length = 0;
  int64_t mtime_ns = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
};

// Opens for reading without ever waiting (a FIFO without a writer would) and refuses everything but regular files.
Result<OsFile> OpenForReading(const std::string& path);
// A descriptor of our own for the same open file; `descriptor` stays the caller's.
Result<OsFile> DuplicateForReading(int descriptor);
void CloseFile(OsFile file);

Result<FileStat> StatFile(OsFile file);
// True when pages of a mapping could fail or stall on a network: NFS, SMB, FUSE and the like.
bool IsNetworkFile(OsFile file);

// Reads up to `count` bytes by position; 0 at the end of the file.
Result<size_t> ReadSome(OsFile file, uint64_t offset, void* target, size_t count);
// Writes all of them by position.  kDiskFull for a full disk or quota, else kWriteFailed; kTruncated when `source` is
// mapped memory that can no longer be read.
Status WriteAll(OsFile file, uint64_t offset, const void* source, size_t count);

// Copies inside the kernel from one file to the other, by position; how many of `count` bytes it was, 0 at the end of
// `from`.  Nothing when the two files cannot be copied this way (kUnsupported); errors as in WriteAll().
Result<size_t> CopyInKernel(OsFile from, uint64_t from_offset, OsFile to, uint64_t to_offset, size_t count);

// Whether CopyInKernel() to `to` would move no bytes through this machine: its file system can share extents, which takes
// equal places in their blocks, or its server may copy by itself.
bool CopiesByReference(OsFile to, uint64_t from_offset, uint64_t to_offset);

// Private copy-on-write mapping of the first `byte_length` bytes; null when refused.
uint8_t* MapPrivate(OsFile file, uint64_t byte_length);
void UnmapPrivate(uint8_t* address, uint64_t byte_length);
// Puts a private mapping of a page-aligned file range in place of page-aligned memory that we may overwrite.
bool MapPrivateOver(OsFile file, uint64_t offset, uint64_t byte_length, void* address);
// An empty file without a name, to try mappings on.
Result<OsFile> CreateScratchFile();
size_t PageBytes();
// Asks for huge pages, or for small ones, under memory not yet touched.  A hint: no outcome.
void AdvisePageSize(void* address, size_t byte_length, bool huge);
// Brings in the pages of a range that will be written, in one call: a page fault for each costs twenty times as much.  No
// more than a hint, and none for ranges of a few pages.
void PopulateForWriting(void* address, size_t byte_length);

// Whether a page of [address, address + count), which lies in a private file mapping, may hold something else than the file:
// false only when the system says that no page there was written to.
bool MayBeWritten(const void* address, size_t count);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_OS_FILE_H_
