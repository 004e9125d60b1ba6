/*
 * file_sink.cc - staging, checksums, and the copy from file to file
 *
 * Bytes go one of three ways:
 *   kernel   long ranges of a file: copy_file_range, which may also share extents or have a file server do the work, while
 *            a second thread reads the same range for the checksum
 *   staged   short ranges of a file, and whatever is small, gather in a buffer that is summed and written when full
 *   direct   long runs of memory are written from where they lie; the checksum is taken over the same piece while it is in
 *            the cache, by a second thread when the run is long
 *
 * A mapping is never the source: its page faults cost more than all the rest (measured on two machines, ext4, warm,
 * processor seconds for each GiB: from the mapping 0.4 and 2.5, copy_file_range and a reading thread 0.6 and 0.35).
 *
 * Memory of JavaScript may still be a view of a mapping; it is read under the fault guard or by the kernel, which reports
 * EFAULT.
 */
#include "file_sink.h"

#include <algorithm>
#include <cstring>

#include "crc32.h"
#include "fault_guard.h"
#include "parallel.h"
#include "source_span.h"
#include "summed_ahead.h"
#include "zip_format.h"

namespace torch_checkpoint {

// Written in one call when full.
static constexpr size_t kStagingBytes = 256 << 10;
// Smaller pieces are copied into the staging buffer: a copy of 64 KiB costs less than a system call with its page walk.
static constexpr size_t kDirectBytes = 64 << 10;
// Unit of checksum and write: in the second-level cache of most.  Larger writes make ext4 and XFS ask for larger folios,
// and those come from memory that a virtual machine's host may not have backed yet (measured: 1 MiB up to 3 times, 4 MiB
// up to 8 times slower than 256 KiB).
static constexpr size_t kPieceBytes = 256 << 10;
// From here on a second thread is worth its 50 microseconds.
static constexpr uint64_t kSumAheadBytes = uint64_t{4} << 20;

// Less than this is not copied inside the kernel: without a checksum, and with the thread for one.
static constexpr uint64_t kKernelCopyBytes = uint64_t{1} << 20;
static constexpr uint64_t kKernelCopySummedBytes = uint64_t{4} << 20;
// Between two looks at the abort flag.
static constexpr size_t kKernelPieceBytes = size_t{16} << 20;

static Error Aborted() { return MakeError(ErrorCode::kClosed, "the output was aborted"); }

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

// A failure leaves `broken_` set, and with it the sink good for nothing but Abort(): a file with a hole must not be renamed
// into place by a caller that overlooked an error.
Status FileSink::Append(const SinkBatch& batch, SinkReport* report) {
  if (broken_) return MakeError(ErrorCode::kWriteFailed, "an earlier write to this output failed");
  broken_ = true;
  staging_.resize(kStagingBytes);
  for (const Segment& segment : batch.segments) {
    Status status = AppendSegment(batch, segment, report);
    if (!status.ok()) return status;
  }
  broken_ = false;
  return Status();
}

Status FileSink::AppendSegment(const SinkBatch& batch, const Segment& segment, SinkReport* report) {
  if ((segment.flags & kCrcBegin) != 0) {
    in_run_ = true;
    sum_run_ = true;
    run_crc_ = 0;
    run_length_ = 0;
  }
  if ((segment.flags & kCrcZero) != 0) sum_run_ = false;
  Status status;
  if (segment.source == kSourceArena) {
    status = AppendMemory(batch.arena.data + segment.byte_offset, segment.byte_length, report);
  } else if (segment.source == kSourceZeros) {
    status = AppendZeros(segment.byte_length, report);
  } else {
    const SinkSource& source = batch.sources[static_cast<size_t>(segment.source)];
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

  // Sum and bytes are read from the source one after the other.  A source that JavaScript changes in between is written
  // with a checksum that is not its own; nothing here can prevent that without a copy.
  if (!in_run_ || !sum_run_ || count < kSumAheadBytes) return WritePieces(bytes, count, report, nullptr);
  SummedAhead ahead(bytes, count, kPieceBytes);
  RunParallel(2, 2, [&](size_t task) {
    if (task == 1) return ahead.SumPieces();
    status = WritePieces(bytes, count, report, &ahead);
    if (status.ok()) ahead.NoteWritten(count);
    if (!status.ok()) ahead.Abandon();
    // What the helper has not got to.
    ahead.SumPieces();
  });
  if (!status.ok()) return status;
  const bool whole = Guarded([&] { NoteHead(bytes, sizeof(run_head_)); }) && ahead.Finish(&run_crc_);
  run_length_ += count;
  return whole ? Status() : PageGone();
}

// `ahead` sums what is written here; without it each piece is summed before it is written.
Status FileSink::WritePieces(const uint8_t* bytes, uint64_t count, SinkReport* report, SummedAhead* ahead) {
  for (uint64_t done = 0; done < count;) {
    if (aborted_.load(std::memory_order_relaxed)) return Aborted();
    const size_t piece = static_cast<size_t>(std::min<uint64_t>(count - done, kPieceBytes));
    if (ahead == nullptr && !CountIntoRun(bytes + done, piece)) return PageGone();
    Status status = Write(bytes + done, piece, report);
    if (!status.ok()) return status;
    done += piece;
    if (ahead != nullptr) ahead->NoteWritten(done);
  }
  return Status();
}

Status FileSink::CopyFile(const MappedFile& file, uint64_t offset, uint64_t count, uint64_t* copied,
                          SinkReport* report) {
  *copied = 0;
  Status status = Flush();
  // The only bytes of a kernel copy that this process looks at, apart from the checksum.
  uint8_t head[sizeof(run_head_)];
  if (status.ok()) status = file.ReadAt(offset, head, sizeof(head));
  // The first piece tells whether the kernel can do it at all.
  if (status.ok()) status = CopyPiece(file, offset, count, copied, report);
  if (!status.ok()) return status.error().code == ErrorCode::kUnsupported ? Status() : status;

  const bool sums = in_run_ && sum_run_;
  Status crc_status;
  RunParallel(sums ? 2 : 1, 2, [&](size_t task) {
    if (task == 1) {
      crc_status = Crc32OfRange(file, {offset, count}, &run_crc_);
      return;
    }
    while (*copied < count && status.ok()) status = CopyPiece(file, offset, count, copied, report);
  });
  if (in_run_) {
    NoteHead(head, sizeof(head));
    run_length_ += *copied;
  }
  return status.ok() ? crc_status : status;
}

Status FileSink::CopyPiece(const MappedFile& file, uint64_t offset, uint64_t count, uint64_t* copied,
                           SinkReport* report) {
  if (aborted_.load(std::memory_order_relaxed)) return Aborted();
  const size_t piece = static_cast<size_t>(std::min<uint64_t>(count - *copied, kKernelPieceBytes));
  Result<size_t> done = CopyInKernel(file.os_file(), offset + *copied, file_.os_file(), written_, piece);
  if (!done.ok()) return std::move(done.error());
  // The end of a file that was longer when it was opened.
  if (done.value() == 0) return file.CheckStillThere(offset + count, true);
  *copied += done.value();
  written_ += done.value();
  report->kernel_bytes += done.value();
  return Status();
}

bool FileSink::PrefersKernelCopy(const MappedFile& file, uint64_t offset, uint64_t count) const {
  return count >= (in_run_ && sum_run_ ? kKernelCopySummedBytes : kKernelCopyBytes) && file.IsUnwritten(offset, count);
}

Status FileSink::AppendFile(const MappedFile& file, uint64_t offset, uint64_t count, SinkReport* report) {
  if (PrefersKernelCopy(file, offset, count)) {
    uint64_t copied;
    Status status = CopyFile(file, offset, count, &copied, report);
    if (!status.ok() || copied == count) return status;
  }
  while (count > 0) {
    if (aborted_.load(std::memory_order_relaxed)) return Aborted();
    const size_t piece = static_cast<size_t>(std::min<uint64_t>(count, kPieceBytes));
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
  if ((flags & (kDescriptor | kDescriptor64)) == 0) return Status();

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
    return Stage(descriptor, kZipDescriptor64Bytes, report);
  }
  StoreU32(descriptor + 8, static_cast<uint32_t>(run_length_));
  StoreU32(descriptor + 12, static_cast<uint32_t>(run_length_));
  return Stage(descriptor, kZipDescriptorBytes, report);
}

Status FileSink::Commit(bool fsync) {
  if (broken_) return MakeError(ErrorCode::kWriteFailed, "an earlier write to this output failed");
  Status status = Flush();
  return status.ok() ? file_.Commit(written_, fsync) : std::move(status);
}

}  // namespace torch_checkpoint
