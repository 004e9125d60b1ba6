/*
 * strided_copy.h - a strided window of elements, copied out contiguous in C order
 */
#ifndef TORCH_CHECKPOINT_STRIDED_COPY_H_
#define TORCH_CHECKPOINT_STRIDED_COPY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "error.h"

namespace torch_checkpoint {

// In elements of `itemsize` bytes.  Strides may be zero (an expanded dimension) and not negative.
struct StridedWindow {
  size_t itemsize;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> stride;
  uint64_t storage_offset;
};

// The number of elements, once every index is proven inside `source_bytes`; else kTensorCorrupt.
Result<uint64_t> CheckWindow(const StridedWindow& window, uint64_t source_bytes);

// Copies a window that CheckWindow() has accepted.  False when memory could not be read.
bool GatherGuarded(const uint8_t* source, const StridedWindow& window, uint8_t* target);
// The same into a target that is strided itself: `target_stride` has the bytes from index to index of each dimension.
bool ScatterGuarded(const uint8_t* source, const StridedWindow& window, const std::vector<uint64_t>& target_stride,
                    uint8_t* target);
// Byte strides of `window` in C order without gaps.
std::vector<uint64_t> ContiguousStride(const StridedWindow& window);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_STRIDED_COPY_H_
