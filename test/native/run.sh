#!/bin/sh
# Builds the native core without Node, with AddressSanitizer and UndefinedBehaviorSanitizer, runs its unit tests and each
# fuzz target for a few seconds (FUZZ_SECONDS, 5).  The last line is "N passed, N failed".
#
# Needs CMake and a C++17 compiler; the fuzz targets need clang with libFuzzer and are left out, with a message, without.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${NATIVE_TEST_BUILD:-$root/build/native-tests}
seconds=${FUZZ_SECONDS:-5}
mkdir -p "$build"

probe=$build/probe.cc
printf '%s\n' '#include <cstddef>' '#include <cstdint>' \
  'extern "C" int LLVMFuzzerTestOneInput(const uint8_t*, size_t) { return 0; }' > "$probe"
fuzz=OFF
compiler=
if command -v clang++ > /dev/null && clang++ -fsanitize=fuzzer,address "$probe" -o "$build/probe" 2> /dev/null; then
  fuzz=ON
  compiler=-DCMAKE_CXX_COMPILER=clang++
else
  echo 'clang++ with libFuzzer is not installed: the fuzz targets are left out'
fi

if ! cmake -S "$root" -B "$build" $compiler -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTORCH_CHECKPOINT_TESTS=ON \
  -DTORCH_CHECKPOINT_DEV=ON -DTORCH_CHECKPOINT_SANITIZE=ON -DTORCH_CHECKPOINT_FUZZ=$fuzz > "$build/log" 2>&1 ||
  ! cmake --build "$build" --parallel 2 > "$build/log" 2>&1; then
  cat "$build/log"
  echo '0 passed, 1 failed'
  exit 1
fi

# Our SIGBUS handler must get the signal before the sanitizer reports it.
export ASAN_OPTIONS=handle_sigbus=0:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
result=$("$build/test/native/native_tests")
status=$?
printf '%s\n' "$result"
tail=$(printf '%s\n' "$result" | tail -n 1)
passed=$(printf '%s' "$tail" | sed -n 's/^\([0-9]*\) passed.*/\1/p')
failed=$(printf '%s' "$tail" | sed -n 's/.*, \([0-9]*\) failed$/\1/p')
# A crash leaves no summary.
[ -n "$passed" ] || passed=0
[ -n "$failed" ] || failed=1
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1

if [ "$fuzz" = ON ]; then
  for target in fuzz_zip_directory fuzz_gather; do
    corpus=$build/corpus-$target
    mkdir -p "$corpus"
    [ "$target" = fuzz_zip_directory ] && "$build/test/native/make_seeds" "$corpus"
    if "$build/test/native/$target" -max_total_time="$seconds" -max_len=4096 -verbosity=0 -print_final_stats=0 \
      -artifact_prefix="$build/" "$corpus" > "$build/log-$target" 2>&1; then
      echo "$target: nothing found in $seconds s, $(ls "$corpus" | wc -l) inputs in the corpus"
      passed=$((passed + 1))
    else
      cat "$build/log-$target"
      failed=$((failed + 1))
    fi
  done
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
