/*
 * temp_file.cc - names of temporary files
 */
#include "temp_file.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <random>

namespace torch_checkpoint {

static constexpr char kPrefix[] = ".torch-checkpoint-";
static constexpr char kSuffix[] = ".tmp";
static constexpr size_t kRandomDigits = 16;
static constexpr size_t kMaxNameBytes = 255;
// What is left for the target's name, with the dash after it.
static constexpr size_t kMaxBaseBytes = kMaxNameBytes - (sizeof(kPrefix) - 1) - 1 - kRandomDigits - (sizeof(kSuffix) - 1);

static std::string HexDigits(uint64_t value) {
  char text[kRandomDigits + 1];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::string TempNamePrefix(const std::string& base) {
  if (base.size() <= kMaxBaseBytes) return kPrefix + base + "-";
  // FNV-1a of the whole name keeps two long names with one beginning apart.
  uint64_t hash = 0xCBF29CE484222325;
  for (char c : base) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  size_t kept = kMaxBaseBytes - kRandomDigits - 1;
  while (kept > 0 && (base[kept] & 0xC0) == 0x80) kept--;  // do not cut a UTF-8 character
  return kPrefix + base.substr(0, kept) + "~" + HexDigits(hash) + "-";
}

std::string MakeTempName(const std::string& prefix) {
  std::random_device random;
  return prefix + HexDigits(static_cast<uint64_t>(random()) << 32 | random()) + kSuffix;
}

bool IsTempName(const std::string& name, const std::string& prefix) {
  if (name.size() != prefix.size() + kRandomDigits + sizeof(kSuffix) - 1) return false;
  if (name.compare(0, prefix.size(), prefix) != 0) return false;
  if (name.compare(prefix.size() + kRandomDigits, std::string::npos, kSuffix) != 0) return false;
  return std::all_of(name.begin() + static_cast<std::ptrdiff_t>(prefix.size()),
                     name.begin() + static_cast<std::ptrdiff_t>(prefix.size() + kRandomDigits),
                     [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; });
}

}  // namespace torch_checkpoint
