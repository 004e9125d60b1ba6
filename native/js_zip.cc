/*
 * js_zip.cc - see js_zip.h
 *
 * One array per field: a million records cost a million strings and seven arrays, and no objects.
 */
#include "js_zip.h"

#include <algorithm>

#include "js_bridge.h"
#include "js_views.h"
#include "zip_directory.h"

namespace torch_checkpoint {

// Handles of strings are released in groups: one scope for all would hold a million, one for each would cost more than
// the string.
static constexpr uint32_t kNamesPerScope = 1024;

namespace {

// Latin-1 strings take half the memory of UTF-16 and are made without decoding; ASCII is both.
Napi::Value Names(Napi::Env env, const std::vector<ZipRecord>& records) {
  napi_value names;
  if (napi_create_array_with_length(env, records.size(), &names) != napi_ok) return Napi::Value();
  for (uint32_t begin = 0; begin < records.size(); begin += kNamesPerScope) {
    Napi::HandleScope scope(env);
    const uint32_t end = static_cast<uint32_t>(std::min<size_t>(records.size(), begin + kNamesPerScope));
    for (uint32_t i = begin; i < end; i++) {
      const ZipRecord& record = records[i];
      auto create = record.name_is_ascii ? napi_create_string_latin1 : napi_create_string_utf8;
      napi_value name;
      if (create(env, record.name.data(), record.name.size(), &name) != napi_ok) return Napi::Value();
      if (napi_set_element(env, names, i, name) != napi_ok) return Napi::Value();
    }
  }
  return Napi::Value(env, names);
}

// Sets result[key] to a typed array with `field` of every record; false with an exception pending.
template <typename T, typename Field>
bool SetColumn(Napi::Object result, const char* key, napi_typedarray_type type, const std::vector<ZipRecord>& records,
               const Field& field) {
  uint8_t* data;
  const Napi::Value buffer = NewArrayBuffer(result.Env(), records.size() * sizeof(T), &data);
  if (buffer.IsEmpty()) return false;
  T* column = reinterpret_cast<T*>(data);
  for (size_t i = 0; i < records.size(); i++) column[i] = static_cast<T>(field(records[i]));
  napi_value array;
  if (napi_create_typedarray(result.Env(), type, records.size(), buffer, 0, &array) != napi_ok) return false;
  result.Set(key, Napi::Value(result.Env(), array));
  return true;
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
  const Napi::Value names = Names(env, records);
  if (names.IsEmpty()) return env.Undefined();
  result.Set("names", names);
  const bool complete =
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
