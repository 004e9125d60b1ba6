/**
 * A list that grows without being copied. The machine's long lists live for one pickle; an array that doubles leaves as
 * much garbage as it holds, and all of that is memory which the system must bring in first. Only the first chunk grows by
 * itself, for most pickles are small.
 */
const CHUNK_ITEMS = 4096;

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
