/*
 * fresh_pages.h - memory that the kernel must bring in: how large outputs and our own work get theirs, and how freed blocks
 * are used again
 *
 * A fresh output of gigabytes costs more in page faults than in arithmetic.  Two things help: asking for the pages of a
 * piece in one call, and huge pages.  Huge pages are three times faster where the machine has them at hand and up to six
 * times slower where it must first move memory about (measured: fragmented page cache, or a virtual machine whose host
 * has not backed the memory yet).  Nothing tells which before, so the first pieces are timed and huge pages are given up
 * for the rest when they turn out slow.
 */
#ifndef TORCH_CHECKPOINT_FRESH_PAGES_H_
#define TORCH_CHECKPOINT_FRESH_PAGES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "os_file.h"

namespace torch_checkpoint {

static constexpr size_t kHugePageBytes = size_t{2} << 20;
// From here on working memory is put on huge pages: it costs less than the small ones even if most of the last is not used.
static constexpr size_t kLargeBytes = size_t{1} << 20;

// The next multiple of a huge page.
constexpr uint64_t WholeHugePages(uint64_t bytes) {
  return (bytes + kHugePageBytes - 1) & ~uint64_t{kHugePageBytes - 1};
}

// For one output; Prepare() may be called from several threads.  Changes no contents, and does no harm to memory that is
// there already.
class FreshPages {
 public:
  // Pieces that begin and end at multiples of this address unit do not share a huge page.
  static constexpr size_t kUnit = kHugePageBytes;

  FreshPages(void* output, size_t byte_length);
  // Brings in the pages of [begin, begin + byte_length), which is about to be written whole.  Does nothing any more once a
  // unit turned out to be there: then the others are too, and asking costs a call for each.
  void Prepare(void* begin, size_t byte_length);

 private:
  uint8_t* end_;
  std::atomic<bool> huge_{true};
  std::atomic<bool> present_{false};
  std::atomic<uint64_t> units_{0};
  std::atomic<uint64_t> nanoseconds_{0};
};

// Has malloc() keep freed blocks of up to 32 MiB for the next ones.
//
// glibc gives memory back to the system at once until it has seen blocks of that size come and go: then it keeps twice as
// much (mallopt(3), M_MMAP_THRESHOLD).  Garbage collectors free the results of many conversions at a time, more than it keeps
// of small blocks, so that each result would lie on fresh pages.  One large block that is freed untouched is what it takes.
void KeepFreedBlocks();

// Gives containers their memory on huge pages once it is large.
template <typename T>
struct HugePageAllocator {
  using value_type = T;

  HugePageAllocator() = default;
  template <typename Other>
  HugePageAllocator(const HugePageAllocator<Other>&) {}

  T* allocate(size_t count) {
    if (count * sizeof(T) < kLargeBytes) return std::allocator<T>().allocate(count);
    const size_t whole_pages = WholeHugePages(count * sizeof(T));
    void* memory = ::operator new(whole_pages, std::align_val_t(kHugePageBytes));
    AdvisePageSize(memory, whole_pages, true);
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t count) {
    if (count * sizeof(T) < kLargeBytes) return std::allocator<T>().deallocate(memory, count);
    ::operator delete(memory, std::align_val_t(kHugePageBytes));
  }
  template <typename Other>
  bool operator==(const HugePageAllocator<Other>&) const {
    return true;
  }
  template <typename Other>
  bool operator!=(const HugePageAllocator<Other>&) const {
    return false;
  }
};

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_FRESH_PAGES_H_
