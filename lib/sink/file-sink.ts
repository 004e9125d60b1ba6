/**
 * A file that is replaced atomically: written under a temporary name beside it, by native code, straight from mappings
 * and arrays. Only streams pass through JavaScript.
 */
import {
  type NativeFile,
  type NativeSink,
  native,
  SEGMENT_CRC_BEGIN,
  SEGMENT_CRC_END,
  SEGMENT_CRC_ZERO,
  SEGMENT_DESCRIPTOR,
  SEGMENT_DESCRIPTOR_64,
  type SinkBatch,
  type SinkReport,
} from '../binding';
import type { Checksum } from '../container/zip-writer';
import { CheckpointError } from '../errors';
import type { OnProgress } from '../source/progress';
import { chunksOf, type StorageBytes } from '../tensor/storage';
import { abortableChunks } from './abortable';
import { NO_CHECKSUM, type RecordSink, type SinkCounts, type SinkRecord } from './record-sink';

export interface FileSinkOptions {
  /** Size of the finished file, to reserve the space. */
  totalBytes: number;
  crc32: boolean;
  fsync: boolean;
  signal?: AbortSignal | undefined;
  onProgress?: OnProgress | undefined;
}

/** Bytes given to native code in one call: a fraction of a second between two looks at the abort signal. */
const CALL_BYTES = 128 << 20;
const CALL_SEGMENTS = 4096;
const ARENA = -1;

/** Collects segments for one native call. */
class Batch {
  readonly #arena: Uint8Array[] = [];
  #arenaBytes = 0;
  readonly #segments: number[] = [];
  readonly #sources: (NativeFile | Uint8Array)[] = [];
  readonly #sourceIndexes = new Map<NativeFile | Uint8Array, number>();
  byteLength = 0;

  get full(): boolean {
    return this.byteLength >= CALL_BYTES || this.#segments.length >= CALL_SEGMENTS * 5;
  }

  get empty(): boolean {
    return this.#segments.length === 0;
  }

  arena(bytes: Uint8Array, flags = 0): void {
    if (bytes.length === 0 && flags === 0) return;
    this.#segments.push(ARENA, this.#arenaBytes, bytes.length, flags, 0);
    this.#arena.push(bytes);
    this.#arenaBytes += bytes.length;
    this.byteLength += bytes.length;
  }

  span(source: NativeFile | Uint8Array, byteOffset: number, byteLength: number, flags: number): void {
    let index = this.#sourceIndexes.get(source);
    if (index === undefined) {
      index = this.#sources.length;
      this.#sources.push(source);
      this.#sourceIndexes.set(source, index);
    }
    this.#segments.push(index, byteOffset, byteLength, flags, 0);
    this.byteLength += byteLength;
  }

  build(): SinkBatch {
    return { arena: Buffer.concat(this.#arena), segments: Float64Array.from(this.#segments), sources: this.#sources };
  }
}

/** The steps that a record takes, shared by the async and the sync sink: full batches to write, or a stream to pull. */
type Step = { readonly batch: Batch } | { readonly pull: StorageBytes; readonly flags: number };

abstract class FileSinkBase {
  protected readonly sink: NativeSink;
  protected readonly path: string;
  protected readonly options: FileSinkOptions;
  readonly counts: SinkCounts = { kernelBytes: 0, writtenBytes: 0 };
  #doneBytes = 0;

  constructor(path: string, options: FileSinkOptions) {
    this.path = path;
    this.options = options;
    this.sink = native({ path }, (addon) => addon.sinkCreate(path, options.totalBytes));
  }

  /** Cuts records into native calls. Segments of one payload may lie in several; the checksum runs on from call to call. */
  protected *steps(records: readonly SinkRecord[]): Generator<Step, void, undefined> {
    let batch = new Batch();
    for (const { header, payload, byteLength, descriptor } of records) {
      batch.arena(header);
      if (byteLength > 0) {
        const end =
          descriptor === 0 ? 0 : SEGMENT_CRC_END | (descriptor === 24 ? SEGMENT_DESCRIPTOR_64 : SEGMENT_DESCRIPTOR);
        const begin = descriptor === 0 ? 0 : SEGMENT_CRC_BEGIN;
        const always = descriptor !== 0 && !this.options.crc32 ? SEGMENT_CRC_ZERO : 0;
        if (payload instanceof Uint8Array && byteLength <= 65536) batch.arena(payload, begin | end | always);
        else if (!(payload instanceof Uint8Array) && payload.asyncOnly) {
          if (!batch.empty) yield { batch };
          batch = new Batch();
          yield { pull: payload, flags: begin | end | always };
        } else {
          const span = payload instanceof Uint8Array ? payload : payload.span();
          const [source, start] = span instanceof Uint8Array ? [span, 0] : [span[0], span[1]];
          for (let at = 0; at < byteLength; ) {
            const length = Math.min(byteLength - at, CALL_BYTES);
            batch.span(
              source,
              start + at,
              length,
              always | (at === 0 ? begin : 0) | (at + length === byteLength ? end : 0),
            );
            at += length;
            if (!batch.full) continue;
            yield { batch };
            batch = new Batch();
          }
        }
      }
      if (!batch.full) continue;
      yield { batch };
      batch = new Batch();
    }
    if (!batch.empty) yield { batch };
  }

  protected account(report: SinkReport, batch: Batch, checksums: Checksum[]): void {
    this.counts.kernelBytes += report.kernelBytes;
    this.counts.writtenBytes += report.writtenBytes;
    for (let i = 0; i < report.checksums.length; i += 3) {
      checksums.push({
        crc32: report.checksums[i] as number,
        descriptorLike: report.checksums[i + 1] ? (report.checksums[i + 2] as number) : undefined,
      });
    }
    this.#doneBytes += batch.byteLength;
    this.#progress();
  }

  #progress(): void {
    this.options.onProgress?.({
      stage: 'save',
      bytes: Math.min(this.#doneBytes, this.options.totalBytes),
      totalBytes: this.options.totalBytes,
    });
  }

  /** What appending failed of: the target, or a file that the values are mapped from. */
  protected appendError(error: unknown): unknown {
    if (!(error instanceof CheckpointError)) return error;
    if (error.code !== 'TRUNCATED') return error.located({ path: this.path });
    return new CheckpointError('TRUNCATED', `a file that the saved values come from: ${error.message}`, {
      cause: error,
    });
  }

  /** Everything has been given to the system: the descriptors that native code added are counted, and it is the last chance to stop. */
  protected complete(): void {
    this.#doneBytes = this.options.totalBytes;
    this.#progress();
    this.options.signal?.throwIfAborted();
  }

  /** Checksums are reported for records with a descriptor only; the others stand between them with none. */
  protected perRecord(records: readonly SinkRecord[], checksums: readonly Checksum[]): Checksum[] {
    let i = 0;
    return records.map(({ byteLength, descriptor }) =>
      byteLength > 0 && descriptor !== 0 ? (checksums[i++] as Checksum) : NO_CHECKSUM,
    );
  }
}

export class FileSink extends FileSinkBase implements RecordSink {
  async write(records: readonly SinkRecord[]): Promise<Checksum[]> {
    const checksums: Checksum[] = [];
    for (const step of this.steps(records)) {
      this.options.signal?.throwIfAborted();
      if ('batch' in step) await this.#append(step.batch, checksums);
      else await this.#pull(step.pull, step.flags, checksums);
    }
    return this.perRecord(records, checksums);
  }

  async #append(batch: Batch, checksums: Checksum[]): Promise<void> {
    const { signal } = this.options;
    // A batch can take a while on a slow disk.
    const stop = (): void => native({ path: this.path }, (addon) => addon.sinkAbort(this.sink));
    signal?.addEventListener('abort', stop, { once: true });
    try {
      const report = await native({}, (addon) => addon.sinkAppend(this.sink, batch.build()));
      this.account(report, batch, checksums);
    } catch (error) {
      signal?.throwIfAborted();
      throw this.appendError(error);
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  async #pull(source: StorageBytes, flags: number, checksums: Checksum[]): Promise<void> {
    let begin = flags & SEGMENT_CRC_BEGIN;
    const zero = flags & SEGMENT_CRC_ZERO;
    for await (const chunk of abortableChunks(source.open?.() ?? chunksOf(source), this.options.signal)) {
      const batch = new Batch();
      batch.span(chunk, 0, chunk.byteLength, begin | zero);
      begin = 0;
      await this.#append(batch, checksums);
    }
    const end = flags & (SEGMENT_CRC_END | SEGMENT_DESCRIPTOR | SEGMENT_DESCRIPTOR_64);
    if (!end) return;
    const batch = new Batch();
    batch.arena(new Uint8Array(), begin | end | zero);
    await this.#append(batch, checksums);
  }

  async commit(): Promise<void> {
    this.complete();
    await native({ path: this.path }, (addon) => addon.sinkCommit(this.sink, this.options.fsync));
  }

  abort(): Promise<void> {
    native({ path: this.path }, (addon) => addon.sinkAbort(this.sink));
    return Promise.resolve();
  }
}

/** The same on the calling thread, for `saveSync`. */
export class SyncFileSink extends FileSinkBase {
  write(records: readonly SinkRecord[]): Checksum[] {
    const checksums: Checksum[] = [];
    for (const step of this.steps(records)) {
      if (!('batch' in step))
        throw new CheckpointError(
          'UNSAVABLE',
          'a tensor whose bytes come from a stream or server cannot be saved synchronously',
          { hint: 'use save()' },
        );
      let report: SinkReport;
      try {
        report = native({}, (addon) => addon.sinkAppendSync(this.sink, step.batch.build()));
      } catch (error) {
        throw this.appendError(error);
      }
      this.account(report, step.batch, checksums);
    }
    return this.perRecord(records, checksums);
  }

  commit(): void {
    this.complete();
    native({ path: this.path }, (addon) => addon.sinkCommitSync(this.sink, this.options.fsync));
  }

  abort(): void {
    native({ path: this.path }, (addon) => addon.sinkAbort(this.sink));
  }
}
