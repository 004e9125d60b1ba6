/*
 * source_span.cc - see source_span.h
 */
#include "source_span.h"

#include <atomic>
#include <cstring>
#include <mutex>

#include "parallel.h"

namespace torch_checkpoint {

// What one thread compares at a time.
static constexpr uint64_t kCompareBytes = uint64_t{8} << 20;

Result<const uint8_t*> SourceSpan::Piece(uint64_t offset, uint64_t count, std::vector<uint8_t>* scratch) const {
  if (memory_ != nullptr || count == 0) return memory_ + offset;
  if (scratch->size() < count) scratch->resize(static_cast<size_t>(count));
  Status status = file_->ReadAt(byte_offset_ + offset, scratch->data(), static_cast<size_t>(count));
  if (!status.ok()) return std::move(status.error());
  return static_cast<const uint8_t*>(scratch->data());
}

Status SourceSpan::Copy(uint64_t offset, size_t count, uint8_t* target) const {
  if (memory_ == nullptr) return file_->ReadAt(byte_offset_ + offset, target, count);
  return GuardedCopy(target, memory_ + offset, count) ? Status() : PageGone();
}

std::vector<uint8_t>* PieceBuffer() {
  thread_local std::vector<uint8_t> buffer;
  return &buffer;
}

Error PageGone() {
  return MakeError(ErrorCode::kTruncated, "memory can no longer be read: the mapped file was cut short, or the buffer was "
                                          "shrunk or transferred meanwhile");
}

namespace {

// Bytes [begin, end) of both; pieces are cut alike, as if both had to be read.
Result<bool> RangesEqual(const SourceSpan& a, const SourceSpan& b, uint64_t begin, uint64_t end,
                         std::vector<uint8_t>* a_scratch, std::vector<uint8_t>* b_scratch) {
  bool equal = true;
  while (begin < end && equal) {
    const uint64_t count = std::min<uint64_t>(kReadPieceBytes, end - begin);
    const Result<const uint8_t*> a_piece = a.Piece(begin, count, a_scratch);
    if (!a_piece.ok()) return a_piece.error();
    const Result<const uint8_t*> b_piece = b.Piece(begin, count, b_scratch);
    if (!b_piece.ok()) return b_piece.error();
    const uint8_t *a_bytes = a_piece.value(), *b_bytes = b_piece.value();
    if (!Guarded([&] { equal = std::memcmp(a_bytes, b_bytes, static_cast<size_t>(count)) == 0; })) return PageGone();
    begin += count;
  }
  return equal;
}

}  // namespace

Result<bool> SpansEqual(const SourceSpan& a, const SourceSpan& b) {
  const uint64_t length = a.byte_length();
  std::atomic<bool> done{false};
  std::mutex mutex;
  Result<bool> verdict = true;  // guarded by mutex
  RunParallel(static_cast<size_t>((length + kCompareBytes - 1) / kCompareBytes), UsefulThreads(), [&](size_t part) {
    if (done.load(std::memory_order_relaxed)) return;
    const uint64_t begin = part * kCompareBytes;
    thread_local std::vector<uint8_t> b_scratch;
    Result<bool> equal = RangesEqual(a, b, begin, std::min(length, begin + kCompareBytes), PieceBuffer(), &b_scratch);
    if (equal.ok() && equal.value()) return;
    done.store(true, std::memory_order_relaxed);
    std::lock_guard<std::mutex> lock(mutex);
    verdict = std::move(equal);
  });
  return verdict;
}

}  // namespace torch_checkpoint
