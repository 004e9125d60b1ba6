/*
 * js_file.cc - see js_file.h
 *
 * A call on a closed handle throws CLOSED (FileHandle::OpenFile).  Ranges are checked here, against the length that the
 * file had when it was opened; what became of the file since is found by the read itself.
 */
#include "js_file.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "js_bridge.h"
#include "js_views.h"
#include "mapped_file.h"

namespace torch_checkpoint {

namespace {

// How many bytes of [offset, ...) there are for a target of `wanted`.
size_t ReadableBytes(const MappedFile& file, uint64_t offset, size_t wanted) {
  return offset >= file.byte_length() ? 0 : static_cast<size_t>(std::min<uint64_t>(wanted, file.byte_length() - offset));
}

// Reads into a JavaScript array on a pool thread.  The array stays reachable through the worker; the pin keeps overlay
// memory, which a close() would let go, until the read is over.
class ReadWorker final : public PromiseWorker {
 public:
  ReadWorker(FileHandle* handle, uint64_t offset, ArrayView<uint8_t> target)
      : handle_(handle),
        file_(handle->share()),
        offset_(offset),
        target_(target.data),
        count_(ReadableBytes(*file_, offset, target.length)) {
    handle_->Pin();
  }

 protected:
  Status Run() override { return file_->ReadAtParallel(offset_, target_, count_); }
  Napi::Value Outcome(Napi::Env env) override { return Napi::Number::New(env, static_cast<double>(count_)); }
  void Settled(Napi::Env) override { handle_->Unpin(); }

 private:
  FileHandle* handle_;
  std::shared_ptr<MappedFile> file_;
  uint64_t offset_;
  uint8_t* target_;
  size_t count_;
};

}  // namespace

Napi::Value FileOpen(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const IoMode mode = static_cast<IoMode>(arguments.Choice(1, {"auto", "mmap", "read"}));
  const bool by_descriptor = info[0].IsNumber();
  const uint64_t descriptor = by_descriptor ? std::min<uint64_t>(arguments.Unsigned(0), INT32_MAX) : 0;
  const std::string path = by_descriptor ? std::string() : arguments.String(0);
  if (arguments.failed()) return info.Env().Undefined();
  Result<std::shared_ptr<MappedFile>> file = by_descriptor
                                                 ? MappedFile::OpenDescriptor(static_cast<int>(descriptor), mode)
                                                 : MappedFile::OpenPath(path, mode);
  if (!file.ok()) return Throw(info.Env(), file.error());
  return NewHandle(info.Env(), std::make_unique<FileHandle>(info.Env(), std::move(file.value())));
}

Napi::Value FileInfo(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const MappedFile* file = handle == nullptr ? nullptr : handle->OpenFile(&arguments);
  if (file == nullptr) return info.Env().Undefined();
  const FileStat& opened = file->opened();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("byteLength", static_cast<double>(opened.byte_length));
  result.Set("mapped", file->mapping() != nullptr);
  result.Set("mtimeNs", Napi::BigInt::New(info.Env(), opened.mtime_ns));
  result.Set("device", Napi::BigInt::New(info.Env(), opened.device));
  result.Set("inode", Napi::BigInt::New(info.Env(), opened.inode));
  return result;
}

Napi::Value FileStateOf(const Napi::CallbackInfo& info) {
  static constexpr const char* kNames[] = {"same", "truncated", "modified"};  // in the order of FileState
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const MappedFile* file = handle == nullptr ? nullptr : handle->OpenFile(&arguments);
  if (file == nullptr) return info.Env().Undefined();
  const Result<FileState> state = file->CompareWithOpened();
  if (!state.ok()) return Throw(info.Env(), state.error());
  return Napi::String::New(info.Env(), kNames[static_cast<size_t>(state.value())]);
}

// A view: the window holds the mapping, past fileClose() too, until it is garbage.
Napi::Value FileWindow(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const uint64_t offset = arguments.Unsigned(1), length = arguments.Unsigned(2);
  const MappedFile* file = arguments.failed() ? nullptr : handle->OpenFile(&arguments);
  if (file == nullptr) return info.Env().Undefined();
  if (length == 0 || !RangeInside(offset, length, file->byte_length())) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "a window must have bytes and lie inside the file"));
  }
  return handle->Window(offset, length);
}

Napi::Value FileReadSync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const uint64_t offset = arguments.Unsigned(1);
  const ArrayView<uint8_t> target = arguments.WritableBytes(2);
  const MappedFile* file = arguments.failed() ? nullptr : handle->OpenFile(&arguments);
  if (file == nullptr) return info.Env().Undefined();
  const size_t count = ReadableBytes(*file, offset, target.length);
  const Status status = file->ReadAtParallel(offset, target.data, count);
  if (!status.ok()) return Throw(info.Env(), status.error());
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

Napi::Value FileRead(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const uint64_t offset = arguments.Unsigned(1);
  const ArrayView<uint8_t> target = arguments.WritableBytes(2);
  if (arguments.failed() || handle->OpenFile(&arguments) == nullptr) return info.Env().Undefined();
  return PromiseWorker::Start(info.Env(), std::make_unique<ReadWorker>(handle, offset, target), {info[0], info[2]});
}

Napi::Value FileClose(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  if (handle != nullptr) handle->Close();
  return info.Env().Undefined();
}

}  // namespace torch_checkpoint
