/*
 * file_sink.cc - positions, staging and checksums
 *
 * A batch is written in two passes: first its long segments, by several threads, each to the place that the lengths before
 * it give; then, in order, all the others, which gather in a staging buffer that is summed and written when full.  So
 * the second pass knows the checksum of every run when it comes to the run's descriptor.
 *
 * A mapping is never the source: its page faults cost more than all the rest (measured on two machines, ext4, warm,
 * processor seconds for each GiB: from the mapping 0.4 and 2.5, read by position 0.24).
 *
 * Memory of JavaScript may still be a view of a mapping; it is read under the fault guard or by the kernel, which reports
 * EFAULT.
 */
#include "file_sink.h"

#include <algorithm>
#include <cstring>

#include "crc32.h"
#include "fault_guard.h"
#include "source_span.h"
#include "zip_format.h"

namespace torch_checkpoint {

// Written in one call when full.
static constexpr size_t kStagingBytes = 256 << 10;
// Smaller pieces are copied into the staging buffer: a copy of 64 KiB costs less than a system call with its page walk.
static constexpr size_t kDirectBytes = 64 << 10;
// From here on a segment is worth the threads, and the 50 microseconds that it takes to wake them.
static constexpr uint64_t kLongBytes = uint64_t{512} << 10;

Status CheckBatch(const SinkBatch& batch) {
  for (size_t i = 0; i < batch.segments.size(); i++) {
    const Segment& segment = batch.segments[i];
    uint64_t limit = UINT64_MAX;
    if (segment.source == kSourceArena) {
      limit = batch.arena.size;
    } else if (segment.source >= 0 && static_cast<uint64_t>(segment.source) < batch.sources.size()) {
      const SinkSource& source = batch.sources[static_cast<size_t>(segment.source)];
      limit = source.file != nullptr ? source.file->byte_length() : source.memory.size;
    } else if (segment.source != kSourceZeros) {
      return MakeError(ErrorCode::kBadArgument, "segment %zu has no source %lld", i,
                       static_cast<long long>(segment.source));
    }
    if (!RangeInside(segment.byte_offset, segment.byte_length, limit)) {
      return MakeError(ErrorCode::kBadArgument, "segment %zu does not lie inside its source", i);
    }
  }
  return Status();
}

Result<std::shared_ptr<FileSink>> FileSink::Create(const std::string& target, uint64_t byte_length) {
  Result<TempFile> file = TempFile::Create(target, byte_length);
  if (!file.ok()) return std::move(file.error());
  return std::shared_ptr<FileSink>(new FileSink(std::move(file.value())));
}

static bool IsLong(const Segment& segment) { return segment.source != kSourceZeros && segment.byte_length >= kLongBytes; }

static SinkSource SourceOf(const SinkBatch& batch, const Segment& segment) {
  if (segment.source == kSourceArena) return {nullptr, batch.arena};
  return batch.sources[static_cast<size_t>(segment.source)];
}

// What EndRun() adds to a segment with these flags.
static uint64_t DescriptorBytes(uint32_t flags) {
  if ((flags & kCrcEnd) == 0 || (flags & (kDescriptor | kDescriptor64)) == 0) return 0;
  return (flags & kDescriptor64) != 0 ? kZipDescriptor64Bytes : kZipDescriptorBytes;
}

// A failure leaves `broken_` set, and with it the sink good for nothing but Abort(): a file with a hole must not be renamed
// into place by a caller that overlooked an error.
Status FileSink::Append(const SinkBatch& batch, SinkReport* report) {
  if (broken_) return MakeError(ErrorCode::kWriteFailed, "an earlier write to this output failed");
  broken_ = true;
  staging_.resize(kStagingBytes);
  std::vector<LongRange> long_ranges = LongRangesOf(batch);
  Status status = WriteRanges(file_.os_file(), aborted_, &long_ranges);
  const LongRange* next = long_ranges.data();
  for (size_t i = 0; i < batch.segments.size() && status.ok(); i++) {
    if (aborted_.load(std::memory_order_relaxed)) {
      status = MakeError(ErrorCode::kClosed, "the output was aborted");
      break;
    }
    const bool is_long = IsLong(batch.segments[i]);
    status = AppendSegment(batch, batch.segments[i], is_long ? next : nullptr, report);
    if (is_long) next++;
  }
  broken_ = !status.ok();
  return status;
}

std::vector<LongRange> FileSink::LongRangesOf(const SinkBatch& batch) const {
  std::vector<LongRange> ranges;
  uint64_t position = written_ + staged_;
  bool sums = in_run_ && sum_run_;
  for (const Segment& segment : batch.segments) {
    if ((segment.flags & kCrcBegin) != 0) sums = true;
    if ((segment.flags & kCrcZero) != 0) sums = false;
    if (IsLong(segment)) {
      const SinkSource source = SourceOf(batch, segment);
      const SourceSpan span = source.file != nullptr
                                  ? SourceSpan(source.file, segment.byte_offset, segment.byte_length)
                                  : SourceSpan({source.memory.data + segment.byte_offset, segment.byte_length});
      ranges.push_back({span, position, sums});
    }
    position += segment.byte_length + DescriptorBytes(segment.flags);
    if ((segment.flags & kCrcEnd) != 0) sums = false;
  }
  return ranges;
}

Status FileSink::AppendSegment(const SinkBatch& batch, const Segment& segment, const LongRange* long_range,
                               SinkReport* report) {
  if ((segment.flags & kCrcBegin) != 0) {
    in_run_ = true;
    sum_run_ = true;
    run_crc_ = 0;
    run_length_ = 0;
  }
  if ((segment.flags & kCrcZero) != 0) sum_run_ = false;
  Status status;
  if (long_range != nullptr) {
    status = PassOver(*long_range, report);
  } else if (segment.source == kSourceZeros) {
    status = AppendZeros(segment.byte_length, report);
  } else {
    const SinkSource source = SourceOf(batch, segment);
    status = source.file != nullptr ? AppendFile(*source.file, segment.byte_offset, segment.byte_length, report)
                                    : AppendMemory(source.memory.data + segment.byte_offset, segment.byte_length, report);
  }
  if (status.ok() && (segment.flags & kCrcEnd) != 0) status = EndRun(segment.flags, report);
  return status;
}

// PyTorch computes its serialization id from the data descriptors it sees in the stream and takes a payload that begins
// like one for one (format.md 1.8), so the first eight bytes of each run are reported to whoever computes the id.
void FileSink::NoteHead(const uint8_t* bytes, size_t count) {
  for (size_t i = 0; run_length_ + i < sizeof(run_head_) && i < count; i++) run_head_[run_length_ + i] = bytes[i];
}

bool FileSink::CountIntoRun(const uint8_t* bytes, size_t count) {
  if (!in_run_) return true;
  const bool whole = Guarded([&] {
    NoteHead(bytes, count);
    if (sum_run_) run_crc_ = Crc32(run_crc_, bytes, count);
  });
  run_length_ += count;
  return whole;
}

Status FileSink::Flush() {
  if (staged_ == 0) return Status();
  Status status = WriteAll(file_.os_file(), written_, staging_.data(), staged_);
  if (!status.ok()) return status;
  written_ += staged_;
  staged_ = 0;
  return Status();
}

// Callers have flushed: what is staged comes before.
Status FileSink::Write(const uint8_t* bytes, size_t count, SinkReport* report) {
  Status status = WriteAll(file_.os_file(), written_, bytes, count);
  if (!status.ok()) return status;
  written_ += count;
  report->written_bytes += count;
  return Status();
}

Status FileSink::Stage(const uint8_t* bytes, size_t count, SinkReport* report) {
  if (count > kStagingBytes - staged_) {
    Status status = Flush();
    if (!status.ok()) return status;
  }
  if (!GuardedCopy(staging_.data() + staged_, bytes, count)) {
    return PageGone();
  }
  staged_ += count;
  report->written_bytes += count;
  return Status();
}

Status FileSink::AppendMemory(const uint8_t* bytes, uint64_t count, SinkReport* report) {
  if (count < kDirectBytes) {
    Status status = Stage(bytes, static_cast<size_t>(count), report);
    // Summed where it was copied to: the checksum is that of the bytes written, whatever happens to the source.
    if (status.ok()) CountIntoRun(staging_.data() + staged_ - count, static_cast<size_t>(count));
    return status;
  }
  Status status = Flush();
  if (!status.ok()) return status;
  // Summed and written one after the other, see range_writer.cc.
  if (!CountIntoRun(bytes, static_cast<size_t>(count))) return PageGone();
  return Write(bytes, static_cast<size_t>(count), report);
}

Status FileSink::AppendFile(const MappedFile& file, uint64_t offset, uint64_t count, SinkReport* report) {
  while (count > 0) {
    const size_t piece = static_cast<size_t>(std::min<uint64_t>(count, kStagingBytes));
    if (piece > kStagingBytes - staged_) {
      Status status = Flush();
      if (!status.ok()) return status;
    }
    uint8_t* target = staging_.data() + staged_;
    Status status = file.ReadAt(offset, target, piece);
    if (!status.ok()) return status;
    CountIntoRun(target, piece);
    staged_ += piece;
    report->written_bytes += piece;
    offset += piece;
    count -= piece;
  }
  return Status();
}

Status FileSink::PassOver(const LongRange& range, SinkReport* report) {
  Status status = Flush();
  if (!status.ok()) return status;
  const uint64_t count = range.source.byte_length();
  if (in_run_ && run_length_ < sizeof(run_head_)) {
    uint8_t head[sizeof(run_head_)];
    status = range.source.Copy(0, sizeof(head), head);
    if (!status.ok()) return status;
    NoteHead(head, sizeof(head));
  }
  if (sum_run_) run_crc_ = Crc32Combine(run_crc_, range.checksum, count);
  run_length_ += count;
  written_ += count;
  report->kernel_bytes += range.kernel_bytes;
  report->written_bytes += count - range.kernel_bytes;
  return Status();
}

Status FileSink::AppendZeros(uint64_t count, SinkReport* report) {
  // Padding and records of meta tensors: short, or sparse enough that nobody minds the writing.
  static constexpr uint8_t kZeros[4096] = {};
  Status status;
  while (status.ok() && count > 0) {
    const size_t piece = static_cast<size_t>(std::min<uint64_t>(count, sizeof(kZeros)));
    status = Stage(kZeros, piece, report);
    CountIntoRun(kZeros, piece);
    count -= piece;
  }
  return status;
}

Status FileSink::EndRun(uint32_t flags, SinkReport* report) {
  in_run_ = false;
  const uint32_t crc = sum_run_ ? run_crc_ : 0;
  const bool like_descriptor =
      run_length_ >= sizeof(run_head_) && LoadU32(run_head_) == kZipDescriptorSignature;
  report->checksums.insert(report->checksums.end(),
                           {crc, like_descriptor ? 1u : 0u, like_descriptor ? LoadU32(run_head_ + 4) : 0u});
  const uint64_t descriptor_bytes = DescriptorBytes(flags);
  if (descriptor_bytes == 0) return Status();

  // Data descriptor (APPNOTE 4.3.9); the 64-bit form goes with a Zip64 extra field in the local header (4.3.9.2).
  uint8_t descriptor[kZipDescriptor64Bytes];
  // 0 - signature, 0x08074B50
  StoreU32(descriptor, kZipDescriptorSignature);
  // 4 - crc-32
  StoreU32(descriptor + 4, crc);
  // 8 - stored size, then the inflated size
  if ((flags & kDescriptor64) != 0) {
    StoreU64(descriptor + 8, run_length_);
    StoreU64(descriptor + 16, run_length_);
  } else {
    StoreU32(descriptor + 8, static_cast<uint32_t>(run_length_));
    StoreU32(descriptor + 12, static_cast<uint32_t>(run_length_));
  }
  return Stage(descriptor, static_cast<size_t>(descriptor_bytes), report);
}

Status FileSink::Commit(bool fsync) {
  if (broken_) return MakeError(ErrorCode::kWriteFailed, "an earlier write to this output failed");
  Status status = Flush();
  return status.ok() ? file_.Commit(written_, fsync) : std::move(status);
}

}  // namespace torch_checkpoint
