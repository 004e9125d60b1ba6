/** The storages that a pickle names, where the bytes of some are lost: the others are found as the pickle is read, or later. */
import { isBigEndianUntyped, markBigEndian } from '../container/byte-order';
import { DeferredBytes } from '../container/deferred-bytes';
import { count, keyText, parseStorageId, persistentKind, type StorageId } from '../container/persistent-id';
import { CheckpointError } from '../errors';
import { type PyValue, Tuple } from '../pickle/values';
import { WIDEST_ITEM_BYTES } from '../source/byte-source';
import { MemoryBytes, Storage, type StorageBytes, SwappedBytes } from '../tensor/storage';

/** Why the bytes of a storage are lost, and those from its beginning that are here and as they were. */
export class Loss {
  readonly reason: string;
  /** Undefined where nothing of it can be trusted. */
  readonly part: StorageBytes | undefined;

  constructor(reason: string, part?: StorageBytes) {
    this.reason = reason;
    this.part = part;
  }

  static missing(): Loss {
    return new Loss('missing', NO_BYTES);
  }

  /** `part`: what is here of `needed` bytes. */
  static cutShort(part: StorageBytes, needed: number): Loss {
    return part.byteLength === 0
      ? Loss.missing()
      : new Loss(`cut short: ${part.byteLength} of ${needed} bytes are here`, part);
  }
}

const NO_BYTES = new MemoryBytes(new Uint8Array(0));

/** The bytes of a storage, or how they are lost. */
export type Found = StorageBytes | Loss;

/** A storage that is lost, or a view of one. */
export interface LostStorage {
  readonly key: string;
  readonly reason: string;
  /** The beginning of the storage, in the order of this host; undefined where nothing of it can be trusted. */
  readonly part: StorageBytes | undefined;
}

interface Entry {
  readonly id: StorageId;
  readonly bytes: DeferredBytes;
  /** The storage itself and the views that legacy streams name, each with where it begins. */
  readonly storages: { readonly storage: Storage; readonly byteOffset: number }[];
  lost: Loss | undefined;
}

export class FoundStorages {
  readonly #entries = new Map<string, Entry>();
  readonly #views = new Map<string, Storage>();
  readonly #bigEndian: boolean;
  readonly #find: (id: StorageId) => Found;

  /** `find` is asked once for each key, when the pickle names it first. */
  constructor(find: (id: StorageId) => Found, bigEndian = false) {
    this.#find = find;
    this.#bigEndian = bigEndian;
  }

  /** Resolves a persistent id. */
  load(pid: PyValue): PyValue {
    const kind = persistentKind(pid);
    const items = pid as Tuple;
    if (kind === 'module') return items[1] ?? null;
    if (kind !== 'storage') throw new CheckpointError('PICKLE_CORRUPT', `unknown persistent id ${kind.slice(0, 100)}`);
    const id = parseStorageId(pid);
    const entry = this.#entry(id);
    const view = items[5];
    return view instanceof Tuple ? this.#view(view, entry) : storageOf(entry);
  }

  #entry(id: StorageId): Entry {
    const known = this.#entries.get(id.key);
    if (known) {
      if (known.id.byteLength === id.byteLength) return known;
      throw new CheckpointError('PICKLE_CORRUPT', `storage "${id.key}" has two sizes`);
    }
    const bytes = new DeferredBytes(id.byteLength);
    if (this.#bigEndian && id.untyped) markBigEndian(bytes);
    const storage = new Storage(id.key, id.location, id.dtype, bytes, id.untyped);
    const entry: Entry = { id, bytes, storages: [{ storage, byteOffset: 0 }], lost: undefined };
    this.#entries.set(id.key, entry);
    this.settle(id.key, this.#find(id));
    return entry;
  }

  /** Tells what became of a storage; the last word counts. */
  settle(key: string, found: Found): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    entry.lost = found instanceof Loss ? found : undefined;
    if (!(found instanceof Loss)) entry.bytes.settle(this.#inOrder(found, entry));
  }

  #inOrder(bytes: StorageBytes, entry: Entry): StorageBytes {
    const width = Math.min(entry.id.dtype.swapWidth, WIDEST_ITEM_BYTES);
    if (!this.#bigEndian || width <= 1 || isBigEndianUntyped(storageOf(entry))) return bytes;
    return new SwappedBytes(bytes.slice(0, bytes.byteLength - (bytes.byteLength % width)), width);
  }

  /** `(view_key, offset, view_size)` in elements. */
  #view([viewKey, start, length]: Tuple, { id, bytes, storages }: Entry): Storage {
    const key = keyText(viewKey) ?? '';
    const known = this.#views.get(key);
    if (known) return known;
    const [offset, numel] = [count(start, 'the offset of a view'), count(length, 'the size of a view')];
    if (offset + numel > id.numel) throw new CheckpointError('PICKLE_CORRUPT', `view "${key}" leaves its storage`);
    const { itemsize } = id.dtype;
    const byteOffset = offset * itemsize;
    const part = bytes.slice(byteOffset, numel * itemsize);
    const view = new Storage(key, id.location, id.dtype, part, id.untyped);
    storages.push({ storage: view, byteOffset });
    this.#views.set(key, view);
    return view;
  }

  get(key: string): StorageId | undefined {
    return this.#entries.get(key)?.id;
  }

  /** Storages of which bytes are lost, views of them too. */
  get lost(): Map<Storage, LostStorage> {
    const lost = new Map<Storage, LostStorage>();
    for (const [key, entry] of this.#entries) {
      if (entry.lost === undefined || entry.id.location === 'meta') continue;
      const { reason, part } = entry.lost;
      const whole = part && this.#inOrder(part, entry);
      for (const { storage, byteOffset } of entry.storages)
        lost.set(storage, { key, reason, part: whole && partOf(whole, byteOffset, storage.nbytes) });
    }
    return lost;
  }
}

/** What is here of the view of a storage that has only its beginning. */
export function partOf(whole: StorageBytes, byteOffset: number, byteLength: number): StorageBytes {
  const here = Math.min(byteLength, whole.byteLength - byteOffset);
  return here > 0 ? whole.slice(byteOffset, here) : NO_BYTES;
}

function storageOf({ storages }: Entry): Storage {
  return (storages[0] as (typeof storages)[number]).storage;
}
