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

// True when elements of `source_bytes` that become `target_bytes` each fill the target; else an exception is pending.
bool FillsTarget(Napi::Env env, const SourceSpan& source, size_t source_bytes, size_t target_length, size_t target_bytes) {
  if (source.byte_length() % source_bytes == 0 && target_length % target_bytes == 0 &&
      source.byte_length() / source_bytes == target_length / target_bytes) {
    return true;
  }
  Throw(env, MakeError(ErrorCode::kBadArgument,
                       "a source of %llu bytes, %zu for each element, does not fill a target of %zu bytes, %zu for each",
                       static_cast<unsigned long long>(source.byte_length()), source_bytes, target_length, target_bytes));
  return false;
}

Napi::Value UndefinedOrThrow(Napi::Env env, const Status& status) {
  return status.ok() ? env.Undefined() : Throw(env, status.error());
}

}  // namespace

Napi::Value ToFloat32Of(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const Kernel kernel = KernelArgument(&arguments, 0);
  const SourceSpan source = arguments.Span(1);
  const ArrayView<float> target = arguments.Float32Array(2);
  if (arguments.failed()) return info.Env().Undefined();
  if (!FillsTarget(info.Env(), source, KernelItemsize(kernel), target.length, 1)) return info.Env().Undefined();
  return UndefinedOrThrow(info.Env(), ToFloat32Guarded(kernel, source, target.data, target.length));
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
  if (!FillsTarget(info.Env(), source, KernelItemsize(kernel), target.length, 1)) return info.Env().Undefined();
  return UndefinedOrThrow(info.Env(), DequantizeGuarded(kernel, source, target.data, target.length, scale,
                                                        static_cast<int32_t>(zero_point)));
}

Napi::Value CastFloat32Of(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const Kernel kernel = KernelArgument(&arguments, 0);
  const SourceSpan source = FloatSpan(&arguments, 1);
  const ArrayView<uint8_t> target = arguments.WritableBytes(2);
  const BFloat16Nan nan = arguments.Boolean(3) ? BFloat16Nan::kVector : BFloat16Nan::kScalar;
  if (arguments.failed()) return info.Env().Undefined();
  if (!IsNarrowFloat(kernel)) {
    return Throw(info.Env(), MakeError(ErrorCode::kBadArgument, "casts go to floating point types of 16 and 8 bits"));
  }
  const size_t itemsize = KernelItemsize(kernel);
  if (!FillsTarget(info.Env(), source, sizeof(float), target.length, itemsize)) return info.Env().Undefined();
  return UndefinedOrThrow(info.Env(), CastFloat32Guarded(kernel, nan, source, target.data, target.length / itemsize));
}

// A "conversion" of blocks of 32 floats to blocks of 34 bytes: only whole blocks.
Napi::Value QuantizeQ8Of(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const SourceSpan source = FloatSpan(&arguments, 0);
  const ArrayView<uint8_t> target = arguments.WritableBytes(1);
  if (arguments.failed()) return info.Env().Undefined();
  if (!FillsTarget(info.Env(), source, kQ8BlockElements * sizeof(float), target.length, kQ8BlockBytes)) {
    return info.Env().Undefined();
  }
  return UndefinedOrThrow(info.Env(), QuantizeQ8Guarded(source, target.data, target.length / kQ8BlockBytes));
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
  return UndefinedOrThrow(info.Env(), GatherFromSpan(source, window, target.data));
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
  return whole ? info.Env().Undefined() : Throw(info.Env(), PageGone());
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
