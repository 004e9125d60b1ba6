/** What a file is, what is wrong with it, and what to do: for files that do not load, and for those that say they do. */
import { isZip, SNIFF_BYTES, safetensorsHeaderLength } from '../container/magic';
import { parseSafetensorsHeader } from '../container/safetensors-header';
import { type Sniffed, sniff } from '../container/signatures';
import { type CheckpointError, type ErrorCode, isCheckpointError } from '../errors';
import { DEFAULT_LIMITS } from '../limits';
import { open } from '../load';
import type { ByteSource } from '../source/byte-source';
import { type CheckpointSource, openSource } from '../source/open-source';
import type { OnProgress } from '../source/progress';

/** What `diagnose` found: what a file is, and what is wrong with it. */
export interface Diagnosis {
  /** True for a checkpoint that loads, whose checksums agree, and that names nothing dangerous. */
  readonly ok: boolean;
  /**
   * Of a healthy checkpoint its format: `zip`, `legacy`, `tar`, `torchscript`, `safetensors`, `pickle`. Else what it is or
   * what ails it: `html`, `git-lfs-pointer`, `truncated`, `gzip`, `safetensors` (under a name of PyTorch), `empty`, `zip`
   * (of something else), `json`, `hdf5`, `zeros`, `onnx`, `unsafe`, `corrupt`, `unsupported`, `limits`, ...
   */
  readonly kind: string;
  readonly message: string;
  readonly hint?: string;
  /** Size of the whole file in bytes, where the part that is here tells; of a zip that was cut, the least it can be. */
  readonly expectedSize?: number;
}

/** Options of `diagnose`. */
export interface DiagnoseOptions {
  /** Read all records and compare their checksums; default true. */
  verify?: boolean;
  signal?: AbortSignal;
  onProgress?: OnProgress;
}

/** Kinds by the error that ends the reading, where the beginning of the file does not tell more. */
const KINDS: Partial<Record<ErrorCode, string>> = {
  TRUNCATED: 'truncated',
  EMPTY_FILE: 'empty',
  HTML_PAGE: 'html',
  GIT_LFS_POINTER: 'git-lfs-pointer',
  COMPRESSED: 'compressed',
  NOT_A_CHECKPOINT: 'unknown',
  UNSUPPORTED: 'unsupported',
  LIMIT_EXCEEDED: 'limits',
  UNSAFE_GLOBAL: 'unsafe',
};
/** No file to diagnose. */
const NO_INPUT: ReadonlySet<ErrorCode> = new Set(['NOT_FOUND', 'ACCESS_DENIED', 'IO', 'NATIVE_MISSING']);
const PYTORCH_NAME = /\.(?:pt|pth|bin|ckpt|tar)$/i;
const AGAIN = 'download or copy it again';
/** So many zero bytes at the end are space that was never filled. */
const TAIL_BYTES = 4096;

/** Throws CheckpointError only when there is no file to look at. */
export async function diagnose(source: CheckpointSource, options: DiagnoseOptions = {}): Promise<Diagnosis> {
  const { signal } = options;
  const bytes = await openSource(source, { limits: DEFAULT_LIMITS, signal, onProgress: options.onProgress });
  try {
    const head = bytes.read(0, Math.min(SNIFF_BYTES, bytes.byteLength));
    // Streams were spooled by now and cannot be opened a second time; paths and bytes can.
    const again = reopenable(source) ? source : bytes.read(0, bytes.byteLength);
    return await examine(again, bytes, head, options);
  } finally {
    bytes.close();
  }
}

function reopenable(source: CheckpointSource): source is string | URL | Uint8Array | ArrayBuffer {
  return (
    typeof source === 'string' || source instanceof URL || source instanceof Uint8Array || source instanceof ArrayBuffer
  );
}

async function examine(
  source: CheckpointSource,
  bytes: ByteSource,
  head: Uint8Array,
  { verify = true, signal, onProgress }: DiagnoseOptions,
): Promise<Diagnosis> {
  const reading = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) };
  try {
    const checkpoint = await open(source, { ...reading, unsafeGlobals: 'inert' });
    try {
      const { format, info } = checkpoint;
      if (format === 'safetensors' && PYTORCH_NAME.test(bytes.name ?? '')) return misnamed(bytes);
      const dangerous = info.globals.filter(({ verdict }) => verdict === 'dangerous').map(({ global }) => global);
      if (dangerous.length > 0) {
        return {
          ok: false,
          kind: 'unsafe',
          message: `loading the file with Python would run ${dangerous.slice(0, 5).join(', ')}; nothing was run here`,
          hint: 'delete it, or look at it with "torch-checkpoint scan"',
        };
      }
      const damaged = verify ? (await checkpoint.verify(reading)).damaged : [];
      if (damaged.length > 0) return corrupt(damaged);
      let tensors = 0;
      for (const _ of checkpoint.tensors()) tensors++;
      return {
        ok: true,
        kind: format,
        message: `a healthy ${NAMES[format]} of ${tensors} ${tensors === 1 ? 'tensor' : 'tensors'}`,
      };
    } finally {
      checkpoint.close();
    }
  } catch (error) {
    if (!isCheckpointError(error) || NO_INPUT.has(error.code)) throw error;
    return ailment(error, bytes, head);
  }
}

const NAMES = {
  zip: 'PyTorch checkpoint',
  legacy: 'PyTorch checkpoint of the format before 1.6',
  tar: 'PyTorch checkpoint of the format of 0.1',
  torchscript: 'TorchScript archive',
  safetensors: 'safetensors file',
  pickle: 'pickle',
} as const;

function misnamed(bytes: ByteSource): Diagnosis {
  const name = bytes.name ?? '';
  return {
    ok: false,
    kind: 'safetensors',
    message: 'the file is safetensors under a name of PyTorch: torch.load does not read it',
    hint: `rename it to "${name.slice(name.lastIndexOf('/') + 1).replace(PYTORCH_NAME, '')}.safetensors"`,
  };
}

function corrupt(damaged: readonly { record: string; reason: string }[]): Diagnosis {
  const first = damaged[0] as { record: string; reason: string };
  const more = damaged.length > 1 ? `, and ${damaged.length - 1} more` : '';
  return {
    ok: false,
    kind: 'corrupt',
    message: `record "${first.record}" is damaged: ${first.reason}${more}`,
    hint: `${AGAIN}; other records can still be read`,
  };
}

function ailment(error: CheckpointError, bytes: ByteSource, head: Uint8Array): Diagnosis {
  const sniffed = isZip(head) ? undefined : sniff(head, bytes.byteLength);
  if (sniffed && sniffed.code === error.code) return fromSniffed(sniffed);
  const expectedSize = expectedSizeOf(error, bytes, head);
  const hint = error.hint === undefined ? {} : { hint: error.hint };
  const size = expectedSize === undefined ? {} : { expectedSize };
  if (isCutShort(error, bytes, head, expectedSize)) {
    const zeros = endsInZeros(bytes) ? 'its end is zero bytes that were never filled: ' : '';
    const known = expectedSize === undefined ? '' : `it has ${bytes.byteLength} bytes of ${expectedSize}: `;
    return {
      ok: false,
      kind: 'truncated',
      message: `the file is cut short: ${known}${zeros}${error.message}`,
      hint: error.hint ?? AGAIN,
      ...size,
    };
  }
  // A zip that is sound and of something else.
  const kind = error.code === 'NOT_A_CHECKPOINT' && isZip(head) ? 'zip' : (KINDS[error.code] ?? 'corrupt');
  return { ok: false, kind, message: error.message, ...(kind === 'corrupt' ? { hint: error.hint ?? AGAIN } : hint) };
}

function fromSniffed({ kind, message, hint, expectedSize }: Sniffed): Diagnosis {
  return {
    ok: false,
    kind,
    message,
    ...(hint === undefined ? {} : { hint }),
    ...(expectedSize === undefined ? {} : { expectedSize }),
  };
}

function isCutShort(
  error: CheckpointError,
  bytes: ByteSource,
  head: Uint8Array,
  expectedSize: number | undefined,
): boolean {
  if (error.code === 'TRUNCATED' || (expectedSize !== undefined && expectedSize > bytes.byteLength)) return true;
  // A zip ends with its directory: one that begins well and has no end was cut.
  return error.code === 'ZIP_CORRUPT' && isZip(head) && !hasZipEnd(bytes);
}

function hasZipEnd(bytes: ByteSource): boolean {
  const MAX_END_BYTES = 22 + 0xffff;
  const start = Math.max(0, bytes.byteLength - MAX_END_BYTES);
  const tail = bytes.read(start, bytes.byteLength - start);
  return Buffer.from(tail.buffer, tail.byteOffset, tail.byteLength).lastIndexOf('PK\x05\x06', undefined, 'latin1') >= 0;
}

function endsInZeros(bytes: ByteSource): boolean {
  if (bytes.byteLength < TAIL_BYTES) return false;
  return bytes.read(bytes.byteLength - TAIL_BYTES, TAIL_BYTES).every((byte) => byte === 0);
}

/** safetensors say their size at the beginning; legacy streams once their pickles are read; zips by their records. */
function expectedSizeOf(error: CheckpointError, bytes: ByteSource, head: Uint8Array): number | undefined {
  const headerBytes = safetensorsHeaderLength(head, DEFAULT_LIMITS.maxHeaderBytes);
  if (headerBytes !== undefined && !isZip(head)) {
    if (8 + headerBytes > bytes.byteLength) return undefined;
    try {
      return 8 + headerBytes + parseSafetensorsHeader(bytes.read(8, headerBytes)).dataBytes;
    } catch {
      return undefined;
    }
  }
  const stated = /It has \d+ bytes of (\d{1,15})\b/.exec(error.message)?.[1];
  if (stated !== undefined) return Number(stated);
  const missing = /at least (\d{1,15}) more bytes expected/.exec(error.message)?.[1];
  return missing === undefined ? undefined : bytes.byteLength + Number(missing);
}
