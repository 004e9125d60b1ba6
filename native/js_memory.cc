/*
 * js_memory.cc - see js_memory.h
 */
#include "js_memory.h"

#include "fresh_pages.h"
#include "js_bridge.h"
#include "os_file.h"

namespace torch_checkpoint {

Napi::Value NewWorkingMemory(Napi::Env env, size_t byte_length, uint8_t** data, size_t* offset) {
  AddonState& state = StateOf(env);
  *offset = 0;
  if (byte_length < kLargeBytes || state.alloc_unsafe_slow.IsEmpty()) return NewArrayBuffer(env, byte_length, data);
  const size_t whole_pages = WholeHugePages(byte_length);
  const Napi::Value buffer = state.alloc_unsafe_slow.Call(
      {Napi::Number::New(env, static_cast<double>(whole_pages + kHugePageBytes))});
  if (buffer.IsEmpty()) return Napi::Value();
  Napi::Uint8Array bytes = buffer.As<Napi::Uint8Array>();
  const uintptr_t address = reinterpret_cast<uintptr_t>(bytes.Data());
  *offset = static_cast<size_t>(WholeHugePages(address) - address);
  *data = bytes.Data() + *offset;
  AdvisePageSize(*data, whole_pages, true);
  return bytes.ArrayBuffer();
}

Napi::Value WorkingBytes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Arguments arguments(info);
  const uint64_t byte_length = arguments.Unsigned(0);
  if (arguments.failed()) return env.Undefined();
  uint8_t* data;
  size_t offset;
  const Napi::Value buffer = NewWorkingMemory(env, static_cast<size_t>(byte_length), &data, &offset);
  if (buffer.IsEmpty()) return env.Undefined();
  napi_value array;
  if (napi_create_typedarray(env, napi_uint8_array, byte_length, buffer, offset, &array) != napi_ok) return Napi::Value();
  return Napi::Value(env, array);
}

Napi::Value KeepFreedBlocksOf(const Napi::CallbackInfo& info) {
  KeepFreedBlocks();
  return info.Env().Undefined();
}

}  // namespace torch_checkpoint
