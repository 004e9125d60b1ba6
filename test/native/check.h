/*
 * check.h - the whole test framework: named cases, checks that count, memory that ends at a guard page
 */
#ifndef TORCH_CHECKPOINT_TEST_CHECK_H_
#define TORCH_CHECKPOINT_TEST_CHECK_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace check {

struct Case {
  const char* name;
  void (*body)();
};

inline std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}

inline int& Failures() {
  static int failures = 0;
  return failures;
}

inline void Fail(const char* file, int line, const std::string& what) {
  // One broken loop should not print a million lines.
  if (Failures()++ < 20) std::printf("%s:%d: %s\n", file, line, what.c_str());
}

struct Register {
  Register(const char* name, void (*body)()) { Cases().push_back({name, body}); }
};

// A copy of `bytes` whose last byte is the last before an unreadable page, so that an overread is a crash.
class Guarded {
 public:
  explicit Guarded(const std::vector<uint8_t>& bytes) : Guarded(bytes.data(), bytes.size()) {}
  Guarded(const uint8_t* bytes, size_t size) : size_(size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (size + page - 1) / page * page + page;
    base_ = static_cast<uint8_t*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + mapped_ - page, page, PROT_NONE);
    if (size > 0) std::memcpy(data(), bytes, size);
  }
  ~Guarded() { munmap(base_, mapped_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  uint8_t* data() { return base_ + mapped_ - static_cast<size_t>(sysconf(_SC_PAGESIZE)) - size_; }
  size_t size() const { return size_; }

 private:
  uint8_t* base_;
  size_t mapped_;
  size_t size_;
};

// xorshift64*: the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1D;
  }
  uint64_t Below(uint64_t limit) { return Next() % limit; }

 private:
  uint64_t state_;
};

inline std::vector<uint8_t> RandomBytes(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next() >> 56);
  return bytes;
}

}  // namespace check

#define TEST(name)                                          \
  static void name();                                       \
  static const check::Register register_##name(#name, name); \
  static void name()

#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) check::Fail(__FILE__, __LINE__, #condition);   \
  } while (false)

#endif  // TORCH_CHECKPOINT_TEST_CHECK_H_
