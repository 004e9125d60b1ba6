/*
 * js_checksum.cc - see js_checksum.h
 */
#include "js_checksum.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "crc32.h"
#include "fault_guard.h"
#include "js_bridge.h"
#include "js_views.h"

namespace torch_checkpoint {

// More threads than this only fight for the memory bus.
static constexpr uint64_t kMaxThreads = 8;

namespace {

class CrcWorker final : public PromiseWorker {
 public:
  CrcWorker(FileHandle* handle, std::vector<ByteRange> ranges, unsigned threads)
      : handle_(handle), file_(handle->share()), ranges_(std::move(ranges)), threads_(threads) {
    handle_->Pin();
  }

 protected:
  Status Run() override {
    Result<std::vector<uint32_t>> checksums = Crc32OfRanges(*file_, ranges_, threads_);
    if (!checksums.ok()) return std::move(checksums.error());
    checksums_ = std::move(checksums.value());
    return Status();
  }
  Napi::Value Outcome(Napi::Env env) override { return NewUint32Array(env, checksums_); }
  void Settled(Napi::Env) override { handle_->Unpin(); }

 private:
  FileHandle* handle_;
  std::shared_ptr<MappedFile> file_;
  std::vector<ByteRange> ranges_;
  unsigned threads_;
  std::vector<uint32_t> checksums_;
};

}  // namespace

Napi::Value Crc32Of(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const ByteSpan bytes = arguments.Bytes(0);
  uint32_t crc = static_cast<uint32_t>(arguments.Unsigned(1));
  if (arguments.failed()) return info.Env().Undefined();
  const bool whole = Guarded([&] { crc = Crc32(crc, bytes.data, bytes.size); });
  if (!whole) return Throw(info.Env(), PageGone());
  return Napi::Number::New(info.Env(), crc);
}

Napi::Value Crc32Ranges(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const std::vector<uint64_t> numbers = arguments.UnsignedArray(1);
  const unsigned threads = static_cast<unsigned>(std::clamp<uint64_t>(arguments.Unsigned(2), 1, kMaxThreads));
  const MappedFile* file = arguments.failed() ? nullptr : handle->OpenFile(&arguments);
  if (file == nullptr) return info.Env().Undefined();
  std::vector<ByteRange> ranges;
  for (size_t i = 0; i + 1 < numbers.size(); i += 2) {
    if (!RangeInside(numbers[i], numbers[i + 1], file->byte_length())) {
      return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "range %zu is not inside the file", i / 2));
    }
    ranges.push_back({numbers[i], numbers[i + 1]});
  }
  return PromiseWorker::Start(info.Env(), std::make_unique<CrcWorker>(handle, std::move(ranges), threads), {info[0]});
}

}  // namespace torch_checkpoint
