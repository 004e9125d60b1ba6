/** Bytes that come from a stream when they are asked for: tensors that are larger than memory, made while they are saved. */
import type { Span } from '../binding';
import { CheckpointError } from '../errors';
import type { StorageBytes } from './storage';

export class StreamBytes implements StorageBytes {
  readonly byteLength: number;
  readonly zeroCopy = false;
  readonly asyncOnly = true;
  readonly #open: () => AsyncIterable<Uint8Array>;
  /** The stream that `read` is in the middle of, how far it came, and what is left of its last chunk. */
  #reading: AsyncGenerator<Uint8Array, void, undefined> | undefined;
  #position = 0;
  #rest: Uint8Array = new Uint8Array(0);

  /** `open` is called for every pass over the bytes: once for each save. */
  constructor(byteLength: number, open: () => AsyncIterable<Uint8Array>) {
    this.byteLength = byteLength;
    this.#open = open;
  }

  /** The bytes from the start, as the stream cuts them. Throws TENSOR_CORRUPT when there are fewer or more than promised. */
  async *open(): AsyncGenerator<Uint8Array, void, undefined> {
    let total = 0;
    for await (const chunk of this.#open()) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError('a tensor stream gives Uint8Array chunks');
      total += chunk.byteLength;
      if (total > this.byteLength) throw this.#wrongLength(`gave ${total} bytes or more`);
      if (chunk.byteLength > 0) yield chunk;
    }
    if (total < this.byteLength) throw this.#wrongLength(`ended after ${total} bytes`);
  }

  #wrongLength(found: string): CheckpointError {
    return new CheckpointError(
      'TENSOR_CORRUPT',
      `a tensor stream ${found}, ${this.byteLength} were promised by its dtype and shape`,
    );
  }

  bytes(): Uint8Array {
    throw new CheckpointError('NO_DATA', 'a tensor made by Tensor.fromStream has no bytes until it is saved');
  }

  span(): Span {
    return this.bytes();
  }

  /** In order only: `byteOffset` is where the last read ended, or 0 to begin anew. */
  async read(target: Uint8Array, byteOffset: number): Promise<number> {
    if (byteOffset === 0) {
      await this.#reading?.return();
      this.#reading = this.open();
      this.#position = 0;
      this.#rest = new Uint8Array(0);
    }
    if (!this.#reading || byteOffset !== this.#position) {
      throw new CheckpointError(
        'NO_DATA',
        `a tensor stream is read in order: byte ${this.#position} is next, not ${byteOffset}`,
      );
    }
    let filled = 0;
    while (filled < target.byteLength) {
      if (this.#rest.byteLength === 0) {
        const next = await this.#reading.next();
        if (next.done) break;
        this.#rest = next.value;
      }
      const part = this.#rest.subarray(0, target.byteLength - filled);
      target.set(part, filled);
      this.#rest = this.#rest.subarray(part.byteLength);
      filled += part.byteLength;
      this.#position += part.byteLength;
    }
    return filled;
  }

  slice(): StorageBytes {
    throw new CheckpointError('NO_DATA', 'a tensor made by Tensor.fromStream has no parts until it is saved');
  }
}
