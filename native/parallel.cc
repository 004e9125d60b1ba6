/*
 * parallel.cc - a shared counter and joined threads
 */
#include "parallel.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

namespace torch_checkpoint {

unsigned UsefulThreads() {
  static const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
  return threads;
}

// Tasks are handed out one by one, so that a thread which the system takes away for a while holds up only its own task.
void RunParallel(size_t count, unsigned threads, const std::function<void(size_t)>& task) {
  std::atomic<size_t> next{0};
  auto drain = [&] {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(i);
  };
  std::vector<std::thread> others;
  const size_t wanted = std::min<size_t>(count, threads);
  others.reserve(wanted);
  for (size_t i = 1; i < wanted; i++) {
    try {
      others.emplace_back(drain);
    } catch (const std::system_error&) {
      break;
    }
  }
  drain();
  for (std::thread& other : others) other.join();
}

void FirstFailure::Note(Status status) {
  if (status.ok()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  if (status_.ok()) status_ = std::move(status);
  happened_.store(true, std::memory_order_relaxed);
}

}  // namespace torch_checkpoint
