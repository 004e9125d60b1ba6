/** The storages that a pickle names, where the bytes of some are lost: the others are found as the pickle is read, or later. */
import { isBigEndianUntyped, markBigEndian } from '../container/byte-order';
import { DeferredBytes } from '../container/deferred-bytes';
import { count, keyText, parseStorageId, persistentKind, type StorageId } from '../container/persistent-id';
import { CheckpointError } from '../errors';
import { type PyValue, Tuple } from '../pickle/values';
import { WIDEST_ITEM_BYTES } from '../source/byte-source';
import { Storage, type StorageBytes, SwappedBytes } from '../tensor/storage';

/** The bytes of a storage, or why they are lost. */
export type Found = StorageBytes | string;

interface Entry {
  readonly id: StorageId;
  readonly bytes: DeferredBytes;
  /** The storage itself and the views that legacy streams name. */
  readonly storages: Storage[];
  lost: string | undefined;
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
    return view instanceof Tuple ? this.#view(view, entry) : (entry.storages[0] as Storage);
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
    const entry: Entry = { id, bytes, storages: [storage], lost: undefined };
    this.#entries.set(id.key, entry);
    this.settle(id.key, this.#find(id));
    return entry;
  }

  /** Tells what became of a storage; the last word counts. */
  settle(key: string, found: Found): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    if (typeof found === 'string') {
      entry.lost = found;
      return;
    }
    entry.lost = undefined;
    const { id, bytes, storages } = entry;
    const width = id.dtype.swapWidth;
    const isSwapped = this.#bigEndian && width > 1 && !isBigEndianUntyped(storages[0] as Storage);
    bytes.settle(isSwapped ? new SwappedBytes(found, Math.min(width, WIDEST_ITEM_BYTES)) : found);
  }

  /** `(view_key, offset, view_size)` in elements. */
  #view([viewKey, start, length]: Tuple, { id, bytes, storages }: Entry): Storage {
    const key = keyText(viewKey) ?? '';
    const known = this.#views.get(key);
    if (known) return known;
    const [offset, numel] = [count(start, 'the offset of a view'), count(length, 'the size of a view')];
    if (offset + numel > id.numel) throw new CheckpointError('PICKLE_CORRUPT', `view "${key}" leaves its storage`);
    const { itemsize } = id.dtype;
    const part = bytes.slice(offset * itemsize, numel * itemsize);
    const view = new Storage(key, id.location, id.dtype, part, id.untyped);
    storages.push(view);
    this.#views.set(key, view);
    return view;
  }

  get(key: string): StorageId | undefined {
    return this.#entries.get(key)?.id;
  }

  /** Storages without bytes, views of them too, each with its key and the reason. */
  get lost(): Map<Storage, { readonly key: string; readonly reason: string }> {
    const lost = new Map<Storage, { key: string; reason: string }>();
    for (const [key, { lost: reason, storages, id }] of this.#entries) {
      if (reason === undefined || id.location === 'meta') continue;
      for (const storage of storages) lost.set(storage, { key, reason });
    }
    return lost;
  }
}
