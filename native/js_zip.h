/*
 * js_zip.h - the records of a ZIP container as JavaScript arrays
 */
#ifndef TORCH_CHECKPOINT_JS_ZIP_H_
#define TORCH_CHECKPOINT_JS_ZIP_H_

#include <napi.h>

namespace torch_checkpoint {

// zipDirectory(source: NativeFile | Uint8Array, maxRecords: number): ZipDirectory
Napi::Value ReadZipDirectory(const Napi::CallbackInfo& info);
// numberedNames(nameBytes: Uint8Array, nameEnds: Uint32Array, folder: Uint8Array, byNumber: Int32Array): Uint32Array
Napi::Value NumberedNames(const Napi::CallbackInfo& info);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_JS_ZIP_H_
