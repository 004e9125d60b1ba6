/*
 * source_span.h - a run of bytes to read: a range of an open file, or memory
 *
 * The native form of `Span` in lib/binding.ts.  Memory may lie in a mapped file (a view of JavaScript on a window), so it
 * is read under RunGuarded() like the mapping itself.
 */
#ifndef TORCH_CHECKPOINT_SOURCE_SPAN_H_
#define TORCH_CHECKPOINT_SOURCE_SPAN_H_

#include <cstdint>
#include <vector>

#include "bytes.h"
#include "error.h"
#include "mapped_file.h"

namespace torch_checkpoint {

class SourceSpan {
 public:
  SourceSpan() = default;
  explicit SourceSpan(ByteSpan memory) : memory_(memory.data), byte_length_(memory.size) {}
  // A range proven to lie inside the file, which must outlive the span.
  SourceSpan(const MappedFile* file, uint64_t byte_offset, uint64_t byte_length);

  uint64_t byte_length() const { return byte_length_; }
  // Null when the bytes have to be read first.
  const uint8_t* memory() const { return memory_; }

  // How much to ask of Piece() at a time: everything when it is in memory, else a few megabytes.
  uint64_t PieceBytes() const;
  // Bytes [offset, offset + count) of the span, in place or copied into `scratch`.
  Result<const uint8_t*> Piece(uint64_t offset, uint64_t count, std::vector<uint8_t>* scratch) const;
  // To be called after the bytes were used: what became of the file meanwhile.  `faulted`: a guarded access failed.
  Status CheckAfter(bool faulted) const;

 private:
  const MappedFile* file_ = nullptr;
  uint64_t byte_offset_ = 0;
  const uint8_t* memory_ = nullptr;
  uint64_t byte_length_ = 0;
};

// Whether two spans of one length hold the same bytes.
Result<bool> SpansEqual(const SourceSpan& a, const SourceSpan& b);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_SOURCE_SPAN_H_
