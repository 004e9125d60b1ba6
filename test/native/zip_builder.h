/*
 * zip_builder.h - small ZIP files, right and wrong, for the tests and the fuzz seeds
 */
#ifndef TORCH_CHECKPOINT_TEST_ZIP_BUILDER_H_
#define TORCH_CHECKPOINT_TEST_ZIP_BUILDER_H_

#include <cstdint>
#include <string>
#include <vector>

struct ZipEntry {
  std::string name;
  std::string payload;
  uint16_t flags = 0x0808;
  uint16_t method = 0;
  // What the directory says, where it is to differ from the truth.
  int64_t header_offset = -1;
  int64_t stored_length = -1;
  std::string local_name = "";
};

class ZipBuilder {
 public:
  std::vector<uint8_t> bytes;
  uint64_t directory_offset = 0;
  uint64_t end_offset = 0;

  void U16(uint64_t v) { Little(v, 2); }
  void U32(uint64_t v) { Little(v, 4); }
  void U64(uint64_t v) { Little(v, 8); }
  void Text(const std::string& text) { bytes.insert(bytes.end(), text.begin(), text.end()); }

  // Records as PyTorch writes them: aligned to 64, sizes in a descriptor.
  void Build(const std::vector<ZipEntry>& entries, bool zip64 = true, const std::string& comment = "") {
    std::vector<uint64_t> offsets;
    for (const ZipEntry& entry : entries) {
      const std::string& name = entry.local_name.empty() ? entry.name : entry.local_name;
      offsets.push_back(bytes.size());
      const uint64_t pad = 64 - (bytes.size() + 34 + name.size()) % 64;
      Text("PK\3\4");
      U16(0), U16(entry.flags), U16(entry.method), U32(0), U32(0), U32(0), U32(0), U16(name.size()), U16(4 + pad);
      Text(name + "FB");
      U16(pad);
      Text(std::string(pad, 'Z') + entry.payload);
      if ((entry.flags & 8) == 0 || entry.payload.empty()) continue;
      Text("PK\7\10");
      U32(0), U32(entry.payload.size()), U32(entry.payload.size());
    }
    directory_offset = bytes.size();
    for (size_t i = 0; i < entries.size(); i++) {
      const ZipEntry& entry = entries[i];
      const uint64_t stored = entry.stored_length < 0 ? entry.payload.size() : static_cast<uint64_t>(entry.stored_length);
      Text("PK\1\2");
      U16(0), U16(0), U16(entry.flags), U16(entry.method), U32(0), U32(7), U32(stored), U32(stored);
      U16(entry.name.size()), U16(0), U16(0), U16(0), U16(0), U32(0);
      U32(entry.header_offset < 0 ? offsets[i] : static_cast<uint64_t>(entry.header_offset));
      Text(entry.name);
    }
    const uint64_t directory_bytes = bytes.size() - directory_offset;
    if (zip64) {
      const uint64_t zip64_offset = bytes.size();
      Text("PK\6\6");
      U64(44), U16(0x31E), U16(45), U32(0), U32(0), U64(entries.size()), U64(entries.size()), U64(directory_bytes);
      U64(directory_offset);
      Text("PK\6\7");
      U32(0), U64(zip64_offset), U32(1);
    }
    end_offset = bytes.size();
    Text("PK\5\6");
    U16(0), U16(0), U16(entries.size()), U16(entries.size()), U32(directory_bytes), U32(directory_offset);
    U16(comment.size());
    Text(comment);
  }

 private:
  void Little(uint64_t value, int count) {
    for (int i = 0; i < count; i++) bytes.push_back(static_cast<uint8_t>(value >> 8 * i));
  }
};

#endif  // TORCH_CHECKPOINT_TEST_ZIP_BUILDER_H_
