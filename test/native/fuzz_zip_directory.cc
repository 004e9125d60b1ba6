/*
 * fuzz_zip_directory.cc - any bytes as a ZIP file; what is accepted must keep the invariant of zip_directory.h
 */
#include <cstdlib>
#include <algorithm>

#include "check.h"
#include "zip_directory.h"

using namespace torch_checkpoint;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check::Guarded input(data, size);
  MemorySource source(ByteSpan{input.data(), input.size()});
  Result<ZipDirectory> result = ParseZipDirectory(source, 1000);
  if (!result.ok()) return 0;
  ZipRecords& records = result.value().records;
  std::sort(records.begin(), records.end(),
            [](const ZipRecord& a, const ZipRecord& b) { return a.header_offset < b.header_offset; });
  uint64_t end = 0;
  for (const ZipRecord& record : records) {
    if (record.header_offset < end || record.byte_offset < record.header_offset) std::abort();
    if (!RangeInside(record.byte_offset, record.stored_length, size)) std::abort();
    if (record.name.find('\0') != std::string_view::npos) std::abort();
    end = record.byte_offset + record.stored_length;
  }
  return 0;
}
