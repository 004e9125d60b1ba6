/*
 * addon.cc - the export table
 *
 * Above each function stands its signature in lib/binding.ts, which documents it.  Functions that give bytes to
 * JavaScript say whether as a view or a copy.
 */
#include <napi.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "cpu.h"
#include "crc32.h"
#include "element_kernels.h"
#include "fault_guard.h"
#include "js_bridge.h"
#include "js_sink.h"
#include "js_views.h"
#include "js_zip.h"
#include "mapped_file.h"
#include "strided_copy.h"

namespace torch_checkpoint {

namespace {

// capabilities(): { externalBuffers, overlay, maxArrayBytes, simd, pageBytes }
Napi::Value Capabilities(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CpuFeatures cpu = ActiveCpuFeatures();
  const std::pair<bool, const char*> sets[] = {
      {cpu.avx2, "avx2"},           {cpu.f16c, "f16c"}, {cpu.pclmulqdq, "pclmulqdq"},
      {cpu.vpclmulqdq, "vpclmulqdq"}, {cpu.neon, "neon"}, {cpu.arm_crc, "crc32"},
  };
  Napi::Array simd = Napi::Array::New(env);
  for (const auto& [active, name] : sets) {
    if (active) simd.Set(simd.Length(), name);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("externalBuffers", ExternalBuffersAllowed(env));
  result.Set("overlay", OverlayWorks(env));
  result.Set("maxArrayBytes", StateOf(env).max_array_bytes);
  result.Set("simd", simd);
  result.Set("pageBytes", static_cast<double>(PageBytes()));
  return result;
}

// setSimd(level: 'plain' | 'best'): void
Napi::Value SetSimd(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const size_t level = arguments.Choice(0, {"plain", "best"});
  if (!arguments.failed()) ForcePlain(level == 0);
  return info.Env().Undefined();
}

// fileOpen(path: string | number, io: 'auto' | 'mmap' | 'read'): NativeFile
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

// fileInfo(file: NativeFile): NativeFileInfo
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

// fileState(file: NativeFile): 'same' | 'truncated' | 'modified'
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

// fileWindow(file: NativeFile, byteOffset: number, byteLength: number): ArrayBuffer | SharedArrayBuffer | null
//
// A view.  The window holds the mapping.
Napi::Value FileWindow(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const uint64_t offset = arguments.Unsigned(1), length = arguments.Unsigned(2);
  const MappedFile* file = arguments.failed() ? nullptr : handle->OpenFile(&arguments);
  if (file == nullptr) return info.Env().Undefined();
  if (length == 0 || offset % PageBytes() != 0 || !RangeInside(offset, length, file->byte_length())) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument,
                                       "a window must begin on a page, have bytes and lie inside the file"));
  }
  return handle->Window(offset, length);
}

// How many bytes of [offset, ...) there are for a target of `wanted`.
size_t ReadableBytes(const MappedFile& file, uint64_t offset, size_t wanted) {
  return offset >= file.byte_length() ? 0 : static_cast<size_t>(std::min<uint64_t>(wanted, file.byte_length() - offset));
}

// fileReadSync(file: NativeFile, byteOffset: number, target: Uint8Array): number
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

// fileRead(file: NativeFile, byteOffset: number, target: Uint8Array): Promise<number>
Napi::Value FileRead(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const uint64_t offset = arguments.Unsigned(1);
  const ArrayView<uint8_t> target = arguments.WritableBytes(2);
  if (arguments.failed() || handle->OpenFile(&arguments) == nullptr) return info.Env().Undefined();
  return PromiseWorker::Start(info.Env(), std::make_unique<ReadWorker>(handle, offset, target), {info[0], info[2]});
}

// fileClose(file: NativeFile): void
Napi::Value FileClose(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  if (handle != nullptr) handle->Close();
  return info.Env().Undefined();
}

// fileAdvise(file: NativeFile, byteOffset: number, byteLength: number, advice: 'willneed' | 'dontneed'): void
Napi::Value FileAdvise(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const uint64_t offset = arguments.Unsigned(1), length = arguments.Unsigned(2);
  const Advice advice = static_cast<Advice>(arguments.Choice(3, {"willneed", "dontneed"}));
  const MappedFile* file = arguments.failed() ? nullptr : handle->OpenFile(&arguments);
  if (file == nullptr) return info.Env().Undefined();
  if (!RangeInside(offset, length, file->byte_length())) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "the range is not inside the file"));
  }
  if (length > 0) file->Advise(offset, length, advice);
  return info.Env().Undefined();
}

// crc32(bytes: Uint8Array, seed: number): number
Napi::Value Crc32Of(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const ByteSpan bytes = arguments.Bytes(0);
  uint32_t crc = static_cast<uint32_t>(arguments.Unsigned(1));
  if (arguments.failed()) return info.Env().Undefined();
  const bool whole = Guarded([&] { crc = Crc32(crc, bytes.data, bytes.size); });
  const Status status = SourceSpan(bytes).CheckAfter(!whole);
  if (!status.ok()) return Throw(info.Env(), status.error());
  return Napi::Number::New(info.Env(), crc);
}

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

// crc32Ranges(file: NativeFile, ranges: Float64Array, threads: number): Promise<Uint32Array>
Napi::Value Crc32Ranges(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FileHandle* handle = arguments.Handle<FileHandle>(0);
  const std::vector<uint64_t> numbers = arguments.UnsignedArray(1);
  const unsigned threads = static_cast<unsigned>(std::clamp<uint64_t>(arguments.Unsigned(2), 1, 8));
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

// allocate(byteLength: number): ArrayBuffer
//
// Memory of the engine, which frees it as soon as it is garbage: an external buffer would wait for a turn of the event
// loop, and a loop of conversions would keep gigabytes.  Huge pages come with the first write (fresh_pages.h).
Napi::Value Allocate(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const uint64_t byte_length = arguments.Unsigned(0);
  if (arguments.failed()) return info.Env().Undefined();
  uint8_t* data;
  return NewArrayBuffer(info.Env(), static_cast<size_t>(byte_length), &data);
}

// Runs convert(bytes, target, count) -> bool over a span, in pieces when it has to be read first.
template <typename Convert>
Napi::Value ConvertSpan(Napi::Env env, Kernel kernel, const SourceSpan& source, ArrayView<float> target,
                        const Convert& convert) {
  const size_t itemsize = KernelItemsize(kernel);
  if (source.byte_length() / itemsize != target.length || source.byte_length() % itemsize != 0) {
    return Throw(env, MakeError(ErrorCode::kBadArgument, "%zu elements of %zu bytes were asked for, the source has %llu bytes",
                                target.length, itemsize, static_cast<unsigned long long>(source.byte_length())));
  }
  std::vector<uint8_t> scratch;
  bool whole = true;
  for (uint64_t done = 0; done < source.byte_length() && whole; done += source.PieceBytes()) {
    const uint64_t count = std::min(source.PieceBytes(), source.byte_length() - done);
    const Result<const uint8_t*> bytes = source.Piece(done, count, &scratch);
    if (!bytes.ok()) return Throw(env, bytes.error());
    whole = convert(bytes.value(), target.data + done / itemsize, static_cast<size_t>(count / itemsize));
  }
  const Status status = source.CheckAfter(!whole);
  return status.ok() ? env.Undefined() : Throw(env, status.error());
}

// toFloat32(kernel: Kernel, source: Span, target: Float32Array): void
Napi::Value ToFloat32Of(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const uint64_t number = arguments.Unsigned(0);
  const SourceSpan source = arguments.Span(1);
  const ArrayView<float> target = arguments.Float32Array(2);
  if (arguments.failed()) return info.Env().Undefined();
  if (number >= kKernelCount) return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "no such kernel"));
  const Kernel kernel = static_cast<Kernel>(number);
  return ConvertSpan(info.Env(), kernel, source, target, [=](const uint8_t* bytes, float* out, size_t count) {
    return ToFloat32Guarded(kernel, bytes, out, count);
  });
}

// dequantize(kernel: Kernel, source: Span, target: Float32Array, scale: number, zeroPoint: number): void
Napi::Value DequantizeOf(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const uint64_t number = arguments.Unsigned(0);
  const SourceSpan source = arguments.Span(1);
  const ArrayView<float> target = arguments.Float32Array(2);
  const float scale = static_cast<float>(arguments.Number(3));
  const double zero_point = arguments.Number(4);
  if (arguments.failed()) return info.Env().Undefined();
  const Kernel kernel = static_cast<Kernel>(number < kKernelCount ? number : kKernelCount);
  if (kernel != Kernel::kInt8 && kernel != Kernel::kUInt8 && kernel != Kernel::kInt32) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "only int8, uint8 and int32 elements are quantized"));
  }
  if (std::floor(zero_point) != zero_point || std::fabs(zero_point) > 2147483647.0) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "the zero point must be a 32-bit integer"));
  }
  return ConvertSpan(info.Env(), kernel, source, target, [=](const uint8_t* bytes, float* out, size_t count) {
    return DequantizeGuarded(kernel, bytes, out, count, scale, static_cast<int32_t>(zero_point));
  });
}

// gather(source: Span, itemsize: number, shape: Float64Array, stride: Float64Array, storageOffset: number,
//        target: Uint8Array): void
Napi::Value Gather(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const SourceSpan source = arguments.Span(0);
  StridedWindow window;
  window.itemsize = static_cast<size_t>(arguments.Unsigned(1));
  window.shape = arguments.UnsignedArray(2);
  window.stride = arguments.UnsignedArray(3);
  window.storage_offset = arguments.Unsigned(4);
  const ArrayView<uint8_t> target = arguments.WritableBytes(5);
  if (arguments.failed()) return info.Env().Undefined();
  if (window.itemsize == 0 || window.shape.size() != window.stride.size()) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "shape and stride must have one number for each dimension"));
  }
  const Result<uint64_t> numel = CheckWindow(window, source.byte_length());
  if (!numel.ok()) return Throw(info.Env(), numel.error());
  if (target.length != numel.value() * window.itemsize) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "the target has %zu bytes for %llu elements of %zu",
                                       target.length, static_cast<unsigned long long>(numel.value()), window.itemsize));
  }
  if (numel.value() == 0) return info.Env().Undefined();
  std::vector<uint8_t> scratch;
  const Result<const uint8_t*> bytes = source.Piece(0, source.byte_length(), &scratch);
  if (!bytes.ok()) return Throw(info.Env(), bytes.error());
  const bool whole = GatherGuarded(bytes.value(), window, target.data);
  const Status status = source.CheckAfter(!whole);
  return status.ok() ? info.Env().Undefined() : Throw(info.Env(), status.error());
}

// byteSwap(target: Uint8Array, width: number): void
Napi::Value ByteSwapOf(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const ArrayView<uint8_t> target = arguments.WritableBytes(0);
  const uint64_t width = arguments.Unsigned(1);
  if (arguments.failed()) return info.Env().Undefined();
  const bool known = width == 1 || width == 2 || width == 4 || width == 8 || width == 16;
  if (!known || target.length % width != 0) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "the width must be 1, 2, 4, 8 or 16 and divide the length"));
  }
  const bool whole = Guarded([&] { ByteSwap(target.data, target.length, static_cast<size_t>(width)); });
  const Status status = SourceSpan(ByteSpan{target.data, target.length}).CheckAfter(!whole);
  return status.ok() ? info.Env().Undefined() : Throw(info.Env(), status.error());
}

// equal(a: Span, b: Span): boolean
Napi::Value Equal(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const SourceSpan a = arguments.Span(0), b = arguments.Span(1);
  if (arguments.failed()) return info.Env().Undefined();
  if (a.byte_length() != b.byte_length()) return Napi::Boolean::New(info.Env(), false);
  const Result<bool> equal = SpansEqual(a, b);
  if (!equal.ok()) return Throw(info.Env(), equal.error());
  return Napi::Boolean::New(info.Env(), equal.value());
}

// sinkCreate(targetPath: string, byteLength: number): NativeSink
Napi::Value SinkCreate(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::string target = arguments.String(0);
  const uint64_t byte_length = arguments.Unsigned(1);
  if (arguments.failed()) return info.Env().Undefined();
  Result<std::shared_ptr<FileSink>> sink = FileSink::Create(target, byte_length);
  if (!sink.ok()) return Throw(info.Env(), sink.error());
  return NewHandle(info.Env(), std::make_unique<SinkHandle>(std::move(sink.value())));
}

// sinkAbort(sink: NativeSink): void
Napi::Value SinkAbort(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  SinkHandle* handle = arguments.Handle<SinkHandle>(0);
  if (handle != nullptr) handle->Abort();
  return info.Env().Undefined();
}

template <Napi::Value (*kFunction)(const Napi::CallbackInfo&)>
void Export(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<CallGuarded<kFunction>>(exports.Env(), name));
}

}  // namespace

static Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new AddonState(env));

  Export<Capabilities>(exports, "capabilities");
  Export<SetSimd>(exports, "setSimd");

  Export<FileOpen>(exports, "fileOpen");
  Export<FileInfo>(exports, "fileInfo");
  Export<FileStateOf>(exports, "fileState");
  Export<FileWindow>(exports, "fileWindow");
  Export<FileReadSync>(exports, "fileReadSync");
  Export<FileRead>(exports, "fileRead");
  Export<FileClose>(exports, "fileClose");
  Export<FileAdvise>(exports, "fileAdvise");

  Export<ReadZipDirectory>(exports, "zipDirectory");  // js_zip.cc

  Export<Crc32Of>(exports, "crc32");
  Export<Crc32Ranges>(exports, "crc32Ranges");

  Export<Allocate>(exports, "allocate");
  Export<ToFloat32Of>(exports, "toFloat32");
  Export<DequantizeOf>(exports, "dequantize");
  Export<Gather>(exports, "gather");
  Export<ByteSwapOf>(exports, "byteSwap");
  Export<Equal>(exports, "equal");

  Export<SinkCreate>(exports, "sinkCreate");
  Export<AppendAsync>(exports, "sinkAppend");  // this and the next three: js_sink.cc
  Export<AppendSync>(exports, "sinkAppendSync");
  Export<CommitAsync>(exports, "sinkCommit");
  Export<CommitSync>(exports, "sinkCommitSync");
  Export<SinkAbort>(exports, "sinkAbort");
  return exports;
}

NODE_API_MODULE(torch_checkpoint, Initialize)

}  // namespace torch_checkpoint
