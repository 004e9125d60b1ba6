/*
 * numbered_names_test.cc - risk: a storage key is taken for a record of another name, or a name writes outside the index
 */
#include "numbered_names.h"

#include <string>

#include "check.h"

using namespace torch_checkpoint;

namespace {

struct Index {
  std::vector<int32_t> by_number;
  std::vector<uint32_t> others;
};

Index IndexOf(const std::vector<std::string>& names, const std::string& folder, size_t limit = 8) {
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> ends;
  for (const std::string& name : names) {
    bytes.insert(bytes.end(), name.begin(), name.end());
    ends.push_back(static_cast<uint32_t>(bytes.size()));
  }
  check::Guarded input(bytes);
  Index index{std::vector<int32_t>(limit, -1), {}};
  index.others = IndexNumberedNames(ByteSpan{input.data(), input.size()}, ends.data(), ends.size(),
                                    ByteSpan{reinterpret_cast<const uint8_t*>(folder.data()), folder.size()},
                                    index.by_number.data(), limit);
  return index;
}

}  // namespace

TEST(FindsNumbersAsProgramsWriteThem) {
  const Index index = IndexOf({"a/data.pkl", "a/data/1", "a/data/0", "a/data/7", "a/data/1"}, "a/data/");
  CHECK((index.by_number == std::vector<int32_t>{2, 4, -1, -1, -1, -1, -1, 3}));
  CHECK((index.others == std::vector<uint32_t>{0}));
}

TEST(LeavesEverythingElseToTheOthers) {
  const Index index = IndexOf({"a/data/", "a/data/01", "a/data/+1", "a/data/1 ", "a/data/8", "a/data/9999999999999999999999",
                               "b/data/1", "a/data", "", "a/data/x"},
                              "a/data/");
  CHECK(index.by_number == std::vector<int32_t>(8, -1));
  CHECK(index.others.size() == 10);
}

TEST(NamesThatEndOutsideAreEmpty) {
  const uint8_t bytes[] = {'1', '2'};
  const uint32_t ends[] = {1, 100, 0, 2};
  std::vector<int32_t> by_number(3, -1);
  const std::vector<uint32_t> others =
      IndexNumberedNames(ByteSpan{bytes, 2}, ends, 4, ByteSpan{}, by_number.data(), by_number.size());
  CHECK((by_number == std::vector<int32_t>{-1, 0, 3}));
  CHECK((others == std::vector<uint32_t>{1, 2}));
}
