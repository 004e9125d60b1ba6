/*
 * element_statistics.cc - see element_statistics.h
 *
 * Elements are taken in pieces of kPieceElements, whatever the number of threads; a piece in blocks that are first
 * converted to numbers (float32 by the kernels, where that is exact) and then accumulated in kLanes independent lanes,
 * which a compiler can keep in vector registers without changing the order of any addition.
 */
#include "element_statistics.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu.h"
#include "fault_guard.h"
#include "parallel.h"

#if defined(__GNUC__)
#define TORCH_CHECKPOINT_INLINE inline __attribute__((always_inline))
#else
#define TORCH_CHECKPOINT_INLINE __forceinline
#endif

namespace torch_checkpoint {

static constexpr size_t kPieceElements = size_t{1} << 20;
// A block of doubles is 16 KiB: half of a first-level cache.
static constexpr size_t kBlockElements = 2048;
static constexpr size_t kLanes = 8;

ElementStatistics::ElementStatistics()
    : min(std::numeric_limits<double>::infinity()), max(-std::numeric_limits<double>::infinity()) {}

void ElementStatistics::Append(const ElementStatistics& next) {
  min = std::min(min, next.min);
  max = std::max(max, next.max);
  sum += next.sum;
  sum_squares += next.sum_squares;
  nan += next.nan;
  inf += next.inf;
  zeros += next.zeros;
}

namespace {

struct Lanes {
  double min[kLanes], max[kLanes], sum[kLanes], sum_squares[kLanes];
  uint64_t nan[kLanes], inf[kLanes], zeros[kLanes];
};

// One element into one lane, without a branch.
TORCH_CHECKPOINT_INLINE void Accumulate(Lanes* lanes, size_t lane, double value) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const bool is_nan = value != value, is_inf = value == kInfinity || value == -kInfinity;
  const bool finite = !is_nan && !is_inf;
  const double counted = finite ? value : 0.0;
  const double low = finite ? value : kInfinity, high = finite ? value : -kInfinity;
  lanes->min[lane] = low < lanes->min[lane] ? low : lanes->min[lane];
  lanes->max[lane] = high > lanes->max[lane] ? high : lanes->max[lane];
  lanes->sum[lane] += counted;
  lanes->sum_squares[lane] += counted * counted;
  lanes->nan[lane] += is_nan;
  lanes->inf[lane] += is_inf;
  lanes->zeros[lane] += value == 0;
}

TORCH_CHECKPOINT_INLINE void AccumulateBlock(Lanes* lanes, const double* values, size_t count) {
  Lanes local = *lanes;  // in registers: nothing else points to it
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; lane++) Accumulate(&local, lane, values[i + lane]);
  }
  for (; i < count; i++) Accumulate(&local, i % kLanes, values[i]);
  *lanes = local;
}

void AccumulatePlain(Lanes* lanes, const double* values, size_t count) { AccumulateBlock(lanes, values, count); }
#if defined(TORCH_CHECKPOINT_X64)
// Without FMA on purpose: it would round differently.
TORCH_CHECKPOINT_TARGET("avx2")
void AccumulateAvx2(Lanes* lanes, const double* values, size_t count) { AccumulateBlock(lanes, values, count); }
#endif

template <typename T>
void Widen(const uint8_t* source, double* values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    T value;
    std::memcpy(&value, source + i * sizeof(T), sizeof(T));
    values[i] = static_cast<double>(value);
  }
}

// Types that a float32 cannot hold exactly go to double directly.
void ToDoubles(Kernel kernel, const uint8_t* source, double* values, size_t count) {
  switch (kernel) {
    case Kernel::kFloat64:
      return Widen<double>(source, values, count);
    case Kernel::kFloat32:
      return Widen<float>(source, values, count);
    case Kernel::kInt32:
      return Widen<int32_t>(source, values, count);
    case Kernel::kUInt32:
      return Widen<uint32_t>(source, values, count);
    case Kernel::kInt64:
      return Widen<int64_t>(source, values, count);
    case Kernel::kUInt64:
      return Widen<uint64_t>(source, values, count);
    default: {  // everything narrower is exact in float32
      float floats[kBlockElements];
      ToFloat32(kernel, source, floats, count);
      return Widen<float>(reinterpret_cast<const uint8_t*>(floats), values, count);
    }
  }
}

// Owns nothing, and its arrays are on the stack: it runs inside the guard.
ElementStatistics OfPiece(Kernel kernel, const uint8_t* source, size_t count) {
  Lanes lanes;
  std::memset(&lanes, 0, sizeof(lanes));
  std::fill_n(lanes.min, kLanes, std::numeric_limits<double>::infinity());
  std::fill_n(lanes.max, kLanes, -std::numeric_limits<double>::infinity());
  double values[kBlockElements];
#if defined(TORCH_CHECKPOINT_X64)
  const auto accumulate = ActiveCpuFeatures().avx2 ? AccumulateAvx2 : AccumulatePlain;
#else
  const auto accumulate = AccumulatePlain;
#endif
  for (size_t done = 0; done < count; done += kBlockElements) {
    const size_t length = std::min(kBlockElements, count - done);
    ToDoubles(kernel, source + done * KernelItemsize(kernel), values, length);
    accumulate(&lanes, values, length);
  }
  ElementStatistics statistics;
  for (size_t lane = 0; lane < kLanes; lane++) {
    statistics.min = std::min(statistics.min, lanes.min[lane]);
    statistics.max = std::max(statistics.max, lanes.max[lane]);
    statistics.sum += lanes.sum[lane];
    statistics.sum_squares += lanes.sum_squares[lane];
    statistics.nan += lanes.nan[lane];
    statistics.inf += lanes.inf[lane];
    statistics.zeros += lanes.zeros[lane];
  }
  return statistics;
}

}  // namespace

Status StatisticsGuarded(Kernel kernel, const SourceSpan& source, ElementStatistics* statistics) {
  const size_t itemsize = KernelItemsize(kernel);
  const size_t count = static_cast<size_t>(source.byte_length() / itemsize);
  const size_t pieces = (count + kPieceElements - 1) / kPieceElements;
  std::vector<ElementStatistics> parts(pieces);
  FirstFailure failure;
  RunParallel(pieces, UsefulThreads(), [&](size_t piece) {
    if (failure.happened()) return;
    const size_t begin = piece * kPieceElements, length = std::min(kPieceElements, count - begin);
    ElementStatistics* part = &parts[piece];
    failure.Note(source.ForEachPiece(begin * itemsize, (begin + length) * itemsize, itemsize,
                                     [=](const uint8_t* bytes, uint64_t, size_t byte_count) {
                                       part->Append(OfPiece(kernel, bytes, byte_count / itemsize));
                                     }));
  });
  for (const ElementStatistics& part : parts) statistics->Append(part);
  return failure.status();
}

}  // namespace torch_checkpoint
