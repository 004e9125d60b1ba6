/*
 * js_zip.cc - see js_zip.h
 *
 * One array per field: a million records cost eight arrays, and no strings and no objects.
 */
#include "js_zip.h"

#include <algorithm>

#include "js_bridge.h"
#include "js_views.h"
#include "os_file.h"
#include "zip_directory.h"

namespace torch_checkpoint {

namespace {

// Sets result[key] to a typed array with `field` of every record; false with an exception pending.
template <typename T, typename Field>
bool SetColumn(Napi::Object result, const char* key, napi_typedarray_type type, const std::vector<ZipRecord>& records,
               const Field& field) {
  uint8_t* data;
  const Napi::Value buffer = NewArrayBuffer(result.Env(), records.size() * sizeof(T), &data);
  if (buffer.IsEmpty()) return false;
  PopulateForWriting(data, records.size() * sizeof(T));
  T* column = reinterpret_cast<T*>(data);
  for (size_t i = 0; i < records.size(); i++) column[i] = static_cast<T>(field(records[i]));
  napi_value array;
  if (napi_create_typedarray(result.Env(), type, records.size(), buffer, 0, &array) != napi_ok) return false;
  result.Set(key, Napi::Value(result.Env(), array));
  return true;
}

// Sets result.nameBytes to all names, one behind the other, and result.nameEnds to where each of them ends: a string of
// JavaScript for each would take as long as all the rest.  False with an exception pending.
bool SetNames(Napi::Object result, const std::vector<ZipRecord>& records) {
  size_t byte_length = 0;
  for (const ZipRecord& record : records) byte_length += record.name.size();
  uint8_t* data;
  const Napi::Value buffer = NewArrayBuffer(result.Env(), byte_length, &data);
  napi_value bytes;
  if (buffer.IsEmpty() ||
      napi_create_typedarray(result.Env(), napi_uint8_array, byte_length, buffer, 0, &bytes) != napi_ok) {
    return false;
  }
  PopulateForWriting(data, byte_length);
  result.Set("nameBytes", Napi::Value(result.Env(), bytes));
  uint32_t end = 0;
  return SetColumn<uint32_t>(result, "nameEnds", napi_uint32_array, records, [&](const ZipRecord& record) {
    std::copy(record.name.begin(), record.name.end(), data + end);
    return end += static_cast<uint32_t>(record.name.size());
  });
}

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

  const std::vector<ZipRecord>& records = directory.value().records;
  Napi::Object result = Napi::Object::New(env);
  const bool complete =
      SetNames(result, records) &&
      SetColumn<double>(result, "byteOffset", napi_float64_array, records, [](auto& r) { return r.byte_offset; }) &&
      SetColumn<double>(result, "storedLength", napi_float64_array, records, [](auto& r) { return r.stored_length; }) &&
      SetColumn<double>(result, "byteLength", napi_float64_array, records, [](auto& r) { return r.byte_length; }) &&
      SetColumn<uint32_t>(result, "crc32", napi_uint32_array, records, [](auto& r) { return r.crc32; }) &&
      // A method above 255 is as unreadable as 255.
      SetColumn<uint8_t>(result, "method", napi_uint8_array, records, [](auto& r) { return std::min<int>(r.method, 255); }) &&
      SetColumn<uint8_t>(result, "encrypted", napi_uint8_array, records, [](auto& r) { return r.encrypted; });
  return complete ? static_cast<Napi::Value>(result) : env.Undefined();
}

}  // namespace torch_checkpoint
