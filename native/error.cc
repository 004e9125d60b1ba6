/*
 * error.cc - the table of error codes, and message formatting
 */
#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace torch_checkpoint {

// One row per ErrorCode, in its order.
static constexpr const char* kErrorCodeNames[] = {
    "NOT_FOUND",      "ACCESS_DENIED", "IO",        "TRUNCATED",    "NOT_A_CHECKPOINT", "UNSUPPORTED", "ZIP_CORRUPT",
    "TENSOR_CORRUPT", "LIMIT_EXCEEDED", "CLOSED",   "DISK_FULL",    "WRITE_FAILED",     nullptr,       nullptr,
};
static_assert(sizeof(kErrorCodeNames) / sizeof(kErrorCodeNames[0]) ==
              static_cast<size_t>(ErrorCode::kOutOfMemory) + 1);

const char* ErrorCodeName(ErrorCode code) { return kErrorCodeNames[static_cast<size_t>(code)]; }

Error MakeError(ErrorCode code, const char* format, ...) {
  // Paths and names are cut to fit; a message is for reading.
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return Error{code, text, std::nullopt};
}

}  // namespace torch_checkpoint
