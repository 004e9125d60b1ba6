/*
 * summed_ahead.h - the checksum of a large run of memory, taken on one thread while another writes the run out
 *
 * The helper sums the run piece by piece and stays a little ahead of the writer.  That does three things at once: the
 * sum is free where a second processor is idle, the helper takes the page faults of a view on a mapping, and the writer
 * finds each piece in the shared cache.  The writer never waits for the helper; pieces that the helper has not got to
 * when the run is written are summed by both.  So a machine without an idle processor loses nothing.
 *
 * Threads: SumPieces() is the helper's, NoteWritten() and Abandon() are the writer's, Finish() comes after both.
 */
#ifndef TORCH_CHECKPOINT_SUMMED_AHEAD_H_
#define TORCH_CHECKPOINT_SUMMED_AHEAD_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace torch_checkpoint {

class SummedAhead {
 public:
  // Of `count` bytes in pieces of `piece_bytes`.  The memory may be mapped from a file: it is read guarded.
  SummedAhead(const uint8_t* bytes, uint64_t count, size_t piece_bytes);
  SummedAhead(const SummedAhead&) = delete;
  SummedAhead& operator=(const SummedAhead&) = delete;

  // Sums pieces until none is left, the run is abandoned, or memory turns out unreadable.
  void SumPieces();
  // The writer has written the first `count` bytes; the helper may go on.
  void NoteWritten(uint64_t count);
  // The writer gives up; the helper stops at its next piece.
  void Abandon();
  // Continues `*crc` over the whole run; false when memory could not be read.
  bool Finish(uint32_t* crc);

 private:
  // Blocks the helper while piece `index` is too far ahead of the writer; false when the run is abandoned.
  bool WaitForTurn(size_t index);
  uint64_t PieceLength(size_t index) const;

  const uint8_t* const bytes_;
  const uint64_t count_;
  const size_t piece_bytes_;
  // One for each piece; each is written by whoever claimed it and read by Finish().
  std::vector<uint32_t> sums_;
  std::atomic<size_t> next_piece_{0};
  std::atomic<bool> unreadable_{false};
  std::mutex mutex_;
  std::condition_variable moved_;
  uint64_t written_ = 0;    // guarded by mutex_
  bool abandoned_ = false;  // guarded by mutex_
};

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_SUMMED_AHEAD_H_
