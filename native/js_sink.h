/*
 * js_sink.h - the native end of a `NativeSink`: batches in, reports out
 */
#ifndef TORCH_CHECKPOINT_JS_SINK_H_
#define TORCH_CHECKPOINT_JS_SINK_H_

#include <napi.h>

#include <memory>

#include "file_sink.h"
#include "js_bridge.h"

namespace torch_checkpoint {

class SinkHandle {
 public:
  explicit SinkHandle(std::shared_ptr<FileSink> sink) : sink_(std::move(sink)) {}
  // A sink that was dropped without commit leaves no file behind.
  ~SinkHandle() { Abort(); }
  SinkHandle(const SinkHandle&) = delete;
  SinkHandle& operator=(const SinkHandle&) = delete;

  // Null, with an exception raised in `arguments`, when the sink is gone or an operation is still running on it.
  FileSink* Idle(Arguments* arguments) const;
  // Removes the temporary file now, or as soon as the running operation has stopped.
  void Abort();
  // After a commit there is nothing left to write to.
  void Forget() { sink_.reset(); }

  // Between the two an operation of another thread owns the sink.
  void Begin() { busy_ = true; }
  void End();

 private:
  std::shared_ptr<FileSink> sink_;  // null once committed or aborted
  bool busy_ = false;
  bool abort_at_end_ = false;
};

// Signatures and contracts: the table in addon.cc, and lib/binding.ts.
Napi::Value SinkCreate(const Napi::CallbackInfo& info);
Napi::Value AppendAsync(const Napi::CallbackInfo& info);
Napi::Value AppendSync(const Napi::CallbackInfo& info);
Napi::Value CommitAsync(const Napi::CallbackInfo& info);
Napi::Value CommitSync(const Napi::CallbackInfo& info);
Napi::Value SinkAbort(const Napi::CallbackInfo& info);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_JS_SINK_H_
