/** What a file is, what is wrong with it, and what to do: for files that do not load, and for those that say they do. */
import { basename, dirname } from 'node:path';
import { DISTRIBUTED_CHECKPOINT, DISTRIBUTED_NAME } from '../container/distributed';
import { lookAlike, saidBy } from '../container/look-alikes';
import { isZip, SNIFF_BYTES, safetensorsHeaderLength, startsWith } from '../container/magic';
import { parseSafetensorsHeader } from '../container/safetensors-header';
import { describeUnknown, type Sniffed, sniff } from '../container/signatures';
import { isTarHeader } from '../container/tar-members';
import { type CheckpointError, type ErrorCode, isCheckpointError } from '../errors';
import { DEFAULT_LIMITS } from '../limits';
import { DAMAGE_HINT } from '../load';
import type { ByteSource } from '../source/byte-source';
import { isDirectory, pathOf } from '../source/local-path';
import { type CheckpointSource, openSource } from '../source/open-source';
import type { OnProgress } from '../source/progress';
import { diagnoseFolder, type FolderProblem, isShardIndex } from './diagnose-folder';
import { indexAt, openFile } from './opening';
import { leastBytes } from './salvage-zip';
import { scan } from './scan';
import { shiftedZip, textMode, trailedZip, trailingZeros } from './transfers';
import { dangerousNames, unsafeText } from './unsafe';
import { mapZip } from './zip-map';

/** What `diagnose` found: what a file is, and what is wrong with it. */
export interface Diagnosis {
  /** True for a checkpoint or arrays that can be read, whose checksums agree, and that name nothing dangerous. */
  readonly ok: boolean;
  /**
   * Of a healthy checkpoint its format: `zip`, `legacy`, `tar`, `torchscript`, `safetensors`, `pickle`, `npz`, `npy`; `gguf`
   * is told by its first bytes alone. Else what it is or what ails it: `html`, `git-lfs-pointer`, `truncated`, `gzip`,
   * `safetensors` (under a name of PyTorch), `empty`, `zip` (of something else), `json`, `hdf5`, `zeros`, `onnx`, `text-mode`,
   * `prefixed`, `trailed`, `git-conflict`, `distributed-checkpoint`, `unsafe`, `corrupt`, `unsupported`, `limits`, ... Of a
   * folder, and of the index of a model in several files, `folder`.
   */
  readonly kind: string;
  readonly message: string;
  readonly hint?: string;
  /** Size of the whole file in bytes, where the part that is here tells; of a zip that was cut, the least it can be. */
  readonly expectedSize?: number;
  /** True where `salvage` is worth a try: some of the storages may be whole. */
  readonly salvageable?: boolean;
  /** Of a folder, what is wrong in it; absent where nothing is. */
  readonly problems?: readonly FolderProblem[];
  /** What is no mistake and worth to be known. */
  readonly notes?: readonly string[];
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
/** Names that programs give to downloads under way. */
const PARTIAL_NAME = /\.(?:part|partial|crdownload|download|incomplete|opdownload|tmp)$/i;
const AGAIN = 'download or copy it again';
/** So many zero bytes at the end are space that was never filled. */
const TAIL_BYTES = 4096;

/**
 * Says what a file is and what is wrong with it; of a folder, what is wrong with each checkpoint in it, and between shards
 * and their index; of an index, the same of its shards. Throws CheckpointError only when there is nothing to look at.
 */
export async function diagnose(source: CheckpointSource, options: DiagnoseOptions = {}): Promise<Diagnosis> {
  const path = pathOf(source);
  if (path !== undefined && isDirectory(path)) return diagnoseFolder(path, undefined, options, diagnoseFile);
  const index = indexAt(source);
  return index !== undefined && isShardIndex(index)
    ? diagnoseFolder(dirname(index), basename(index), options, diagnoseFile)
    : diagnoseFile(source, options);
}

async function diagnoseFile(source: CheckpointSource, options: DiagnoseOptions): Promise<Diagnosis> {
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
    const { checkpoint, warnings } = await openFile(source, { ...reading, unsafeGlobals: 'inert' });
    try {
      const { format, info } = checkpoint;
      if (format === 'safetensors' && PYTORCH_NAME.test(bytes.name ?? '')) return misnamed(bytes);
      // An array that is left out may be a pickle.
      const dangerous = warnings.length > 0 ? await dangerIn(source, signal) : dangerousNames(info.globals);
      if (dangerous.length > 0) return unsafe(dangerous);
      const damaged = verify ? (await checkpoint.verify(reading)).damaged : [];
      if (damaged.length > 0) return corrupt(damaged);
      let tensors = 0;
      for (const _ of checkpoint.tensors()) tensors++;
      return {
        ok: true,
        kind: format,
        message: `a healthy ${NAMES[format]} of ${tensors} ${tensors === 1 ? 'tensor' : 'tensors'}`,
        ...(warnings.length > 0 ? { notes: warnings } : {}),
      };
    } finally {
      checkpoint.close();
    }
  } catch (error) {
    if (!isCheckpointError(error) || NO_INPUT.has(error.code)) throw error;
    const found = await ailment(error, bytes, head, signal);
    // A file that is built to confuse readers is not to be downloaded again.
    if (!MAYBE_HOSTILE.has(found.kind)) return found;
    const dangerous = await dangerIn(source, signal);
    return dangerous.length > 0 ? unsafe(dangerous) : found;
  }
}

async function dangerIn(source: CheckpointSource, signal: AbortSignal | undefined): Promise<string[]> {
  const { globals } = await scan(source, signal ? { signal } : {});
  return globals.filter(({ verdict }) => verdict === 'dangerous').map(({ name }) => name);
}

const MAYBE_HOSTILE = new Set([
  'corrupt',
  'zip',
  'tar',
  'gzip',
  'zlib',
  'truncated',
  'unsupported',
  'unsafe',
  'unknown',
  'limits',
  'prefixed',
]);

function unsafe(names: readonly string[]): Diagnosis {
  return {
    ok: false,
    kind: 'unsafe',
    message: unsafeText(names, 'the file'),
    hint: 'delete it, or look at it with "torch-checkpoint scan"',
  };
}

const NAMES = {
  zip: 'PyTorch checkpoint',
  legacy: 'PyTorch checkpoint of the format before 1.6',
  tar: 'PyTorch checkpoint of the format of 0.1',
  torchscript: 'TorchScript archive',
  safetensors: 'safetensors file',
  pickle: 'pickle',
  npz: 'NumPy archive (.npz)',
  npy: 'NumPy array (.npy)',
  shards: 'model in several files',
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
    hint: AGAIN,
    salvageable: true,
  };
}

async function ailment(
  error: CheckpointError,
  bytes: ByteSource,
  head: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<Diagnosis> {
  if (DISTRIBUTED_NAME.test(bytes.name ?? '') && error.code === DISTRIBUTED_CHECKPOINT.code) {
    const { kind, hint } = DISTRIBUTED_CHECKPOINT;
    return { ok: false, kind, message: withoutPlace(error), hint };
  }
  const isArchive = isZip(head);
  const sniffed = isArchive ? undefined : sniff(head, bytes.byteLength);
  if (sniffed && sniffed.code === error.code) return fromSniffed(sniffed, head);
  if (isTarHeader(head) && error.code !== 'TRUNCATED') {
    const salvageable = error.code !== 'NOT_A_CHECKPOINT';
    return { ok: false, kind: 'tar', message: withoutPlace(error), hint: adviceOf(error) ?? AGAIN, salvageable };
  }
  const isUnknown = !isArchive && (error.code === 'NOT_A_CHECKPOINT' || error.code === 'PICKLE_CORRUPT');
  const shifted = isUnknown ? shiftedZip(bytes) : undefined;
  if (shifted) return { ok: false, ...shifted, salvageable: true };
  const alike = isUnknown ? lookAlike(head, bytes) : undefined;
  if (alike) return { ok: false, ...alike };
  const trailed = trailedZip(error);
  if (trailed) return { ok: false, ...trailed, salvageable: true };
  if (await isCutShort(error, bytes, head)) return truncated(error, bytes, head, signal);
  const garbled = error.code === 'ZIP_CORRUPT' ? textMode(bytes) : undefined;
  if (garbled) return { ok: false, ...garbled };
  if (isArchive && (error.code === 'NOT_A_CHECKPOINT' || startsWith(head, 'PK\x05\x06'))) return otherZip(error, bytes);
  const kind = error.code === 'NOT_A_CHECKPOINT' ? describeUnknown(head).kind : (KINDS[error.code] ?? 'corrupt');
  const message = withoutPlace(error);
  const hint = adviceOf(error);
  if (kind === 'corrupt') return { ok: false, kind, message, hint: hint ?? AGAIN, salvageable: isArchive };
  return { ok: false, kind, message, ...(hint === undefined ? {} : { hint }) };
}

/** A zip that is sound and of something else, or of a checkpoint that was packed anew. */
function otherZip(error: CheckpointError, bytes: ByteSource): Diagnosis {
  const message = withoutPlace(error).replace(/^PytorchStreamReader failed.*?not found; /, 'no PyTorch checkpoint: ');
  const entries = mapZip(bytes)?.entries ?? [];
  const hint = adviceOf(error);
  if (!entries.some(({ name }) => name.endsWith('/data.pkl')))
    return { ok: false, kind: 'zip', message, ...(hint === undefined ? {} : { hint }) };
  return {
    ok: false,
    kind: 'zip',
    message: `a checkpoint that was unpacked and packed again, along with other files: ${message}`,
    hint: 'PyTorch wants all records in one folder: zip that folder alone, without compression (zip -0 -r OUT FOLDER)',
    salvageable: true,
  };
}

/** What to do, unless it is to ask for this very diagnosis. */
function adviceOf({ hint }: CheckpointError): string | undefined {
  return hint === DAMAGE_HINT ? undefined : hint;
}

/** The message without what the diagnosis tells anyway: the file it is about, and what to do. */
function withoutPlace({ message, path, hint }: CheckpointError): string {
  let text = message;
  if (path !== undefined && text.startsWith(path)) text = text.slice(path.length).replace(/^(?:: | (?=at byte))/, '');
  return hint !== undefined && text.endsWith(`; ${hint}`) ? text.slice(0, -hint.length - 2) : text;
}

function fromSniffed({ kind, message, hint, expectedSize }: Sniffed, head: Uint8Array): Diagnosis {
  if (kind === 'gguf')
    return { ok: true, kind, message: 'a GGUF model: convert writes such files, nothing here reads them' };
  return {
    ok: false,
    kind,
    message: message + saidBy(kind, head),
    ...(hint === undefined ? {} : { hint }),
    ...(expectedSize === undefined ? {} : { expectedSize }),
  };
}

async function truncated(
  error: CheckpointError,
  bytes: ByteSource,
  head: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<Diagnosis> {
  const zeros = trailingZeros(bytes);
  const { byteLength, name } = bytes;
  const salvageable = true;
  if (zeros >= TAIL_BYTES) {
    return {
      ok: false,
      kind: 'truncated',
      message: `the last ${zeros} of ${byteLength} bytes are zeros: the space was reserved and never filled`,
      hint: 'the download or copy did not finish: resume it, or do it again',
      salvageable,
    };
  }
  const exact = isZip(head) ? undefined : expectedSizeOf(error, bytes, head);
  const least = isZip(head) ? await leastBytes(bytes, signal) : undefined;
  const size = exact ?? least;
  const known = exact !== undefined ? `${exact}` : `at least ${least}`;
  return {
    ok: false,
    kind: 'truncated',
    message: `the file is cut short: ${size === undefined ? withoutPlace(error) : `it has ${byteLength} bytes of ${known}`}`,
    hint: PARTIAL_NAME.test(name ?? '') ? 'its name says that the download has not finished: resume it' : AGAIN,
    ...(size === undefined ? {} : { expectedSize: size }),
    salvageable,
  };
}

async function isCutShort(error: CheckpointError, bytes: ByteSource, head: Uint8Array): Promise<boolean> {
  const expectedSize = isZip(head) ? undefined : expectedSizeOf(error, bytes, head);
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

/** safetensors say their size at the beginning, legacy streams once their pickles are read. */
function expectedSizeOf(error: CheckpointError, bytes: ByteSource, head: Uint8Array): number | undefined {
  const headerBytes = safetensorsHeaderLength(head, DEFAULT_LIMITS.maxHeaderBytes);
  if (headerBytes !== undefined) {
    if (8 + headerBytes > bytes.byteLength) return undefined;
    try {
      return 8 + headerBytes + parseSafetensorsHeader(bytes.read(8, headerBytes)).dataBytes;
    } catch {
      return undefined;
    }
  }
  const stated = /It has \d+ bytes of (\d{1,15})\b/.exec(error.message)?.[1];
  return stated === undefined ? undefined : Number(stated);
}
