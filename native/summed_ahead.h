/*
 * summed_ahead.h - the checksum of a large run of memory, taken on another thread while the caller writes the run out
 *
 * The helper sums the run piece by piece and stays a little ahead of the writer.  That does three things at once: the
 * sum is free where a second processor is idle, the helper takes the page faults of a mapped source, and the writer
 * finds each piece in the shared cache.  The writer never waits for the helper; pieces that the helper has not got to
 * when the run is written are summed by both.  So a machine without an idle processor loses nothing.
 *
 * Threads: all functions are the writer's.  The memory must stay until Finish() or the destructor returns.
 */
#ifndef TORCH_CHECKPOINT_SUMMED_AHEAD_H_
#define TORCH_CHECKPOINT_SUMMED_AHEAD_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace torch_checkpoint {

class SummedAhead {
 public:
  // Starts to sum `count` bytes in pieces of `piece_bytes`.  The memory may be mapped from a file: it is read guarded.
  SummedAhead(const uint8_t* bytes, uint64_t count, size_t piece_bytes);
  // Stops the helper at its next piece.
  ~SummedAhead();
  SummedAhead(const SummedAhead&) = delete;
  SummedAhead& operator=(const SummedAhead&) = delete;

  // The writer has written the first `count` bytes; the helper may go on.
  void NoteWritten(uint64_t count);
  // Helps with what is left, waits, and continues `*crc` over the whole run; false when memory could not be read.
  bool Finish(uint32_t* crc);

 private:
  // Sums pieces until none is left, the run is abandoned, or memory turns out unreadable.
  void Drain(bool stay_near);
  // Blocks the helper while piece `index` is too far ahead of the writer; false when the run is abandoned.
  bool WaitForTurn(size_t index);
  uint64_t PieceLength(size_t index) const;

  const uint8_t* const bytes_;
  const uint64_t count_;
  const size_t piece_bytes_;
  // One for each piece; each is written by whoever claimed it and read after the join.
  std::vector<uint32_t> sums_;
  std::atomic<size_t> next_piece_{0};
  std::atomic<bool> unreadable_{false};
  std::mutex mutex_;
  std::condition_variable moved_;
  uint64_t written_ = 0;    // guarded by mutex_
  bool abandoned_ = false;  // guarded by mutex_
  std::thread helper_;      // last: it uses all of the above
};

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_SUMMED_AHEAD_H_
