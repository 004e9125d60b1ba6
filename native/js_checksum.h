/*
 * js_checksum.h - CRC-32 of bytes and of ranges of a file
 */
#ifndef TORCH_CHECKPOINT_JS_CHECKSUM_H_
#define TORCH_CHECKPOINT_JS_CHECKSUM_H_

#include <napi.h>

namespace torch_checkpoint {

// Signatures and contracts: the table in addon.cc, and lib/binding.ts.
Napi::Value Crc32Of(const Napi::CallbackInfo& info);
Napi::Value Crc32Ranges(const Napi::CallbackInfo& info);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_JS_CHECKSUM_H_
