/*
 * js_sink.cc - see js_sink.h
 *
 * An append on a pool thread reads JavaScript arrays and mapped files: the arrays stay reachable through the worker's
 * reference to the batch, the files through a share, and overlay memory through a pin.
 */
#include "js_sink.h"

#include <cmath>

#include "js_views.h"

namespace torch_checkpoint {

// Numbers for one segment in `segments`.
static constexpr size_t kSegmentNumbers = 5;

FileSink* SinkHandle::Idle(Arguments* arguments) const {
  if (sink_ == nullptr) {
    arguments->Fail(MakeError(ErrorCode::kClosed, "the output was committed or aborted"));
  } else if (busy_) {
    arguments->Fail(MakeError(ErrorCode::kBadArgument, "an operation on this sink is still running"));
    return nullptr;
  }
  return sink_.get();
}

void SinkHandle::Abort() {
  if (sink_ == nullptr) return;
  if (busy_) {
    abort_at_end_ = true;
    sink_->RequestAbort();
    return;
  }
  sink_->Abort();
  sink_.reset();
}

void SinkHandle::End() {
  busy_ = false;
  if (abort_at_end_) Abort();
}

namespace {

// A batch in native form.  It holds raw pointers into JavaScript arrays, so it must not outlive their reachability: for a
// synchronous call that is the call, for a worker the references given to PromiseWorker::Start().
struct ParsedBatch {
  SinkBatch batch;
  std::vector<FileHandle*> files;                   // pinned while a worker runs
  std::vector<std::shared_ptr<MappedFile>> shares;  // of `files`, and of those that memory is a view of
};

// Reads argument `index`; false with an exception pending when it is not a SinkBatch.
bool ReadBatch(const Napi::CallbackInfo& info, size_t index, Arguments* arguments, ParsedBatch* parsed) {
  if (!info[index].IsObject()) {
    arguments->FailType(index, "a batch");
    return false;
  }
  const Napi::Object object = info[index].As<Napi::Object>();
  parsed->batch.arena = arguments->BytesOf(object.Get("arena"), index);
  const ArrayView<double> numbers = arguments->Float64ArrayOf(object.Get("segments"), index);
  const Napi::Value sources = object.Get("sources");
  if (arguments->failed()) return false;
  if (!sources.IsArray() || numbers.length % kSegmentNumbers != 0) {
    arguments->Fail(MakeError(ErrorCode::kBadArgument, "argument %zu: `sources` must be an array and `segments` have five "
                              "numbers each", index));
    return false;
  }
  const Napi::Array list = sources.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::HandleScope scope(info.Env());
    const Napi::Value value = list.Get(i);
    SinkSource source;
    if (value.IsExternal()) {
      FileHandle* handle = arguments->HandleOf<FileHandle>(value, index);
      if (handle == nullptr) return false;
      source.file = handle->OpenFile(arguments);
      if (source.file == nullptr) return false;
      parsed->files.push_back(handle);
      parsed->shares.push_back(handle->share());
    } else {
      source.memory = arguments->BytesOf(value, index);
      if (arguments->failed()) return false;
      if (std::shared_ptr<MappedFile> mapped = MappedFile::MappedAt(source.memory.data)) {
        parsed->shares.push_back(std::move(mapped));
      }
    }
    parsed->batch.sources.push_back(source);
  }
  for (size_t i = 0; i < numbers.length; i += kSegmentNumbers) {
    const double* segment = numbers.data + i;
    // A number that is no index or offset becomes one that CheckBatch refuses.
    auto unsigned_or_max = [](double number) {
      return number >= 0 && number < 9007199254740992.0 ? static_cast<uint64_t>(number) : UINT64_MAX;
    };
    const int64_t source = std::fabs(segment[0]) < 4294967296.0 ? static_cast<int64_t>(segment[0]) : INT64_MIN;
    parsed->batch.segments.push_back({source, unsigned_or_max(segment[1]), unsigned_or_max(segment[2]),
                                      static_cast<uint32_t>(unsigned_or_max(segment[3]) & 0xFFFF)});
  }
  Status status = CheckBatch(parsed->batch);
  if (!status.ok()) arguments->Fail(std::move(status.error()));
  return status.ok();
}

// Empty, with an exception pending, when there is no memory for the array.
Napi::Value ReportValue(Napi::Env env, const SinkReport& report) {
  Napi::Object value = Napi::Object::New(env);
  const Napi::Value checksums = NewUint32Array(env, report.checksums);
  if (checksums.IsEmpty()) return Napi::Value();
  value.Set("checksums", checksums);
  value.Set("kernelBytes", static_cast<double>(report.kernel_bytes));
  value.Set("writtenBytes", static_cast<double>(report.written_bytes));
  return value;
}

// Busy from construction to Settled(): a second operation on the sink is refused, an abort is remembered.
class AppendWorker final : public PromiseWorker {
 public:
  AppendWorker(SinkHandle* handle, FileSink* sink, ParsedBatch parsed)
      : handle_(handle), sink_(sink), parsed_(std::move(parsed)) {
    handle_->Begin();
    for (FileHandle* file : parsed_.files) file->Pin();
  }

 protected:
  Status Run() override { return sink_->Append(parsed_.batch, &report_); }
  Napi::Value Outcome(Napi::Env env) override { return ReportValue(env, report_); }
  void Settled(Napi::Env) override {
    for (FileHandle* file : parsed_.files) file->Unpin();
    handle_->End();
  }

 private:
  SinkHandle* handle_;  // reachable while the worker runs, and with it the sink
  FileSink* sink_;
  ParsedBatch parsed_;
  SinkReport report_;
};

// fsync can take seconds, hence a worker.  After success the sink forgets its file, which now has the target's name.
class CommitWorker final : public PromiseWorker {
 public:
  CommitWorker(SinkHandle* handle, FileSink* sink, bool fsync) : handle_(handle), sink_(sink), fsync_(fsync) {
    handle_->Begin();
  }

 protected:
  Status Run() override {
    Status status = sink_->Commit(fsync_);
    committed_ = status.ok();
    return status;
  }
  Napi::Value Outcome(Napi::Env env) override { return env.Undefined(); }
  void Settled(Napi::Env) override {
    handle_->End();
    if (committed_) handle_->Forget();
  }

 private:
  SinkHandle* handle_;
  FileSink* sink_;
  bool fsync_;
  bool committed_ = false;
};

}  // namespace

Napi::Value SinkCreate(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::string target = arguments.String(0);
  const uint64_t byte_length = arguments.Unsigned(1);
  if (arguments.failed()) return info.Env().Undefined();
  Result<std::shared_ptr<FileSink>> sink = FileSink::Create(target, byte_length);
  if (!sink.ok()) return Throw(info.Env(), sink.error());
  return NewHandle(info.Env(), std::make_unique<SinkHandle>(std::move(sink.value())));
}

Napi::Value AppendAsync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  SinkHandle* handle = arguments.Handle<SinkHandle>(0);
  FileSink* sink = handle == nullptr ? nullptr : handle->Idle(&arguments);
  ParsedBatch parsed;
  if (sink == nullptr || !ReadBatch(info, 1, &arguments, &parsed)) return info.Env().Undefined();
  auto worker = std::make_unique<AppendWorker>(handle, sink, std::move(parsed));
  // The batch object could be changed meanwhile: hold what it refers to now.
  const Napi::Object batch = info[1].As<Napi::Object>();
  Napi::Array sources = Napi::Array::New(info.Env());
  const Napi::Array list = batch.Get("sources").As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::HandleScope scope(info.Env());
    sources.Set(i, list.Get(i));
  }
  return PromiseWorker::Start(info.Env(), std::move(worker), {info[0], batch.Get("arena"), sources});
}

Napi::Value AppendSync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  SinkHandle* handle = arguments.Handle<SinkHandle>(0);
  FileSink* sink = handle == nullptr ? nullptr : handle->Idle(&arguments);
  ParsedBatch parsed;
  if (sink == nullptr || !ReadBatch(info, 1, &arguments, &parsed)) return info.Env().Undefined();
  SinkReport report;
  Status status = sink->Append(parsed.batch, &report);
  return status.ok() ? ReportValue(info.Env(), report) : Throw(info.Env(), status.error());
}

Napi::Value CommitAsync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  SinkHandle* handle = arguments.Handle<SinkHandle>(0);
  const bool fsync = arguments.Boolean(1);
  FileSink* sink = arguments.failed() ? nullptr : handle->Idle(&arguments);
  if (sink == nullptr) return info.Env().Undefined();
  return PromiseWorker::Start(info.Env(), std::make_unique<CommitWorker>(handle, sink, fsync), {info[0]});
}

Napi::Value CommitSync(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  SinkHandle* handle = arguments.Handle<SinkHandle>(0);
  const bool fsync = arguments.Boolean(1);
  FileSink* sink = arguments.failed() ? nullptr : handle->Idle(&arguments);
  if (sink == nullptr) return info.Env().Undefined();
  Status status = sink->Commit(fsync);
  if (!status.ok()) return Throw(info.Env(), status.error());
  handle->Forget();
  return info.Env().Undefined();
}

Napi::Value SinkAbort(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  SinkHandle* handle = arguments.Handle<SinkHandle>(0);
  if (handle != nullptr) handle->Abort();
  return info.Env().Undefined();
}

}  // namespace torch_checkpoint
