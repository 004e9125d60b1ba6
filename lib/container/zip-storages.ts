/** Storages of a zip: one `Storage` per record, however often and from however many pickles it is mentioned. */
import type { DType } from '../dtype';
import { CheckpointError } from '../errors';
import type { NumberedStorages, PlainWindow, StorageClass } from '../pickle/rules';
import type { PyValue, Tuple } from '../pickle/values';
import { type Range, WIDEST_ITEM_BYTES } from '../source/byte-source';
import { MetaBytes, Storage, type StorageBytes, SwappedBytes } from '../tensor/storage';
import { TensorForm } from '../tensor/tensor';
import { markBigEndian } from './byte-order';
import type { ReadContext } from './container';
import { className, parseStorageId, persistentKind, type StorageId } from './persistent-id';
import type { RecordFolder } from './record-names';
import type { ZipArchive } from './zip-archive';

/** Where the storages of `data.pkl` are; their names in listings go without it. */
export const DATA_FOLDER = 'data/';

/** What storages of one kind have in common. */
interface Kind {
  readonly storageClass: StorageClass;
  readonly location: string;
}

/** A kind is a byte for each storage; a file with more of them than bytes can tell makes its storages at once. */
const MAX_KINDS = 256;

/** Places for forms of tensors that were met; a place that is taken is taken over. */
const FORM_PLACES = 1024;

/** The item size that views of a storage may need. */
function alignmentOf({ dtype, untyped }: { readonly dtype: DType; readonly untyped: boolean }): number {
  return untyped ? WIDEST_ITEM_BYTES : Math.min(dtype.swapWidth, WIDEST_ITEM_BYTES);
}

export class ZipStorages implements NumberedStorages {
  readonly #archive: ZipArchive;
  readonly #data: RecordFolder;
  readonly #context: ReadContext;
  readonly #bigEndian: boolean;
  /** Put before keys: of a checkpoint inside another one. */
  readonly #keyPrefix: string;
  /** By place in the directory, or by name without one: as in the file, and where it was placed if that is another one. */
  readonly #byRecord = new Map<number | string, Storage>();
  readonly #placed = new Map<Storage, Storage>();
  /** By place in the directory: the key plus 1 of a storage that is made when asked for, else 0; and its kind. */
  readonly #keys: Uint32Array;
  readonly #kinds: Uint8Array;
  readonly #kindsKnown: Kind[] = [];
  readonly #forms: (TensorForm | undefined)[] = [];
  #shelved = 0;

  constructor(archive: ZipArchive, context: ReadContext, bigEndian: boolean, keyPrefix = '') {
    this.#archive = archive;
    this.#data = archive.folder(DATA_FOLDER);
    this.#context = context;
    this.#bigEndian = bigEndian;
    this.#keyPrefix = keyPrefix;
    this.#keys = new Uint32Array(archive.directory.byteLength.length);
    this.#kinds = new Uint8Array(archive.directory.byteLength.length);
  }

  /** Resolves a persistent id. `folders` are searched in order for the record of its key. */
  load(pid: PyValue, folders: readonly string[]): Storage {
    const kind = persistentKind(pid);
    if (kind !== 'storage') {
      const what = `Unknown typename for persistent_load, expected 'storage' but got '${kind.slice(0, 100)}'`;
      throw new CheckpointError('PICKLE_CORRUPT', what, { path: this.#archive.source.name });
    }
    const id = parseStorageId(pid);
    // A sixth is the view of legacy streams.
    const { length } = pid as Tuple;
    if (length !== 5) throw new CheckpointError('PICKLE_CORRUPT', `a storage id has 5 items, found ${length}`);
    return this.#storage(id, folders);
  }

  /** For records that are plain: what they hold is known from the directory, and placing one only names its location. */
  find(storageClass: StorageClass, key: number, location: string, numel: number): number {
    const { directory, source } = this.#archive;
    const place = this.#data.at(key);
    if (place === undefined || !source.announceStorages || this.#bigEndian || this.#byRecord.has(place)) return -1;
    const byteLength = directory.byteLength[place] as number;
    // The long way says what is wrong.
    if (byteLength === 0 || byteLength !== numel * storageClass.dtype.itemsize || !this.#archive.isPlain(place))
      return -1;
    if (this.#keys[place] !== 0) return place;
    const target = this.#context.plainPlacement(location);
    if (target === undefined || location === 'meta') return -1;
    const kind = this.#kindOf(storageClass, target);
    if (kind === MAX_KINDS) return -1;
    if (this.#shelved++ === 0) source.announceStorages(() => this.#ranges());
    this.#keys[place] = key + 1;
    this.#kinds[place] = kind;
    return place;
  }

  formAt(place: number, { shape, stride, dimsHash }: PlainWindow): TensorForm {
    const { dtype } = this.#kindAt(place).storageClass;
    const at = (dimsHash + (this.#kinds[place] as number)) & (FORM_PLACES - 1);
    const known = this.#forms[at];
    if (known !== undefined && known.dtype === dtype && known.shape === shape && known.stride === stride) return known;
    const made = new TensorForm(this, dtype, shape, stride);
    this.#forms[at] = made;
    return made;
  }

  nbytesAt(place: number): number {
    return this.#archive.directory.byteLength[place] as number;
  }

  storageAt(place: number): Storage {
    const known = this.#byRecord.get(place);
    if (known) return known;
    const { storageClass, location } = this.#kindAt(place);
    const key = String((this.#keys[place] as number) - 1);
    const bytes = this.#archive.bytesAt(place, DATA_FOLDER + key, alignmentOf(storageClass));
    const made = new Storage(this.#keyPrefix + key, location, storageClass.dtype, bytes, storageClass.untyped);
    this.#byRecord.set(place, made);
    return made;
  }

  #kindAt(place: number): Kind {
    return this.#kindsKnown[this.#kinds[place] as number] as Kind;
  }

  /** The number of a kind; MAX_KINDS when there is none left. */
  #kindOf(storageClass: StorageClass, location: string): number {
    const known = this.#kindsKnown;
    let kind = 0;
    while (kind < known.length && (known[kind]?.storageClass !== storageClass || known[kind]?.location !== location))
      kind++;
    if (kind === known.length && kind < MAX_KINDS) known.push({ storageClass, location });
    return kind;
  }

  *#ranges(): Iterable<Range> {
    const { byteOffset, byteLength } = this.#archive.directory;
    for (let place = 0; place < this.#keys.length; place++) {
      if (this.#keys[place] === 0) continue;
      const alignment = alignmentOf(this.#kindAt(place).storageClass);
      yield { byteOffset: byteOffset[place] as number, byteLength: byteLength[place] as number, alignment };
    }
  }

  #storage(id: StorageId, folders: readonly string[]): Storage {
    const folder = folders.find((name) => this.#archive.folder(name).has(id.key)) ?? (folders[0] as string);
    const index = this.#archive.folder(folder).get(id.key);
    const shelved = index !== undefined && this.#keys[index] !== 0 ? this.storageAt(index) : undefined;
    const known = shelved ?? this.#byRecord.get(index ?? folder + id.key);
    if (known) {
      if (known.nbytes !== id.byteLength) this.#refuseSize(id, folder, known.nbytes);
      // PyTorch caches a storage by its data pointer, which an empty one lacks: it is placed at each mention.
      return known.nbytes === 0 ? this.#context.place(known) : (this.#placed.get(known) ?? known);
    }
    return this.#make(id, folder, index);
  }

  #make(id: StorageId, folder: string, index: number | undefined): Storage {
    const key =
      folder === DATA_FOLDER && this.#keyPrefix === ''
        ? id.key
        : this.#keyPrefix + (folder === DATA_FOLDER ? '' : folder) + id.key;
    const made = new Storage(key, id.location, id.dtype, this.#bytes(id, folder, index), id.untyped);
    const placed = this.#context.place(made);
    this.#byRecord.set(index ?? folder + id.key, made);
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
    const width = alignmentOf(id);
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
