/*
 * summed_ahead.cc - see summed_ahead.h
 */
#include "summed_ahead.h"

#include <algorithm>

#include "crc32.h"
#include "fault_guard.h"

namespace torch_checkpoint {

// How far the helper runs ahead of the writer: enough never to be caught up with, little enough that a shared cache of
// a few megabytes still holds a piece when its turn to be written comes.
static constexpr uint64_t kAheadBytes = uint64_t{4} << 20;

SummedAhead::SummedAhead(const uint8_t* bytes, uint64_t count, size_t piece_bytes)
    : bytes_(bytes),
      count_(count),
      piece_bytes_(piece_bytes),
      sums_(static_cast<size_t>((count + piece_bytes - 1) / piece_bytes)) {}

uint64_t SummedAhead::PieceLength(size_t index) const {
  return std::min<uint64_t>(piece_bytes_, count_ - uint64_t{index} * piece_bytes_);
}

bool SummedAhead::WaitForTurn(size_t index) {
  const uint64_t begin = uint64_t{index} * piece_bytes_;
  std::unique_lock<std::mutex> lock(mutex_);
  moved_.wait(lock, [&] { return abandoned_ || begin < written_ + kAheadBytes; });
  return !abandoned_;
}

void SummedAhead::SumPieces() {
  for (;;) {
    const size_t index = next_piece_.fetch_add(1, std::memory_order_relaxed);
    if (index >= sums_.size() || unreadable_.load(std::memory_order_relaxed)) return;
    if (!WaitForTurn(index)) return;
    const uint8_t* piece = bytes_ + uint64_t{index} * piece_bytes_;
    const size_t length = static_cast<size_t>(PieceLength(index));
    uint32_t sum = 0;
    if (!Guarded([&] { sum = Crc32(0, piece, length); })) unreadable_.store(true, std::memory_order_relaxed);
    sums_[index] = sum;
  }
}

void SummedAhead::NoteWritten(uint64_t count) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    written_ = count;
  }
  moved_.notify_one();
}

void SummedAhead::Abandon() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    abandoned_ = true;
  }
  moved_.notify_one();
}

bool SummedAhead::Finish(uint32_t* crc) {
  if (unreadable_.load(std::memory_order_relaxed)) return false;
  for (size_t i = 0; i < sums_.size(); i++) *crc = Crc32Combine(*crc, sums_[i], PieceLength(i));
  return true;
}

}  // namespace torch_checkpoint
