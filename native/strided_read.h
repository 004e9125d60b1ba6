/*
 * strided_read.h - a strided window of a span: from memory at once, from a file in few and bounded reads
 */
#ifndef TORCH_CHECKPOINT_STRIDED_READ_H_
#define TORCH_CHECKPOINT_STRIDED_READ_H_

#include <cstdint>

#include "error.h"
#include "source_span.h"
#include "strided_copy.h"

namespace torch_checkpoint {

// What is held of the source at a time, unless a caller asks for less.
constexpr uint64_t kGatherBytes = uint64_t{16} << 20;

// Contiguous C-order copy of a window that CheckWindow() has accepted for `source`, with at most `max_bytes` of a file in
// memory (but always room for one element).
Status GatherFromSpan(const SourceSpan& source, const StridedWindow& window, uint8_t* target,
                      uint64_t max_bytes = kGatherBytes);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_STRIDED_READ_H_
