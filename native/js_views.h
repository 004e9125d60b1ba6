/*
 * js_views.h - bytes of a mapped file as ArrayBuffers, and their end
 *
 * A window is an external ArrayBuffer on the mapping; its finalizer holds a share of the MappedFile.  Where the host
 * refuses external memory (Electron), it is a growable SharedArrayBuffer whose own pages are replaced by a mapping of the
 * file: V8 allocates and frees such buffers in whole pages, so dropping one removes our mapping with it.
 *
 * close() detaches the windows it knows and gives up its share; the mapping lives on until the last finalizer has run,
 * because a detached window may still be in use by a read or write that was under way.
 */
#ifndef TORCH_CHECKPOINT_JS_VIEWS_H_
#define TORCH_CHECKPOINT_JS_VIEWS_H_

#include <napi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "js_bridge.h"
#include "mapped_file.h"

namespace torch_checkpoint {

// The native end of a `NativeFile`.  Lives on the thread of its environment.
class FileHandle {
 public:
  FileHandle(Napi::Env env, std::shared_ptr<MappedFile> file) : env_(env), file_(std::move(file)) {}
  ~FileHandle();
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;

  // Null, with CLOSED raised in `arguments`, after Close().
  MappedFile* OpenFile(Arguments* arguments) const;
  std::shared_ptr<MappedFile> share() const { return file_; }

  // A Uint8Array over a non-empty range inside the file; null where the host refuses.  An external buffer may begin at any
  // byte: engines check the offset of a view in its buffer and never the address.  An overlay begins on a page, and so does
  // its array in a buffer that may be longer.
  Napi::Value Window(uint64_t byte_offset, uint64_t byte_length);
  void Close();

  // Between the two, memory that native code may be reading on another thread is not let go.
  void Pin() { pins_++; }
  void Unpin();

 private:
  struct ExternalView {
    napi_ref buffer;  // weak
    uint64_t byte_length;
  };
  struct Overlay {
    uint64_t byte_offset;
    uint64_t byte_length;
    size_t start;     // of the range in the buffer
    napi_ref buffer;  // strong
  };

  Napi::Value ViewOf(napi_value buffer, uint64_t start, uint64_t byte_length) const;
  Napi::Value ExternalWindow(uint64_t byte_offset, uint64_t byte_length);
  Napi::Value OverlayWindow(uint64_t byte_offset, uint64_t byte_length);
  void CountExternal(int64_t change);
  void Forget(const ExternalView& window);
  void ForgetDeadWindows();
  void ReleaseOverlays();

  Napi::Env env_;
  std::shared_ptr<MappedFile> file_;  // null after Close()
  // Kept past Close() while pinned: its overlays are being read.
  std::shared_ptr<MappedFile> closing_;
  int pins_ = 0;
  std::vector<ExternalView> windows_;
  size_t windows_at_last_sweep_ = 0;
  std::vector<Overlay> overlays_;
};

// Whether this host lets an ArrayBuffer lie on outside memory.
bool ExternalBuffersAllowed(Napi::Env env);
// How long the windows of a file should be at most.
double WindowBytes(Napi::Env env);
// Whether the overlay works here: tried once in each environment on a file of two pages.
bool OverlayWorks(Napi::Env env);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_JS_VIEWS_H_
