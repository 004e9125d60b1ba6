/*
 * main.cc - runs every case, or those whose name contains the argument
 */
#include "check.h"

int main(int argc, char** argv) {
  int passed = 0, failed = 0;
  for (const check::Case& test : check::Cases()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    const int before = check::Failures();
    test.body();
    const bool ok = check::Failures() == before;
    if (!ok) std::printf("FAILED %s\n", test.name);
    (ok ? passed : failed)++;
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
