/*
 * js_bridge.h - JavaScript values in and out, handles with type tags, and the one base of all asynchronous work
 *
 * Threads and environments: nothing here is static; every environment (main thread, each worker thread) has an
 * AddonState of its own.  A PromiseWorker's Run() is on a pool thread and must not touch JavaScript; everything else
 * runs on the environment's own thread.
 *
 * Errors: an Error of the core becomes a JS Error with `code` and, where known, `byteOffset`; a wrong argument becomes a
 * TypeError or RangeError.  Memory exhaustion in the core is caught in CallGuarded() and becomes a RangeError.
 */
#ifndef TORCH_CHECKPOINT_JS_BRIDGE_H_
#define TORCH_CHECKPOINT_JS_BRIDGE_H_

#include <napi.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "bytes.h"
#include "error.h"
#include "source_span.h"

namespace torch_checkpoint {

class FileHandle;
class SinkHandle;

// Random 128-bit numbers; a handle of another kind, or of another addon, has another tag or none.
template <typename T>
struct TypeTagOf;
template <>
struct TypeTagOf<FileHandle> {
  static constexpr napi_type_tag kTag = {0x7d3e90bd0f1c4a52, 0x9a41c27f5be8d613};
  static constexpr const char* kName = "an open file";
};
template <>
struct TypeTagOf<SinkHandle> {
  static constexpr napi_type_tag kTag = {0x1b5f6c88e2a947d0, 0xb3d70e94ac1625f8};
  static constexpr const char* kName = "a sink";
};

Napi::Value ErrorValue(Napi::Env env, const Error& error);
// Makes `error` the pending exception.  Returns undefined, so that a caller can `return Throw(...)`.
Napi::Value Throw(Napi::Env env, const Error& error);

// Runs an exported function; std::bad_alloc becomes a RangeError.
template <Napi::Value (*kFunction)(const Napi::CallbackInfo&)>
Napi::Value CallGuarded(const Napi::CallbackInfo& info) {
  try {
    return kFunction(info);
  } catch (const std::bad_alloc&) {
    return Throw(info.Env(), MakeError(ErrorCode::kOutOfMemory, "out of memory"));
  }
}

// Typed array contents; valid while the array is reachable and not detached.
template <typename T>
struct ArrayView {
  T* data = nullptr;
  size_t length = 0;
};

// Reads the arguments of one call.  Sticky: after the first wrong one an exception is pending, failed() is true and every
// further answer is empty.
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}
  bool failed() const { return failed_; }

  template <typename T>
  T* Handle(size_t index) {
    return HandleOf<T>(info_[index], index);
  }
  std::string String(size_t index);
  bool Boolean(size_t index);
  double Number(size_t index);
  // An integer from 0 to 2^53 - 1.
  uint64_t Unsigned(size_t index);
  // The index of a string in `choices`.
  size_t Choice(size_t index, std::initializer_list<const char*> choices);
  ByteSpan Bytes(size_t index) { return BytesOf(info_[index], index); }
  ArrayView<uint8_t> WritableBytes(size_t index) {
    return View<uint8_t>(info_[index], index, napi_uint8_array, "a Uint8Array");
  }
  ArrayView<float> Float32Array(size_t index) {
    return View<float>(info_[index], index, napi_float32_array, "a Float32Array");
  }
  ArrayView<uint32_t> Uint32Array(size_t index) {
    return View<uint32_t>(info_[index], index, napi_uint32_array, "a Uint32Array");
  }
  ArrayView<int32_t> Int32Array(size_t index) {
    return View<int32_t>(info_[index], index, napi_int32_array, "an Int32Array");
  }
  // A question, not a demand: it cannot fail.
  bool IsFloat32Array(size_t index) const;
  ArrayView<double> Float64Array(size_t index) { return Float64ArrayOf(info_[index], index); }
  // A Float64Array of integers from 0 to 2^53 - 1.
  std::vector<uint64_t> UnsignedArray(size_t index);
  // `Uint8Array | [file, byteOffset, byteLength]`, the range proven inside the file.
  SourceSpan Span(size_t index);

  // The same for values that are part of argument `index`.
  ByteSpan BytesOf(Napi::Value value, size_t index);
  ArrayView<double> Float64ArrayOf(Napi::Value value, size_t index) {
    return View<double>(value, index, napi_float64_array, "a Float64Array");
  }
  template <typename T>
  T* HandleOf(Napi::Value value, size_t index) {
    return static_cast<T*>(TaggedPointer(value, index, TypeTagOf<T>::kTag, TypeTagOf<T>::kName));
  }
  void Fail(Error error);
  void FailType(size_t index, const char* expected);

 private:
  void* TaggedPointer(Napi::Value value, size_t index, const napi_type_tag& tag, const char* name);
  template <typename T>
  ArrayView<T> View(Napi::Value value, size_t index, napi_typedarray_type type, const char* name) {
    ArrayView<T> view;
    view.data = static_cast<T*>(TypedArray(value, index, type, name, &view.length));
    return view;
  }
  void* TypedArray(Napi::Value value, size_t index, napi_typedarray_type type, const char* name, size_t* length);

  const Napi::CallbackInfo& info_;
  bool failed_ = false;
};

// A tagged external that owns `pointer`.
template <typename T>
Napi::Value NewHandle(Napi::Env env, std::unique_ptr<T> pointer) {
  Napi::External<T> external = Napi::External<T>::New(env, pointer.get(), [](Napi::Env, T* owned) { delete owned; });
  if (external.IsEmpty()) return env.Undefined();
  pointer.release();
  napi_type_tag_object(env, external, &TypeTagOf<T>::kTag);
  return external;
}

// An uninitialised-or-zero ArrayBuffer through the JS constructor, which throws where the C function would abort.
// Empty, with an exception pending, when there is no memory.  `data` receives its bytes.
Napi::Value NewArrayBuffer(Napi::Env env, size_t byte_length, uint8_t** data);

// A fresh typed array with a copy of `values`; empty with an exception pending when there is no memory.
Napi::Value NewUint32Array(Napi::Env env, const std::vector<uint32_t>& values);

// Work on a pool thread that settles a promise.
class PromiseWorker {
 public:
  virtual ~PromiseWorker() = default;
  // Queues `worker` and returns its promise.  `held` stays reachable until it is settled.
  static Napi::Value Start(Napi::Env env, std::unique_ptr<PromiseWorker> worker, std::initializer_list<napi_value> held);

 protected:
  virtual Status Run() = 0;
  // What to resolve with after a Run() that succeeded.
  virtual Napi::Value Outcome(Napi::Env env) = 0;
  // On the JS thread, exactly once after Run(), whatever came of it.
  virtual void Settled(Napi::Env) {}

 private:
  static void Execute(napi_env env, void* data);
  static void Complete(napi_env env, napi_status status, void* data);

  napi_async_work work_ = nullptr;
  napi_deferred deferred_ = nullptr;
  napi_ref held_ = nullptr;
  Status status_;
};

// What one environment knows: constructors, taken before a script could replace them, and what the host allows.
struct AddonState {
  explicit AddonState(Napi::Env env);

  Napi::FunctionReference array_buffer;
  Napi::FunctionReference alloc_unsafe_slow;  // Buffer.allocUnsafeSlow, empty where the host has no Buffer
  Napi::FunctionReference shared_array_buffer;  // empty where the host hides it
  Napi::FunctionReference uint8_array;
  bool is_bun = false;
  // Whether napi_adjust_external_memory() may take back what the host counted by itself: V8 of Node.js 24 ends the process.
  bool counts_external_below_zero = false;
  // The longest external ArrayBuffer and Uint8Array: 4 GiB on Node.js before 22 and on Bun.
  double max_array_bytes = 0;
  // TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS=1: behave as in Electron, for tests.
  bool refuse_external = false;
  // What js_views found out when it was first asked.
  std::optional<bool> external_buffers;
  std::optional<bool> overlay;
};

AddonState& StateOf(Napi::Env env);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_JS_BRIDGE_H_
