/*
 * output_pieces.h - run a conversion over a large output: guarded, split over threads, with its pages brought in first
 */
#ifndef TORCH_CHECKPOINT_OUTPUT_PIECES_H_
#define TORCH_CHECKPOINT_OUTPUT_PIECES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "error.h"
#include "fresh_pages.h"
#include "parallel.h"
#include "source_span.h"

namespace torch_checkpoint {

// Below this much output one thread has finished before a second has started.
constexpr size_t kParallelOutputBytes = size_t{4} << 20;

// convert(source, target, count) over all of `count` elements, which take `source_bytes` each in the span and
// `target_bytes` in the output.  The calls are on several threads, in any order, and each element is in one call; convert
// follows the rules of RunGuarded().
template <typename Convert>
Status InOutputPieces(size_t source_bytes, const SourceSpan& source, size_t target_bytes, uint8_t* target, size_t count,
                      const Convert& convert) {
  auto piece = [&](size_t begin, size_t end) {
    return source.ForEachPiece(begin * source_bytes, end * source_bytes, source_bytes,
                               [&](const uint8_t* bytes, uint64_t offset, size_t length) {
                                 convert(bytes, target + offset / source_bytes * target_bytes, length / source_bytes);
                               });
  };
  if (count * target_bytes <= kParallelOutputBytes) return piece(0, count);
  // Pieces end at huge page boundaries of the output, or right before where an element lies across one, so that two
  // threads do not fault the same page; the first is what is left over of its page.
  FreshPages fresh(target, count * target_bytes);
  const size_t before = reinterpret_cast<uintptr_t>(target) % FreshPages::kUnit;
  const size_t units = (before + count * target_bytes + FreshPages::kUnit - 1) / FreshPages::kUnit;
  auto first_of = [&](size_t unit) {
    const size_t address = std::max(unit * FreshPages::kUnit, before) - before;
    return std::min(count, (address + target_bytes - 1) / target_bytes);
  };
  FirstFailure failure;
  RunParallel(units, UsefulThreads(), [&](size_t unit) {
    if (failure.happened()) return;
    const size_t begin = first_of(unit), end = first_of(unit + 1);
    fresh.Prepare(target + begin * target_bytes, (end - begin) * target_bytes);
    failure.Note(piece(begin, end));
  });
  return failure.status();
}

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_OUTPUT_PIECES_H_
