/** Storage bytes on a server: read by ranges, when asked for. */
import type { Span } from '../binding';
import { CheckpointError } from '../errors';
import type { StorageBytes } from '../tensor/storage';
import { closedError } from './byte-source';
import type { HttpFile } from './http-file';

/** `locate` may cost a request: it is called when they are first read. */
export class RemoteBytes implements StorageBytes {
  readonly byteLength: number;
  readonly zeroCopy = false;
  readonly asyncOnly = true;
  readonly #http: HttpFile;
  readonly #locate: () => number | Promise<number>;

  constructor(http: HttpFile, locate: () => number | Promise<number>, byteLength: number) {
    this.#http = http;
    this.#locate = locate;
    this.byteLength = byteLength;
  }

  bytes(): Uint8Array {
    if (this.#http.closed) throw closedError(this.#http.name);
    if (this.byteLength === 0) return new Uint8Array(0);
    throw new CheckpointError('UNSUPPORTED', 'the bytes are on a server and cannot be given synchronously', {
      path: this.#http.name,
      hint: 'use read() or chunks() on the storage, or load() on the URL',
    });
  }

  span(): Span {
    return this.bytes();
  }

  async read(target: Uint8Array, byteOffset: number): Promise<number> {
    if (this.#http.closed) throw closedError(this.#http.name);
    const count = Math.max(0, Math.min(target.byteLength, this.byteLength - byteOffset));
    if (count > 0) await this.#http.readInto((await this.#locate()) + byteOffset, target.subarray(0, count));
    return count;
  }

  slice(byteOffset: number, byteLength: number): StorageBytes {
    return new RemoteBytes(this.#http, async () => (await this.#locate()) + byteOffset, byteLength);
  }
}
