/**
 * Streams, made readable at random: kept in memory while small, in a nameless temporary file beyond that.
 *
 * Three kinds of stream meet in `ChunkReader`. Whatever ends the reading early (an error, an abort, a limit) also ends
 * the stream, so that its producer is not left waiting.
 */
import { randomBytes } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError, isCheckpointError } from '../errors';
import type { ByteSource } from './byte-source';
import { type IoMode, LocalFile } from './local-file';
import { MemorySource } from './memory';
import type { OnProgress } from './progress';

/** Where spooling moves to disk: most optimizer-free state dicts of small models stay below. */
const MAX_MEMORY_BYTES = 64 << 20;
const FIRST_BUFFER_BYTES = 64 << 10;

export interface ChunkReader {
  /** The next chunk; undefined at the end. */
  next(): Promise<unknown>;
  /** Ends the stream before its end. Must not wait for `next`. */
  cancel(reason: unknown): void;
}

export interface SpoolOptions {
  readonly maxBytes: number;
  readonly io?: IoMode | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** For errors. */
  readonly name?: string | undefined;
  /** What the producer says it will give. Used for the first buffer and for progress; never trusted. */
  readonly expectedBytes?: number | undefined;
}

export function webStreamReader(stream: ReadableStream<unknown>): ChunkReader {
  const reader = stream.getReader();
  return {
    async next() {
      const { done, value } = await reader.read();
      return done ? undefined : value;
    },
    cancel(reason) {
      // The stream may have failed already; its error was reported by read().
      reader.cancel(reason).catch(() => {});
    },
  };
}

export function iterableReader(iterable: AsyncIterable<unknown>): ChunkReader {
  const iterator = iterable[Symbol.asyncIterator]();
  return {
    async next() {
      const result = await iterator.next();
      return result.done ? undefined : result.value;
    },
    cancel() {
      const stream = iterable as { destroy?: () => void };
      // Without the reason: it would be emitted as 'error', and an unheard 'error' ends the process.
      if (typeof stream.destroy === 'function') stream.destroy();
      // A generator that is waiting runs its `finally` once that wait is over; we do not wait for it.
      Promise.resolve(iterator.return?.()).catch(() => {});
    },
  };
}

/** Rejects with the signal's reason as soon as it is aborted, whatever `work` does. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort);
    work.catch(() => {});
  }
}

/** Reads a stream to its end. */
export async function spool(reader: ChunkReader, options: SpoolOptions): Promise<ByteSource> {
  const { maxBytes, signal, name, expectedBytes, onProgress } = options;
  const sink = new SpoolSink(options);
  try {
    for (;;) {
      const chunk = asBytes(await abortable(reader.next(), signal));
      if (!chunk) break;
      if (sink.byteLength + chunk.byteLength > maxBytes) throw tooLong(maxBytes, name);
      await sink.append(chunk);
      onProgress?.({ stage: 'spool', bytes: sink.byteLength, totalBytes: expectedBytes });
    }
    onProgress?.({ stage: 'spool', bytes: sink.byteLength, totalBytes: sink.byteLength });
    return await sink.finish();
  } catch (error) {
    reader.cancel(error);
    await sink.discard();
    if (signal?.aborted) throw signal.reason;
    if (isCheckpointError(error) || error instanceof ChunkTypeError) throw error;
    throw new CheckpointError(
      'IO',
      `the stream failed after ${sink.byteLength} bytes: ${(error as Error)?.message ?? String(error)}`,
      {
        path: name,
        cause: error,
      },
    );
  }
}

export function tooLong(maxBytes: number, name: string | undefined): CheckpointError {
  return new CheckpointError('LIMIT_EXCEEDED', `the input is longer than maxSpoolBytes (${maxBytes})`, {
    path: name,
    hint: 'write it to a file and load that, or raise limits.maxSpoolBytes',
  });
}

/** The caller's mistake, told from the TypeErrors that fetch throws when a connection breaks. */
class ChunkTypeError extends TypeError {}

function asBytes(chunk: unknown): Uint8Array | undefined {
  if (chunk === undefined || chunk instanceof Uint8Array) return chunk;
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
  throw new ChunkTypeError(
    `a stream of Uint8Array was expected, it gave ${chunk === null ? 'null' : typeof chunk} (is an encoding set on it?)`,
  );
}

/** Takes bytes into memory, then into a temporary file. */
class SpoolSink {
  readonly #options: SpoolOptions;
  #buffer: Uint8Array;
  #handle: FileHandle | undefined;
  /** Windows cannot remove an open file: there it goes when the source is closed. */
  #path: string | undefined;
  byteLength = 0;

  constructor(options: SpoolOptions) {
    this.#options = options;
    const { expectedBytes = 0 } = options;
    this.#buffer = new Uint8Array(
      expectedBytes > 0 && expectedBytes <= MAX_MEMORY_BYTES ? expectedBytes : FIRST_BUFFER_BYTES,
    );
  }

  /** Copies the chunk: a producer may use its buffer again. */
  async append(chunk: Uint8Array): Promise<void> {
    const end = this.byteLength + chunk.byteLength;
    if (!this.#handle && end > MAX_MEMORY_BYTES) {
      await this.#openFile();
      await this.#write(this.#buffer.subarray(0, this.byteLength), 0);
      this.#buffer = new Uint8Array(0);
    }
    if (this.#handle) {
      await this.#write(chunk, this.byteLength);
    } else {
      if (end > this.#buffer.byteLength) {
        const grown = new Uint8Array(Math.min(MAX_MEMORY_BYTES, Math.max(end, 2 * this.#buffer.byteLength)));
        grown.set(this.#buffer.subarray(0, this.byteLength));
        this.#buffer = grown;
      }
      this.#buffer.set(chunk, this.byteLength);
    }
    this.byteLength = end;
  }

  async #openFile(): Promise<void> {
    const path = join(tmpdir(), `.torch-checkpoint-${process.pid}-${randomBytes(8).toString('hex')}.spool`);
    try {
      this.#handle = await open(path, 'wx+', 0o600);
    } catch (cause) {
      throw this.#failure(cause);
    }
    if (process.platform === 'win32') this.#path = path;
    else unlinkSync(path);
  }

  async #write(bytes: Uint8Array, position: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.byteLength; ) {
        const { bytesWritten } = await (this.#handle as FileHandle).write(
          bytes,
          done,
          bytes.byteLength - done,
          position + done,
        );
        done += bytesWritten;
      }
    } catch (cause) {
      throw this.#failure(cause);
    }
  }

  #failure(cause: unknown): CheckpointError {
    const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC';
    return new CheckpointError(
      full ? 'DISK_FULL' : 'IO',
      `a temporary file for the input could not be written after ${this.byteLength} bytes: ${(cause as Error).message}`,
      {
        path: this.#options.name,
        hint: 'set TMPDIR to a folder with room, or pass a file instead of a stream',
        cause,
      },
    );
  }

  async finish(): Promise<ByteSource> {
    const { name, io = 'auto' } = this.#options;
    if (!this.#handle) return new MemorySource(this.#buffer.subarray(0, this.byteLength), name, true);
    // The native file has a duplicate of the descriptor.
    const file = LocalFile.open(this.#handle.fd, io, name);
    await this.#handle.close();
    this.#handle = undefined;
    const path = this.#path;
    if (path === undefined) return file;
    const close = file.close.bind(file);
    file.close = () => {
      close();
      removeQuietly(path);
    };
    return file;
  }

  async discard(): Promise<void> {
    await this.#handle?.close().catch(() => {});
    if (this.#path !== undefined) removeQuietly(this.#path);
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Still mapped by a live view, or gone already: the system's cleaning of its temporary folder takes it.
  }
}
