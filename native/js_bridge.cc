/*
 * js_bridge.cc - see js_bridge.h for threads and errors
 */
#include "js_bridge.h"

#include <cmath>
#include <cstring>

#include "js_views.h"

namespace torch_checkpoint {

static constexpr double kMaxSafeInteger = 9007199254740991.0;  // 2^53 - 1

// The one place where an Error of the core becomes a JavaScript value, with the JavaScript stack of the call that failed
// (of a promise: of the turn of the event loop that settles it).
Napi::Value ErrorValue(Napi::Env env, const Error& error) {
  const char* name = ErrorCodeName(error.code);
  if (name == nullptr) return Napi::RangeError::New(env, error.message).Value();
  Napi::Object value = Napi::Error::New(env, error.message).Value();
  value.Set("code", name);
  if (error.byte_offset.has_value()) value.Set("byteOffset", static_cast<double>(*error.byte_offset));
  return value;
}

Napi::Value Throw(Napi::Env env, const Error& error) {
  napi_throw(env, ErrorValue(env, error));
  return env.Undefined();
}

// Only the first mistake is reported: the exception is pending already, and Node-API calls fail while one is.
void Arguments::Fail(Error error) {
  if (!failed_) Throw(info_.Env(), error);
  failed_ = true;
}

void Arguments::FailType(size_t index, const char* expected) {
  if (!failed_) {
    const Error error = MakeError(ErrorCode::kBadArgument, "argument %zu must be %s", index, expected);
    Napi::TypeError::New(info_.Env(), error.message).ThrowAsJavaScriptException();
  }
  failed_ = true;
}

std::string Arguments::String(size_t index) {
  if (!failed_ && info_[index].IsString()) {
    std::string text = info_[index].As<Napi::String>().Utf8Value();
    // A NUL would silently shorten a path.
    if (text.find('\0') == std::string::npos) return text;
  }
  FailType(index, "a string without NUL");
  return std::string();
}

bool Arguments::Boolean(size_t index) {
  if (!failed_ && info_[index].IsBoolean()) return info_[index].As<Napi::Boolean>().Value();
  FailType(index, "a boolean");
  return false;
}

double Arguments::Number(size_t index) {
  if (!failed_ && info_[index].IsNumber()) return info_[index].As<Napi::Number>().DoubleValue();
  FailType(index, "a number");
  return 0;
}

static bool IsUnsigned(double number) { return number >= 0 && number <= kMaxSafeInteger && std::floor(number) == number; }

uint64_t Arguments::Unsigned(size_t index) {
  const double number = Number(index);
  if (!failed_ && IsUnsigned(number)) return static_cast<uint64_t>(number);
  Fail(MakeError(ErrorCode::kBadArgument, "argument %zu must be an integer from 0 to 2^53 - 1", index));
  return 0;
}

size_t Arguments::Choice(size_t index, std::initializer_list<const char*> choices) {
  const std::string text = String(index);
  size_t i = 0;
  for (const char* choice : choices) {
    if (text == choice) return i;
    i++;
  }
  std::string expected = "one of";
  for (const char* choice : choices) expected.append(" '").append(choice).append("'");
  FailType(index, expected.c_str());
  return 0;
}

// A detached array passes, with length 0 and a null pointer; so every user of a view handles empty ones without a look at
// the pointer.
void* Arguments::TypedArray(Napi::Value value, size_t index, napi_typedarray_type type, const char* name,
                            size_t* length) {
  *length = 0;
  napi_typedarray_type found;
  void* data = nullptr;
  const bool matches =
      !failed_ && value.IsTypedArray() &&
      napi_get_typedarray_info(info_.Env(), value, &found, length, &data, nullptr, nullptr) == napi_ok && found == type;
  if (matches) return data;
  *length = 0;
  FailType(index, name);
  return nullptr;
}

ByteSpan Arguments::BytesOf(Napi::Value value, size_t index) {
  ByteSpan span;
  span.data = static_cast<uint8_t*>(TypedArray(value, index, napi_uint8_array, "a Uint8Array", &span.size));
  return span;
}

bool Arguments::IsFloat32Array(size_t index) const {
  napi_typedarray_type type;
  return info_[index].IsTypedArray() &&
         napi_get_typedarray_info(info_.Env(), info_[index], &type, nullptr, nullptr, nullptr, nullptr) == napi_ok &&
         type == napi_float32_array;
}

std::vector<uint64_t> Arguments::UnsignedArray(size_t index) {
  const ArrayView<double> view = Float64Array(index);
  std::vector<uint64_t> numbers(view.length);
  for (size_t i = 0; i < view.length; i++) {
    if (!IsUnsigned(view.data[i])) {
      Fail(MakeError(ErrorCode::kBadArgument, "argument %zu must hold integers from 0 to 2^53 - 1; element %zu is %g", index,
                     i, view.data[i]));
      return {};
    }
    numbers[i] = static_cast<uint64_t>(view.data[i]);
  }
  return numbers;
}

// A tuple of another realm is an array too; its parts are looked at one by one and can be anything.
SourceSpan Arguments::Span(size_t index) {
  const Napi::Value value = info_[index];
  if (failed_ || !value.IsArray()) return SourceSpan(BytesOf(value, index));
  const Napi::Array parts = value.As<Napi::Array>();
  FileHandle* handle = HandleOf<FileHandle>(parts.Get(uint32_t{0}), index);
  if (failed_) return SourceSpan();
  const Napi::Value offset = parts.Get(1), length = parts.Get(2);
  const double begin = offset.IsNumber() ? offset.As<Napi::Number>().DoubleValue() : -1;
  const double count = length.IsNumber() ? length.As<Napi::Number>().DoubleValue() : -1;
  const MappedFile* file = handle->OpenFile(this);
  if (file == nullptr) return SourceSpan();
  if (!IsUnsigned(begin) || !IsUnsigned(count) ||
      !RangeInside(static_cast<uint64_t>(begin), static_cast<uint64_t>(count), file->byte_length())) {
    Fail(MakeError(ErrorCode::kBadArgument, "argument %zu: %g bytes from byte %g are not inside the file", index, count,
                   begin));
    return SourceSpan();
  }
  return SourceSpan(file, static_cast<uint64_t>(begin), static_cast<uint64_t>(count));
}

// An External of another addon, or of another kind of ours, is refused here and never dereferenced.
void* Arguments::TaggedPointer(Napi::Value value, size_t index, const napi_type_tag& tag, const char* name) {
  bool matches = false;
  void* pointer = nullptr;
  if (!failed_ && value.IsExternal() &&
      napi_check_object_type_tag(info_.Env(), value, &tag, &matches) == napi_ok && matches &&
      napi_get_value_external(info_.Env(), value, &pointer) == napi_ok) {
    return pointer;
  }
  FailType(index, name);
  return nullptr;
}

// napi_create_arraybuffer() aborts the process when there is no memory (Node.js 20 to 26); the constructor throws.
Napi::Value NewArrayBuffer(Napi::Env env, size_t byte_length, uint8_t** data) {
  Napi::Value buffer = StateOf(env).array_buffer.New({Napi::Number::New(env, static_cast<double>(byte_length))});
  void* bytes = nullptr;
  size_t length;
  if (buffer.IsEmpty() || napi_get_arraybuffer_info(env, buffer, &bytes, &length) != napi_ok) return Napi::Value();
  *data = static_cast<uint8_t*>(bytes);
  return buffer;
}

Napi::Value NewUint32Array(Napi::Env env, const std::vector<uint32_t>& values) {
  uint8_t* data;
  Napi::Value buffer = NewArrayBuffer(env, values.size() * sizeof(uint32_t), &data);
  if (buffer.IsEmpty()) return Napi::Value();
  if (!values.empty()) std::memcpy(data, values.data(), values.size() * sizeof(uint32_t));
  napi_value array;
  if (napi_create_typedarray(env, napi_uint32_array, values.size(), buffer, 0, &array) != napi_ok) return Napi::Value();
  return Napi::Value(env, array);
}

// Until the queueing has succeeded everything is undone here; afterwards Complete() owns the worker.
Napi::Value PromiseWorker::Start(Napi::Env env, std::unique_ptr<PromiseWorker> worker,
                                 std::initializer_list<napi_value> held) {
  Napi::Array reachable = Napi::Array::New(env, held.size());
  uint32_t i = 0;
  for (napi_value value : held) reachable.Set(i++, Napi::Value(env, value));
  napi_value promise = nullptr, name = nullptr;
  const bool started =
      napi_create_reference(env, reachable, 1, &worker->held_) == napi_ok &&
      napi_create_promise(env, &worker->deferred_, &promise) == napi_ok &&
      napi_create_string_latin1(env, "torch-checkpoint", NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_create_async_work(env, nullptr, name, Execute, Complete, worker.get(), &worker->work_) == napi_ok &&
      napi_queue_async_work(env, worker->work_) == napi_ok;
  if (!started) {
    // Only in an environment that is shutting down.
    worker->Settled(env);
    if (worker->held_ != nullptr) napi_delete_reference(env, worker->held_);
    if (worker->work_ != nullptr) napi_delete_async_work(env, worker->work_);
    return env.Undefined();
  }
  worker.release();
  return Napi::Value(env, promise);
}

// On a pool thread.  The status is handed over by the pool's own synchronization.
void PromiseWorker::Execute(napi_env, void* data) {
  PromiseWorker* worker = static_cast<PromiseWorker*>(data);
  try {
    worker->status_ = worker->Run();
  } catch (const std::bad_alloc&) {
    worker->status_ = MakeError(ErrorCode::kOutOfMemory, "out of memory");
  }
}

// On the JavaScript thread, also when the environment ends before Run() was reached: then `status` is cancelled, and
// Settled() still has pins to give back.
void PromiseWorker::Complete(napi_env raw_env, napi_status status, void* data) {
  std::unique_ptr<PromiseWorker> worker(static_cast<PromiseWorker*>(data));
  Napi::Env env(raw_env);
  Napi::HandleScope scope(env);
  worker->Settled(env);
  // In a terminating environment the calls below fail, harmlessly.
  if (status != napi_ok) worker->status_ = MakeError(ErrorCode::kClosed, "the environment is shutting down");
  Napi::Value outcome;
  if (worker->status_.ok()) {
    outcome = worker->Outcome(env);
    // No memory for the outcome: its exception becomes the reason.
    if (env.IsExceptionPending()) {
      napi_value reason;
      napi_get_and_clear_last_exception(env, &reason);
      napi_reject_deferred(env, worker->deferred_, reason);
      outcome = Napi::Value();
    } else if (!outcome.IsEmpty()) {
      napi_resolve_deferred(env, worker->deferred_, outcome);
    }
  } else {
    napi_reject_deferred(env, worker->deferred_, ErrorValue(env, worker->status_.error()));
  }
  napi_delete_reference(env, worker->held_);
  napi_delete_async_work(env, worker->work_);
}

// Runs once for each environment, before any script can replace the globals that are remembered here.
AddonState::AddonState(Napi::Env env) {
  const Napi::Object global = env.Global();
  array_buffer = Napi::Persistent(global.Get("ArrayBuffer").As<Napi::Function>());
  const Napi::Value buffer = global.Get("Buffer");
  const Napi::Value alloc = buffer.IsFunction() ? buffer.As<Napi::Object>().Get("allocUnsafeSlow") : env.Undefined();
  if (alloc.IsFunction()) alloc_unsafe_slow = Napi::Persistent(alloc.As<Napi::Function>());
  uint8_array = Napi::Persistent(global.Get("Uint8Array").As<Napi::Function>());
  const Napi::Value shared = global.Get("SharedArrayBuffer");
  if (shared.IsFunction()) shared_array_buffer = Napi::Persistent(shared.As<Napi::Function>());

  double node_major = 0;
  bool is_deno = false;
  const Napi::Value process = global.Get("process");
  if (process.IsObject()) {
    const Napi::Value versions = process.As<Napi::Object>().Get("versions");
    if (versions.IsObject()) {
      is_bun = versions.As<Napi::Object>().Has("bun");
      is_deno = versions.As<Napi::Object>().Has("deno");
      const Napi::Value node = versions.As<Napi::Object>().Get("node");
      if (node.IsString()) node_major = std::atof(node.As<Napi::String>().Utf8Value().c_str());
    }
    // From `process.env` and not getenv(): a worker thread can have an environment of its own.
    const Napi::Value variables = process.As<Napi::Object>().Get("env");
    if (variables.IsObject()) {
      const Napi::Value refuse = variables.As<Napi::Object>().Get("TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS");
      refuse_external = refuse.IsString() && refuse.As<Napi::String>().Utf8Value() == "1";
    }
  }
  // Node.js before 22 makes a Buffer inside napi_create_external_arraybuffer(), which ends at 4 GiB; so does Bun.
  counts_external_below_zero = !is_bun && !is_deno && node_major >= 20 && node_major < 24;
  max_array_bytes = is_bun || node_major < 22 ? 4294967296.0 : kMaxSafeInteger;
}

AddonState& StateOf(Napi::Env env) { return *env.GetInstanceData<AddonState>(); }

}  // namespace torch_checkpoint
