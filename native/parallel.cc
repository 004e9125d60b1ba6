/*
 * parallel.cc - a shared counter and a pool of waiting threads
 */
#include "parallel.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <new>
#include <system_error>
#include <thread>

namespace torch_checkpoint {

unsigned UsefulThreads() {
  static const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
  return threads;
}

namespace {

// One call of RunParallel(), on the stack of its caller.
struct Job {
  const std::function<void(size_t)>& task;
  const size_t count;
  std::atomic<size_t> next{0};
  size_t helpers = 0;  // guarded by the pool's mutex

  std::exception_ptr thrown{};  // guarded by `thrown_mutex`
  std::mutex thrown_mutex{};

  // Tasks are handed out one by one, so that a thread which the system takes away for a while holds up only its own task.
  // Want of memory is thrown; the caller gets it when all threads have left.
  void Drain() {
    try {
      for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(i);
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      std::lock_guard<std::mutex> lock(thrown_mutex);
      if (!thrown) thrown = std::current_exception();
    }
  }
};

// Threads that wait for jobs.  They are kept: the end of a thread gives its stack back, and the other processors are made
// to forget it, which takes milliseconds in a virtual machine (measured: two to nine, for work of three).
class Pool {
 public:
  void Run(Job* job, size_t wanted_helpers) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      try {
        for (size_t i = 0; i < wanted_helpers; i++) waiting_.push_back(job);
      } catch (const std::bad_alloc&) {
        // Those that are in it will do.
      }
      while (threads_ < waiting_.size() && threads_ < kMaxThreads && Start()) threads_++;
    }
    work_.notify_all();
    job->Drain();
    std::unique_lock<std::mutex> lock(mutex_);
    waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), job), waiting_.end());
    done_.wait(lock, [&] { return job->helpers == 0; });
    if (job->thrown) std::rethrow_exception(job->thrown);
  }

 private:
  static constexpr size_t kMaxThreads = 8;

  bool Start() {
    try {
      std::thread([this] { Help(); }).detach();
      return true;
    } catch (const std::system_error&) {
      return false;  // the callers do the work alone
    }
  }

  void Help() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      work_.wait(lock, [&] { return !waiting_.empty(); });
      Job* job = waiting_.front();
      waiting_.pop_front();
      job->helpers++;
      lock.unlock();
      job->Drain();
      lock.lock();
      if (--job->helpers == 0) done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_, done_;
  std::deque<Job*> waiting_;  // guarded by mutex_, like the count of threads
  size_t threads_ = 0;
};

// Never destroyed: its threads wait on it until the process ends.
Pool& SharedPool() {
  static Pool* const pool = new Pool;
  return *pool;
}

}  // namespace

void RunParallel(size_t count, unsigned threads, const std::function<void(size_t)>& task) {
  const size_t wanted = std::min<size_t>(count, threads);
  if (wanted <= 1) {
    for (size_t i = 0; i < count; i++) task(i);
    return;
  }
  Job job{task, count};
  SharedPool().Run(&job, wanted - 1);
}

void FirstFailure::Note(Status status) {
  if (status.ok()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  if (status_.ok()) status_ = std::move(status);
  happened_.store(true, std::memory_order_relaxed);
}

}  // namespace torch_checkpoint
