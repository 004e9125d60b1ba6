/*
 * numbered_names.cc - see numbered_names.h
 */
#include "numbered_names.h"

#include <cstring>

namespace torch_checkpoint {

// More digits than this are above any limit, and could overflow.
static constexpr size_t kMaxDigits = 9;

// The number that these bytes spell; -1 when they spell none, or a long one.
static int64_t Decimal(const uint8_t* digits, size_t count) {
  if (count == 0 || count > kMaxDigits || (count > 1 && digits[0] == '0')) return -1;
  int64_t number = 0;
  for (size_t i = 0; i < count; i++) {
    if (digits[i] < '0' || digits[i] > '9') return -1;
    number = number * 10 + (digits[i] - '0');
  }
  return number;
}

std::vector<uint32_t> IndexNumberedNames(ByteSpan names, const uint32_t* ends, size_t count, ByteSpan folder,
                                         int32_t* by_number, size_t limit) {
  std::vector<uint32_t> others;
  size_t begin = 0;
  for (size_t i = 0; i < count; i++) {
    const size_t end = ends[i] >= begin && ends[i] <= names.size ? ends[i] : begin;
    const uint8_t* name = names.data + begin;
    const size_t length = end - begin;
    begin = end;
    const bool inside = length > folder.size && (folder.size == 0 || std::memcmp(name, folder.data, folder.size) == 0);
    const int64_t number = inside ? Decimal(name + folder.size, length - folder.size) : -1;
    if (number >= 0 && static_cast<uint64_t>(number) < limit) {
      by_number[number] = static_cast<int32_t>(i);
    } else {
      others.push_back(static_cast<uint32_t>(i));
    }
  }
  return others;
}

}  // namespace torch_checkpoint
