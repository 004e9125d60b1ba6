/*
 * temp_file_posix.cc - temporary files on Linux and macOS
 *
 * A live writer holds flock(LOCK_EX) on its temporary file.  The kernel drops the lock when the process dies, so:
 *
 *   the cleaner   opens a sibling temporary file, takes its lock without waiting, and unlinks the name while it holds it
 *   the creator   creates the file, waits for the lock, and then looks whether the file still has a name
 *
 * Between creation and lock a cleaner can take the file for a dead one.  It then holds the lock until the name is gone;
 * the creator, which waited, finds no name left and begins again.  A cleaner that comes between rename and close of a
 * committed file unlinks a name that is no longer there.  File systems without flock never get their leftovers removed,
 * which is the safe side.
 */
#if !defined(_WIN32)

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "temp_file.h"

namespace torch_checkpoint {

// As many links as Linux itself follows.
static constexpr int kMaxLinks = 40;
// Each retry means that a cleaner ran within microseconds of our creation.
static constexpr int kMaxCreations = 100;

namespace {

Error WriteError(int error_number, const char* what, const std::string& path) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT;
  return MakeError(full ? ErrorCode::kDiskFull : ErrorCode::kWriteFailed, "cannot %s \"%s\": %s", what, path.c_str(),
                   std::strerror(error_number));
}

// Everything up to and with the last slash; empty for a bare name.
std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }
std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// Follows the links that `path` itself is; a link to nothing gives the name that it points to.
Result<std::string> ResolveLinks(std::string path) {
  for (int links = 0; links <= kMaxLinks; links++) {
    char text[PATH_MAX];
    const ssize_t length = readlink(path.c_str(), text, sizeof(text));
    if (length < 0) {
      if (errno == EINVAL || errno == ENOENT) return path;  // not a link, or nothing there
      return WriteError(errno, "write", path);
    }
    const std::string link(text, static_cast<size_t>(length));
    path = link[0] == '/' ? link : DirectoryOf(path) + link;
  }
  return WriteError(ELOOP, "write", path);
}

// Unlinks the temporary files of this target whose writers are dead.
void RemoveLeftovers(const std::string& directory, const std::string& prefix) {
  DIR* listing = opendir(directory.empty() ? "." : directory.c_str());
  if (listing == nullptr) return;
  while (const dirent* entry = readdir(listing)) {
    if (!IsTempName(entry->d_name, prefix)) continue;
    // O_NOFOLLOW, O_NONBLOCK: a link or pipe under this name is not ours, and must neither be followed nor waited for.
    const int file = openat(dirfd(listing), entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) continue;
    struct stat status;
    if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && flock(file, LOCK_EX | LOCK_NB) == 0) {
      unlinkat(dirfd(listing), entry->d_name, 0);
    }
    close(file);
  }
  closedir(listing);
}

// Allocates the space now, so that a full disk is known before the first byte.  File systems that cannot reserve are
// not an error.
int Reserve(int file, uint64_t byte_length) {
#if defined(__linux__)
  while (fallocate(file, 0, 0, static_cast<off_t>(byte_length)) != 0) {
    if (errno == EINTR) continue;
    // EFBIG: more than the file system or RLIMIT_FSIZE allows; anything else only means "not supported here".
    return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? errno : 0;
  }
#else
  (void)file, (void)byte_length;
#endif
  return 0;
}

int SyncAll(int file) {
#if defined(__APPLE__)
  if (fcntl(file, F_FULLFSYNC) == 0) return 0;  // fsync there stops at the drive's cache
#endif
  while (fsync(file) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace

Result<TempFile> TempFile::Create(const std::string& target, uint64_t byte_length) {
  Result<std::string> resolved = ResolveLinks(target);
  if (!resolved.ok()) return std::move(resolved.error());
  const std::string& path = resolved.value();
  const std::string directory = DirectoryOf(path), name = NameOf(path);

  struct stat old;
  const bool replaces = stat(path.c_str(), &old) == 0;
  if (name.empty() || (replaces && S_ISDIR(old.st_mode))) return WriteError(EISDIR, "write", path);
  if (replaces && !S_ISREG(old.st_mode)) {
    return MakeError(ErrorCode::kWriteFailed, "cannot write \"%s\": it is a device, pipe or socket", path.c_str());
  }

  // Before the space is reserved: what a dead writer left may be the space that is missing.
  const std::string prefix = TempNamePrefix(name);
  RemoveLeftovers(directory, prefix);
  for (int attempt = 0; attempt < kMaxCreations; attempt++) {
    const std::string temp_path = directory + MakeTempName(prefix);
    // The bytes of a private file must not be open to others even for the time of writing.
    const mode_t mode = replaces ? 0600 : 0666;
    const int file = open(temp_path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (file < 0) {
      if (errno == EEXIST || errno == EINTR) continue;
      return WriteError(errno, "create a file beside", path);
    }
    while (flock(file, LOCK_EX) != 0 && errno == EINTR) {
    }
    struct stat status;
    if (fstat(file, &status) == 0 && status.st_nlink == 0) {  // taken for a leftover in between
      close(file);
      continue;
    }
    TempFile result(file, temp_path, path, byte_length);
    if (replaces) {
      // Best effort; the order matters, because a change of owner clears the set-id bits.
      if (fchown(file, old.st_uid, old.st_gid) != 0 && fchown(file, static_cast<uid_t>(-1), old.st_gid) != 0) {
        errno = 0;
      }
      fchmod(file, old.st_mode & 07777);
    }
    if (byte_length > 0) {
      const int error_number = Reserve(file, byte_length);
      if (error_number != 0) {
        Error error = WriteError(error_number, "reserve the space for", path);
        if (error_number == EFBIG) error.code = ErrorCode::kWriteFailed;
        return error;
      }
    }
    return result;
  }
  return MakeError(ErrorCode::kWriteFailed, "cannot create a temporary file beside \"%s\"", path.c_str());
}

TempFile::TempFile(TempFile&& other) noexcept
    : file_(std::exchange(other.file_, -1)),
      temp_path_(std::exchange(other.temp_path_, std::string())),
      target_path_(std::move(other.target_path_)),
      reserved_(other.reserved_) {}

// Name first and lock (with the descriptor) last: a cleaner never sees an unlocked name of a live writer.
TempFile::~TempFile() {
  Remove();
  if (file_ >= 0) close(file_);
}

// Order: size, data, name, directory.  A crash before the rename leaves the old target and a temporary file that the next
// writer removes; one after it leaves the new target, whole if fsync was asked for.
Status TempFile::Commit(uint64_t byte_length, bool fsync) {
  if (reserved_ > byte_length && ftruncate(file_, static_cast<off_t>(byte_length)) != 0) {
    return WriteError(errno, "cut to size", temp_path_);
  }
  if (fsync) {
    const int error_number = SyncAll(file_);
    if (error_number != 0) return WriteError(error_number, "flush", temp_path_);
  }
  if (rename(temp_path_.c_str(), target_path_.c_str()) != 0) return WriteError(errno, "replace", target_path_);
  temp_path_.clear();
  if (!fsync) return Status();
  // The new name is durable only with its directory.
  const std::string directory = DirectoryOf(target_path_);
  const int listing = open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (listing < 0) return Status();  // a directory that may be written but not read cannot be flushed
  const int error_number = SyncAll(listing);
  close(listing);
  // EINVAL: a file system whose directories need no flush.
  if (error_number != 0 && error_number != EINVAL) return WriteError(error_number, "flush the directory of", target_path_);
  return Status();
}

void TempFile::Remove() {
  if (temp_path_.empty()) return;
  unlink(temp_path_.c_str());
  temp_path_.clear();
}

}  // namespace torch_checkpoint

#endif  // !_WIN32
