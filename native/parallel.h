/*
 * parallel.h - split one operation over a few threads
 *
 * The threads are those of the process and wait between operations; two operations at once share them.
 */
#ifndef TORCH_CHECKPOINT_PARALLEL_H_
#define TORCH_CHECKPOINT_PARALLEL_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <mutex>
#include <utility>

#include "error.h"

namespace torch_checkpoint {

// Threads worth starting for work that is bound by memory: the processors, at most 8.
unsigned UsefulThreads();

// Calls task(i) once for each i below `count`, begun in this order, on the caller and up to `threads` - 1 others; returns
// when all are done.  A thread that cannot be had only makes it slower.  What a task throws ends the others and is thrown.
void RunParallel(size_t count, unsigned threads, const std::function<void(size_t)>& task);

// What the tasks of one operation agree on when some of them fail: the first failure counts and the others may stop.
class FirstFailure {
 public:
  bool happened() const { return happened_.load(std::memory_order_relaxed); }
  void Note(Status status);
  // After all tasks are done.
  Status status() { return std::move(status_); }

 private:
  std::atomic<bool> happened_{false};
  std::mutex mutex_;
  Status status_;  // guarded by mutex_
};

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_PARALLEL_H_
