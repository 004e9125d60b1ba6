/*
 * bytes.h - the only code that makes an integer out of input bytes
 *
 * A ByteCursor walks a span front to back.  It fails sticky: a read past the end gives zero and clears ok(), so a parser
 * reads all fields of a structure in the order of the specification and asks once.  Nothing it returns has been checked
 * for meaning, only for being there.
 *
 * ByteSource is the other end: something with a length whose bytes can be copied out at any offset, a file or an array.
 */
#ifndef TORCH_CHECKPOINT_BYTES_H_
#define TORCH_CHECKPOINT_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "error.h"

namespace torch_checkpoint {

struct ByteSpan {
  const uint8_t* data = nullptr;
  size_t size = 0;
};

// Little-endian loads and stores at any alignment; compilers turn each into one move.
inline uint16_t LoadU16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }
inline uint32_t LoadU32(const uint8_t* p) { return LoadU16(p) | static_cast<uint32_t>(LoadU16(p + 2)) << 16; }
inline uint64_t LoadU64(const uint8_t* p) { return LoadU32(p) | static_cast<uint64_t>(LoadU32(p + 4)) << 32; }
inline void StoreU32(uint8_t* p, uint32_t value) {
  for (int i = 0; i < 4; i++) p[i] = static_cast<uint8_t>(value >> 8 * i);
}
inline void StoreU64(uint8_t* p, uint64_t value) {
  for (int i = 0; i < 8; i++) p[i] = static_cast<uint8_t>(value >> 8 * i);
}

// False when begin + length overflows or passes `limit`.
inline bool RangeInside(uint64_t begin, uint64_t length, uint64_t limit) {
  return begin <= limit && length <= limit - begin;
}

class ByteCursor {
 public:
  ByteCursor(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool ok() const { return ok_; }
  // After a failed read the position is where that read began.
  size_t position() const { return position_; }
  size_t remaining() const { return size_ - position_; }

  uint16_t U16() {
    const uint8_t* p = Take(2);
    return p ? LoadU16(p) : 0;
  }
  uint32_t U32() {
    const uint8_t* p = Take(4);
    return p ? LoadU32(p) : 0;
  }
  uint64_t U64() {
    const uint8_t* p = Take(8);
    return p ? LoadU64(p) : 0;
  }
  void Skip(size_t count) { Take(count); }
  // The next `count` bytes in place; empty after a failure.
  std::string_view Bytes(size_t count) {
    const uint8_t* p = Take(count);
    return p ? std::string_view(reinterpret_cast<const char*>(p), count) : std::string_view();
  }

 private:
  const uint8_t* Take(size_t count) {
    if (!ok_ || count > size_ - position_) {
      ok_ = false;
      return nullptr;
    }
    const uint8_t* p = data_ + position_;
    position_ += count;
    return p;
  }

  const uint8_t* data_;
  size_t size_;
  size_t position_ = 0;
  bool ok_ = true;
};

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t byte_length() const = 0;
  // Copies exactly [offset, offset + count), which the caller has proven to lie inside byte_length().
  virtual Status ReadAt(uint64_t offset, void* target, size_t count) const = 0;
};

// Bytes in memory as a source; they may lie in a mapped file, so the copy is guarded.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(ByteSpan bytes) : bytes_(bytes) {}
  uint64_t byte_length() const override { return bytes_.size; }
  Status ReadAt(uint64_t offset, void* target, size_t count) const override;

 private:
  ByteSpan bytes_;
};

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_BYTES_H_
