/**
 * The save pipeline: values -> pickle and storages -> records -> sink.
 *
 * The whole graph is pickled first, so that a value which cannot be saved is refused before any output exists. Storages
 * then go from where they are (a mapping, memory, a stream) to the sink one after another; memory stays at a few buffers.
 *
 * A loaded value is written back byte for byte, with what its file says of layout and spelling. (A root that is a number,
 * a string or None is known again by its value, see `provenance.ts`.) What cannot be:
 * - the holes of `torch.serialization.skip_data`, whose records have a checksum of 0 beside others that have one;
 * - legacy streams, whose keys are memory addresses, and the archives of TorchScript, whose code is deflated;
 * - an alignment that the file does not state (PyTorch before 2.7 had 64 only), and the location of a device backend of
 *   the user's own that gives the same Python string each time: ours is a new one for each tensor, as `cuda:0` is;
 * - the class of a bare untyped storage that follows a uint8 tensor on it: it is the ByteStorage that `torch.load` makes
 *   of it, and PyTorch too writes it back as such.
 *
 * Of values made here, sets of strings have the order in which they were made, where Python's changes from run to run.
 */
import type { FileHandle } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { planCompaction, type Relocate } from './compact';
import { legacyRecords, MAGIC_NUMBER, PROTOCOL_VERSION, SYSTEM_INFO, sortedKeys } from './container/legacy-writer';
import type { NameDigits } from './container/serialization-id';
import { type Checksum, type ZipLayoutOptions, type ZipRecord, zipByteLength, zipSteps } from './container/zip-writer';
import { CheckpointError } from './errors';
import type { PickleTarget } from './pickle/pickle-writer';
import { Pickler } from './pickle/pickler';
import { originOf, type TorchVersion } from './provenance';
import { FileSink, SyncFileSink } from './sink/file-sink';
import type { RecordSink, SinkCounts, SinkRecord } from './sink/record-sink';
import {
  type ByteOutput,
  demandOtherFile,
  handleOutput,
  memoryOutput,
  nodeOutput,
  StreamSink,
  webOutput,
} from './sink/stream-sink';
import { pathOfFileUrl } from './source/local-path';
import type { OnProgress } from './source/progress';
import type { Storage, StorageBytes } from './tensor/storage';

/** Options of `save`, `saveSync` and `toBytes`. */
export interface SaveOptions {
  /**
   * 'legacy' is the stream of PyTorch 1.5 and older, which every version still reads. Refused in it are the dtypes that
   * have no typed storage (uint16, float8, ...), bare untyped storages and nested tensors: PyTorch itself writes them there
   * but cannot read them. Default 'zip'.
   */
  format?: 'zip' | 'legacy';
  /** Default: that of the file the value was loaded from, else 2, as torch.save. */
  pickleProtocol?: 2 | 3 | 4 | 5;
  /** Compute checksums (default), or write 0 as PyTorch does with `set_crc32_options(False)`. */
  crc32?: boolean;
  /** Bytes that the payload of each record is aligned to, 1 to 65536; default 64. */
  storageAlignment?: number;
  /** First path component of the records; default: the stem of the path, or `archive`. */
  recordPrefix?: string;
  /** Which PyTorch's layout to write. Default: that of the file the value was loaded from, else the newest. */
  torchVersion?: TorchVersion;
  /** Write only the bytes that tensors reach instead of whole storages; sharing is kept. */
  compact?: boolean;
  /** Wait until the disk has the bytes; default true for paths, false for a FileHandle. Streams cannot tell. */
  fsync?: boolean;
  signal?: AbortSignal;
  onProgress?: OnProgress;
}

/** What a save wrote. */
export interface SaveReport extends SinkCounts {
  /** Bytes of the file. */
  bytes: number;
  /** Storages written, and their bytes. */
  storages: number;
  storageBytes: number;
  /** Bytes of storages that `compact` left out because no tensor reaches them. */
  sparedBytes: number;
}

/** Where `save` can write to. */
export type SaveTarget = string | URL | FileHandle | Writable | WritableStream<Uint8Array>;

/** PyTorch's own limit: the padding is counted in 16 bits. */
const MAX_ALIGNMENT = 65536;
/** The length of a member name, prefix and record name, is counted in 16 bits too. */
const MAX_PREFIX_BYTES = 65_000;

/** Everything that is decided before a byte is written. */
interface Plan {
  readonly totalBytes: number;
  readonly crc32: boolean;
  readonly report: Omit<SaveReport, keyof SinkCounts>;
  /** Where the bytes of the storages come from. */
  readonly sources: readonly StorageBytes[];
  steps(): Generator<readonly SinkRecord[], void, readonly Checksum[]>;
}

interface Settings {
  readonly format: 'zip' | 'legacy';
  readonly target: Omit<PickleTarget, 'storageKey' | 'relocate' | 'keepWhole'>;
  readonly crc32: boolean;
  readonly alignment: number;
  readonly nameDigits: NameDigits | undefined;
}

/**
 * Saves any value as torch.save would, byte for byte. A path is replaced atomically: after a failure, an abort or a kill
 * the old file is whole; saving over the file that the values are mapped from is fine. Streams and handles are written
 * with backpressure. Throws UNSAVABLE with the path to the value before anything is written, DISK_FULL, WRITE_FAILED.
 */
export async function save(value: unknown, target: SaveTarget, options: SaveOptions = {}): Promise<SaveReport> {
  options.signal?.throwIfAborted();
  const path = pathOf(target);
  const plan = planSave(value, options, path);
  if (path !== undefined) {
    return drive(
      plan,
      new FileSink(path, {
        totalBytes: plan.totalBytes,
        crc32: plan.crc32,
        fsync: options.fsync ?? true,
        signal: options.signal,
        onProgress: options.onProgress,
      }),
    );
  }
  // Made first: it listens for the errors of a stream, which may come while its file is looked at.
  const output = outputOf(target as Exclude<SaveTarget, string | URL>, options.fsync ?? false);
  try {
    await demandOtherFile(target as object, plan.sources);
  } catch (error) {
    await output.fail(error);
    throw error;
  }
  return drive(
    plan,
    new StreamSink(output, {
      totalBytes: plan.totalBytes,
      crc32: plan.crc32,
      signal: options.signal,
      onProgress: options.onProgress,
    }),
  );
}

/** `save` to a path on the calling thread. */
export function saveSync(value: unknown, target: string | URL, options: SaveOptions = {}): SaveReport {
  const path = pathOf(target);
  options.signal?.throwIfAborted();
  if (path === undefined) throw new TypeError('saveSync writes to a path or file: URL');
  const plan = planSave(value, options, path);
  const sink = new SyncFileSink(path, {
    totalBytes: plan.totalBytes,
    crc32: plan.crc32,
    fsync: options.fsync ?? true,
    onProgress: options.onProgress,
  });
  try {
    const steps = plan.steps();
    for (let step = steps.next(); !step.done; ) step = steps.next(sink.write(step.value));
    sink.commit();
  } catch (error) {
    sink.abort();
    throw error;
  }
  return { ...plan.report, ...sink.counts };
}

/** The bytes that `save` would write to a stream. Throws ARRAY_TOO_LARGE when they do not fit in one array. */
export async function toBytes(value: unknown, options: SaveOptions = {}): Promise<Uint8Array> {
  const plan = planSave(value, options, undefined);
  const output = allocate(plan.totalBytes);
  await drive(
    plan,
    new StreamSink(output, {
      totalBytes: plan.totalBytes,
      crc32: plan.crc32,
      signal: options.signal,
      onProgress: options.onProgress,
    }),
  );
  return output.bytes;
}

function allocate(totalBytes: number): ReturnType<typeof memoryOutput> {
  try {
    return memoryOutput(totalBytes);
  } catch (cause) {
    throw new CheckpointError(
      'ARRAY_TOO_LARGE',
      `the checkpoint has ${totalBytes} bytes, too many for one array here`,
      { hint: 'save to a path or stream', cause },
    );
  }
}

async function drive(plan: Plan, sink: RecordSink & { abort(error?: unknown): Promise<void> }): Promise<SaveReport> {
  try {
    const steps = plan.steps();
    for (let step = steps.next(); !step.done; ) step = steps.next(await sink.write(step.value));
    await sink.commit();
  } catch (error) {
    await sink.abort(error);
    throw error;
  }
  return { ...plan.report, ...sink.counts };
}

function pathOf(target: unknown): string | undefined {
  if (typeof target === 'string') {
    if (target.startsWith('file:')) return pathOfFileUrl(target);
    // As `load` takes them for URLs, they are no paths here.
    const remote = /^(https?|s3):\/\//i.exec(target);
    if (remote) throw new TypeError(`cannot save to a ${remote[1]}: URL; save to a file or stream`);
    return target;
  }
  if (!(target instanceof URL)) return undefined;
  if (target.protocol !== 'file:')
    throw new TypeError(`cannot save to a ${target.protocol} URL; save to a file or stream`);
  return pathOfFileUrl(target);
}

function outputOf(target: FileHandle | Writable | WritableStream<Uint8Array>, fsync: boolean): ByteOutput {
  if (target instanceof Writable) return nodeOutput(target);
  if (has(target, 'getWriter')) return webOutput(target as WritableStream<Uint8Array>);
  if (isHandle(target)) return handleOutput(target, fsync);
  // A stream of another stream library still has the two methods that are used.
  if (has(target, 'write') && has(target, 'end')) return nodeOutput(target as unknown as Writable);
  throw new TypeError('save needs a path, URL, FileHandle, Writable or WritableStream');
}

function isHandle(target: unknown): target is FileHandle {
  return has(target, 'fd') && has(target, 'datasync');
}

function has(target: unknown, name: string): boolean {
  return typeof target === 'object' && target !== null && name in target;
}

/** Defaults from the options, else from the file that the value came from, else those of the newest PyTorch. */
function settingsOf(value: unknown, options: SaveOptions): Settings {
  const origin = originOf(value);
  const { format = 'zip', torchVersion = origin?.torchVersion ?? '2.13', storageAlignment } = options;
  const protocol = options.pickleProtocol ?? origin?.pickleProtocol ?? 2;
  if (format !== 'zip' && format !== 'legacy')
    throw new RangeError(`format ${String(format)} is neither 'zip' nor 'legacy'`);
  if (torchVersion !== '1.13' && torchVersion !== '2.6' && torchVersion !== '2.13')
    throw new RangeError(`torchVersion ${String(torchVersion)} is none of '1.13', '2.6', '2.13'`);
  // A file of protocol 0 or 1 cannot hold storages in its tuples; it is written anew with the usual one.
  const written = protocol < 2 && options.pickleProtocol === undefined ? 2 : protocol;
  if (written !== 2 && written !== 3 && written !== 4 && written !== 5)
    throw new RangeError(`pickleProtocol ${String(protocol)} is none of 2, 3, 4, 5`);
  const alignment = storageAlignment ?? origin?.storageAlignment ?? 64;
  if (!Number.isInteger(alignment) || alignment < 1 || alignment > MAX_ALIGNMENT)
    throw new RangeError(`storageAlignment ${alignment} is not from 1 to ${MAX_ALIGNMENT}`);
  return {
    format,
    target: {
      protocol: written,
      torchVersion,
      versionAsked: options.torchVersion !== undefined,
      legacy: format === 'legacy',
      globalNames: origin?.globalNames,
    },
    crc32: options.crc32 ?? origin?.crc32 ?? true,
    alignment,
    nameDigits: origin?.nameDigits,
  };
}

interface NumberedStorage {
  readonly key: string;
  readonly storage: Storage;
  /** Elements of the class it was first mentioned as. */
  numel: number;
}

function planSave(value: unknown, options: SaveOptions, path: string | undefined): Plan {
  const settings = settingsOf(value, options);
  // What tensors there are is learnt from pickling them once in vain.
  const compaction = options.compact
    ? planCompaction(
        (relocate, keepWhole) =>
          void new Pickler({ ...settings.target, relocate, keepWhole, storageKey: () => '' }).dump(value),
      )
    : undefined;
  const storages = new Map<Storage, NumberedStorage>();
  // Legacy keys are memory addresses in PyTorch; any distinct numbers do.
  const firstKey = settings.format === 'legacy' ? 0x5000_0000 : 0;
  const target: PickleTarget = {
    ...settings.target,
    relocate: compaction?.relocate ?? stay,
    keepWhole: undefined,
    storageKey(storage, numel) {
      let known = storages.get(storage);
      if (!known)
        storages.set(
          storage,
          (known = { key: String(firstKey + storages.size * (firstKey ? 64 : 1)), storage, numel }),
        );
      return known.key;
    },
  };
  const pickle = new Pickler(target).dump(value);
  const all = [...storages.values()];
  const report = {
    storages: all.length,
    storageBytes: all.reduce((sum, { storage }) => sum + storage.nbytes, 0),
    sparedBytes: compaction?.sparedBytes ?? 0,
  };
  const plan =
    settings.format === 'legacy'
      ? legacyPlan(pickle, all, target, report)
      : zipPlan(pickle, all, settings, archiveNameOf(options, path, settings.target.torchVersion), report);
  return { ...plan, sources: all.map(({ storage }) => storage.source) };
}

const stay: Relocate = (tensor) => tensor;

function zipPlan(
  pickle: Uint8Array,
  storages: readonly NumberedStorage[],
  settings: Settings,
  archiveName: string,
  report: Omit<Plan['report'], 'bytes'>,
): Omit<Plan, 'sources'> {
  const { torchVersion } = settings.target;
  const options: ZipLayoutOptions = {
    archiveName,
    alignment: settings.alignment,
    crc32: settings.crc32,
    serializationId: torchVersion !== '1.13',
    nameDigits: settings.nameDigits,
  };
  const records = zipRecords(pickle, storages, torchVersion, settings.alignment);
  const totalBytes = zipByteLength(records, options);
  return {
    totalBytes,
    crc32: settings.crc32,
    report: { ...report, bytes: totalBytes },
    steps: () => zipSteps(records, options),
  };
}

/** The records in each version's order (format facts: PyTorch 1.6 to 2.13, torch/serialization.py `_save`). */
function zipRecords(
  pickle: Uint8Array,
  storages: readonly NumberedStorage[],
  torchVersion: TorchVersion,
  alignment: number,
): ZipRecord[] {
  const data = storages.map(
    ({ key, storage }): ZipRecord => ({ name: `data/${key}`, payload: storage.source, byteLength: storage.nbytes }),
  );
  // Before 2.7 storages were written in the order of their keys as strings: 0, 1, 10, 11, 2.
  if (torchVersion !== '2.13') data.sort((a, b) => (a.name < b.name ? -1 : 1));
  return [
    { name: 'data.pkl', payload: pickle, byteLength: pickle.length },
    ...(torchVersion === '2.13' ? [text('.format_version', '1'), text('.storage_alignment', String(alignment))] : []),
    ...(torchVersion === '1.13' ? [] : [text('byteorder', 'little')]),
    ...data,
    text('version', '3\n'),
  ];
}

function text(name: string, content: string): ZipRecord {
  const payload = Buffer.from(content, 'latin1');
  return { name, payload, byteLength: payload.length };
}

/** The stem of the path, as PyTorch takes it: after the last slash of either kind, up to the last dot. */
function archiveNameOf(options: SaveOptions, path: string | undefined, torchVersion: TorchVersion): string {
  if (options.recordPrefix !== undefined) {
    if (typeof options.recordPrefix !== 'string') throw new TypeError('recordPrefix is no string');
    if (Buffer.byteLength(options.recordPrefix) > MAX_PREFIX_BYTES)
      throw new RangeError(`recordPrefix has more than ${MAX_PREFIX_BYTES} bytes`);
    if (options.recordPrefix === '' || options.recordPrefix.includes('/') || options.recordPrefix.includes('\0'))
      throw new RangeError(`recordPrefix '${options.recordPrefix}' is no name of one path component`);
    return options.recordPrefix;
  }
  if (path === undefined) return 'archive';
  const file = path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
  const dot = file.lastIndexOf('.');
  const stem = dot < 0 ? file : file.slice(0, dot);
  if (stem === '')
    throw new CheckpointError('WRITE_FAILED', `invalid file name: ${path}`, {
      path,
      hint: 'PyTorch names the records after the file, so that it needs a name before its extension',
    });
  // For other names PyTorch goes through a Python file object since 2.1, and those are all called archive.
  return /^[\x00-\x7f]*$/.test(path) || torchVersion === '1.13' ? stem : 'archive';
}

function legacyPlan(
  pickle: Uint8Array,
  storages: readonly NumberedStorage[],
  target: PickleTarget,
  report: Omit<Plan['report'], 'bytes'>,
): Omit<Plan, 'sources'> {
  const plain = (value: unknown): Uint8Array => new Pickler(target).dump(value);
  const byKey = new Map(storages.map((entry) => [entry.key, entry]));
  const keys = sortedKeys([...byKey.keys()]);
  const pickles = [plain(MAGIC_NUMBER), plain(PROTOCOL_VERSION), plain(SYSTEM_INFO), pickle, plain(keys)];
  const records = legacyRecords(
    pickles,
    keys.map((key) => {
      const { storage, numel } = byKey.get(key) as NumberedStorage;
      return { key, numel, payload: storage.source, byteLength: storage.nbytes };
    }),
  );
  const bytes = records.reduce((sum, { header, byteLength }) => sum + header.byteLength + byteLength, 0);
  return {
    totalBytes: bytes,
    crc32: false,
    report: { ...report, bytes },
    *steps() {
      yield records;
    },
  };
}
