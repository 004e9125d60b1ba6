/*
 * source_span.cc - see source_span.h
 */
#include "source_span.h"

#include <algorithm>
#include <cstring>

#include "fault_guard.h"

namespace torch_checkpoint {

// Of a file that is not mapped, or whose range spreads over several overlays.
static constexpr uint64_t kCopiedPieceBytes = uint64_t{4} << 20;

SourceSpan::SourceSpan(const MappedFile* file, uint64_t byte_offset, uint64_t byte_length)
    : file_(file),
      byte_offset_(byte_offset),
      memory_(file->InMemory(byte_offset, byte_length)),
      byte_length_(byte_length) {}

uint64_t SourceSpan::PieceBytes() const {
  return memory_ != nullptr ? std::max<uint64_t>(byte_length_, 1) : kCopiedPieceBytes;
}

Result<const uint8_t*> SourceSpan::Piece(uint64_t offset, uint64_t count, std::vector<uint8_t>* scratch) const {
  if (memory_ != nullptr || count == 0) return memory_ + offset;
  scratch->resize(static_cast<size_t>(count));
  Status status = file_->ReadAt(byte_offset_ + offset, scratch->data(), scratch->size());
  if (!status.ok()) return std::move(status.error());
  return static_cast<const uint8_t*>(scratch->data());
}

Status SourceSpan::CheckAfter(bool faulted) const {
  if (file_ != nullptr && memory_ != nullptr) return file_->CheckStillThere(byte_offset_ + byte_length_, faulted);
  if (!faulted) return Status();
  return MakeError(ErrorCode::kTruncated, "a mapped page can no longer be read; the file was cut short");
}

// Pieces are cut alike on both sides, by the smaller of the two limits.
Result<bool> SpansEqual(const SourceSpan& a, const SourceSpan& b) {
  const uint64_t length = a.byte_length(), piece_bytes = std::min(a.PieceBytes(), b.PieceBytes());
  std::vector<uint8_t> a_scratch, b_scratch;
  bool equal = true, whole = true;
  for (uint64_t done = 0; done < length && equal && whole; done += piece_bytes) {
    const uint64_t count = std::min(piece_bytes, length - done);
    Result<const uint8_t*> a_bytes = a.Piece(done, count, &a_scratch);
    if (!a_bytes.ok()) return std::move(a_bytes.error());
    Result<const uint8_t*> b_bytes = b.Piece(done, count, &b_scratch);
    if (!b_bytes.ok()) return std::move(b_bytes.error());
    whole = Guarded(
        [&] { equal = std::memcmp(a_bytes.value(), b_bytes.value(), static_cast<size_t>(count)) == 0; });
  }
  Status status = a.CheckAfter(!whole);
  if (status.ok()) status = b.CheckAfter(!whole);
  if (!status.ok()) return std::move(status.error());
  return equal;
}

}  // namespace torch_checkpoint
