/*
 * addon.cc - the export table: every function with its signature in lib/binding.ts, which documents it
 *
 * Views and copies.  Only fileWindow() gives a view of a file; it holds the mapping until it is garbage.  Everything else
 * copies into an array that the caller made, or returns numbers.
 *
 * Threads.  A function that returns a Promise works on a pool thread and keeps its arguments reachable until it settles.
 * The others block; the long ones among them use more threads than one.
 */
#include <napi.h>

#include <utility>

#include "cpu.h"
#include "js_bridge.h"
#include "js_checksum.h"
#include "js_elements.h"
#include "js_file.h"
#include "js_memory.h"
#include "js_sink.h"
#include "js_views.h"
#include "js_zip.h"
#include "os_file.h"

namespace torch_checkpoint {

namespace {

Napi::Value Capabilities(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CpuFeatures cpu = ActiveCpuFeatures();
  const std::pair<bool, const char*> sets[] = {
      {cpu.avx2, "avx2"},           {cpu.f16c, "f16c"}, {cpu.pclmulqdq, "pclmulqdq"},
      {cpu.vpclmulqdq, "vpclmulqdq"}, {cpu.neon, "neon"}, {cpu.arm_crc, "crc32"},
  };
  Napi::Array simd = Napi::Array::New(env);
  for (const auto& [active, name] : sets) {
    if (active) simd.Set(simd.Length(), name);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("externalBuffers", ExternalBuffersAllowed(env));
  result.Set("overlay", OverlayWorks(env));
  result.Set("maxArrayBytes", StateOf(env).max_array_bytes);
  result.Set("windowBytes", WindowBytes(env));
  result.Set("simd", simd);
  result.Set("pageBytes", static_cast<double>(PageBytes()));
  return result;
}

template <Napi::Value (*kFunction)(const Napi::CallbackInfo&)>
void Export(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<CallGuarded<kFunction>>(exports.Env(), name));
}

}  // namespace

static Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new AddonState(env));

  // (): { externalBuffers: boolean; overlay: boolean; maxArrayBytes: number; simd: string[]; pageBytes: number }
  Export<Capabilities>(exports, "capabilities");

  // js_memory.cc

  // (byteLength: number): Uint8Array
  Export<WorkingBytes>(exports, "workingBytes");
  // (): void
  Export<KeepFreedBlocksOf>(exports, "keepFreedBlocks");

  // js_file.cc

  // (path: string | number, io: 'auto' | 'mmap' | 'read'): NativeFile
  Export<FileOpen>(exports, "fileOpen");
  // (file: NativeFile): NativeFileInfo
  Export<FileInfo>(exports, "fileInfo");
  // (file: NativeFile): 'same' | 'truncated' | 'modified'
  Export<FileStateOf>(exports, "fileState");
  // (file: NativeFile, byteOffset: number, byteLength: number): Uint8Array | null
  Export<FileWindow>(exports, "fileWindow");
  // (file: NativeFile, byteOffset: number, target: Uint8Array): number
  Export<FileReadSync>(exports, "fileReadSync");
  // (file: NativeFile, byteOffset: number, target: Uint8Array): Promise<number>
  Export<FileRead>(exports, "fileRead");
  // (file: NativeFile): void
  Export<FileClose>(exports, "fileClose");

  // js_zip.cc

  // (source: NativeFile | Uint8Array, maxRecords: number): ZipDirectory
  Export<ReadZipDirectory>(exports, "zipDirectory");
  // (nameBytes: Uint8Array, nameEnds: Uint32Array, folder: Uint8Array, byNumber: Int32Array): Uint32Array
  Export<NumberedNames>(exports, "numberedNames");

  // js_checksum.cc

  // (bytes: Uint8Array, seed: number): number
  Export<Crc32Of>(exports, "crc32");
  // (file: NativeFile, ranges: Float64Array, threads: number): Promise<Uint32Array>
  Export<Crc32Ranges>(exports, "crc32Ranges");

  // js_elements.cc

  // (kernel: Kernel, source: Span, target: Float32Array): void
  Export<ToFloat32Of>(exports, "toFloat32");
  // (kernel: Kernel, source: Float32Array | Span, target: Uint8Array, vectorNan: boolean): void
  Export<CastFloat32Of>(exports, "castFloat32");
  // (kernel: Kernel, source: Span, target: Float32Array, scale: number, zeroPoint: number): void
  Export<DequantizeOf>(exports, "dequantize");
  // (source: Float32Array | Span, target: Uint8Array): void
  Export<QuantizeQ8Of>(exports, "quantizeQ8_0");
  // (source: Span, itemsize: number, shape: Float64Array, stride: Float64Array, storageOffset: number,
  //  target: Uint8Array): void
  Export<Gather>(exports, "gather");
  // (target: Uint8Array, width: number): void
  Export<ByteSwapOf>(exports, "byteSwap");
  // (a: Span, b: Span): boolean
  Export<Equal>(exports, "equal");

  // js_sink.cc

  // (targetPath: string, byteLength: number): NativeSink
  Export<SinkCreate>(exports, "sinkCreate");
  // (sink: NativeSink, batch: SinkBatch): Promise<SinkReport>
  Export<AppendAsync>(exports, "sinkAppend");
  // (sink: NativeSink, batch: SinkBatch): SinkReport
  Export<AppendSync>(exports, "sinkAppendSync");
  // (sink: NativeSink, fsync: boolean): Promise<void>
  Export<CommitAsync>(exports, "sinkCommit");
  // (sink: NativeSink, fsync: boolean): void
  Export<CommitSync>(exports, "sinkCommitSync");
  // (sink: NativeSink): void
  Export<SinkAbort>(exports, "sinkAbort");
  return exports;
}

NODE_API_MODULE(torch_checkpoint, Initialize)

}  // namespace torch_checkpoint
