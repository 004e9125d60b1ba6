/*
 * range_writer.h - long ranges of files and of memory, written to their places in an output by several threads
 */
#ifndef TORCH_CHECKPOINT_RANGE_WRITER_H_
#define TORCH_CHECKPOINT_RANGE_WRITER_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "error.h"
#include "os_file.h"
#include "source_span.h"

namespace torch_checkpoint {

struct LongRange {
  SourceSpan source;
  // Where its first byte goes in the output.
  uint64_t position;
  bool wants_checksum;
  // Results: the CRC-32 where it was wanted, and how many of the bytes the kernel copied.
  uint32_t checksum = 0;
  uint64_t kernel_bytes = 0;
};

// Writes every range to its place.  `aborted` is looked at between pieces; the outcome is then kClosed.  After a failure
// any part of the ranges may have been written.
Status WriteRanges(OsFile output, const std::atomic<bool>& aborted, std::vector<LongRange>* ranges);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_RANGE_WRITER_H_
