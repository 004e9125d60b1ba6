/*
 * source_span.h - a run of bytes to read: a range of an open file, or memory
 *
 * The native form of `Span` in lib/binding.ts.  Memory may lie in a mapped file (a view of JavaScript on a window), so it
 * is read under RunGuarded(); a range of a file is read by position, piece by piece.
 */
#ifndef TORCH_CHECKPOINT_SOURCE_SPAN_H_
#define TORCH_CHECKPOINT_SOURCE_SPAN_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "bytes.h"
#include "error.h"
#include "fault_guard.h"
#include "mapped_file.h"

namespace torch_checkpoint {

class SourceSpan {
 public:
  SourceSpan() = default;
  explicit SourceSpan(ByteSpan memory) : memory_(memory.data), byte_length_(memory.size) {}
  // A range proven to lie inside the file, which must outlive the span.
  SourceSpan(const MappedFile* file, uint64_t byte_offset, uint64_t byte_length)
      : file_(file), byte_offset_(byte_offset), byte_length_(byte_length) {}

  uint64_t byte_length() const { return byte_length_; }
  // Null when the bytes have to be read first.
  const uint8_t* memory() const { return memory_; }
  // Null for memory; else the range begins at `byte_offset()` of it.
  const MappedFile* file() const { return file_; }
  uint64_t byte_offset() const { return byte_offset_; }

  // Bytes [offset, offset + count) of the span, in place or copied into `scratch`.
  Result<const uint8_t*> Piece(uint64_t offset, uint64_t count, std::vector<uint8_t>* scratch) const;
  // The same into memory of the caller's.
  Status Copy(uint64_t offset, size_t count, uint8_t* target) const;
  // use(bytes, offset, count) over the range [begin, end) of the span, in order: all at once when it is in memory, else in
  // pieces that are read first and are whole multiples of `unit` bytes.  `use` follows the rules of RunGuarded().
  template <typename Use>
  Status ForEachPiece(uint64_t begin, uint64_t end, size_t unit, const Use& use) const;

 private:
  const MappedFile* file_ = nullptr;
  uint64_t byte_offset_ = 0;
  const uint8_t* memory_ = nullptr;
  uint64_t byte_length_ = 0;
};

// Memory that a guarded access could not read is a page of a mapped file that is gone.
Error PageGone();

// Whether two spans of one length hold the same bytes.
Result<bool> SpansEqual(const SourceSpan& a, const SourceSpan& b);

// A buffer of the calling thread, kept for it: bringing in 256 KiB of fresh memory takes longer than reading into them.
std::vector<uint8_t>* PieceBuffer();

template <typename Use>
Status SourceSpan::ForEachPiece(uint64_t begin, uint64_t end, size_t unit, const Use& use) const {
  const uint64_t at_once = memory_ != nullptr ? end - begin : std::max<uint64_t>(kReadPieceBytes / unit, 1) * unit;
  while (begin < end) {
    const uint64_t count = std::min(at_once, end - begin);
    const Result<const uint8_t*> bytes = Piece(begin, count, PieceBuffer());
    if (!bytes.ok()) return bytes.error();
    const uint8_t* piece = bytes.value();
    if (!Guarded([&] { use(piece, begin, static_cast<size_t>(count)); })) return PageGone();
    begin += count;
  }
  return Status();
}

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_SOURCE_SPAN_H_
