/** Short reads that stand close together, taken from one long read: a scan looks at the head of every record of a file. */
import type { ByteSource } from './byte-source';

/** A read of this length costs little more than one of 64 bytes, and less than two. */
const WINDOW_BYTES = 1 << 16;
/** Longer reads are made as they are. */
const MAX_SHORT_BYTES = 1 << 12;

export class ReadAhead implements ByteSource {
  readonly byteLength: number;
  readonly name: string | undefined;
  readonly file: ByteSource['file'];
  readonly #source: ByteSource;
  #window: Uint8Array = new Uint8Array();
  #windowStart = 0;

  /** The source stays the caller's to close. */
  constructor(source: ByteSource) {
    this.#source = source;
    this.byteLength = source.byteLength;
    this.name = source.name;
    this.file = source.file;
  }

  get closed(): boolean {
    return this.#source.closed;
  }

  read(byteOffset: number, byteLength: number): Uint8Array {
    const end = byteOffset + byteLength;
    if (byteLength > MAX_SHORT_BYTES || byteOffset < 0 || end > this.byteLength)
      return this.#source.read(byteOffset, byteLength);
    if (byteOffset < this.#windowStart || end > this.#windowStart + this.#window.byteLength) {
      this.#window = this.#source.read(byteOffset, Math.min(WINDOW_BYTES, this.byteLength - byteOffset));
      this.#windowStart = byteOffset;
    }
    return this.#window.subarray(byteOffset - this.#windowStart, end - this.#windowStart);
  }

  storageBytes(byteOffset: number, byteLength: number, alignment?: number): ReturnType<ByteSource['storageBytes']> {
    return this.#source.storageBytes(byteOffset, byteLength, alignment);
  }

  close(): void {
    this.#source.close();
  }
}
