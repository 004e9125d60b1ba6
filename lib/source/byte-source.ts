/** Random access to the bytes of one checkpoint, wherever they came from: the ground on which containers are read. */
import type { NativeFile, ZipDirectory } from '../binding';
import { CheckpointError } from '../errors';
import type { StorageBytes } from '../tensor/storage';

/** Every typed array that stands for elements has items of 8 bytes at most (complex128 is pairs of float64). */
export const WIDEST_ITEM_BYTES = 8;

/** A range of a file that typed arrays may lie on. */
export interface Range {
  readonly byteOffset: number;
  readonly byteLength: number;
  /** Item size that views of the range may need: 1, 2, 4 or 8. */
  readonly alignment: number;
}

export interface ByteSource {
  readonly byteLength: number;
  /** The name that errors give: the path or URL as the caller wrote it; undefined for bytes and streams. */
  readonly name: string | undefined;
  /** The open file when there is one, for native code that takes files. */
  readonly file: NativeFile | undefined;
  readonly closed: boolean;
  /** Set where reading is slow and asynchronous: what was learned about a zip when it was opened. */
  readonly remoteZip?: RemoteZip | undefined;
  /**
   * The bytes of a header or pickle; throws TRUNCATED beyond the end. They may be a view of the caller's own bytes,
   * or lie in a longer buffer: copy what outlives the call, and never write to them.
   */
  read(byteOffset: number, byteLength: number): Uint8Array;
  /**
   * The bytes of a storage, without reading them now. Typed arrays over `bytes()` with items of up to `alignment`
   * bytes (a power of two, 8 at most) will be legal.
   */
  storageBytes(byteOffset: number, byteLength: number, alignment?: number): StorageBytes;
  /**
   * Announces storages that `storageBytes` may be asked for later, at any time, also after `close`. Where this is missing,
   * all are asked for at once.
   */
  announceStorages?(ranges: () => Iterable<Range>): void;
  /** Detaches views, lets go of the file, removes a spool file. Idempotent. */
  close(): void;
}

/** A zip whose directory came over the network, as `zipDirectory` of the addon gives it for local ones. */
export interface RemoteZip {
  /** `byteOffset` is -1 for records whose local header was not needed yet. */
  readonly directory: ZipDirectory;
  /** The stored bytes of a record, by its index in the directory. */
  recordBytes(index: number): StorageBytes;
}

/** Throws TRUNCATED unless the range lies inside the source. */
export function checkRange(source: ByteSource, byteOffset: number, byteLength: number): void {
  if (byteOffset >= 0 && byteLength >= 0 && byteOffset + byteLength <= source.byteLength) return;
  throw new CheckpointError(
    'TRUNCATED',
    `unexpected EOF, expected ${byteOffset + byteLength - source.byteLength} more bytes. The file might be corrupted. ` +
      `It has ${source.byteLength} bytes, ${byteOffset + byteLength} are needed`,
    { path: source.name, byteOffset },
  );
}

/** What every use after `close` throws. */
export function closedError(path: string | undefined): CheckpointError {
  return new CheckpointError('CLOSED', 'the checkpoint was closed', {
    path,
    hint: 'read what you need before close(), or copy it',
  });
}
