/*
 * strided_copy.cc - strided gather for any rank
 *
 * The window is first reduced: dimensions of extent 1 go, and neighbours that step as one are merged.  What remains has
 * at least one of three shapes, tried in this order:
 *   rows       the last dimension is contiguous: memcpy of rows
 *   transpose  another dimension is contiguous in the source: square tiles, so that every cache line that is read or
 *              written is used whole
 *   columns    nothing is contiguous: one element at a time, with the item size known to the compiler
 *
 * State of a reduced window: strides in bytes; never empty; no extent is zero; the last dimension has no gaps in the
 * target.  A source stride may be zero (an expanded dimension), a target stride may not.
 */
#include "strided_copy.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "bytes.h"
#include "fault_guard.h"

namespace torch_checkpoint {

// Elements on a side of a tile: 32 x 32 elements of 8 bytes are 8 KiB on each side of the copy, within 32 KiB of L1.
static constexpr uint64_t kTile = 32;

namespace {

struct Reduced {
  size_t itemsize;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> source_stride;  // bytes
  std::vector<uint64_t> target_stride;  // bytes
  std::vector<uint64_t> index;          // scratch of the outer loop
};

Reduced Reduce(const StridedWindow& window, const std::vector<uint64_t>& target_stride) {
  Reduced reduced;
  reduced.itemsize = window.itemsize;
  auto append = [&](uint64_t extent, uint64_t source_bytes, uint64_t target_bytes) {
    if (extent == 1) return;
    // The previous dimension steps over exactly this one, on both sides: together they are one longer dimension.
    if (!reduced.shape.empty() && reduced.source_stride.back() == extent * source_bytes &&
        reduced.target_stride.back() == extent * target_bytes) {
      reduced.shape.back() *= extent;
      reduced.source_stride.back() = source_bytes;
      reduced.target_stride.back() = target_bytes;
      return;
    }
    reduced.shape.push_back(extent);
    reduced.source_stride.push_back(source_bytes);
    reduced.target_stride.push_back(target_bytes);
  };
  for (size_t d = 0; d < window.shape.size(); d++) {
    append(window.shape[d], window.stride[d] * window.itemsize, target_stride[d]);
  }
  // An item of unusual size is a row of bytes.
  const size_t size = window.itemsize;
  if (size != 1 && size != 2 && size != 4 && size != 8 && size != 16) {
    append(size, 1, 1);
    reduced.itemsize = 1;
  }
  // Copy() counts on a last dimension without gaps in the target.
  if (reduced.shape.empty() || reduced.target_stride.back() != reduced.itemsize) {
    reduced.shape.push_back(1);
    reduced.source_stride.push_back(reduced.itemsize);
    reduced.target_stride.push_back(reduced.itemsize);
  }
  reduced.index.assign(reduced.shape.size(), 0);
  return reduced;
}

template <size_t kItemsize>
inline void CopyItem(uint8_t* target, const uint8_t* source) {
  std::memcpy(target, source, kItemsize);
}

// target[i] = source[i * stride]
template <size_t kItemsize>
void CopyColumn(uint8_t* target, const uint8_t* source, uint64_t count, uint64_t stride) {
  for (uint64_t i = 0; i < count; i++) CopyItem<kItemsize>(target + i * kItemsize, source + i * stride);
}

// target[r * target_stride + c] = source[r + c * source_stride], r and c in items along the contiguous sides.
template <size_t kItemsize>
void CopyTransposed(uint8_t* target, uint64_t target_stride, const uint8_t* source, uint64_t source_stride,
                    uint64_t rows, uint64_t columns) {
  for (uint64_t row = 0; row < rows; row += kTile) {
    const uint64_t row_end = std::min(rows, row + kTile);
    for (uint64_t column = 0; column < columns; column += kTile) {
      const uint64_t column_end = std::min(columns, column + kTile);
      for (uint64_t r = row; r < row_end; r++) {
        CopyColumn<kItemsize>(target + r * target_stride + column * kItemsize,
                              source + r * kItemsize + column * source_stride, column_end - column, source_stride);
      }
    }
  }
}

// Calls inner(source, target) for every index of the dimensions that are neither `skip_a` nor `skip_b`.
template <typename Inner>
void ForEachOuter(Reduced* w, size_t skip_a, size_t skip_b, const uint8_t* source, uint8_t* target, const Inner& inner) {
  for (;;) {
    inner(source, target);
    size_t d = w->shape.size();
    for (;;) {
      if (d == 0) return;
      d--;
      if (d == skip_a || d == skip_b) continue;
      source += w->source_stride[d];
      target += w->target_stride[d];
      if (++w->index[d] < w->shape[d]) break;
      source -= w->source_stride[d] * w->shape[d];
      target -= w->target_stride[d] * w->shape[d];
      w->index[d] = 0;
    }
  }
}

// Owns nothing: runs inside the guard.
//
// The item size is a template argument, so that each copy of an item is one load and one store.
template <size_t kItemsize>
void Copy(Reduced* w, const uint8_t* source, uint8_t* target) {
  const size_t last = w->shape.size() - 1;
  const uint64_t count = w->shape[last], stride = w->source_stride[last];
  if (stride == kItemsize) {
    ForEachOuter(w, last, last, source, target,
                 [=](const uint8_t* from, uint8_t* to) { std::memcpy(to, from, count * kItemsize); });
    return;
  }
  const auto contiguous = std::find(w->source_stride.begin(), w->source_stride.end(), kItemsize);
  if (contiguous != w->source_stride.end()) {
    const size_t row = static_cast<size_t>(contiguous - w->source_stride.begin());
    const uint64_t rows = w->shape[row], target_stride = w->target_stride[row];
    ForEachOuter(w, row, last, source, target, [=](const uint8_t* from, uint8_t* to) {
      CopyTransposed<kItemsize>(to, target_stride, from, stride, rows, count);
    });
    return;
  }
  ForEachOuter(w, last, last, source, target,
               [=](const uint8_t* from, uint8_t* to) { CopyColumn<kItemsize>(to, from, count, stride); });
}

}  // namespace

// Everything is proven before a pointer is made: no product or sum below can overflow when this has passed.
Result<uint64_t> CheckWindow(const StridedWindow& window, uint64_t source_bytes) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  using ULL = unsigned long long;
  uint64_t numel = 1;
  bool empty = false;
  for (uint64_t extent : window.shape) empty |= extent == 0;
  if (empty) return uint64_t{0};
  uint64_t last = window.storage_offset;  // index of the furthest element
  for (size_t d = 0; d < window.shape.size(); d++) {
    const uint64_t steps = window.shape[d] - 1, stride = window.stride[d];
    const bool fits = window.shape[d] <= kMax / numel && (steps == 0 || stride <= (kMax - last) / steps);
    if (!fits) return MakeError(ErrorCode::kTensorCorrupt, "shape and stride overflow in dimension %zu", d);
    numel *= window.shape[d];
    last += steps * stride;
  }
  // numel can exceed the source when strides are zero, so its bytes are bounded separately.
  const uint64_t elements = source_bytes / window.itemsize;
  if (last >= elements || numel > kMax / window.itemsize) {
    return MakeError(ErrorCode::kTensorCorrupt, "element %llu is needed, the storage has %llu of %zu bytes",
                     static_cast<ULL>(last), static_cast<ULL>(elements), window.itemsize);
  }
  return numel;
}

std::vector<uint64_t> ContiguousStride(const StridedWindow& window) {
  std::vector<uint64_t> stride(window.shape.size());
  uint64_t step = window.itemsize;
  for (size_t d = stride.size(); d-- > 0; step *= window.shape[d]) stride[d] = step;
  return stride;
}

bool GatherGuarded(const uint8_t* source, const StridedWindow& window, uint8_t* target) {
  return ScatterGuarded(source, window, ContiguousStride(window), target);
}

bool ScatterGuarded(const uint8_t* source, const StridedWindow& window, const std::vector<uint64_t>& target_stride,
                    uint8_t* target) {
  if (std::find(window.shape.begin(), window.shape.end(), uint64_t{0}) != window.shape.end()) return true;
  Reduced reduced = Reduce(window, target_stride);
  source += window.storage_offset * window.itemsize;
  return Guarded([&] {
    switch (reduced.itemsize) {
      case 1:
        return Copy<1>(&reduced, source, target);
      case 2:
        return Copy<2>(&reduced, source, target);
      case 4:
        return Copy<4>(&reduced, source, target);
      case 8:
        return Copy<8>(&reduced, source, target);
      default:
        return Copy<16>(&reduced, source, target);
    }
  });
}

}  // namespace torch_checkpoint
