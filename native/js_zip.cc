/*
 * js_zip.cc - see js_zip.h
 *
 * One array for each field: a million records cost eight arrays, and no strings and no objects.
 */
#include "js_zip.h"

#include <algorithm>

#include "js_bridge.h"
#include "js_memory.h"
#include "js_views.h"
#include "numbered_names.h"
#include "zip_directory.h"

namespace torch_checkpoint {

namespace {

// Columns of one length, one behind the other in one ArrayBuffer: the system has large memory at hand sooner than many
// small ones.
class Columns {
 public:
  Columns(Napi::Env env, const ZipDirectory& directory)
      : directory_(directory),
        buffer_(NewWorkingMemory(env, directory.records.size() * kRecordBytes + directory.names.size(), &data_, &offset_)),
        result_(Napi::Object::New(env)) {}

  // Sets result[key] to a typed array with `field` of every record.  The widest come first, so that all are aligned.
  template <typename T, typename Field>
  void Add(const char* key, napi_typedarray_type type, const Field& field) {
    if (buffer_.IsEmpty()) return;
    T* column = reinterpret_cast<T*>(data_ + used_);
    const ZipRecords& records = directory_.records;
    for (size_t i = 0; i < records.size(); i++) column[i] = static_cast<T>(field(records[i]));
    SetArray(key, type, records.size(), sizeof(T));
  }

  // Sets result.nameBytes to all names, one behind the other: a string of JavaScript for each would take as long as all
  // the rest.
  void AddNames() {
    if (buffer_.IsEmpty()) return;
    const ZipNames& names = directory_.names;
    std::copy(names.begin(), names.end(), data_ + used_);
    SetArray("nameBytes", napi_uint8_array, names.size(), 1);
  }

  // Empty, with an exception pending, when there is no memory.
  Napi::Value result() const { return buffer_.IsEmpty() ? Napi::Value() : Napi::Value(result_); }

 private:
  static constexpr size_t kRecordBytes = 3 * sizeof(double) + 2 * sizeof(uint32_t) + 2;

  void SetArray(const char* key, napi_typedarray_type type, size_t length, size_t item_bytes) {
    napi_value array;
    if (napi_create_typedarray(result_.Env(), type, length, buffer_, offset_ + used_, &array) != napi_ok) {
      buffer_ = Napi::Value();
      return;
    }
    result_.Set(key, Napi::Value(result_.Env(), array));
    used_ += length * item_bytes;
  }

  const ZipDirectory& directory_;
  uint8_t* data_ = nullptr;
  size_t offset_ = 0;
  size_t used_ = 0;
  Napi::Value buffer_;
  Napi::Object result_;
};

}  // namespace

Napi::Value ReadZipDirectory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Arguments arguments(info);
  const uint64_t max_records = arguments.Unsigned(1);
  const MappedFile* file = nullptr;
  ByteSpan bytes;
  if (info[0].IsExternal()) {
    FileHandle* handle = arguments.Handle<FileHandle>(0);
    file = handle == nullptr ? nullptr : handle->OpenFile(&arguments);
  } else {
    bytes = arguments.Bytes(0);
  }
  if (arguments.failed()) return env.Undefined();

  const MemorySource memory(bytes);
  const ByteSource& source = file != nullptr ? static_cast<const ByteSource&>(*file) : memory;
  const Result<ZipDirectory> directory = ParseZipDirectory(source, max_records);
  if (!directory.ok()) return Throw(env, directory.error());

  Columns columns(env, directory.value());
  columns.Add<double>("byteOffset", napi_float64_array, [](auto& r) { return r.byte_offset; });
  columns.Add<double>("storedLength", napi_float64_array, [](auto& r) { return r.stored_length; });
  columns.Add<double>("byteLength", napi_float64_array, [](auto& r) { return r.byte_length; });
  columns.Add<uint32_t>("crc32", napi_uint32_array, [](auto& r) { return r.crc32; });
  columns.Add<uint32_t>("nameEnds", napi_uint32_array, [](auto& r) { return r.name_end; });
  // A method above 255 is as unreadable as 255.
  columns.Add<uint8_t>("method", napi_uint8_array, [](auto& r) { return std::min<int>(r.method, 255); });
  columns.Add<uint8_t>("encrypted", napi_uint8_array, [](auto& r) { return r.encrypted; });
  columns.AddNames();
  return columns.result();
}

Napi::Value NumberedNames(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const ByteSpan names = arguments.Bytes(0);
  const ArrayView<uint32_t> ends = arguments.Uint32Array(1);
  const ByteSpan folder = arguments.Bytes(2);
  const ArrayView<int32_t> by_number = arguments.Int32Array(3);
  if (arguments.failed()) return info.Env().Undefined();
  return NewUint32Array(info.Env(), IndexNumberedNames(names, ends.data, ends.length, folder, by_number.data,
                                                       by_number.length));
}

}  // namespace torch_checkpoint
