/*
 * os_file_posix.cc - Linux and macOS
 */
#if !defined(_WIN32)

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "os_file.h"

#if defined(__linux__)
#include <sys/vfs.h>
#elif defined(__APPLE__)
#include <sys/mount.h>
#endif

namespace torch_checkpoint {

namespace {

// Linux transfers at most 0x7ffff000 bytes a call and macOS refuses more than INT_MAX.
constexpr size_t kMaxTransferBytes = size_t{1} << 30;

#if defined(__linux__)
// f_type values of statfs(2) whose pages come over a network or from another program (linux/magic.h and the file
// systems' own sources).
constexpr uint32_t kNetworkFileSystems[] = {
    0x6969,      // NFS
    0x517B,      // SMB (smbfs)
    0xFF534D42,  // CIFS
    0xFE534D42,  // SMB2
    0x01021997,  // 9p: also the Windows drives of WSL
    0x65735546,  // FUSE: sshfs, s3fs, gcsfuse, rclone, and virtiofs, which reports the same number
    0x00C36400,  // Ceph
    0x5346414F,  // AFS (OpenAFS)
    0x6B414653,  // AFS (kernel)
    0x0BD00BD0,  // Lustre
    0x47504653,  // GPFS
    0x73757245,  // Coda
    0x564C,      // NCP
    0x7461636F,  // OCFS2
    0x01161970,  // GFS2
    0x19830326,  // BeeGFS (fhgfs)
    0x786F4256,  // VirtualBox shared folders
};

// f_type values of local file systems where two files can have a block in common.
constexpr uint32_t kSharingFileSystems[] = {
    0x9123683E,  // Btrfs
    0x58465342,  // XFS
    0xCA451A4E,  // bcachefs
    0x2FC12FC1,  // ZFS
};
#endif

#if defined(__linux__)
template <size_t count>
bool Contains(const uint32_t (&types)[count], const struct statfs& status) {
  return std::find(types, types + count, static_cast<uint32_t>(status.f_type)) != types + count;
}
#endif

// Sixteen page faults take as long as the call.
constexpr size_t kWorthPopulating = 64 << 10;

// Messages have no path: JavaScript adds the one the user wrote.
Error OpenError(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return MakeError(ErrorCode::kNotFound, "no such file");
    case EACCES:
    case EPERM:
      return MakeError(ErrorCode::kAccessDenied, "%s", std::strerror(error_number));
    case ENXIO:  // a socket, or a device without a driver
      return MakeError(ErrorCode::kUnsupported, "is not a regular file");
    default:
      return MakeError(ErrorCode::kIo, "cannot open: %s", std::strerror(error_number));
  }
}

Error WriteError(int error_number, uint64_t offset) {
  if (error_number == ENOSPC || error_number == EDQUOT) {
    return MakeError(ErrorCode::kDiskFull, "%s after %llu bytes", std::strerror(error_number),
                     static_cast<unsigned long long>(offset));
  }
  // The kernel met the fault that would have been a signal here.
  if (error_number == EFAULT) {
    return MakeError(ErrorCode::kTruncated, "memory can no longer be read: the mapped file was cut short, or the buffer was "
                                            "shrunk or transferred meanwhile");
  }
  return MakeError(ErrorCode::kWriteFailed, "write failed: %s", std::strerror(error_number));
}

// Takes over `file`.
Result<OsFile> RequireRegular(int file) {
  struct stat status;
  if (fstat(file, &status) != 0) {
    const int error_number = errno;
    close(file);
    return OpenError(error_number);
  }
  if (S_ISREG(status.st_mode)) return file;
  close(file);
  if (S_ISDIR(status.st_mode)) return MakeError(ErrorCode::kNotACheckpoint, "is a directory");
  return MakeError(ErrorCode::kUnsupported, "is not a regular file (a pipe, socket or device); read it as a stream");
}

}  // namespace

// O_NONBLOCK: a FIFO without a writer would block for ever; for regular files it means nothing.  O_NOCTTY: opening a
// terminal by mistake must not make it ours.
Result<OsFile> OpenForReading(const std::string& path) {
  int file;
  do {
    file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (file < 0 && errno == EINTR);
  if (file < 0) return OpenError(errno);
  return RequireRegular(file);
}

// The duplicate shares the file position with the caller's descriptor, which is why all reads here are by position.
Result<OsFile> DuplicateForReading(int descriptor) {
  const int file = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (file < 0) return OpenError(errno);
  return RequireRegular(file);
}

void CloseFile(OsFile file) { close(file); }

Result<FileStat> StatFile(OsFile file) {
  struct stat status;
  if (fstat(file, &status) != 0) return MakeError(ErrorCode::kIo, "cannot stat: %s", std::strerror(errno));
#if defined(__APPLE__)
  const struct timespec modified = status.st_mtimespec;
#else
  const struct timespec modified = status.st_mtim;
#endif
  FileStat result;
  result.byte_length = static_cast<uint64_t>(status.st_size);
  result.mtime_ns = int64_t{modified.tv_sec} * 1000000000 + modified.tv_nsec;
  result.device = static_cast<uint64_t>(status.st_dev);
  result.inode = static_cast<uint64_t>(status.st_ino);
  return result;
}

// When in doubt the answer is yes: reading by position works everywhere.
bool IsNetworkFile(OsFile file) {
  struct statfs status;
  if (fstatfs(file, &status) != 0) return true;
#if defined(__linux__)
  return Contains(kNetworkFileSystems, status);
#else
  return (status.f_flags & MNT_LOCAL) == 0;
#endif
}

Result<size_t> ReadSome(OsFile file, uint64_t offset, void* target, size_t count) {
  for (;;) {
    const ssize_t got = pread(file, target, std::min(count, kMaxTransferBytes), static_cast<off_t>(offset));
    if (got >= 0) return static_cast<size_t>(got);
    if (errno != EINTR) return MakeError(ErrorCode::kIo, "read failed: %s", std::strerror(errno)).At(offset);
  }
}

// A short write is not an error by itself: the next call says why.  Memory that faults half way gives a short write first
// and EFAULT then.
Status WriteAll(OsFile file, uint64_t offset, const void* source, size_t count) {
  const uint8_t* bytes = static_cast<const uint8_t*>(source);
  while (count > 0) {
    const ssize_t written = pwrite(file, bytes, std::min(count, kMaxTransferBytes), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return WriteError(errno, offset);
    }
    bytes += written;
    offset += static_cast<uint64_t>(written);
    count -= static_cast<size_t>(written);
  }
  return Status();
}

Result<size_t> CopyInKernel(OsFile from, uint64_t from_offset, OsFile to, uint64_t to_offset, size_t count) {
#if defined(__linux__)
  for (;;) {
    off64_t from_position = static_cast<off64_t>(from_offset), to_position = static_cast<off64_t>(to_offset);
    const ssize_t copied =
        copy_file_range(from, &from_position, to, &to_position, std::min(count, kMaxTransferBytes), 0);
    if (copied >= 0) return static_cast<size_t>(copied);
    if (errno == EINTR) continue;
    if (errno == ENOSPC || errno == EDQUOT || errno == EIO) return WriteError(errno, to_offset);
    // EXDEV, EOPNOTSUPP, ENOSYS, EINVAL, EPERM (seccomp): another way may work, and will tell if it does not.
    break;
  }
#else
  (void)from, (void)from_offset, (void)to, (void)to_offset, (void)count;
#endif
  return MakeError(ErrorCode::kUnsupported, "these files cannot be copied inside the kernel");
}

bool CopiesByReference(OsFile to, uint64_t from_offset, uint64_t to_offset) {
#if defined(__linux__)
  struct statfs status;
  if (fstatfs(to, &status) != 0) return false;
  if (Contains(kNetworkFileSystems, status)) return true;
  const uint64_t block = static_cast<uint64_t>(status.f_bsize);
  return Contains(kSharingFileSystems, status) && block > 0 && from_offset % block == 0 && to_offset % block == 0;
#else
  (void)to, (void)from_offset, (void)to_offset;
  return false;
#endif
}

uint8_t* MapPrivate(OsFile file, uint64_t byte_length) {
  int flags = MAP_PRIVATE;
#if defined(MAP_NORESERVE)
  flags |= MAP_NORESERVE;  // copies happen only where JavaScript writes; do not reserve swap for the whole file
#endif
  // Writable: a store by JavaScript into a read-only page would be a SIGSEGV, not an exception.
  void* address = mmap(nullptr, byte_length, PROT_READ | PROT_WRITE, flags, file, 0);
  return address == MAP_FAILED ? nullptr : static_cast<uint8_t*>(address);
}

void UnmapPrivate(uint8_t* address, uint64_t byte_length) { munmap(address, byte_length); }

// The caller owns the memory that is replaced; MAP_FIXED unmaps it without a word.
bool MapPrivateOver(OsFile file, uint64_t offset, uint64_t byte_length, void* address) {
  void* result = mmap(address, byte_length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file,
                      static_cast<off_t>(offset));
  return result != MAP_FAILED;
}

Result<OsFile> CreateScratchFile() {
#if defined(__linux__)
  const int file = memfd_create("torch-checkpoint", MFD_CLOEXEC);
#else
  char path[] = "/tmp/torch-checkpoint-XXXXXX";
  const int file = mkstemp(path);
  if (file >= 0) unlink(path);
#endif
  if (file < 0) return OpenError(errno);
  return file;
}

size_t PageBytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

void AdvisePageSize(void* address, size_t byte_length, bool huge) {
#if defined(__linux__)
  // Whole pages inside the range: its neighbours are not ours.
  const uintptr_t page = PageBytes();
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(address) + page - 1) & ~(page - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(address) + byte_length) & ~(page - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#else
  (void)address, (void)byte_length, (void)huge;
#endif
}

#if defined(__linux__)
// One entry of 64 bits for each page of this process (admin-guide/mm/pagemap.rst in the kernel's documentation).
static int PagemapOfThisProcess() {
  static const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  // A child of fork() would see its parent's pages.
  static const pid_t opened_by = getpid();
  return opened_by == getpid() ? pagemap : -1;
}
#endif

bool MayBeWritten(const void* address, size_t count) {
#if defined(__linux__)
  // bit 61 - page of a file; bit 62 - swapped out; bit 63 - present.  A page that was written to is no page of the file.
  constexpr uint64_t kOfFile = uint64_t{1} << 61, kThere = uint64_t{3} << 62;
  const uintptr_t page = PageBytes(), begin = reinterpret_cast<uintptr_t>(address) / page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(address) + count + page - 1) / page;
  const int pagemap = PagemapOfThisProcess();
  uint64_t entries[64];
  for (uintptr_t at = begin; at < end;) {
    const size_t wanted = std::min<size_t>(end - at, sizeof(entries) / sizeof(*entries)) * sizeof(*entries);
    if (pread(pagemap, entries, wanted, static_cast<off_t>(at * sizeof(*entries))) != static_cast<ssize_t>(wanted)) return true;
    for (size_t i = 0; i < wanted / sizeof(*entries); i++, at++) {
      if ((entries[i] & kThere) != 0 && (entries[i] & kOfFile) == 0) return true;
    }
  }
  return false;
#else
  (void)address, (void)count;
  return true;
#endif
}

#if defined(__linux__)
static bool IsPresent(uintptr_t address) {
  uint64_t entry = 0;
  const off_t at = static_cast<off_t>(address / PageBytes() * sizeof(entry));
  return pread(PagemapOfThisProcess(), &entry, sizeof(entry), at) == sizeof(entry) && entry >> 63 != 0;
}
#endif

void PopulateForWriting(void* address, size_t byte_length) {
#if defined(__linux__)
  if (byte_length < kWorthPopulating) return;
  constexpr int kMadvPopulateWrite = 23;  // MADV_POPULATE_WRITE of Linux 5.14; older headers lack it, older kernels refuse
  const uintptr_t page = PageBytes();
  const uintptr_t begin = reinterpret_cast<uintptr_t>(address) & ~(page - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(address) + byte_length) & ~(page - 1);
  // Memory that is used again is there already, and finding that out page by page takes as long as converting it.
  if (begin >= end || (IsPresent(begin) && IsPresent(end - page))) return;
  madvise(reinterpret_cast<void*>(begin), end - begin, kMadvPopulateWrite);
#else
  (void)address, (void)byte_length;
#endif
}

}  // namespace torch_checkpoint

#endif  // !_WIN32
