/** Storages of a zip: one `Storage` per record, however often and from however many pickles it is mentioned. */
import { CheckpointError } from '../errors';
import type { PyValue } from '../pickle/values';
import { WIDEST_ITEM_BYTES } from '../source/byte-source';
import { MetaBytes, Storage, type StorageBytes, SwappedBytes } from '../tensor/storage';
import { markBigEndian } from './byte-order';
import type { ReadContext } from './container';
import { className, parseStorageId, persistentKind, type StorageId } from './persistent-id';
import type { ZipArchive } from './zip-archive';

/** Where the storages of `data.pkl` are; their names in listings go without it. */
export const DATA_FOLDER = 'data/';

export class ZipStorages {
  readonly #archive: ZipArchive;
  readonly #context: ReadContext;
  readonly #bigEndian: boolean;
  /** Put before keys: of a checkpoint inside another one. */
  readonly #keyPrefix: string;
  /** By place in the directory, or by name without one: as in the file, and where it was placed if that is another one. */
  readonly #byRecord = new Map<number | string, Storage>();
  readonly #placed = new Map<Storage, Storage>();

  constructor(archive: ZipArchive, context: ReadContext, bigEndian: boolean, keyPrefix = '') {
    this.#archive = archive;
    this.#context = context;
    this.#bigEndian = bigEndian;
    this.#keyPrefix = keyPrefix;
  }

  /** Resolves a persistent id. `folders` are searched in order for the record of its key. */
  load(pid: PyValue, folders: readonly string[]): Storage {
    const kind = persistentKind(pid);
    if (kind !== 'storage') {
      const what = `Unknown typename for persistent_load, expected 'storage' but got '${kind.slice(0, 100)}'`;
      throw new CheckpointError('PICKLE_CORRUPT', what, { path: this.#archive.source.name });
    }
    const id = parseStorageId(pid);
    const folder = folders.find((name) => this.#archive.folder(name).has(id.key)) ?? (folders[0] as string);
    const index = this.#archive.folder(folder).get(id.key);
    const place = index ?? folder + id.key;
    const known = this.#byRecord.get(place);
    if (known) {
      if (known.nbytes !== id.byteLength) this.#refuseSize(id, folder, known.nbytes);
      // PyTorch caches a storage by its data pointer, which an empty one lacks: it is placed at each mention.
      return known.nbytes === 0 ? this.#context.place(known) : (this.#placed.get(known) ?? known);
    }
    const key =
      folder === DATA_FOLDER && this.#keyPrefix === ''
        ? id.key
        : this.#keyPrefix + (folder === DATA_FOLDER ? '' : folder) + id.key;
    const made = new Storage(key, id.location, id.dtype, this.#bytes(id, folder, index), id.untyped);
    const placed = this.#context.place(made);
    this.#byRecord.set(place, made);
    if (placed !== made) this.#placed.set(made, placed);
    return placed;
  }

  #bytes(id: StorageId, folder: string, index: number | undefined): StorageBytes {
    // Storages on the meta device have a size only; a record of theirs may be missing.
    if (id.location === 'meta' && index === undefined) return new MetaBytes(id.byteLength);
    const byteLength =
      index === undefined
        ? this.#archive.byteLength(folder + id.key)
        : (this.#archive.directory.byteLength[index] as number);
    if (byteLength !== id.byteLength) this.#refuseSize(id, folder, byteLength);
    const width = id.untyped ? WIDEST_ITEM_BYTES : Math.min(id.dtype.swapWidth, WIDEST_ITEM_BYTES);
    const bytes = this.#archive.bytesAt(index as number, folder + id.key, width);
    if (!this.#bigEndian || (!id.untyped && width === 1)) return bytes;
    if (!id.untyped) return new SwappedBytes(bytes, width);
    markBigEndian(bytes);
    return bytes;
  }

  /** PyTorch 2.13's check; before it, a short record was read beyond its end (format.md 9). */
  #refuseSize(id: StorageId, folder: string, byteLength: number): never {
    throw new CheckpointError(
      'TENSOR_CORRUPT',
      `record size (${byteLength} bytes) does not match expected size (${id.byteLength} bytes = ${id.numel} elements * ` +
        `${id.dtype.itemsize} bytes/element) for dtype ${className(id)}`,
      { path: this.#archive.source.name, record: folder + id.key },
    );
  }
}
