/*
 * error.h - the outcome of an operation that can fail for a reason outside the program
 *
 * The core never throws, prints or aborts: a function that can fail returns Status or Result<T>.  Memory exhaustion is
 * the exception to the rule in both senses: std::bad_alloc passes through the core and is caught once, in js_bridge.
 * The codes are those of lib/errors.ts that native code raises; test/native compares the two lists.
 */
#ifndef TORCH_CHECKPOINT_ERROR_H_
#define TORCH_CHECKPOINT_ERROR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace torch_checkpoint {

enum class ErrorCode : uint8_t {
  kNotFound,
  kAccessDenied,
  kIo,
  kTruncated,
  kNotACheckpoint,
  kUnsupported,
  kZipCorrupt,
  kTensorCorrupt,
  kLimitExceeded,
  kClosed,
  kDiskFull,
  kWriteFailed,
  // Mistakes of the caller and of nobody: they cross as RangeError and have no code in lib/errors.ts.
  kBadArgument,
  kOutOfMemory,
};

// The string code of lib/errors.ts; null for the codes that become a RangeError.
const char* ErrorCodeName(ErrorCode code);

struct Error {
  ErrorCode code;
  // "what was found, what was expected": the place is added by JavaScript, which knows path and record.
  std::string message;
  // In the file, or in the source of the operation.
  std::optional<uint64_t> byte_offset;

  Error At(uint64_t offset) && {
    byte_offset = offset;
    return std::move(*this);
  }
};

#if defined(__GNUC__)
#define TORCH_CHECKPOINT_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define TORCH_CHECKPOINT_PRINTF(format_index, first)
#endif

// printf-style; `format` is always a literal.
Error MakeError(ErrorCode code, const char* format, ...) TORCH_CHECKPOINT_PRINTF(2, 3);

// Success, or an Error.  One pointer wide would be nicer still, but nothing hot returns it.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}  // NOLINT: implicit, so that `return MakeError(...)` reads well

  bool ok() const { return !error_.has_value(); }
  const Error& error() const { return *error_; }
  Error& error() { return *error_; }

 private:
  std::optional<Error> error_;
};

// A value, or an Error.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by intent
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by intent

  bool ok() const { return state_.index() == 0; }
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  Error& error() { return std::get<1>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ERROR_H_
