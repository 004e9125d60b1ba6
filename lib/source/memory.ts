/** Bytes that are in memory already: given by the caller, or a small stream that was read to its end. */
import type { Span } from '../binding';
import type { StorageBytes } from '../tensor/storage';
import { type ByteSource, checkRange, closedError, WIDEST_ITEM_BYTES } from './byte-source';

/**
 * The memory that `detach` took, by the buffer that had it. A thread that still reads it holds on to the buffer only, and
 * memory whose buffer is collected is freed and used again.
 */
const taken = new WeakMap<ArrayBuffer, ArrayBuffer>();

/** Views of the buffer have length 0 from now on, as those of a mapping do; its memory goes with the last of them. */
function detach(buffer: ArrayBuffer): void {
  // A transfer to nowhere is the standard way to detach.
  taken.set(buffer, structuredClone(buffer, { transfer: [buffer] }));
}

export class MemorySource implements ByteSource {
  readonly name: string | undefined;
  readonly file = undefined;
  readonly #bytes: Uint8Array;
  readonly #owned: boolean;
  readonly #within: ByteSource | undefined;
  #closed = false;

  /** `owned`: nobody else has the buffer, so that `close` may detach it. `within`: the source that the bytes came from. */
  constructor(bytes: Uint8Array, name?: string, owned = false, within?: ByteSource) {
    this.#bytes = bytes;
    this.name = name;
    this.#owned = owned;
    this.#within = within;
    // Kept as a number: a detached buffer has length 0.
    this.byteLength = bytes.byteLength;
  }

  readonly byteLength: number;

  get closed(): boolean {
    return this.#closed || (this.#within?.closed ?? false);
  }

  read(byteOffset: number, byteLength: number): Uint8Array {
    if (this.closed) throw closedError(this.name);
    checkRange(this, byteOffset, byteLength);
    return this.#bytes.subarray(byteOffset, byteOffset + byteLength);
  }

  storageBytes(byteOffset: number, byteLength: number, alignment = WIDEST_ITEM_BYTES): StorageBytes {
    const bytes = this.read(byteOffset, byteLength);
    return new HeldBytes(this, bytes, bytes.byteOffset % alignment === 0 || byteLength === 0);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { buffer } = this.#bytes;
    if (this.#owned && buffer instanceof ArrayBuffer) detach(buffer);
  }
}

/** A run of a MemorySource. Where its start is misaligned for its items, what `bytes` gives is an aligned copy. */
class HeldBytes implements StorageBytes {
  readonly byteLength: number;
  readonly zeroCopy: boolean;
  readonly #source: MemorySource;
  readonly #held: Uint8Array;
  #aligned: Uint8Array | undefined;

  constructor(source: MemorySource, held: Uint8Array, aligned: boolean, zeroCopy = aligned) {
    this.#source = source;
    this.#held = held;
    this.byteLength = held.byteLength;
    this.zeroCopy = zeroCopy;
    if (aligned) this.#aligned = held;
  }

  bytes(): Uint8Array {
    if (this.#source.closed) throw closedError(this.#source.name);
    this.#aligned ??= new Uint8Array(this.#held);
    return this.#aligned;
  }

  span(): Span {
    if (this.#source.closed) throw closedError(this.#source.name);
    return this.#aligned ?? this.#held;
  }

  async read(target: Uint8Array, byteOffset: number): Promise<number> {
    const part = (this.span() as Uint8Array).subarray(byteOffset, byteOffset + target.byteLength);
    target.set(part);
    return part.byteLength;
  }

  slice(byteOffset: number, byteLength: number): StorageBytes {
    const part = this.bytes().subarray(byteOffset, byteOffset + byteLength);
    return new HeldBytes(this.#source, part, true, this.zeroCopy);
  }
}
