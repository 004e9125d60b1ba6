/*
 * js_file.h - open files: reading, windows, closing
 */
#ifndef TORCH_CHECKPOINT_JS_FILE_H_
#define TORCH_CHECKPOINT_JS_FILE_H_

#include <napi.h>

namespace torch_checkpoint {

// Signatures and contracts: the table in addon.cc, and lib/binding.ts.
Napi::Value FileOpen(const Napi::CallbackInfo& info);
Napi::Value FileInfo(const Napi::CallbackInfo& info);
Napi::Value FileStateOf(const Napi::CallbackInfo& info);
Napi::Value FileWindow(const Napi::CallbackInfo& info);
Napi::Value FileReadSync(const Napi::CallbackInfo& info);
Napi::Value FileRead(const Napi::CallbackInfo& info);
Napi::Value FileClose(const Napi::CallbackInfo& info);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_JS_FILE_H_
