/** An open checkpoint: its object graph, the facts about its file, and the bytes while it stays open. */
import { inflateRawSync } from 'node:zlib';
import { native } from './binding';
import type { ContainerContents, Format, RecordInfo } from './container/container';
import { CheckpointError, isCheckpointError } from './errors';
import type { PyValue } from './pickle/values';
import { type Verdict, verdictOf } from './pickle/verdicts';
import type { ByteSource } from './source/byte-source';
import type { OnProgress } from './source/progress';
import { type AnyTensor, valueAt, valueAtKeys, walkTensorsOf } from './walk';

/** A class or function that a pickle of the checkpoint names. */
export interface NamedGlobal {
  /** `module.name` as the file spells it, and in Python 3 names. */
  readonly spelled: string;
  readonly global: string;
  readonly verdict: Verdict;
}

/** Facts about the file of a checkpoint. */
export interface CheckpointInfo {
  /** Bytes of the whole file. */
  readonly fileBytes: number;
  readonly byteOrder: 'little' | 'big';
  /** `version` record of a zip, protocol version of a legacy stream. */
  readonly formatVersion: string | undefined;
  /** Alignment of the records in bytes, where the file says it. */
  readonly storageAlignment: number | undefined;
  /** First path component of the records of a zip. */
  readonly archiveName: string | undefined;
  /** Which releases of PyTorch write such a file, as far as the records tell. */
  readonly writer: string | undefined;
  /** Protocol of the root pickle; undefined for safetensors. */
  readonly pickleProtocol: number | undefined;
  readonly records: readonly RecordInfo[];
  /** Every class and function that the pickles name, in order of first use. */
  readonly globals: readonly NamedGlobal[];
  /** Python source that old files carry for their module classes. It is text here and nothing runs it. */
  readonly moduleSources: readonly { className: string; file: string; source: string }[];
  /** `__metadata__` of a safetensors file. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** What `verify` found, record by record. */
export interface VerifyReport {
  /** False as soon as one record is corrupt. */
  readonly ok: boolean;
  readonly records: readonly { name: string; status: 'ok' | 'corrupt' | 'not-recorded' }[];
  readonly damaged: readonly { record: string; reason: string }[];
}

/** Options of `verify`. */
export interface VerifyOptions {
  /** Threads that compute checksums; default 2. */
  threads?: number;
  signal?: AbortSignal;
  onProgress?: OnProgress;
}

/** Bytes checked between two looks at the abort signal: half a second at most. */
const VERIFY_BATCH_BYTES = 1 << 30;

/** An open checkpoint: made by `open`, let go of with `close`. */
export class Checkpoint {
  /** The same object graph that `load` gives. */
  readonly root: PyValue;
  readonly format: Format;
  readonly info: CheckpointInfo;
  readonly #source: ByteSource;
  readonly #contents: ContainerContents;
  #closed = false;

  /** @internal Made by `open`. */
  constructor(
    source: ByteSource,
    format: Format,
    root: PyValue,
    contents: ContainerContents,
    globals: readonly { spelled: string; global: string }[],
    pickleProtocol?: number,
  ) {
    this.#source = source;
    this.#contents = contents;
    this.root = root;
    this.format = format;
    this.info = {
      fileBytes: source.byteLength,
      byteOrder: contents.byteOrder,
      formatVersion: contents.formatVersion,
      storageAlignment: contents.storageAlignment,
      archiveName: contents.archiveName,
      writer: contents.writer,
      pickleProtocol,
      // Listed when asked for: a hundred thousand records are a tenth of the time to open.
      get records() {
        return contents.records;
      },
      globals: globals.map(({ spelled, global }) => ({ spelled, global, verdict: verdictOf(global) })),
      moduleSources: contents.moduleSources ?? [],
      metadata: contents.metadata ?? new Map(),
    };
  }

  /** How many records `info` has, without listing them. @internal */
  get recordCount(): number {
    return this.#contents.recordCount ?? this.#contents.records.length;
  }

  /**
   * The tensors in file order with their paths: `model.fc.weight`, `optimizer.state[0].exp_avg`. A tensor that stands in
   * several places is listed at each, a container only where it is met first.
   */
  tensors(): IterableIterator<[path: string, tensor: AnyTensor]> {
    return walkTensorsOf([['', this.root], ...(this.#contents.extraRoots ?? [])]);
  }

  /**
   * The value at a path of the same notation: `get('model.fc.weight')`. Undefined where there is none; the type leaves that
   * out, as for an item of an array, because most paths come from a listing. A path is ambiguous where keys hold dots, are
   * empty or print alike; the keys themselves, from the root on, never are: `get(['model', '0.weight'])`.
   */
  get(path: string | readonly PyValue[]): PyValue;
  get(path: string | readonly PyValue[]): PyValue | undefined {
    if (typeof path !== 'string') return valueAtKeys(this.root, path);
    for (const [prefix, value] of this.#contents.extraRoots ?? []) {
      if (!path.startsWith(prefix)) continue;
      const found = valueAt(new Map([[prefix, value]]), path);
      if (found !== undefined) return found;
    }
    return valueAt(this.root, path);
  }

  /**
   * Reads every record and compares it with its CRC-32, in parallel. A CRC of 0 is 'not recorded', as PyTorch writes when
   * asked for no checksums; formats without checksums report nothing else. Throws TRUNCATED when the file got shorter.
   */
  async verify(options: VerifyOptions = {}): Promise<VerifyReport> {
    this.#demandOpen();
    const { signal, onProgress, threads = 2 } = options;
    const records = this.info.records;
    const computed = new Map<string, number | string>();
    const total = records.reduce((sum, record) => sum + record.storedLength, 0);
    let bytes = 0;
    for (let i = 0; i < records.length; ) {
      signal?.throwIfAborted();
      const batch: RecordInfo[] = [];
      for (
        let size = 0;
        i < records.length && (size === 0 || size + (records[i] as RecordInfo).storedLength <= VERIFY_BATCH_BYTES);
        i++
      ) {
        batch.push(records[i] as RecordInfo);
        size += (records[i] as RecordInfo).storedLength;
      }
      await this.#checksums(batch, threads, computed);
      bytes += batch.reduce((sum, record) => sum + record.storedLength, 0);
      onProgress?.({ stage: 'verify', bytes, totalBytes: total });
    }
    const damaged: { record: string; reason: string }[] = [];
    const statuses = records.map((record) => {
      // An empty record has the checksum 0, and nothing to compute.
      const found = computed.get(record.name) ?? (record.byteLength === 0 ? 0 : undefined);
      if (typeof found === 'string') damaged.push({ record: record.name, reason: found });
      else if (record.crc32 === 0 && record.byteLength > 0)
        return { name: record.name, status: 'not-recorded' as const };
      else if (found !== record.crc32) {
        damaged.push({
          record: record.name,
          reason: `CRC-32 is ${hex(found ?? 0)}, the directory records ${hex(record.crc32)}`,
        });
      } else return { name: record.name, status: 'ok' as const };
      return { name: record.name, status: 'corrupt' as const };
    });
    return { ok: damaged.length === 0, records: statuses, damaged };
  }

  /** Checksums of the records that have one to compare with; a text where the record cannot be read at all. */
  async #checksums(
    batch: readonly RecordInfo[],
    threads: number,
    computed: Map<string, number | string>,
  ): Promise<void> {
    const stored = batch.filter((record) => !record.compressed && record.crc32 !== 0);
    const { file, name } = this.#source;
    if (file) {
      const ranges = Float64Array.from(stored.flatMap((record) => [record.byteOffset, record.storedLength]));
      const checksums = await native({ path: name }, (addon) => addon.crc32Ranges(file, ranges, threads));
      for (const [i, record] of stored.entries()) computed.set(record.name, checksums[i] as number);
    } else {
      for (const record of stored) {
        const data = this.#source.read(record.byteOffset, record.storedLength);
        computed.set(
          record.name,
          native({ path: name }, (addon) => addon.crc32(data, 0)),
        );
      }
    }
    for (const record of batch) {
      if (!record.compressed) continue;
      try {
        const data = inflateRawSync(this.#source.read(record.byteOffset, record.storedLength), {
          maxOutputLength: Math.max(record.byteLength, 1),
        });
        computed.set(
          record.name,
          data.byteLength === record.byteLength
            ? native({}, (addon) => addon.crc32(data, 0))
            : `inflates to ${data.byteLength} bytes, not ${record.byteLength}`,
        );
      } catch (error) {
        if (isCheckpointError(error)) throw error;
        computed.set(record.name, `cannot be inflated: ${(error as Error).message}`);
      }
    }
  }

  /**
   * Detaches every view of the file (their length becomes 0), then lets go of it; what is read later is CLOSED. Idempotent.
   * Arrays that are no views stay as they are: copies, which is what storages give that are not `zeroCopy`, the caller's own
   * bytes, and the shared buffers of a host without external ones.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  #demandOpen(): void {
    if (this.#closed) throw new CheckpointError('CLOSED', 'the checkpoint was closed', { path: this.#source.name });
  }
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
