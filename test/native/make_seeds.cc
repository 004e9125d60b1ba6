/*
 * make_seeds.cc - writes seeds for fuzz_zip_directory into the folder given
 */
#include <cstdio>
#include <string>

#include "zip_builder.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::vector<ZipEntry> entries = {{"a/data.pkl", "pickle"}, {"a/data/0", "xxxx"}, {"a/e", "", 0x0800}, {"b\x82", "y", 8, 8}};
  int number = 0;
  for (bool zip64 : {true, false}) {
    for (const char* comment : {"", "comment PK\5\6 comment"}) {
      ZipBuilder zip;
      zip.Build(entries, zip64, comment);
      FILE* file = std::fopen((std::string(argv[1]) + "/seed" + std::to_string(number++)).c_str(), "wb");
      if (file == nullptr || std::fwrite(zip.bytes.data(), 1, zip.bytes.size(), file) != zip.bytes.size()) return 1;
      std::fclose(file);
    }
  }
  return 0;
}
