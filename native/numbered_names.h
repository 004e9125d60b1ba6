/*
 * numbered_names.h - which records of a folder are named by a number
 *
 * The storages of a checkpoint are the records `archive/data/0`, `archive/data/1`, ...: a hundred thousand names of which
 * nobody looks at one.
 */
#ifndef TORCH_CHECKPOINT_NUMBERED_NAMES_H_
#define TORCH_CHECKPOINT_NUMBERED_NAMES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bytes.h"

namespace torch_checkpoint {

// `names` holds the names one behind the other, name i up to ends[i]; an end that is out of order or beyond the names makes
// an empty name.  Sets by_number[n] to the index of the last name that is `folder` and then n in decimal as a program
// writes it (no sign, no leading zero), for n below `limit`.  Returns the indexes of all other names, in order.
std::vector<uint32_t> IndexNumberedNames(ByteSpan names, const uint32_t* ends, size_t count, ByteSpan folder,
                                         int32_t* by_number, size_t limit);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_NUMBERED_NAMES_H_
