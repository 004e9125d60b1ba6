/*
 * fresh_pages.cc - see fresh_pages.h
 */
#include "fresh_pages.h"

#include <chrono>
#include <cstdlib>

namespace torch_checkpoint {

// Units to see before judging.
static constexpr uint64_t kTrialUnits = 8;
// 512 small pages take about a millisecond; a huge page that takes longer is no gain.
static constexpr uint64_t kMaxUnitNanoseconds = 1000000;
// A unit that takes no longer was there already: bringing in a huge page takes 70 microseconds and more.
static constexpr uint64_t kPresentUnitNanoseconds = 40000;

FreshPages::FreshPages(void* output, size_t byte_length) : end_(static_cast<uint8_t*>(output) + byte_length) {
  AdvisePageSize(output, byte_length, true);
}

// The count and the time of all threads together are judged; a thread that just misses the verdict does one more unit.
void FreshPages::Prepare(void* begin, size_t byte_length) {
  if (present_.load(std::memory_order_relaxed)) return;
  const auto start = std::chrono::steady_clock::now();
  PopulateForWriting(begin, byte_length);
  const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start);
  if (byte_length == kUnit && spent.count() < static_cast<int64_t>(kPresentUnitNanoseconds)) {
    present_.store(true, std::memory_order_relaxed);
    return;
  }
  if (!huge_.load(std::memory_order_relaxed)) return;
  const uint64_t nanoseconds = nanoseconds_ += static_cast<uint64_t>(spent.count());
  const uint64_t units = ++units_;
  if (units < kTrialUnits || nanoseconds <= units * kMaxUnitNanoseconds) return;
  if (huge_.exchange(false)) AdvisePageSize(begin, static_cast<size_t>(end_ - static_cast<uint8_t*>(begin)), false);
}

void KeepFreedBlocks() {
#if defined(__GLIBC__)
  // A little below DEFAULT_MMAP_THRESHOLD_MAX of 64-bit machines, for the block has a header and flags of its own.
  constexpr size_t kLargestKept = (size_t{32} << 20) - (size_t{64} << 10);
  // Compilers leave out what is freed unused.
  void* volatile block = std::malloc(kLargestKept);
  std::free(block);
#endif
}

}  // namespace torch_checkpoint
