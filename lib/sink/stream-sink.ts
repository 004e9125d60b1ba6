/** Output that is only a place to write bytes in order: streams, file handles, memory. Nothing here is atomic. */
import { type BigIntStats, fstat } from 'node:fs';
import { type FileHandle, stat } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { type NativeFile, native } from '../binding';
import type { Checksum } from '../container/zip-writer';
import { CheckpointError } from '../errors';
import type { OnProgress } from '../source/progress';
import { chunksOf, type StorageBytes } from '../tensor/storage';
import { abortable, abortableChunks } from './abortable';
import {
  descriptorBytes,
  descriptorLikeWord,
  NO_CHECKSUM,
  type Payload,
  type RecordSink,
  type SinkCounts,
  type SinkRecord,
} from './record-sink';

/** The three verbs of an output; `write` resolves when more may be written. */
export interface ByteOutput {
  write(bytes: Uint8Array): Promise<void>;
  /** After the last byte. */
  finish(): Promise<void>;
  /** After a failure: the output is incomplete. */
  fail(error: unknown): Promise<void>;
}

export interface StreamSinkOptions {
  totalBytes: number;
  crc32: boolean;
  signal?: AbortSignal | undefined;
  onProgress?: OnProgress | undefined;
}

/** Small pieces are copied into arrays of this size before they are written. */
const GATHER_BYTES = 64 * 1024;

export class StreamSink implements RecordSink {
  readonly counts: SinkCounts = { kernelBytes: 0, writtenBytes: 0 };
  readonly #output: ByteOutput;
  readonly #options: StreamSinkOptions;
  #gathered = new Uint8Array(GATHER_BYTES);
  #gatheredBytes = 0;

  constructor(output: ByteOutput, options: StreamSinkOptions) {
    this.#output = output;
    this.#options = options;
  }

  async write(records: readonly SinkRecord[]): Promise<Checksum[]> {
    const checksums: Checksum[] = [];
    for (const record of records) checksums.push(await this.#record(record));
    return checksums;
  }

  async #record({ header, payload, byteLength, descriptor }: SinkRecord): Promise<Checksum> {
    await this.#append(header);
    if (byteLength === 0) return NO_CHECKSUM;
    const wantsCrc = descriptor !== 0 && this.#options.crc32;
    if (byteLength <= GATHER_BYTES && !(payload instanceof Uint8Array) && !payload.asyncOnly) {
      return this.#small(payload, byteLength, descriptor);
    }
    let crc32 = 0;
    const head = Buffer.alloc(8);
    let written = 0;
    for await (const chunk of chunks(payload, this.#options.signal)) {
      if (written < 8) head.set(chunk.subarray(0, 8 - written), written);
      if (wantsCrc) crc32 = native({}, (addon) => addon.crc32(chunk, crc32));
      written += chunk.byteLength;
      await this.#append(chunk);
    }
    if (written !== byteLength)
      throw new CheckpointError('TRUNCATED', `a storage gave ${written} bytes, ${byteLength} were planned`);
    if (descriptor === 0) return NO_CHECKSUM;
    await this.#append(descriptorBytes(crc32, byteLength, descriptor));
    return { crc32, descriptorLike: descriptorLikeWord(head, byteLength) };
  }

  /** A storage that is read where it is gathered, without a turn of the event loop for each. */
  async #small(payload: StorageBytes, byteLength: number, descriptor: SinkRecord['descriptor']): Promise<Checksum> {
    if (this.#gatheredBytes + byteLength > GATHER_BYTES) await this.#flush();
    const at = this.#gatheredBytes;
    const bytes = this.#gathered.subarray(at, at + byteLength);
    const span = payload.span();
    if (span instanceof Uint8Array) bytes.set(span);
    else if (native({}, (addon) => addon.fileReadSync(span[0], span[1], bytes)) !== byteLength) {
      throw new CheckpointError('TRUNCATED', `a storage has less than its ${byteLength} bytes`);
    }
    this.#gatheredBytes += byteLength;
    if (descriptor === 0) return NO_CHECKSUM;
    const crc32 = this.#options.crc32 ? native({}, (addon) => addon.crc32(bytes, 0)) : 0;
    const descriptorLike = descriptorLikeWord(bytes, byteLength);
    await this.#append(descriptorBytes(crc32, byteLength, descriptor));
    return { crc32, descriptorLike };
  }

  async #append(bytes: Uint8Array): Promise<void> {
    if (this.#gatheredBytes + bytes.byteLength > GATHER_BYTES) await this.#flush();
    if (bytes.byteLength > GATHER_BYTES) return this.#put(bytes);
    this.#gathered.set(bytes, this.#gatheredBytes);
    this.#gatheredBytes += bytes.byteLength;
  }

  async #flush(): Promise<void> {
    if (this.#gatheredBytes === 0) return;
    const bytes = this.#gathered.subarray(0, this.#gatheredBytes);
    // What is written belongs to the output: a stream may keep it for later.
    this.#gathered = new Uint8Array(GATHER_BYTES);
    this.#gatheredBytes = 0;
    await this.#put(bytes);
  }

  async #put(bytes: Uint8Array): Promise<void> {
    const { signal, onProgress, totalBytes } = this.#options;
    signal?.throwIfAborted();
    await abortable(this.#output.write(bytes).catch(refused), signal);
    this.counts.writtenBytes += bytes.byteLength;
    onProgress?.({ stage: 'save', bytes: this.counts.writtenBytes, totalBytes });
  }

  async commit(): Promise<void> {
    await this.#flush();
    this.#options.signal?.throwIfAborted();
    await abortable(this.#output.finish().catch(refused), this.#options.signal);
  }

  async abort(error?: unknown): Promise<void> {
    await this.#output.fail(error);
  }
}

/** What an output says when it takes no more, as our error. */
function refused(cause: unknown): never {
  if (cause instanceof CheckpointError) throw cause;
  const { code, message } =
    cause instanceof Error ? (cause as NodeJS.ErrnoException) : { code: undefined, message: String(cause) };
  if (code === 'ENOSPC' || code === 'EDQUOT')
    throw new CheckpointError('DISK_FULL', `the output is full: ${message}`, { cause });
  throw new CheckpointError('WRITE_FAILED', `the output failed: ${message}`, { cause });
}

/** A payload in pieces. All but bytes at hand are copies, because an output may keep what it is given. */
async function* chunks(payload: Payload, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
  if (payload instanceof Uint8Array) yield payload;
  else if (!payload.open) yield* abortableChunks(chunksOf(payload), signal);
  // Whoever makes a stream may use one array for all of its chunks.
  else for await (const chunk of abortableChunks(payload.open(), signal)) yield chunk.slice();
}

export function nodeOutput(stream: Writable): ByteOutput {
  /** Why the stream takes no more, and who waits for it at the moment. */
  let failure: unknown;
  let waiting: ((reason: unknown) => void) | undefined;
  const fail = (reason: unknown): void => {
    failure ??= reason;
    waiting?.(failure);
  };
  stream.on('error', fail);
  stream.once('close', () => {
    if (!stream.writableFinished)
      fail(new CheckpointError('WRITE_FAILED', 'the stream was closed before everything was written'));
  });
  const settled = (act: (done: (error?: Error | null) => void) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      if (failure !== undefined) return reject(failure as Error);
      waiting = reject;
      act((error) => (error ? reject(error) : resolve()));
    });
  return {
    write: (bytes) => settled((done) => stream.write(bytes, done)),
    // The standard streams of the process stay open.
    finish: () =>
      settled((done) => (stream === process.stdout || stream === process.stderr ? done() : stream.end(done))),
    fail: async (error) => {
      stream.destroy(error instanceof Error ? error : undefined);
    },
  };
}

export function webOutput(stream: WritableStream<Uint8Array>): ByteOutput {
  const writer = stream.getWriter();
  return {
    async write(bytes) {
      await writer.ready;
      await writer.write(bytes);
    },
    async finish() {
      await writer.close();
    },
    async fail(error) {
      // Not waited for: it takes as long as the write that is under way, which may be for ever.
      writer.abort(error).catch(() => undefined);
    },
  };
}

/**
 * Refuses a handle or file stream on a file that is still to be read: unlike a path it is not replaced, and the values
 * would be lost while they are written over.
 */
export async function demandOtherFile(target: object, sources: Iterable<StorageBytes>): Promise<void> {
  const files = new Set<NativeFile>();
  for (const source of sources) {
    const file = source.file?.();
    if (file) files.add(file);
  }
  if (files.size === 0) return;
  const written = await fileOf(target);
  if (!written) return;
  for (const file of files) {
    const { device, inode } = native({}, (addon) => addon.fileInfo(file));
    if (device === written.dev && inode === written.ino)
      throw new CheckpointError('WRITE_FAILED', 'the output is the file that the values are read from', {
        hint: 'save to its path, which is replaced as a whole',
      });
  }
}

/** What file an output is, where it tells: by the descriptor of a handle or stream, or the path of one yet to be opened. */
async function fileOf(target: object): Promise<BigIntStats | undefined> {
  const { fd, path } = target as { fd?: unknown; path?: unknown };
  try {
    if (typeof fd === 'number') return await promisify(fstat)(fd, { bigint: true });
    if (typeof path === 'string' || Buffer.isBuffer(path)) return await stat(path, { bigint: true });
  } catch {
    // Not there, or closed already: the first write tells.
  }
  return undefined;
}

/** Writes at the handle's own position and leaves it open: it is the caller's. */
export function handleOutput(handle: FileHandle, fsync = false): ByteOutput {
  return {
    async write(bytes) {
      for (let at = 0; at < bytes.byteLength; )
        at += (await handle.write(bytes, at, bytes.byteLength - at)).bytesWritten;
    },
    finish: () => (fsync ? handle.sync() : Promise.resolve()),
    fail: () => Promise.resolve(),
  };
}

/** Collects into one array of known size. */
export function memoryOutput(totalBytes: number): ByteOutput & { readonly bytes: Uint8Array } {
  const bytes = new Uint8Array(totalBytes);
  let at = 0;
  return {
    bytes,
    write(chunk) {
      bytes.set(chunk, at);
      at += chunk.byteLength;
      return Promise.resolve();
    },
    finish: () => Promise.resolve(),
    fail: () => Promise.resolve(),
  };
}
