/*
 * element_statistics.h - range, moments and counts of the elements of a storage, in one pass
 */
#ifndef TORCH_CHECKPOINT_ELEMENT_STATISTICS_H_
#define TORCH_CHECKPOINT_ELEMENT_STATISTICS_H_

#include <cstddef>
#include <cstdint>

#include "element_kernels.h"

namespace torch_checkpoint {

// NaN and infinities are counted and left out of everything else.  Sums are of doubles; 64-bit integers are rounded to
// double first.  The order of summation is fixed, so the result does not depend on the instruction set or on the number of
// threads.
struct ElementStatistics {
  // +infinity and -infinity when no element is finite.
  double min;
  double max;
  double sum = 0;
  double sum_squares = 0;
  uint64_t nan = 0;
  uint64_t inf = 0;
  uint64_t zeros = 0;

  ElementStatistics();
  // Of the elements here followed by those of `next`.
  void Append(const ElementStatistics& next);
};

// Of a whole span, which is a multiple of the elements' size; guarded and on several threads where that pays.
Status StatisticsGuarded(Kernel kernel, const SourceSpan& source, ElementStatistics* statistics);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ELEMENT_STATISTICS_H_
