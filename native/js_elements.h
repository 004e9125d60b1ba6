/*
 * js_elements.h - elements of storages: converted, gathered, compared
 */
#ifndef TORCH_CHECKPOINT_JS_ELEMENTS_H_
#define TORCH_CHECKPOINT_JS_ELEMENTS_H_

#include <napi.h>

namespace torch_checkpoint {

// Signatures and contracts: the table in addon.cc, and lib/binding.ts.
Napi::Value ToFloat32Of(const Napi::CallbackInfo& info);
Napi::Value CastFloat32Of(const Napi::CallbackInfo& info);
Napi::Value DequantizeOf(const Napi::CallbackInfo& info);
Napi::Value QuantizeQ8Of(const Napi::CallbackInfo& info);
Napi::Value Gather(const Napi::CallbackInfo& info);
Napi::Value ByteSwapOf(const Napi::CallbackInfo& info);
Napi::Value Equal(const Napi::CallbackInfo& info);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_JS_ELEMENTS_H_
