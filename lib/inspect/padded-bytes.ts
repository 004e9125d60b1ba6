/** The beginning of a storage, and zeros in place of the rest. */
import type { Span } from '../binding';
import type { StorageBytes } from '../tensor/storage';

export class PaddedBytes implements StorageBytes {
  readonly byteLength: number;
  readonly zeroCopy = false;
  /** A storage may be far longer than what is left of it: the zeros are made as they are read. */
  readonly asyncOnly = true;
  readonly #part: StorageBytes;

  constructor(part: StorageBytes, byteLength: number) {
    this.#part = part;
    this.byteLength = byteLength;
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.byteLength);
    bytes.set(this.#part.bytes());
    return bytes;
  }

  span(): Span {
    return this.bytes();
  }

  async read(target: Uint8Array, byteOffset: number): Promise<number> {
    const count = Math.max(0, Math.min(target.byteLength, this.byteLength - byteOffset));
    const here = Math.max(0, Math.min(count, this.#part.byteLength - byteOffset));
    let done = 0;
    while (done < here) done += await this.#part.read(target.subarray(done, here), byteOffset + done);
    target.fill(0, here, count);
    return count;
  }

  slice(byteOffset: number, byteLength: number): StorageBytes {
    const start = Math.min(byteOffset, this.#part.byteLength);
    const part = this.#part.slice(start, Math.min(byteLength, this.#part.byteLength - start));
    return new PaddedBytes(part, byteLength);
  }
}
