/*
 * zip_end.h - find where a ZIP file keeps its central directory, from the back
 */
#ifndef TORCH_CHECKPOINT_ZIP_END_H_
#define TORCH_CHECKPOINT_ZIP_END_H_

#include <cstdint>
#include <vector>

#include "bytes.h"
#include "error.h"

namespace torch_checkpoint {

// What an end record claims about the central directory; the range is inside the source, the count is only a claim.
struct ZipEnd {
  uint64_t end_record_offset;
  uint64_t directory_offset;
  uint64_t directory_bytes;
  uint64_t record_count;
};

// The plausible end records, most plausible first; never empty on success.
//
// Several can be there: an archive comment may contain the signature, and so may junk behind the end.  Candidates whose
// directory ends exactly where its end records begin come before the others.
Result<std::vector<ZipEnd>> FindZipEnds(const ByteSource& source);

// For a source that begins as a ZIP file and has no end record where one is looked for: kTruncated, saying how many bytes are
// missing at least, or kZipCorrupt when the archive is whole and ends further ahead.
Error DescribeMissingEnd(const ByteSource& source);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ZIP_END_H_
