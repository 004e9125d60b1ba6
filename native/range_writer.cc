/*
 * range_writer.cc - pieces are read, summed and written by the same thread while they are in its cache
 *
 * A file takes one writer at a time, so what threads win is that one reads and sums while another writes.  Measured for
 * each GiB, ext4, warm, two hardware threads of one core: two threads that do all three 0.14 s; copy_file_range beside a
 * thread that sums 0.19 s, and 0.27 s where source and output lie differently in their pages; copy_file_range alone, without
 * any checksum, 0.19 s; one thread 0.24 s.
 *
 * The kernel copies where that is no copying: a file system that shares extents, or a server that has both files.
 */
#include "range_writer.h"

#include <algorithm>

#include "crc32.h"
#include "fault_guard.h"
#include "parallel.h"

namespace torch_checkpoint {

// The output is cut at multiples of this.  In the second-level cache of most; and larger writes make ext4 and XFS ask for
// larger folios, which come from memory that a virtual machine's host may not have backed yet (measured: 1 MiB up to 3
// times, 4 MiB up to 8 times slower).
static constexpr uint64_t kPieceBytes = 256 << 10;
// A third thread waits most of the time for its turn to write.
static constexpr unsigned kMaxThreads = 3;
// What one call of the kernel copies between two looks at the abort flag.
static constexpr uint64_t kKernelCallBytes = uint64_t{64} << 20;

namespace {

struct Piece {
  LongRange* range;
  uint64_t begin, end;  // within the range
  bool write;           // false: the kernel has copied it
  uint32_t checksum = 0;
};

Error Aborted() { return MakeError(ErrorCode::kClosed, "the output was aborted"); }

// Has the kernel copy [begin, end) of the range where it can do that by reference.  The outcome is how far the copy got.
Result<uint64_t> CopyByReference(OsFile output, const std::atomic<bool>& aborted, LongRange* range, uint64_t begin,
                                 uint64_t end) {
  const MappedFile* file = range->source.file();
  const uint64_t offset = range->source.byte_offset();
  if (file == nullptr || begin >= end || !CopiesByReference(output, offset + begin, range->position + begin)) return begin;
  // What JavaScript wrote to is in memory and not in the file.
  if (!file->IsUnwritten(offset + begin, end - begin)) return begin;
  while (begin < end) {
    if (aborted.load(std::memory_order_relaxed)) return Aborted();
    const Result<size_t> copied = CopyInKernel(file->os_file(), offset + begin, output, range->position + begin,
                                               static_cast<size_t>(std::min(end - begin, kKernelCallBytes)));
    if (!copied.ok() && copied.error().code != ErrorCode::kUnsupported) return copied.error();
    // Not these two files after all, or the end of one that was longer: the rest is written, or that says why not.
    if (!copied.ok() || copied.value() == 0) break;
    begin += copied.value();
  }
  return begin;
}

Status Cut(OsFile output, const std::atomic<bool>& aborted, LongRange* range, std::vector<Piece>* pieces) {
  const uint64_t position = range->position, length = range->source.byte_length();
  const uint64_t first_cut = (kPieceBytes - position % kPieceBytes) % kPieceBytes;
  const uint64_t last_cut = (position + length) / kPieceBytes * kPieceBytes - position;
  const Result<uint64_t> copied_end =
      length < kPieceBytes ? first_cut : CopyByReference(output, aborted, range, first_cut, last_cut);
  if (!copied_end.ok()) return copied_end.error();
  for (uint64_t begin = 0; begin < length;) {
    const uint64_t end = std::min(length, begin + kPieceBytes - (position + begin) % kPieceBytes);
    const bool copied = begin >= first_cut && end <= copied_end.value();
    if (copied) range->kernel_bytes += end - begin;
    if (!copied || range->wants_checksum) pieces->push_back({range, begin, end, !copied});
    begin = end;
  }
  return Status();
}

}  // namespace

Status WriteRanges(OsFile output, const std::atomic<bool>& aborted, std::vector<LongRange>* ranges) {
  std::vector<Piece> pieces;
  for (LongRange& range : *ranges) {
    Status status = Cut(output, aborted, &range, &pieces);
    if (!status.ok()) return status;
  }
  FirstFailure failure;
  RunParallel(pieces.size(), std::min(UsefulThreads(), kMaxThreads), [&](size_t i) {
    if (failure.happened()) return;
    if (aborted.load(std::memory_order_relaxed)) return failure.Note(Aborted());
    Piece& piece = pieces[i];
    const LongRange& range = *piece.range;
    const size_t count = static_cast<size_t>(piece.end - piece.begin);
    const Result<const uint8_t*> read = range.source.Piece(piece.begin, count, PieceBuffer());
    if (!read.ok()) return failure.Note(read.error());
    const uint8_t* bytes = read.value();
    // Memory is summed and written one after the other, and what the kernel has copied is summed after that.  What changes in
    // between is written with a checksum that is not its own; nothing here can prevent that without a copy.
    if (range.wants_checksum && !Guarded([&] { piece.checksum = Crc32(0, bytes, count); })) return failure.Note(PageGone());
    if (piece.write) failure.Note(WriteAll(output, range.position + piece.begin, bytes, count));
  });
  for (const Piece& piece : pieces) {
    LongRange* range = piece.range;
    range->checksum = Crc32Combine(range->checksum, piece.checksum, piece.end - piece.begin);
  }
  return failure.status();
}

}  // namespace torch_checkpoint
