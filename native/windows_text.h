/*
 * windows_text.h - UTF-8 paths to UTF-16, and the system's error messages; Windows only
 */
#ifndef TORCH_CHECKPOINT_WINDOWS_TEXT_H_
#define TORCH_CHECKPOINT_WINDOWS_TEXT_H_

#if defined(_WIN32)

#include <windows.h>

#include <string>

namespace torch_checkpoint {

inline std::wstring WidePath(const std::string& utf8) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, utf8.data(), static_cast<int>(utf8.size()), nullptr, 0);
  std::wstring wide(static_cast<size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, utf8.data(), static_cast<int>(utf8.size()), wide.data(), length);
  return wide;
}

inline std::string Utf8Path(const std::wstring& wide) {
  const int length =
      WideCharToMultiByte(CP_UTF8, 0, wide.data(), static_cast<int>(wide.size()), nullptr, 0, nullptr, nullptr);
  std::string utf8(static_cast<size_t>(length), '\0');
  WideCharToMultiByte(CP_UTF8, 0, wide.data(), static_cast<int>(wide.size()), utf8.data(), length, nullptr, nullptr);
  return utf8;
}

inline std::string WindowsErrorText(DWORD error_number) {
  wchar_t text[256];
  DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr, error_number, 0,
                                text, 256, nullptr);
  while (length > 0 && text[length - 1] <= L' ') length--;  // the text ends with a line break
  if (length == 0) return "error " + std::to_string(error_number);
  return Utf8Path(std::wstring(text, length));
}

}  // namespace torch_checkpoint

#endif  // _WIN32

#endif  // TORCH_CHECKPOINT_WINDOWS_TEXT_H_
