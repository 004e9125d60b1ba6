/*
 * fault_guard.h - turn a page that cannot be read into a return value
 *
 * Reading a mapped page that lies past the present end of the file, or that the disk cannot deliver, raises SIGBUS.
 * Every native access to bytes that may be mapped runs inside RunGuarded(), which then returns false.
 *
 * Rules for the body: it may be abandoned at any load or store, so it owns nothing (no allocation, no lock, no object
 * with a destructor), and it runs on the calling thread only: work split over threads guards each part.
 */
#ifndef TORCH_CHECKPOINT_FAULT_GUARD_H_
#define TORCH_CHECKPOINT_FAULT_GUARD_H_

#include <cstddef>
#include <type_traits>

namespace torch_checkpoint {

// Calls body(context).  False when it was abandoned because memory could not be read.
bool RunGuarded(void (*body)(void*), void* context);

template <typename Body>
bool Guarded(Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  return RunGuarded([](void* context) { (*static_cast<Plain*>(context))(); }, const_cast<void*>(static_cast<const void*>(&body)));
}

// memcpy that survives a vanished source or target page.
bool GuardedCopy(void* target, const void* source, size_t count);

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_FAULT_GUARD_H_
