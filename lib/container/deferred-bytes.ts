/**
 * Bytes whose place in the file is told later.
 *
 * A legacy stream names its storages in the object's pickle, and says where they are behind it; PyTorch too places a
 * storage before its data is there (format.md 3.1). A mapLocation function that looks at bytes gets a clear error.
 */
import type { NativeFile, Span } from '../binding';
import { CheckpointError } from '../errors';
import type { StorageBytes } from '../tensor/storage';

export class DeferredBytes implements StorageBytes {
  readonly byteLength: number;
  #found: StorageBytes | undefined;
  /** Slices that were made before the bytes were found. */
  #slices: { readonly byteOffset: number; readonly bytes: DeferredBytes }[] = [];

  constructor(byteLength: number) {
    this.byteLength = byteLength;
  }

  /** `found` must have `byteLength` bytes. */
  settle(found: StorageBytes): void {
    this.#found = found;
    for (const { byteOffset, bytes } of this.#slices) bytes.settle(found.slice(byteOffset, bytes.byteLength));
    this.#slices = [];
  }

  get name(): string | undefined {
    return this.#found?.name;
  }

  get zeroCopy(): boolean {
    return this.#found?.zeroCopy ?? false;
  }

  bytes(): Uint8Array {
    return this.#demand().bytes();
  }

  span(): Span {
    return this.#demand().span();
  }

  file(): NativeFile | undefined {
    return this.#demand().file?.();
  }

  async read(target: Uint8Array, byteOffset: number): Promise<number> {
    return this.#demand().read(target, byteOffset);
  }

  slice(byteOffset: number, byteLength: number): StorageBytes {
    if (this.#found) return this.#found.slice(byteOffset, byteLength);
    const bytes = new DeferredBytes(byteLength);
    this.#slices.push({ byteOffset, bytes });
    return bytes;
  }

  #demand(): StorageBytes {
    if (this.#found) return this.#found;
    throw new CheckpointError(
      'NO_DATA',
      'the bytes of a storage in a legacy file are not known while the file is being opened',
      {
        hint: 'look at them after load() or open()',
      },
    );
  }
}
