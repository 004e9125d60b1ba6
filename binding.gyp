# Builds the addon with node-gyp where there is no CMake; the sources are those of CMakeLists.txt, and a test compares them.
{
  "targets": [
    {
      "target_name": "torch_checkpoint",
      "sources": [
        "native/cpu.cc",
        "native/crc32.cc",
        "native/crc32_arm64.cc",
        "native/crc32_x64.cc",
        "native/element_kernels.cc",
        "native/element_kernels_avx2.cc",
        "native/element_kernels_neon.cc",
        "native/error.cc",
        "native/fault_guard.cc",
        "native/file_sink.cc",
        "native/fresh_pages.cc",
        "native/mapped_file.cc",
        "native/narrow_floats.cc",
        "native/numbered_names.cc",
        "native/os_file_posix.cc",
        "native/os_file_windows.cc",
        "native/parallel.cc",
        "native/range_writer.cc",
        "native/source_span.cc",
        "native/strided_copy.cc",
        "native/strided_read.cc",
        "native/temp_file.cc",
        "native/temp_file_posix.cc",
        "native/temp_file_windows.cc",
        "native/zip_directory.cc",
        "native/zip_end.cc",
        "native/addon.cc",
        "native/js_bridge.cc",
        "native/js_checksum.cc",
        "native/js_elements.cc",
        "native/js_file.cc",
        "native/js_memory.cc",
        "native/js_sink.cc",
        "native/js_views.cc",
        "native/js_zip.cc"
      ],
      "include_dirs": [
        "<!(node -p \"require('node-addon-api').include_dir\")",
        "<!(node -p \"require('node-api-headers').include_dir\")"
      ],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "_CRT_SECURE_NO_WARNINGS"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++17", "-O3", "-fno-trapping-math", "-Wall", "-Wextra", "-fvisibility=hidden"],
      "conditions": [
        ["OS=='linux'", { "ldflags": ["-Wl,-z,nodelete", "-static-libstdc++", "-static-libgcc"] }],
        ["OS=='mac'", {
          "xcode_settings": {
            "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
            "OTHER_CPLUSPLUSFLAGS": ["-fno-trapping-math"],
            "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
            "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
            "MACOSX_DEPLOYMENT_TARGET": "11.0"
          }
        }],
        ["OS=='win'", { "msvs_settings": { "VCCLCompilerTool": { "ExceptionHandling": 1, "AdditionalOptions": ["/std:c++17", "/utf-8"] } } }]
      ]
    }
  ]
}
