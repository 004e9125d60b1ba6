/**
 * Checkpoints on web servers and in S3.
 *
 * `load` takes the whole body. `open` takes what it must: a zip or safetensors file is opened with two or three ranges,
 * and its tensors are read when asked for. Everything else, and every server without ranges, is spooled.
 */
import { CheckpointError } from '../errors';
import type { StorageBytes } from '../tensor/storage';
import { type ByteSource, checkRange, closedError, type RemoteZip } from './byte-source';
import { drop, get, HttpFile, httpTarget, shownUrl } from './http-file';
import { MemorySource } from './memory';
import type { OpenSourceOptions } from './open-source';
import { RemoteBytes } from './remote-bytes';
import { openRemoteZip } from './remote-zip';
import type { HttpTarget } from './s3';
import { spool, webStreamReader } from './spool';

/** Covers the pickle of most state dicts, and all of a small file. */
const HEAD_BYTES = 64 << 10;

export async function openRemote(url: string, options: OpenSourceOptions): Promise<ByteSource> {
  const { limits, signal, remote } = options;
  const name = shownUrl(url);
  const target = httpTarget(url);
  if (remote !== 'ranges') return spoolResponse(await get(target, name, {}, signal, [200]), name, options);
  const opened = await HttpFile.open(target, name, HEAD_BYTES, signal);
  if (opened instanceof Response) return spoolResponse(opened, name, options);
  return openRanged(opened, target, options).catch((error) => {
    opened.close();
    throw error instanceof CheckpointError ? error.located({ path: name }) : error;
  });
  async function openRanged(http: HttpFile, target: HttpTarget, options: OpenSourceOptions): Promise<ByteSource> {
    const head = http.cached(0, Math.min(HEAD_BYTES, http.byteLength)) ?? new Uint8Array(0);
    if (http.byteLength <= head.byteLength) return new MemorySource(head, name, true);
    if (startsWith(head, [0x50, 0x4b, 0x03, 0x04]))
      return new RemoteSource(http, await openRemoteZip(http, limits, signal));
    const headerEnd = safetensorsHeaderEnd(head, limits.maxHeaderBytes);
    if (headerEnd !== undefined && headerEnd <= http.byteLength) {
      await http.pin(0, headerEnd, signal);
      return new RemoteSource(http, undefined);
    }
    // Legacy streams tell where their storages are only at the end of the pickles: no good reading them by parts.
    http.close();
    return spoolResponse(await get(target, name, {}, signal, [200]), name, options);
  }
}

async function spoolResponse(response: Response, name: string, options: OpenSourceOptions): Promise<ByteSource> {
  const { io, limits, signal, onProgress } = options;
  if (!response.body) return new MemorySource(new Uint8Array(0), name, true);
  const promised =
    response.headers.get('content-encoding') === null ? Number(response.headers.get('content-length')) : 0;
  const expectedBytes = Number.isSafeInteger(promised) && promised > 0 ? promised : undefined;
  if (expectedBytes !== undefined && expectedBytes > limits.maxSpoolBytes) {
    drop(response);
    throw new CheckpointError(
      'LIMIT_EXCEEDED',
      `the server announces ${expectedBytes} bytes, maxSpoolBytes is ${limits.maxSpoolBytes}`,
      { path: name },
    );
  }
  const source = await spool(webStreamReader(response.body), {
    maxBytes: limits.maxSpoolBytes,
    io,
    signal,
    onProgress,
    name,
    expectedBytes,
  });
  if (expectedBytes === undefined || source.byteLength === expectedBytes) return source;
  source.close();
  throw new CheckpointError('TRUNCATED', `the server gave ${source.byteLength} of ${expectedBytes} bytes`, {
    path: name,
  });
}

function startsWith(bytes: Uint8Array, signature: readonly number[]): boolean {
  return signature.every((byte, i) => bytes[i] === byte);
}

/** Where the header of what looks like a safetensors file ends. */
function safetensorsHeaderEnd(head: Uint8Array, maxHeaderBytes: number): number | undefined {
  if (head.byteLength < 9 || head[8] !== 0x7b) return undefined;
  const view = new DataView(head.buffer, head.byteOffset, 8);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  return length <= maxHeaderBytes ? 8 + length : undefined;
}

/** What was fetched on opening can be read at once; storages are read when asked for. */
export class RemoteSource implements ByteSource {
  readonly file = undefined;
  readonly remoteZip: RemoteZip | undefined;
  readonly #http: HttpFile;

  constructor(http: HttpFile, remoteZip: RemoteZip | undefined) {
    this.#http = http;
    this.remoteZip = remoteZip;
  }

  get byteLength(): number {
    return this.#http.byteLength;
  }

  get name(): string {
    return this.#http.name;
  }

  get closed(): boolean {
    return this.#http.closed;
  }

  read(byteOffset: number, byteLength: number): Uint8Array {
    if (this.#http.closed) throw closedError(this.name);
    checkRange(this, byteOffset, byteLength);
    const bytes = this.#http.cached(byteOffset, byteOffset + byteLength);
    if (bytes) return bytes;
    throw new CheckpointError(
      'UNSUPPORTED',
      `${byteLength} bytes were not fetched when the URL was opened and cannot be read synchronously`,
      {
        path: this.name,
        byteOffset,
        hint: 'use load() on the URL, or download it',
      },
    );
  }

  storageBytes(byteOffset: number, byteLength: number): StorageBytes {
    checkRange(this, byteOffset, byteLength);
    return new RemoteBytes(this.#http, () => byteOffset, byteLength);
  }

  close(): void {
    this.#http.close();
  }
}
