/*
 * os_file_windows.cc - Windows; written from the documentation, run under Wine only
 */
#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <algorithm>

#include "os_file.h"
#include "windows_text.h"

namespace torch_checkpoint {

namespace {

constexpr size_t kMaxTransferBytes = size_t{1} << 30;  // ReadFile and WriteFile count in 32 bits

Error OpenError(DWORD error_number) {
  switch (error_number) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
      return MakeError(ErrorCode::kNotFound, "no such file");
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
      return MakeError(ErrorCode::kAccessDenied, "%s", WindowsErrorText(error_number).c_str());
    default:
      return MakeError(ErrorCode::kIo, "cannot open: %s", WindowsErrorText(error_number).c_str());
  }
}

// With an OVERLAPPED, ReadFile and WriteFile on a synchronous handle work by position.
OVERLAPPED AtOffset(uint64_t offset) {
  OVERLAPPED at = {};
  at.Offset = static_cast<DWORD>(offset);
  at.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return at;
}

}  // namespace

Result<OsFile> OpenForReading(const std::string& path) {
  const std::wstring wide = WidePath(path);
  const DWORD attributes = GetFileAttributesW(wide.c_str());
  if (attributes == INVALID_FILE_ATTRIBUTES) return OpenError(GetLastError());
  if ((attributes & FILE_ATTRIBUTE_DIRECTORY) != 0) return MakeError(ErrorCode::kNotACheckpoint, "is a directory");
  // FILE_SHARE_DELETE: others may rename or delete the file while we read it, as on POSIX.
  HANDLE file = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                            OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) return OpenError(GetLastError());
  if (GetFileType(file) != FILE_TYPE_DISK) {
    CloseHandle(file);
    return MakeError(ErrorCode::kUnsupported, "is not a regular file (a pipe or device); read it as a stream");
  }
  return static_cast<OsFile>(file);
}

Result<OsFile> DuplicateForReading(int) {
  // A descriptor number belongs to the C runtime that opened it, and Node has one of its own.
  return MakeError(ErrorCode::kUnsupported, "file descriptors cannot be used on Windows; pass the path");
}

void CloseFile(OsFile file) { CloseHandle(file); }

Result<FileStat> StatFile(OsFile file) {
  BY_HANDLE_FILE_INFORMATION information;
  if (!GetFileInformationByHandle(file, &information)) {
    return MakeError(ErrorCode::kIo, "cannot stat: %s", WindowsErrorText(GetLastError()).c_str());
  }
  // FILETIME counts 100 ns from 1601-01-01, 11,644,473,600 seconds before 1970.
  const uint64_t ticks = static_cast<uint64_t>(information.ftLastWriteTime.dwHighDateTime) << 32 |
                         information.ftLastWriteTime.dwLowDateTime;
  FileStat result;
  result.byte_length = static_cast<uint64_t>(information.nFileSizeHigh) << 32 | information.nFileSizeLow;
  result.mtime_ns = (static_cast<int64_t>(ticks) - INT64_C(116444736000000000)) * 100;
  result.device = information.dwVolumeSerialNumber;
  result.inode = static_cast<uint64_t>(information.nFileIndexHigh) << 32 | information.nFileIndexLow;
  return result;
}

bool IsNetworkFile(OsFile file) {
  FILE_REMOTE_PROTOCOL_INFO information;
  return GetFileInformationByHandleEx(file, FileRemoteProtocolInfo, &information, sizeof(information)) != 0;
}

Result<size_t> ReadSome(OsFile file, uint64_t offset, void* target, size_t count) {
  OVERLAPPED at = AtOffset(offset);
  DWORD got = 0;
  if (!ReadFile(file, target, static_cast<DWORD>(std::min(count, kMaxTransferBytes)), &got, &at)) {
    const DWORD error_number = GetLastError();
    if (error_number == ERROR_HANDLE_EOF) return size_t{0};
    return MakeError(ErrorCode::kIo, "read failed: %s", WindowsErrorText(error_number).c_str()).At(offset);
  }
  return static_cast<size_t>(got);
}

Status WriteAll(OsFile file, uint64_t offset, const void* source, size_t count) {
  const uint8_t* bytes = static_cast<const uint8_t*>(source);
  while (count > 0) {
    OVERLAPPED at = AtOffset(offset);
    DWORD written = 0;
    if (!WriteFile(file, bytes, static_cast<DWORD>(std::min(count, kMaxTransferBytes)), &written, &at)) {
      const DWORD error_number = GetLastError();
      const bool full = error_number == ERROR_DISK_FULL || error_number == ERROR_HANDLE_DISK_FULL;
      return MakeError(full ? ErrorCode::kDiskFull : ErrorCode::kWriteFailed, "write failed: %s",
                       WindowsErrorText(error_number).c_str());
    }
    bytes += written;
    offset += written;
    count -= written;
  }
  return Status();
}

Result<size_t> CopyInKernel(OsFile, uint64_t, OsFile, uint64_t, size_t) {
  return MakeError(ErrorCode::kUnsupported, "Windows copies whole files only");
}

bool CopiesByReference(OsFile, uint64_t, uint64_t) { return false; }

// PAGE_WRITECOPY and FILE_MAP_COPY are the private mapping of POSIX.  While it exists nobody can cut the file short
// (ERROR_USER_MAPPED_FILE), so reads need no guard here.
uint8_t* MapPrivate(OsFile file, uint64_t) {
  HANDLE section = CreateFileMappingW(file, nullptr, PAGE_WRITECOPY, 0, 0, nullptr);
  if (section == nullptr) return nullptr;
  void* address = MapViewOfFile(section, FILE_MAP_COPY, 0, 0, 0);
  CloseHandle(section);  // the view holds the section
  return static_cast<uint8_t*>(address);
}

void UnmapPrivate(uint8_t* address, uint64_t) { UnmapViewOfFile(address); }

// Committed memory cannot be replaced by a view of a file.
bool MapPrivateOver(OsFile, uint64_t, uint64_t, void*) { return false; }

Result<OsFile> CreateScratchFile() { return MakeError(ErrorCode::kUnsupported, "not needed on Windows"); }

size_t PageBytes() {
  SYSTEM_INFO information;
  GetSystemInfo(&information);
  return information.dwPageSize;
}

// Large pages need a privilege on Windows.
void AdvisePageSize(void*, size_t, bool) {}
void PopulateForWriting(void*, size_t) {}

bool MayBeWritten(const void*, size_t) { return true; }

}  // namespace torch_checkpoint

#endif  // _WIN32
