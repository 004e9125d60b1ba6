/*
 * fault_guard.cc - SIGBUS and SIGSEGV on POSIX; nothing on Windows, where a mapped file cannot be cut short
 *
 * SIGBUS is a page behind the end of a file that was cut short; SIGSEGV memory of JavaScript that was given back while a
 * worker reads it (a buffer that was shrunk or transferred).
 *
 * One process-wide handler for each is installed on first use and never removed.  A thread inside RunGuarded() has a frame
 * linked from a thread-local pointer; the handler jumps to it.  A fault of anyone else goes to the handler that was there
 * before ours (V8 has one), or kills the process as it would have without us.
 */
#include "fault_guard.h"

#include <cstring>

#include "bytes.h"

#if !defined(_WIN32)
#include <setjmp.h>
#include <signal.h>

#include <atomic>
#include <mutex>
#endif

namespace torch_checkpoint {

#if !defined(_WIN32)

namespace {

// On the stack of RunGuarded().  Guards nest: a body may call a function that guards its own reads.
struct GuardFrame {
  sigjmp_buf jump;
  GuardFrame* outer;
};

// Volatile, because nothing the compiler can see reads it between the two stores in RunGuarded().
// initial-exec where the loader allows it: the handler must not enter the allocator to find this variable.
#if defined(__GLIBC__)
__attribute__((tls_model("initial-exec")))
#endif
thread_local GuardFrame* volatile current_frame = nullptr;

// Written once before the handlers can run, read only by them.
struct sigaction previous_bus_action, previous_segv_action;

void ChainToPrevious(int signal_number, siginfo_t* info, void* context) {
  const struct sigaction& previous_action = signal_number == SIGBUS ? previous_bus_action : previous_segv_action;
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr) {
    previous_action.sa_sigaction(signal_number, info, context);
  } else if (previous_action.sa_handler == SIG_IGN && info->si_code <= 0) {
    // Sent by kill(2) and ignored before us.  A real fault cannot be ignored: it would repeat for ever.
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal_number);
  } else {
    // Returning runs the faulting instruction again, now with the default action.
    signal(signal_number, SIG_DFL);
    if (info->si_code <= 0) raise(signal_number);
  }
}

void OnFault(int signal_number, siginfo_t* info, void* context) {
  GuardFrame* frame = current_frame;
  // si_code is positive for faults and not for signals sent by a process.
  if (frame != nullptr && info->si_code > 0) {
    // The frame is used up: a second fault, in whatever runs after RunGuarded() has returned false, goes outward.
    current_frame = frame->outer;
    siglongjmp(frame->jump, 1);
  }
  ChainToPrevious(signal_number, info, context);
}

void InstallHandlerOnce() {
  static std::once_flag installed;
  std::call_once(installed, [] {
    struct sigaction action;
    std::memset(&action, 0, sizeof(action));
    action.sa_sigaction = OnFault;
    // SA_NODEFER: the jump leaves the handler without returning, so the signal must not stay blocked.  With it
    // sigsetjmp need not save the signal mask, which is 40 times cheaper.
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous_bus_action);
    sigaction(SIGSEGV, &action, &previous_segv_action);
  });
}

}  // namespace

bool RunGuarded(void (*body)(void*), void* context) {
  InstallHandlerOnce();
  GuardFrame frame;
  frame.outer = current_frame;
  // Locals of this function are not read after the jump, so none has to be volatile; the body's are gone with it.
  if (sigsetjmp(frame.jump, 0) != 0) return false;
  current_frame = &frame;
  // The body may be inlined here; none of it may move out from between the stores.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  body(context);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  current_frame = frame.outer;
  return true;
}

#else  // _WIN32

bool RunGuarded(void (*body)(void*), void* context) {
  body(context);
  return true;
}

#endif

bool GuardedCopy(void* target, const void* source, size_t count) {
  // Nothing may be at a null address, which memcpy does not allow.
  return count == 0 || Guarded([=] { std::memcpy(target, source, count); });
}

Status MemorySource::ReadAt(uint64_t offset, void* target, size_t count) const {
  if (GuardedCopy(target, bytes_.data + offset, count)) return Status();
  return MakeError(ErrorCode::kTruncated, "a mapped page can no longer be read; the file was cut short").At(offset);
}

}  // namespace torch_checkpoint
