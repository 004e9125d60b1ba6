/*
 * output_pieces.h - run a conversion over a large output: guarded, split over threads, with its pages brought in first
 */
#ifndef TORCH_CHECKPOINT_OUTPUT_PIECES_H_
#define TORCH_CHECKPOINT_OUTPUT_PIECES_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "fault_guard.h"
#include "fresh_pages.h"
#include "parallel.h"

namespace torch_checkpoint {

// Below this much output one thread has finished before a second has started.
constexpr size_t kParallelOutputBytes = size_t{4} << 20;

// convert(source, target, count) over all of `count` elements, which take `source_bytes` each on the one side and
// `target_bytes` on the other.  The calls are on several threads, in any order, and each element is in one call; convert
// follows the rules of RunGuarded().  False when memory could not be read.
template <typename Convert>
bool InOutputPieces(size_t source_bytes, const uint8_t* source, size_t target_bytes, uint8_t* target, size_t count,
                    const Convert& convert) {
  if (count == 0) return true;
  std::atomic<bool> whole{true};
  auto piece = [&](size_t begin, size_t end) {
    if (begin >= end) return;
    if (!Guarded([&] { convert(source + begin * source_bytes, target + begin * target_bytes, end - begin); })) {
      whole = false;
    }
  };
  if (count * target_bytes <= kParallelOutputBytes) {
    piece(0, count);
    return whole;
  }
  // Pieces end at huge page boundaries of the output, or right before where an element lies across one, so that two
  // threads do not fault the same page; the first is what is left over of its page.
  FreshPages fresh(target, count * target_bytes);
  const size_t before = reinterpret_cast<uintptr_t>(target) % FreshPages::kUnit;
  const size_t units = (before + count * target_bytes + FreshPages::kUnit - 1) / FreshPages::kUnit;
  auto first_of = [&](size_t unit) {
    const size_t address = std::max(unit * FreshPages::kUnit, before) - before;
    return std::min(count, (address + target_bytes - 1) / target_bytes);
  };
  RunParallel(units, UsefulThreads(), [&](size_t unit) {
    const size_t begin = first_of(unit), end = first_of(unit + 1);
    fresh.Prepare(target + begin * target_bytes, (end - begin) * target_bytes);
    piece(begin, end);
  });
  return whole;
}

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_OUTPUT_PIECES_H_
