/*
 * js_elements.cc - see js_elements.h
 *
 * All of these run on the thread that called, some with helpers of their own (parallel.h), and return when the last byte
 * is in place.  Sources are read guarded; a target is memory of the engine or a view on a private mapping, which is
 * written guarded too.  On an error a target holds something between before and after.
 */
#include "js_elements.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "element_kernels.h"
#include "element_statistics.h"
#include "fault_guard.h"
#include "js_bridge.h"
#include "narrow_floats.h"
#include "source_span.h"
#include "strided_copy.h"
#include "strided_read.h"

namespace torch_checkpoint {

namespace {

Kernel KernelArgument(Arguments* arguments, size_t index) {
  const uint64_t number = arguments->Unsigned(index);
  if (!arguments->failed() && number >= kKernelCount) {
    arguments->Fail(MakeError(ErrorCode::kBadArgument, "no such kernel"));
  }
  return static_cast<Kernel>(number < kKernelCount ? number : 0);
}

// `Float32Array | Span`
SourceSpan FloatSpan(Arguments* arguments, size_t index) {
  if (!arguments->IsFloat32Array(index)) return arguments->Span(index);
  const ArrayView<float> floats = arguments->Float32Array(index);
  return SourceSpan(ByteSpan{reinterpret_cast<const uint8_t*>(floats.data), floats.length * sizeof(float)});
}

ArrayView<uint8_t> AsBytes(ArrayView<float> floats) {
  return {reinterpret_cast<uint8_t*>(floats.data), floats.length * sizeof(float)};
}

// use(bytes, offset, count) -> bool over a span: all at once when it is in memory, else in pieces that are read first and
// are multiples of `unit` bytes.  False means that memory could not be read.
template <typename Use>
Status EachPiece(const SourceSpan& source, size_t unit, const Use& use) {
  std::vector<uint8_t> scratch;
  const uint64_t at_once = source.memory() != nullptr ? source.PieceBytes() : source.PieceBytes() / unit * unit;
  bool whole = true;
  for (uint64_t done = 0; done < source.byte_length() && whole; done += at_once) {
    const uint64_t count = std::min(at_once, source.byte_length() - done);
    const Result<const uint8_t*> bytes = source.Piece(done, count, &scratch);
    if (!bytes.ok()) return bytes.error();
    whole = use(bytes.value(), done, static_cast<size_t>(count));
  }
  return source.CheckAfter(!whole);
}

// Runs convert(bytes, target, count) -> bool over elements of `source_bytes` that become `target_bytes` each.
template <typename Convert>
Napi::Value ConvertSpan(Napi::Env env, const SourceSpan& source, size_t source_bytes, ArrayView<uint8_t> target,
                        size_t target_bytes, const Convert& convert) {
  if (source.byte_length() % source_bytes != 0 || target.length % target_bytes != 0 ||
      source.byte_length() / source_bytes != target.length / target_bytes) {
    return Throw(env, MakeError(ErrorCode::kBadArgument,
                                "a source of %llu bytes, %zu for each element, does not fill a target of %zu bytes, %zu for each",
                                static_cast<unsigned long long>(source.byte_length()), source_bytes, target.length,
                                target_bytes));
  }
  const Status status = EachPiece(source, source_bytes, [&](const uint8_t* bytes, uint64_t offset, size_t count) {
    return convert(bytes, target.data + offset / source_bytes * target_bytes, count / source_bytes);
  });
  return status.ok() ? env.Undefined() : Throw(env, status.error());
}

}  // namespace

// Memory of the engine, which frees it as soon as it is garbage: an external buffer would wait for a turn of the event
// loop, and a loop of conversions would keep gigabytes.  Huge pages come with the first write (fresh_pages.h).
Napi::Value Allocate(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const uint64_t byte_length = arguments.Unsigned(0);
  if (arguments.failed()) return info.Env().Undefined();
  uint8_t* data;
  return NewArrayBuffer(info.Env(), static_cast<size_t>(byte_length), &data);
}

Napi::Value ToFloat32Of(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const Kernel kernel = KernelArgument(&arguments, 0);
  const SourceSpan source = arguments.Span(1);
  const ArrayView<float> target = arguments.Float32Array(2);
  if (arguments.failed()) return info.Env().Undefined();
  return ConvertSpan(info.Env(), source, KernelItemsize(kernel), AsBytes(target), sizeof(float),
                     [=](const uint8_t* bytes, uint8_t* out, size_t count) {
                       return ToFloat32Guarded(kernel, bytes, reinterpret_cast<float*>(out), count);
                     });
}

// Per-tensor quantization only; per-channel is a loop over channels in JavaScript.
Napi::Value DequantizeOf(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const Kernel kernel = KernelArgument(&arguments, 0);
  const SourceSpan source = arguments.Span(1);
  const ArrayView<float> target = arguments.Float32Array(2);
  const float scale = static_cast<float>(arguments.Number(3));
  const double zero_point = arguments.Number(4);
  if (arguments.failed()) return info.Env().Undefined();
  if (kernel != Kernel::kInt8 && kernel != Kernel::kUInt8 && kernel != Kernel::kInt32) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "only int8, uint8 and int32 elements are quantized"));
  }
  if (std::floor(zero_point) != zero_point || std::fabs(zero_point) > 2147483647.0) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "the zero point must be a 32-bit integer"));
  }
  return ConvertSpan(info.Env(), source, KernelItemsize(kernel), AsBytes(target), sizeof(float),
                     [=](const uint8_t* bytes, uint8_t* out, size_t count) {
                       return DequantizeGuarded(kernel, bytes, reinterpret_cast<float*>(out), count, scale,
                                                static_cast<int32_t>(zero_point));
                     });
}

Napi::Value CastFloat32Of(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const Kernel kernel = KernelArgument(&arguments, 0);
  const SourceSpan source = FloatSpan(&arguments, 1);
  const ArrayView<uint8_t> target = arguments.WritableBytes(2);
  if (arguments.failed()) return info.Env().Undefined();
  if (!IsNarrowFloat(kernel)) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "casts go to floating point types of 16 and 8 bits"));
  }
  return ConvertSpan(info.Env(), source, sizeof(float), target, KernelItemsize(kernel),
                     [=](const uint8_t* bytes, uint8_t* out, size_t count) {
                       return CastFloat32Guarded(kernel, bytes, out, count);
                     });
}

// A "conversion" of blocks of 32 floats to blocks of 34 bytes: only whole blocks.
Napi::Value QuantizeQ8Of(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const SourceSpan source = FloatSpan(&arguments, 0);
  const ArrayView<uint8_t> target = arguments.WritableBytes(1);
  if (arguments.failed()) return info.Env().Undefined();
  return ConvertSpan(info.Env(), source, kQ8BlockElements * sizeof(float), target, kQ8BlockBytes, QuantizeQ8Guarded);
}

Napi::Value StatisticsOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Arguments arguments(info);
  const Kernel kernel = KernelArgument(&arguments, 0);
  const SourceSpan source = arguments.Span(1);
  if (arguments.failed()) return env.Undefined();
  const size_t itemsize = KernelItemsize(kernel);
  if (source.byte_length() % itemsize != 0) {
    return Throw(env, MakeError(ErrorCode::kBadArgument, "the source is not a whole number of %zu-byte elements", itemsize));
  }
  ElementStatistics statistics;
  const Status status = EachPiece(source, 1, [&](const uint8_t* bytes, uint64_t, size_t count) {
    return StatisticsGuarded(kernel, bytes, count / itemsize, &statistics);
  });
  if (!status.ok()) return Throw(env, status.error());
  Napi::Object result = Napi::Object::New(env);
  result.Set("min", statistics.min);
  result.Set("max", statistics.max);
  result.Set("sum", statistics.sum);
  result.Set("sumSquares", statistics.sum_squares);
  result.Set("nan", static_cast<double>(statistics.nan));
  result.Set("inf", static_cast<double>(statistics.inf));
  result.Set("zeros", static_cast<double>(statistics.zeros));
  return result;
}

// The window is checked against the source before a byte moves, so that GatherGuarded() can do without.
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
  const Status status = source.memory() != nullptr
                            ? source.CheckAfter(!GatherGuarded(source.memory(), window, target.data))
                            : GatherFromSpan(source, window, target.data);
  return status.ok() ? info.Env().Undefined() : Throw(info.Env(), status.error());
}

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

// Bytes, not numbers: NaN equals itself and 0 differs from -0.
Napi::Value Equal(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const SourceSpan a = arguments.Span(0), b = arguments.Span(1);
  if (arguments.failed()) return info.Env().Undefined();
  if (a.byte_length() != b.byte_length()) return Napi::Boolean::New(info.Env(), false);
  const Result<bool> equal = SpansEqual(a, b);
  if (!equal.ok()) return Throw(info.Env(), equal.error());
  return Napi::Boolean::New(info.Env(), equal.value());
}

}  // namespace torch_checkpoint
