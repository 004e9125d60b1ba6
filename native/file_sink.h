/*
 * file_sink.h - append runs of bytes to a temporary file, with checksums, and commit it
 *
 * A run is everything between a segment with kCrcBegin and the next one with kCrcEnd; runs may cross batches.  Its
 * checksum is reported at the end and can be written behind it as a ZIP data descriptor.
 *
 * Threads: one call at a time, on any thread.  Only RequestAbort() may come meanwhile; the append then stops with kClosed.
 */
#ifndef TORCH_CHECKPOINT_FILE_SINK_H_
#define TORCH_CHECKPOINT_FILE_SINK_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bytes.h"
#include "error.h"
#include "mapped_file.h"
#include "range_writer.h"
#include "temp_file.h"

namespace torch_checkpoint {

// Flags of a segment; the numbers are the contract with lib/binding.ts.
enum SegmentFlags : uint32_t {
  kCrcBegin = 1,
  kCrcEnd = 2,
  kDescriptor = 4,
  kDescriptor64 = 8,
  kCrcZero = 16,
};

// Values of Segment::source that are no index.
constexpr int64_t kSourceArena = -1;
constexpr int64_t kSourceZeros = -2;

struct Segment {
  int64_t source;
  uint64_t byte_offset;
  uint64_t byte_length;
  uint32_t flags;
};

// One of the two.
struct SinkSource {
  const MappedFile* file = nullptr;
  ByteSpan memory;
};

struct SinkBatch {
  ByteSpan arena;
  std::vector<Segment> segments;
  std::vector<SinkSource> sources;
};

struct SinkReport {
  // Three for each end of a run: checksum; whether the run is a payload that begins like a data descriptor; and if so
  // its bytes 4 to 7.
  std::vector<uint32_t> checksums;
  // Bytes that the kernel copied from file to file, and bytes that were read and written (some may still be staged).
  uint64_t kernel_bytes = 0;
  uint64_t written_bytes = 0;
};

// kBadArgument when a segment does not lie inside its source.
Status CheckBatch(const SinkBatch& batch);

class FileSink {
 public:
  static Result<std::shared_ptr<FileSink>> Create(const std::string& target, uint64_t byte_length);

  // `batch` has passed CheckBatch().  After a failure the sink can only be aborted.
  Status Append(const SinkBatch& batch, SinkReport* report);
  Status Commit(bool fsync);
  // Stops a running append at its next piece.
  void RequestAbort() { aborted_.store(true, std::memory_order_relaxed); }
  // Removes the temporary file; idempotent.
  void Abort() { file_.Remove(); }

 private:
  explicit FileSink(TempFile file) : file_(std::move(file)) {}

  // The segments that are written before all others, each where its turn will have come.
  std::vector<LongRange> LongRangesOf(const SinkBatch& batch) const;
  // `long_range` is the one of this segment, or null.
  Status AppendSegment(const SinkBatch& batch, const Segment& segment, const LongRange* long_range, SinkReport* report);
  // Counts a range that is in the file already.
  Status PassOver(const LongRange& range, SinkReport* report);
  // Without touching the checksum.
  Status Stage(const uint8_t* bytes, size_t count, SinkReport* report);
  Status AppendMemory(const uint8_t* bytes, uint64_t count, SinkReport* report);
  Status AppendFile(const MappedFile& file, uint64_t offset, uint64_t count, SinkReport* report);
  Status AppendZeros(uint64_t count, SinkReport* report);
  // Writes out what is staged.
  Status Flush();
  Status Write(const uint8_t* bytes, size_t count, SinkReport* report);
  // Keeps the first bytes of the current run, which has no such bytes yet or some.
  void NoteHead(const uint8_t* bytes, size_t count);
  // Counts bytes into the current run; false when they could not be read.
  bool CountIntoRun(const uint8_t* bytes, size_t count);
  Status EndRun(uint32_t flags, SinkReport* report);

  TempFile file_;
  std::atomic<bool> aborted_{false};
  // An append failed half way: what is in the file is not what was asked for.
  bool broken_ = false;
  // Bytes written to the file; those in `staged_` follow.
  uint64_t written_ = 0;
  std::vector<uint8_t> staging_;
  size_t staged_ = 0;
  // State of the current run; meaningless outside of one.
  bool in_run_ = false;
  bool sum_run_ = false;
  uint32_t run_crc_ = 0;
  uint64_t run_length_ = 0;
  uint8_t run_head_[8] = {};
};

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_FILE_SINK_H_
