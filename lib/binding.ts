/**
 * The native addon: found here, typed here, and `require`d nowhere else.
 *
 * Native code moves bytes and knows nothing of Python; one call crosses per stage, never per value. A `Span` is a run
 * of bytes for native code to read: a range of an open file or the bytes of a JavaScript array. Reads of a mapped file
 * are guarded, so that a file cut short under us is an error and not a signal.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { CheckpointError, ERROR_CODES, type ErrorCode, type ErrorDetails } from './errors';

declare const kind: unique symbol;
/** An open file: descriptor, and its private copy-on-write mapping where there is one. */
export type NativeFile = { readonly [kind]: 'file' };
/** A file being written under a temporary name beside its target. */
export type NativeSink = { readonly [kind]: 'sink' };

/** A `NativeFile` range is given as [file, byteOffset, byteLength]. */
export type Span = Uint8Array | readonly [file: NativeFile, byteOffset: number, byteLength: number];

export interface NativeFileInfo {
  readonly byteLength: number;
  /** False when the file is read by position: asked for, a network file system, or a refused mapping. */
  readonly mapped: boolean;
  /** Modification time in nanoseconds since 1970, device and inode: they tell a replaced file from the opened one. */
  readonly mtimeNs: bigint;
  readonly device: bigint;
  readonly inode: bigint;
}

/** The records of a zip container, one array slot each, in the order of the central directory. */
export interface ZipDirectory {
  /**
   * Full member names, archive name included, one behind the other in UTF-8, and where each ends. Names that are not UTF-8
   * were decoded as CP437, as in zip tools.
   */
  readonly nameBytes: Uint8Array;
  readonly nameEnds: Uint32Array;
  /** Where the payload starts in the file, in bytes. */
  readonly byteOffset: Float64Array;
  /** Payload bytes as stored in the file, and after inflating; equal for method 0. */
  readonly storedLength: Float64Array;
  readonly byteLength: Float64Array;
  /** CRC-32 of the inflated bytes as the directory records it; 0 means not recorded. */
  readonly crc32: Uint32Array;
  /** 0 stored, 8 deflated; anything else is refused when the record is read. */
  readonly method: Uint8Array;
  /** Bit 0 of the general purpose flags: the record is encrypted. */
  readonly encrypted: Uint8Array;
}

/**
 * A run of things to append to a sink, in order. `segments` has five numbers for each:
 * source (-1: `arena`, -2: zero bytes, else an index into `sources`), byteOffset in it, byteLength, flags, 0.
 */
export interface SinkBatch {
  readonly arena: Uint8Array;
  readonly segments: Float64Array;
  readonly sources: readonly (NativeFile | Uint8Array)[];
}
/** Flags of a segment: the checksum runs from a BEGIN to the next END and is reported once for each END. */
export const SEGMENT_CRC_BEGIN = 1;
export const SEGMENT_CRC_END = 2;
/** At END also append the zip data descriptor: 16 bytes, or 24 with 64-bit sizes. */
export const SEGMENT_DESCRIPTOR = 4;
export const SEGMENT_DESCRIPTOR_64 = 8;
/** Do not compute the checksum: report and write 0. */
export const SEGMENT_CRC_ZERO = 16;

export interface SinkReport {
  /**
   * For each END three numbers: the CRC-32; 1 if the run began with `PK\7\8` and was 8 bytes or longer, else 0; and
   * then its bytes 4 to 7 as a little-endian number (PyTorch's serialization id is confused by such payloads).
   */
  readonly checksums: Uint32Array;
  /**
   * Bytes that the kernel copied, and bytes that were written. The kernel copies long ranges of files that JavaScript has
   * not written to, where that takes no moving of bytes: extents are shared, or a file server does it.
   */
  readonly kernelBytes: number;
  readonly writtenBytes: number;
}

/** Element kernels by number; `dtype.ts` names them. All convert to float32 with PyTorch's rounding. */
export enum Kernel {
  Float64,
  Float32,
  Float16,
  BFloat16,
  Int8,
  UInt8,
  Int16,
  UInt16,
  Int32,
  UInt32,
  Int64,
  UInt64,
  Bool,
  Float8E4M3FN,
  Float8E4M3FNUZ,
  Float8E5M2,
  Float8E5M2FNUZ,
  Float8E8M0FNU,
}

export interface NativeBinding {
  /** `simd`: instruction sets in use, e.g. ['avx2', 'f16c', 'pclmulqdq']; empty when the plain code runs. */
  capabilities(): {
    externalBuffers: boolean;
    overlay: boolean;
    maxArrayBytes: number;
    /** The length of windows that costs this host least; see js_views.cc. */
    windowBytes: number;
    simd: string[];
    pageBytes: number;
  };
  /**
   * Memory for the library's own work, with whatever it held before. Megabytes lie on huge pages, in a buffer that is longer
   * than the array: a page fault for each four kilobytes would take longer than what is done to them.
   */
  workingBytes(byteLength: number): Uint8Array<ArrayBuffer>;
  /** Has malloc keep the memory of freed arrays of up to 32 MiB for the next ones, 64 MiB at most; see fresh_pages.h. */
  keepFreedBlocks(): void;

  /** Opens a path, or a duplicate of an open descriptor. 'auto' maps local files and reads network ones. */
  fileOpen(path: string | number, io: 'auto' | 'mmap' | 'read'): NativeFile;
  fileInfo(file: NativeFile): NativeFileInfo;
  /** Compares size, time and inode with those at opening: 'same', 'truncated', 'modified' (in place). */
  fileState(file: NativeFile): 'same' | 'truncated' | 'modified';
  /**
   * A window over a range of the mapping, zero-copy; null where the host refuses. On an ArrayBuffer, which may begin at any
   * byte, or on a SharedArrayBuffer where external buffers are refused and the overlay works: then the range must begin on a
   * page, and the window begins on one of a buffer that may be longer. The window keeps the mapping alive. From the first window on, native reads of this file look
   * for pages that JavaScript wrote to, and see them.
   */
  fileWindow(file: NativeFile, byteOffset: number, byteLength: number): Uint8Array | null;
  /** Bounded copy into `target`; throws TRUNCATED when the file has become shorter. Returns bytes copied. */
  fileReadSync(file: NativeFile, byteOffset: number, target: Uint8Array): number;
  fileRead(file: NativeFile, byteOffset: number, target: Uint8Array): Promise<number>;
  /** Detaches every window (their length becomes 0) and lets go of the file; idempotent. Later calls throw CLOSED. */
  fileClose(file: NativeFile): void;

  /** Parses the central directory and proves every record inside the file and apart from the others. */
  zipDirectory(source: NativeFile | Uint8Array, maxRecords: number): ZipDirectory;
  /**
   * Sets `byNumber[n]` to the record whose name is `folder` and then n in decimal; n at and above its length count for
   * nothing. Returns all other records, in order.
   */
  numberedNames(nameBytes: Uint8Array, nameEnds: Uint32Array, folder: Uint8Array, byNumber: Int32Array): Uint32Array;

  /** CRC-32 as in zip; `seed` is the CRC of the bytes before. */
  crc32(bytes: Uint8Array, seed: number): number;
  /** Checksums of many ranges of a file, off the main thread on `threads` threads. */
  crc32Ranges(
    file: NativeFile,
    ranges: Float64Array /* byteOffset, byteLength, ... */,
    threads: number,
  ): Promise<Uint32Array>;

  /** Converts `target.length` contiguous elements. */
  toFloat32(kernel: Kernel, source: Span, target: Float32Array): void;
  /**
   * Casts float32 elements to a floating point type of 16 or 8 bits with PyTorch's rounding and overflow, into as many
   * elements of `target`. Sources of other types go through `toFloat32` first, in PyTorch as here. A NaN keeps its sign
   * where the type has two of them; in bfloat16 it is 0xffff where `vectorNan`, as PyTorch's vectorized loops write it, else 0x7fc0.
   */
  castFloat32(kernel: Kernel, source: Float32Array | Span, target: Uint8Array, vectorNan: boolean): void;
  /** ggml's Q8_0: for each 32 float32 elements 34 bytes, a float16 scale and 32 signed bytes. NaN counts as 0. */
  quantizeQ8_0(source: Float32Array | Span, target: Uint8Array): void;
  /** (x - zeroPoint) * scale in float32, of int8, uint8 or int32 elements. */
  dequantize(kernel: Kernel, source: Span, target: Float32Array, scale: number, zeroPoint: number): void;
  /**
   * Contiguous C-order copy of a strided window; shape, stride and storageOffset in elements. Of a file that is not
   * mapped it holds at most 16 MiB at a time, read in as few pieces as the strides allow.
   */
  gather(
    source: Span,
    itemsize: number,
    shape: Float64Array,
    stride: Float64Array,
    storageOffset: number,
    target: Uint8Array,
  ): void;
  /** Reverses every `width` bytes in place. */
  byteSwap(target: Uint8Array, width: number): void;
  equal(a: Span, b: Span): boolean;

  /** Creates the sibling temporary file, clears what dead writers left for this target, and reserves the space. */
  sinkCreate(targetPath: string, byteLength: number): NativeSink;
  /** Appends a batch off the main thread; one at a time. */
  sinkAppend(sink: NativeSink, batch: SinkBatch): Promise<SinkReport>;
  sinkAppendSync(sink: NativeSink, batch: SinkBatch): SinkReport;
  /** fsync where asked, rename over the target keeping its mode, fsync the directory. */
  sinkCommit(sink: NativeSink, fsync: boolean): Promise<void>;
  sinkCommitSync(sink: NativeSink, fsync: boolean): void;
  /** Removes the temporary file; idempotent, also after a failed commit. */
  sinkAbort(sink: NativeSink): void;
}

const ADDON = 'torch_checkpoint.node';

/** Where this package may be: around this file, or, where a bundler copied the code, where its name leads to. */
function* roots(): Generator<string> {
  yield join(__dirname, '..');
  try {
    yield dirname(createRequire(__filename).resolve('torch-checkpoint/package.json'));
  } catch {
    // It is not installed where the bundle runs.
  }
}

function* candidates(): Generator<string> {
  const override = process.env.TORCH_CHECKPOINT_ADDON;
  const musl =
    process.platform === 'linux' &&
    !existsSync('/lib64/ld-linux-x86-64.so.2') &&
    !existsSync('/lib/ld-linux-aarch64.so.1');
  const triple = `${process.platform}-${process.arch}${musl ? '-musl' : ''}`;
  if (override) yield override;
  for (const root of roots()) {
    // Inside an Electron archive native code cannot be loaded; packagers unpack it beside the archive.
    const unpacked = root.replace(/([\\/]app\.asar)(?=[\\/])/, '$1.unpacked');
    yield join(unpacked, 'build', 'Release', ADDON);
    yield join(unpacked, 'prebuilds', triple, ADDON);
  }
}

function loadAddon(): NativeBinding {
  const tried: string[] = [];
  let cause: unknown;
  for (const file of candidates()) {
    if (!existsSync(file)) {
      tried.push(file);
      continue;
    }
    try {
      return require(file) as NativeBinding;
    } catch (error) {
      cause = error;
      tried.push(`${file} (${(error as Error).message})`);
    }
  }
  throw new CheckpointError(
    'NATIVE_MISSING',
    `no native addon for ${process.platform}-${process.arch}; tried ${tried.join(', ')}`,
    {
      hint: 'run "npm rebuild torch-checkpoint" (needs a C++ compiler and CMake or Python)',
      cause,
    },
  );
}

interface NativeFailure extends Error {
  code: string;
  byteOffset?: number;
}

/** Turns an error from native code into ours, with the places its caller knows. */
export function nativeError(error: unknown, details: ErrorDetails): unknown {
  const failure = error as NativeFailure;
  if (!(error instanceof Error) || !(failure.code in ERROR_CODES)) return error;
  const place = failure.byteOffset === undefined ? details : { byteOffset: failure.byteOffset, ...details };
  return new CheckpointError(failure.code as ErrorCode, failure.message, place);
}

/** Calls native code; its failures leave as `CheckpointError`s with `details`. */
export function native<T>(details: ErrorDetails, call: (addon: NativeBinding) => T): T {
  try {
    const result = call(addon());
    if (result instanceof Promise) {
      // The awaited type is kept: only rejections change.
      return result.catch((error: unknown) => {
        throw nativeError(error, details);
      }) as T;
    }
    return result;
  } catch (error) {
    throw nativeError(error, details);
  }
}

let loaded: NativeBinding | undefined;
export function addon(): NativeBinding {
  loaded ??= loadAddon();
  return loaded;
}
