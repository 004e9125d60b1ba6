/*
 * js_views.cc - see js_views.h for who owns what
 */
#include "js_views.h"

#include <algorithm>
#include <cstring>

#include "fresh_pages.h"

namespace torch_checkpoint {

// Dead windows are looked for when the list has doubled, but not below this.
static constexpr size_t kMinSweep = 64;

namespace {

// Only this call may be used to find out: other ways to put outside memory into an engine with a sandbox end the process.
bool ProbeExternalBuffers(Napi::Env env) {
  // Refused with napi_no_external_buffers_allowed, in which case the memory stays ours.
  uint64_t* memory = new uint64_t(0);
  napi_value buffer;
  auto release = [](napi_env, void*, void* hint) { delete static_cast<uint64_t*>(hint); };
  if (napi_create_external_arraybuffer(env, memory, sizeof(*memory), release, memory, &buffer) == napi_ok) return true;
  delete memory;
  napi_value ignored;
  if (env.IsExceptionPending()) napi_get_and_clear_last_exception(env, &ignored);
  return false;
}

// A growable SharedArrayBuffer that cannot grow, with its page-aligned bytes; empty where there is none to be had.
// Growable ones are allocated by pages, fixed ones from the heap.
Napi::Value NewPagedBuffer(Napi::Env env, uint64_t byte_length, uint8_t** data) {
  AddonState& state = StateOf(env);
  if (state.shared_array_buffer.IsEmpty()) return Napi::Value();
  const Napi::Number length = Napi::Number::New(env, static_cast<double>(byte_length));
  Napi::Object options = Napi::Object::New(env);
  options.Set("maxByteLength", length);
  Napi::Value buffer = state.shared_array_buffer.New({length, options});
  // napi_get_arraybuffer_info does not take shared buffers everywhere, but a view tells the address.
  Napi::Value view = buffer.IsEmpty() ? Napi::Value() : state.uint8_array.New({buffer});
  void* bytes = nullptr;
  size_t found = 0;
  napi_typedarray_type type;
  napi_value ignored;
  if (view.IsEmpty() || napi_get_typedarray_info(env, view, &type, &found, &bytes, nullptr, nullptr) != napi_ok) {
    if (env.IsExceptionPending()) napi_get_and_clear_last_exception(env, &ignored);
    return Napi::Value();
  }
  // A host that ignores maxByteLength gives a buffer from its heap.
  Napi::Value growable = buffer.As<Napi::Object>().Get("growable");
  const bool paged = growable.IsBoolean() && growable.As<Napi::Boolean>().Value() && found == byte_length &&
                     reinterpret_cast<uintptr_t>(bytes) % PageBytes() == 0;
  *data = static_cast<uint8_t*>(bytes);
  return paged ? buffer : Napi::Value();
}

// Overlays two pages of a scratch file and looks whether they are there, and stay private.
bool ProbeOverlay(Napi::Env env) {
  if (StateOf(env).is_bun) return false;  // reuses the pages of dropped buffers without clearing them
  Result<OsFile> file = CreateScratchFile();
  if (!file.ok()) return false;
  const size_t count = 2 * PageBytes();
  std::vector<uint8_t> pattern(count), read_back(count);
  for (size_t i = 0; i < count; i++) pattern[i] = static_cast<uint8_t>(i * 7 + i / 256 + 1);
  uint8_t* data = nullptr;
  bool works = WriteAll(file.value(), 0, pattern.data(), count).ok() && !NewPagedBuffer(env, count, &data).IsEmpty() &&
               MapPrivateOver(file.value(), 0, count, data) && std::memcmp(data, pattern.data(), count) == 0;
  if (works) {
    data[0] ^= 0xFF;
    const Result<size_t> got = ReadSome(file.value(), 0, read_back.data(), count);
    works = got.ok() && got.value() == count && read_back == pattern;
  }
  CloseFile(file.value());
  return works;
}

// Where a range of a file, from `byte_offset` on, should begin in memory from `data` on.  Where the system holds the pages of
// a file by two megabytes, it maps them at once only at an address that is as far from a multiple of that as the offset is:
// one page fault instead of 32 (measured: a first pass over 4 GiB takes two thirds of the time).
size_t HugePageStart(const uint8_t* data, uint64_t byte_offset) {
  return static_cast<size_t>((byte_offset - reinterpret_cast<uintptr_t>(data)) & (kHugePageBytes - 1));
}

}  // namespace

bool ExternalBuffersAllowed(Napi::Env env) {
  AddonState& state = StateOf(env);
  if (state.refuse_external) return false;
  if (!state.external_buffers.has_value()) state.external_buffers = ProbeExternalBuffers(env);
  return *state.external_buffers;
}

// V8 collects at once for an external buffer of more than about 2 GiB, and at leisure for a shorter one.  Where what it
// counts is taken back, it never adds up, and short windows cost next to nothing; elsewhere each costs a collection, so
// that one for the whole file is best (measured, 600 storages of 16 MiB: 11 and 30 ms; with 4 GiB 60 ms).
double WindowBytes(Napi::Env env) {
  constexpr double kGiB = 1073741824.0;
  const AddonState& state = StateOf(env);
  // Memory of an overlay is set aside in the engine, which has a place for only so much; see OverlayWindow().
  if (!ExternalBuffersAllowed(env)) return std::min(4 * kGiB, state.max_array_bytes) - kHugePageBytes;
  return state.counts_external_below_zero ? kGiB : state.max_array_bytes;
}

bool OverlayWorks(Napi::Env env) {
  AddonState& state = StateOf(env);
  if (!state.overlay.has_value()) {
    Napi::HandleScope scope(env);
    state.overlay = ProbeOverlay(env);
  }
  return *state.overlay;
}

// The handle was garbage: nobody can close it any more.  Windows that live on keep the mapping by their own shares.
FileHandle::~FileHandle() {
  for (const ExternalView& window : windows_) Forget(window);
  for (const Overlay& overlay : overlays_) napi_delete_reference(env_, overlay.buffer);
}

MappedFile* FileHandle::OpenFile(Arguments* arguments) const {
  if (file_ == nullptr) arguments->Fail(MakeError(ErrorCode::kClosed, "the file was closed"));
  return file_.get();
}

Napi::Value FileHandle::Window(uint64_t byte_offset, uint64_t byte_length) {
  Napi::Value window;
  if (file_->mapping() != nullptr) {
    window = ExternalBuffersAllowed(env_) ? ExternalWindow(byte_offset, byte_length)
                                          : OverlayWindow(byte_offset, byte_length);
  }
  return window.IsEmpty() ? env_.Null() : window;
}

// Empty, with an exception pending, when there is no memory.
Napi::Value FileHandle::ViewOf(napi_value buffer, uint64_t start, uint64_t byte_length) const {
  return StateOf(env_).uint8_array.New({buffer, Napi::Number::New(env_, static_cast<double>(start)),
                                        Napi::Number::New(env_, static_cast<double>(byte_length))});
}

// Two windows may cover the same bytes: they show the same memory, and each has a share.
Napi::Value FileHandle::ExternalWindow(uint64_t byte_offset, uint64_t byte_length) {
  if (static_cast<double>(byte_length) > StateOf(env_).max_array_bytes) return Napi::Value();
  ForgetDeadWindows();
  auto share = std::make_unique<std::shared_ptr<MappedFile>>(file_);
  // May run inside napi_detach_arraybuffer() (Deno, Bun) and at shutdown: gives up the share and does nothing else.
  auto release = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<MappedFile>*>(hint); };
  napi_value buffer;
  napi_ref weak;
  if (napi_create_external_arraybuffer(env_, file_->mapping() + byte_offset, static_cast<size_t>(byte_length), release,
                                       share.get(), &buffer) != napi_ok) {
    napi_value ignored;
    if (env_.IsExceptionPending()) napi_get_and_clear_last_exception(env_, &ignored);
    return Napi::Value();
  }
  share.release();
  file_->MarkTouched();
  if (napi_create_reference(env_, buffer, 0, &weak) == napi_ok) {
    windows_.push_back({weak, byte_length});
    CountExternal(-static_cast<int64_t>(byte_length));
  }
  return ViewOf(buffer, 0, byte_length);
}

Napi::Value FileHandle::OverlayWindow(uint64_t byte_offset, uint64_t byte_length) {
  // A mapping is put in place of whole pages.
  if (byte_offset % PageBytes() != 0) return Napi::Value();
  // Two overlays of one range would not see each other's writes.
  for (const Overlay& overlay : overlays_) {
    napi_value buffer;
    if (overlay.byte_offset == byte_offset && overlay.byte_length == byte_length &&
        napi_get_reference_value(env_, overlay.buffer, &buffer) == napi_ok) {
      return ViewOf(buffer, overlay.start, byte_length);
    }
  }
  if (!OverlayWorks(env_)) return Napi::Value();
  uint8_t* data = nullptr;
  size_t start = 0;
  Napi::Value buffer;
  if (byte_length >= kHugePageBytes) {
    buffer = NewPagedBuffer(env_, byte_length + kHugePageBytes, &data);
    if (!buffer.IsEmpty()) start = HugePageStart(data, byte_offset);
  }
  // A range as long as the longest array has no room to choose from.
  if (buffer.IsEmpty()) buffer = NewPagedBuffer(env_, byte_length, &data);
  napi_ref strong;
  if (buffer.IsEmpty() || napi_create_reference(env_, buffer, 1, &strong) != napi_ok) return Napi::Value();
  if (!file_->AddOverlay(byte_offset, byte_length, data + start)) {
    napi_delete_reference(env_, strong);
    return Napi::Value();
  }
  file_->MarkTouched();
  overlays_.push_back({byte_offset, byte_length, start, strong});
  return ViewOf(buffer, start, byte_length);
}

// V8 counts the bytes of an external buffer as memory that a collection could free, and collects at once where they are
// gigabytes.  Those of a file mapping are memory of nobody, so they are counted out again for as long as we know of the
// buffer, where the host can be told so.
void FileHandle::CountExternal(int64_t change) {
  int64_t counted;
  if (StateOf(env_).counts_external_below_zero) napi_adjust_external_memory(env_, change, &counted);
}

void FileHandle::Forget(const ExternalView& window) {
  CountExternal(static_cast<int64_t>(window.byte_length));
  napi_delete_reference(env_, window.buffer);
}

// Sweeping at each doubling makes the cost of a window constant on average.
void FileHandle::ForgetDeadWindows() {
  if (windows_.size() < std::max(kMinSweep, 2 * windows_at_last_sweep_)) return;
  auto dead = [this](const ExternalView& window) {
    Napi::HandleScope scope(env_);
    napi_value buffer = nullptr;
    if (napi_get_reference_value(env_, window.buffer, &buffer) == napi_ok && buffer != nullptr) return false;
    Forget(window);
    return true;
  };
  windows_.erase(std::remove_if(windows_.begin(), windows_.end(), dead), windows_.end());
  windows_at_last_sweep_ = windows_.size();
}

// Order: first nobody can reach the memory by a new call (file_ is null), then JavaScript loses the windows, and last the
// shares go, unless a worker is still reading (pins).
void FileHandle::Close() {
  if (file_ == nullptr) return;
  closing_ = std::move(file_);
  for (const ExternalView& window : windows_) {
    Napi::HandleScope scope(env_);
    napi_value buffer = nullptr;
    if (napi_get_reference_value(env_, window.buffer, &buffer) == napi_ok && buffer != nullptr) {
      napi_detach_arraybuffer(env_, buffer);
    }
    Forget(window);
  }
  windows_.clear();
  if (pins_ == 0) ReleaseOverlays();
}

void FileHandle::Unpin() {
  pins_--;
  if (pins_ == 0 && closing_ != nullptr) ReleaseOverlays();
}

// An overlay cannot be detached.  Its strong reference goes, and JavaScript that still holds the buffer keeps reading valid
// memory until it lets go too.
void FileHandle::ReleaseOverlays() {
  closing_->DropOverlays();
  for (const Overlay& overlay : overlays_) napi_delete_reference(env_, overlay.buffer);
  overlays_.clear();
  closing_.reset();
}

}  // namespace torch_checkpoint
