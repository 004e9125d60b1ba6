/** Output that is only a place to write bytes in order: streams, file handles, memory. Nothing here is atomic. */
import type { FileHandle } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { native } from '../binding';
import type { Checksum } from '../container/zip-writer';
import { CheckpointError } from '../errors';
import type { OnProgress } from '../source/progress';
import { chunksOf, type StorageBytes } from '../tensor/storage';
import { descriptorBytes, descriptorLikeWord, NO_CHECKSUM, type Payload, type RecordSink, type SinkCounts, type SinkRecord } from './record-sink';

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

/** Small pieces are gathered to this size before they are written. */
const GATHER_BYTES = 64 * 1024;

export class StreamSink implements RecordSink {
  readonly counts: SinkCounts = { kernelBytes: 0, writtenBytes: 0 };
  readonly #output: ByteOutput;
  readonly #options: StreamSinkOptions;
  #gathered: Uint8Array[] = [];
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
    let crc32 = 0;
    const head = Buffer.alloc(8);
    let written = 0;
    for await (const chunk of chunks(payload)) {
      if (written < 8) head.set(chunk.subarray(0, 8 - written), written);
      if (wantsCrc) crc32 = native({}, (addon) => addon.crc32(chunk, crc32));
      written += chunk.byteLength;
      await this.#append(chunk);
    }
    if (written !== byteLength) throw new CheckpointError('TRUNCATED', `a storage gave ${written} bytes, ${byteLength} were planned`);
    if (descriptor === 0) return NO_CHECKSUM;
    await this.#append(descriptorBytes(crc32, byteLength, descriptor));
    return { crc32, descriptorLike: descriptorLikeWord(head, byteLength) };
  }

  async #append(bytes: Uint8Array): Promise<void> {
    if (bytes.byteLength < GATHER_BYTES) {
      this.#gathered.push(bytes);
      this.#gatheredBytes += bytes.byteLength;
      if (this.#gatheredBytes >= GATHER_BYTES) await this.#flush();
      return;
    }
    await this.#flush();
    await this.#put(bytes);
  }

  async #flush(): Promise<void> {
    if (this.#gatheredBytes === 0) return;
    const bytes = Buffer.concat(this.#gathered);
    this.#gathered = [];
    this.#gatheredBytes = 0;
    await this.#put(bytes);
  }

  async #put(bytes: Uint8Array): Promise<void> {
    const { signal, onProgress, totalBytes } = this.#options;
    signal?.throwIfAborted();
    await this.#output.write(bytes);
    this.counts.writtenBytes += bytes.byteLength;
    onProgress?.({ stage: 'save', bytes: this.counts.writtenBytes, totalBytes });
  }

  async commit(): Promise<void> {
    await this.#flush();
    await this.#output.finish();
  }

  async abort(error?: unknown): Promise<void> {
    await this.#output.fail(error);
  }
}

/** A payload in pieces. Bytes that stay alive are given as they are; mapped ones are copied piece by piece. */
async function* chunks(payload: Payload): AsyncGenerator<Uint8Array, void, undefined> {
  if (payload instanceof Uint8Array) yield payload;
  else yield* (payload as StorageBytes).open?.() ?? chunksOf(payload as StorageBytes);
}

export function nodeOutput(stream: Writable): ByteOutput {
  const failure = new Promise<never>((_, reject) => {
    stream.once('error', reject);
    stream.once('close', () => {
      if (!stream.writableFinished) reject(new CheckpointError('WRITE_FAILED', 'the stream was closed before everything was written'));
    });
  });
  failure.catch(() => undefined);
  return {
    write: (bytes) => Promise.race([failure, new Promise<void>((resolve, reject) => {
      stream.write(bytes, (error) => (error ? reject(error) : resolve()));
    })]),
    finish: () => Promise.race([failure, new Promise<void>((resolve) => stream.end(resolve))]),
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
      await writer.abort(error).catch(() => undefined);
    },
  };
}

/** Writes at the handle's own position and leaves it open: it is the caller's. */
export function handleOutput(handle: FileHandle): ByteOutput {
  return {
    async write(bytes) {
      for (let at = 0; at < bytes.byteLength; ) at += (await handle.write(bytes, at, bytes.byteLength - at)).bytesWritten;
    },
    finish: () => Promise.resolve(),
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
