/*
 * fuzz_gather.cc - any shape and stride; what is accepted must stay inside the source and equal the obvious loop
 */
#include <cstdlib>

#include "check.h"
#include "strided_copy.h"

#include "bytes.h"

using namespace torch_checkpoint;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteCursor cursor(data, size);
  StridedWindow window;
  window.itemsize = 1 + cursor.U16() % 17;
  window.storage_offset = cursor.U16();
  const uint64_t source_bytes = cursor.U16() % 5000;
  while (cursor.remaining() >= 4 && window.shape.size() < 8) {
    // The top bit makes a number huge, to try the overflow checks.
    const uint16_t extent = cursor.U16(), stride = cursor.U16();
    window.shape.push_back((extent & 0x8000) != 0 ? uint64_t{extent} << 48 : extent % 40);
    window.stride.push_back((stride & 0x8000) != 0 ? uint64_t{stride} << 48 : stride % 200);
  }
  const Result<uint64_t> numel = CheckWindow(window, source_bytes);
  if (!numel.ok() || numel.value() > 100000) return 0;
  check::Guarded source(check::RandomBytes(source_bytes, 1));
  check::Guarded target(std::vector<uint8_t>(numel.value() * window.itemsize));
  if (!GatherGuarded(source.data(), window, target.data())) std::abort();
  for (uint64_t i = 0; i < numel.value(); i++) {
    uint64_t rest = i, element = window.storage_offset;
    for (size_t d = window.shape.size(); d-- > 0; rest /= window.shape[d]) {
      element += rest % window.shape[d] * window.stride[d];
    }
    const uint8_t* expected = source.data() + element * window.itemsize;
    if (std::memcmp(target.data() + i * window.itemsize, expected, window.itemsize) != 0) std::abort();
  }
  return 0;
}
