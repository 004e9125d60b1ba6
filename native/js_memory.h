/*
 * js_memory.h - memory of arrays: for the library's own work, and what becomes of freed ones
 */
#ifndef TORCH_CHECKPOINT_JS_MEMORY_H_
#define TORCH_CHECKPOINT_JS_MEMORY_H_

#include <napi.h>

#include <cstddef>
#include <cstdint>

namespace torch_checkpoint {

// An ArrayBuffer with room for `byte_length` bytes at `data`, `*offset` bytes from its start, and with whatever the memory
// held before.  Megabytes lie on huge pages, so the buffer is longer than they are.  Empty, with an exception pending, when
// there is no memory.
Napi::Value NewWorkingMemory(Napi::Env env, size_t byte_length, uint8_t** data, size_t* offset);

// Signatures and contracts: the table in addon.cc, and lib/binding.ts.
Napi::Value WorkingBytes(const Napi::CallbackInfo& info);
Napi::Value KeepFreedBlocksOf(const Napi::CallbackInfo& info);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_JS_MEMORY_H_
