/*
 * fresh_pages.h - have the kernel put memory under a large output before it is written
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

namespace torch_checkpoint {

// For one output; Prepare() may be called from several threads.  Changes no contents, and does no harm to memory that is
// there already.
class FreshPages {
 public:
  // Pieces that begin and end at multiples of this address unit do not share a huge page.
  static constexpr size_t kUnit = size_t{2} << 20;

  FreshPages(void* output, size_t byte_length);
  // Brings in the pages of [begin, begin + byte_length), which is about to be written whole.
  void Prepare(void* begin, size_t byte_length);

 private:
  uint8_t* end_;
  std::atomic<bool> huge_{true};
  std::atomic<uint64_t> units_{0};
  std::atomic<uint64_t> nanoseconds_{0};
};

// The same in one go, for memory of some megabytes.
void PrepareFreshMemory(void* address, size_t byte_length);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_FRESH_PAGES_H_
