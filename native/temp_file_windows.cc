/*
 * temp_file_windows.cc - temporary files on Windows; written from the documentation, run under Wine only
 *
 * A live writer's file is opened without FILE_SHARE_DELETE, so deleting it fails while the writer lives: no lock needed.
 */
#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "temp_file.h"
#include "windows_text.h"

namespace torch_checkpoint {

// 64 random bits do not collide a hundred times.
static constexpr int kMaxCreations = 100;

namespace {

Error WriteError(DWORD error_number, const char* what, const std::string& path) {
  const bool full = error_number == ERROR_DISK_FULL || error_number == ERROR_HANDLE_DISK_FULL;
  return MakeError(full ? ErrorCode::kDiskFull : ErrorCode::kWriteFailed, "cannot %s \"%s\": %s", what, path.c_str(),
                   WindowsErrorText(error_number).c_str());
}

// The path behind all links; the path itself when nothing is there yet.
std::string ResolveLinks(const std::string& path) {
  HANDLE file = CreateFileW(WidePath(path).c_str(), 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                            OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr);
  if (file == INVALID_HANDLE_VALUE) return path;
  std::wstring text(32768, L'\0');  // the longest path Windows knows
  const DWORD length = GetFinalPathNameByHandleW(file, text.data(), static_cast<DWORD>(text.size()), 0);
  CloseHandle(file);
  if (length == 0 || length >= text.size()) return path;
  text.resize(length);
  // `\\?\C:\...`: the prefix is for the system, and not for whoever reads a message.
  if (text.compare(0, 4, L"\\\\?\\") == 0 && text.compare(4, 4, L"UNC\\") != 0 && length < MAX_PATH + 4) text.erase(0, 4);
  return Utf8Path(text);
}

size_t NameBegin(const std::string& path) {
  const size_t separator = path.find_last_of("/\\:");
  return separator == std::string::npos ? 0 : separator + 1;
}

// Renames an open file over `target`, which others may have open with FILE_SHARE_DELETE: the rename of POSIX, in Windows 10
// since version 1607.  False where the system or the file system has no such rename, and when it fails.
bool ReplaceOpenFile(HANDLE file, const std::string& target) {
  // FILE_RENAME_INFO with `Flags` in the place of `ReplaceIfExists`; FileRenameInfoEx (ntddk.h, minwinbase.h).
  constexpr DWORD kReplaceIfExists = 1, kPosixSemantics = 2;
  constexpr FILE_INFO_BY_HANDLE_CLASS kFileRenameInfoEx = static_cast<FILE_INFO_BY_HANDLE_CLASS>(22);
  const std::wstring name = WidePath(target);
  const size_t name_bytes = name.size() * sizeof(wchar_t);
  std::vector<uint64_t> memory((sizeof(FILE_RENAME_INFO) + name_bytes) / sizeof(uint64_t) + 1);
  FILE_RENAME_INFO* rename = reinterpret_cast<FILE_RENAME_INFO*>(memory.data());
  const DWORD flags = kReplaceIfExists | kPosixSemantics;
  std::memcpy(rename, &flags, sizeof(flags));
  rename->FileNameLength = static_cast<DWORD>(name_bytes);
  std::memcpy(rename->FileName, name.data(), name_bytes);
  const DWORD size = static_cast<DWORD>(memory.size() * sizeof(uint64_t));
  return SetFileInformationByHandle(file, kFileRenameInfoEx, rename, size) != 0;
}

void RemoveLeftovers(const std::string& directory, const std::string& prefix) {
  WIN32_FIND_DATAW entry;
  HANDLE listing = FindFirstFileW(WidePath(directory + "*").c_str(), &entry);
  if (listing == INVALID_HANDLE_VALUE) return;
  do {
    const std::string name = Utf8Path(entry.cFileName);
    if ((entry.dwFileAttributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT)) == 0 &&
        IsTempName(name, prefix)) {
      DeleteFileW(WidePath(directory + name).c_str());
    }
  } while (FindNextFileW(listing, &entry));
  FindClose(listing);
}

}  // namespace

// Setting the end of the file allocates its clusters on NTFS, so a full disk is known before the first byte.
Result<TempFile> TempFile::Create(const std::string& target, uint64_t byte_length) {
  const std::string path = ResolveLinks(target);
  const std::string directory = path.substr(0, NameBegin(path)), name = path.substr(NameBegin(path));
  const DWORD attributes = GetFileAttributesW(WidePath(path).c_str());
  if (name.empty() || (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0)) {
    return WriteError(ERROR_ACCESS_DENIED, "write the directory", path);
  }
  const std::string prefix = TempNamePrefix(name);
  RemoveLeftovers(directory, prefix);
  for (int attempt = 0; attempt < kMaxCreations; attempt++) {
    const std::string temp_path = directory + MakeTempName(prefix);
    HANDLE file = CreateFileW(WidePath(temp_path).c_str(), GENERIC_READ | GENERIC_WRITE | DELETE, FILE_SHARE_READ,
                              nullptr, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) {
      if (GetLastError() == ERROR_FILE_EXISTS) continue;
      return WriteError(GetLastError(), "create a file beside", path);
    }
    TempFile result(file, temp_path, path, byte_length);
    if (byte_length > 0) {
      FILE_END_OF_FILE_INFO end;
      end.EndOfFile.QuadPart = static_cast<LONGLONG>(byte_length);
      if (!SetFileInformationByHandle(file, FileEndOfFileInfo, &end, sizeof(end))) {
        return WriteError(GetLastError(), "reserve the space for", path);
      }
    }
    return result;
  }
  return MakeError(ErrorCode::kWriteFailed, "cannot create a temporary file beside \"%s\"", path.c_str());
}

TempFile::TempFile(TempFile&& other) noexcept
    : file_(std::exchange(other.file_, INVALID_HANDLE_VALUE)),
      temp_path_(std::exchange(other.temp_path_, std::string())),
      target_path_(std::move(other.target_path_)),
      reserved_(other.reserved_) {}

TempFile::~TempFile() {
  if (file_ != INVALID_HANDLE_VALUE) CloseHandle(file_);
  file_ = INVALID_HANDLE_VALUE;
  Remove();
}

// Both ways replace the target in one step. MoveFileEx fails while anybody has the target mapped or open; then the temporary
// file stays until Remove().
Status TempFile::Commit(uint64_t byte_length, bool fsync) {
  if (reserved_ > byte_length) {
    FILE_END_OF_FILE_INFO end;
    end.EndOfFile.QuadPart = static_cast<LONGLONG>(byte_length);
    if (!SetFileInformationByHandle(file_, FileEndOfFileInfo, &end, sizeof(end))) {
      return WriteError(GetLastError(), "cut to size", temp_path_);
    }
  }
  if (fsync && !FlushFileBuffers(file_)) return WriteError(GetLastError(), "flush", temp_path_);
  const bool replaced = ReplaceOpenFile(file_, target_path_);
  // MoveFileEx cannot rename a file that is open without FILE_SHARE_DELETE.
  CloseHandle(file_);
  file_ = INVALID_HANDLE_VALUE;
  if (replaced) {
    temp_path_.clear();
    return Status();
  }
  const DWORD flags = MOVEFILE_REPLACE_EXISTING | (fsync ? MOVEFILE_WRITE_THROUGH : 0);
  if (!MoveFileExW(WidePath(temp_path_).c_str(), WidePath(target_path_).c_str(), flags)) {
    const DWORD error_number = GetLastError();
    if (error_number != ERROR_ACCESS_DENIED && error_number != ERROR_SHARING_VIOLATION &&
        error_number != ERROR_USER_MAPPED_FILE) {
      return WriteError(error_number, "replace", target_path_);
    }
    return MakeError(ErrorCode::kWriteFailed,
                     "cannot replace \"%s\": %s Windows keeps a file that is mapped or open, perhaps in this process: close "
                     "it first, or save under another name",
                     target_path_.c_str(), WindowsErrorText(error_number).c_str());
  }
  temp_path_.clear();
  return Status();
}

void TempFile::Remove() {
  if (temp_path_.empty()) return;
  // While the handle is open this fails, and the destructor does it again.
  if (DeleteFileW(WidePath(temp_path_).c_str())) temp_path_.clear();
}

}  // namespace torch_checkpoint

#endif  // _WIN32
