/*
 * parallel.cc - a shared counter and a pool of waiting threads
 */
#include "parallel.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
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

  // Tasks are handed out one by one, so that a thread which the system takes away for a while holds up only its own task.
  void Drain() {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(i);
  }
};

// Threads that wait for jobs.  They are kept: the end of a thread gives its stack back, and the other processors are made
// to forget it, which takes milliseconds in a virtual machine (measured: two to nine, for work of three).
class Pool {
 public:
  void Run(Job* job, size_t wanted_helpers) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (size_t i = 0; i < wanted_helpers; i++) waiting_.push_back(job);
      while (threads_ < waiting_.size() && threads_ < kMaxThreads && Start()) threads_++;
    }
    work_.notify_all();
    job->Drain();
    std::unique_lock<std::mutex> lock(mutex_);
    waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), job), waiting_.end());
    done_.wait(lock, [&] { return job->helpers == 0; });
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
  Job job{task, count};
  const size_t wanted = std::min<size_t>(count, threads);
  if (wanted <= 1) return job.Drain();
  SharedPool().Run(&job, wanted - 1);
}

void FirstFailure::Note(Status status) {
  if (status.ok()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  if (status_.ok()) status_ = std::move(status);
  happened_.store(true, std::memory_order_relaxed);
}

}  // namespace torch_checkpoint
