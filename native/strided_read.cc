/*
 * strided_read.cc - see strided_read.h
 *
 * A window is cut along the dimension with the largest stride until what a part spans, from its first element to its
 * last, is worth one read.  It is cut
 *   into single indices  where the gap between two of them is longer than kGapBytes: reading through would cost more
 *   into longer parts    where the span is longer than the memory allowed
 * and each part goes to its place in the target, which is strided for it.  So a transposed matrix is read as a few bands
 * of whole rows, and a column of a wide one as single elements.
 *
 * Depth of the recursion: each level fixes a dimension or shortens one below the limit, so at most twice the rank.
 */
#include "strided_read.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace torch_checkpoint {

// Reading this much more takes about as long as another call, warm; on a cold disk or a network it is much less.
static constexpr uint64_t kGapBytes = 32 << 10;

namespace {

class Reader {
 public:
  Reader(const SourceSpan& source, const StridedWindow& window, uint64_t max_bytes)
      : source_(source),
        target_stride_(ContiguousStride(window)),
        max_elements_(std::max<uint64_t>(1, max_bytes / window.itemsize)),
        part_(window),
        by_stride_(window.shape.size()) {
    std::iota(by_stride_.begin(), by_stride_.end(), size_t{0});
    std::stable_sort(by_stride_.begin(), by_stride_.end(),
                     [&](size_t a, size_t b) { return window.stride[a] > window.stride[b]; });
  }

  Status ReadAll(uint8_t* target) { return ReadPart(part_.storage_offset, target); }

 private:
  // Reads the window of shape part_.shape whose first element is `first`; leaves part_.shape as it was.
  Status ReadPart(uint64_t first, uint8_t* target) {
    const size_t rank = part_.shape.size();
    uint64_t span = 1;  // elements from the first to the last
    for (size_t d = 0; d < rank; d++) span += (part_.shape[d] - 1) * part_.stride[d];
    const auto outer = std::find_if(by_stride_.begin(), by_stride_.end(),
                                    [&](size_t d) { return part_.shape[d] > 1 && part_.stride[d] > 0; });
    if (outer == by_stride_.end()) return CopyPart(first, span, target);

    const size_t d = *outer;
    const uint64_t extent = part_.shape[d], stride = part_.stride[d];
    const uint64_t inner_span = span - (extent - 1) * stride;
    const bool far_apart = stride > inner_span && (stride - inner_span) * part_.itemsize > kGapBytes;
    if (!far_apart && span <= max_elements_) return CopyPart(first, span, target);
    const uint64_t at_once = far_apart || inner_span >= max_elements_ ? 1 : (max_elements_ - inner_span) / stride + 1;
    Status status;
    for (uint64_t i = 0; i < extent && status.ok(); i += at_once) {
      part_.shape[d] = std::min(at_once, extent - i);
      status = ReadPart(first + i * stride, target + i * target_stride_[d]);
    }
    part_.shape[d] = extent;
    return status;
  }

  Status CopyPart(uint64_t first, uint64_t span, uint8_t* target) {
    const Result<const uint8_t*> bytes = source_.Piece(first * part_.itemsize, span * part_.itemsize, &scratch_);
    if (!bytes.ok()) return bytes.error();
    part_.storage_offset = 0;
    return ScatterGuarded(bytes.value(), part_, target_stride_, target) ? Status() : Status(PageGone());
  }

  const SourceSpan& source_;
  const std::vector<uint64_t> target_stride_;
  const uint64_t max_elements_;
  StridedWindow part_;  // its storage_offset is unused: the source is read from the part's first element on
  std::vector<size_t> by_stride_;
  std::vector<uint8_t> scratch_;
};

}  // namespace

Status GatherFromSpan(const SourceSpan& source, const StridedWindow& window, uint8_t* target, uint64_t max_bytes) {
  for (uint64_t extent : window.shape) {
    if (extent == 0) return Status();
  }
  if (source.memory() != nullptr) return GatherGuarded(source.memory(), window, target) ? Status() : Status(PageGone());
  return Reader(source, window, max_bytes).ReadAll(target);
}

}  // namespace torch_checkpoint
