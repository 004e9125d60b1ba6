/**
 * The machine's long lists. They live for one pickle and may have a million items: memory that the system has to bring in
 * first, so that they leave as little garbage as can be.
 */
import { workingBytes } from '../tensor/fresh-bytes';

const CHUNK_ITEMS = 4096;

/** A list that grows without being copied. Only the first chunk grows by itself, for most pickles are small. */
export class ChunkedList<T> {
  length = 0;
  readonly #chunks: T[][] = [];
  #last: T[] = [];

  push(item: T): void {
    const at = this.length++ % CHUNK_ITEMS;
    if (at === 0) this.#chunks.push((this.#last = this.#chunks.length === 0 ? [] : new Array<T>(CHUNK_ITEMS)));
    this.#last[at] = item;
  }

  at(index: number): T {
    return (this.#chunks[Math.floor(index / CHUNK_ITEMS)] as T[])[index % CHUNK_ITEMS] as T;
  }
}

/** A list of 32-bit integers, outside of the engine's heap: nothing has to move them. */
export class IntegerList {
  length = 0;
  #items = new Int32Array(256);

  push(item: number): void {
    if (this.length === this.#items.length) this.#items = grown(this.#items);
    this.#items[this.length++] = item;
  }

  at(index: number): number {
    return this.#items[index] as number;
  }
}

/** The same numbers in an array of twice the length; what follows them is anything. */
export function grown(numbers: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const { buffer, byteOffset } = workingBytes(numbers.byteLength * 2);
  const longer = new Int32Array(buffer, byteOffset, numbers.length * 2);
  longer.set(numbers);
  return longer;
}
