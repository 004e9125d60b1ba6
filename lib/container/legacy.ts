/**
 * The stream of torch.save before PyTorch 1.6: five pickles, then the storages (format.md 3.1).
 *
 * Magic number, protocol version, system info, the object, and the sorted list of storage keys; then for each key the
 * number of elements and the raw little-endian data.
 */
import { CheckpointError } from '../errors';
import { type PyValue, Tuple } from '../pickle/values';
import { type ByteSource, WIDEST_ITEM_BYTES } from '../source/byte-source';
import { Storage } from '../tensor/storage';
import type { ContainerContents, ReadContext, RecordInfo } from './container';
import { DeferredBytes } from './deferred-bytes';
import {
  count,
  describe,
  keyText,
  ModuleSources,
  parseStorageId,
  persistentKind,
  type StorageId,
  storageRecord,
} from './persistent-id';
import { PickleStream } from './pickle-stream';

/** torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION. */
const MAGIC_NUMBER = 0x1950a86a20f9469cfc6cn;
const PROTOCOL_VERSION = 1001;
/** Bytes of the element count before each storage. */
const COUNT_BYTES = 8;

export interface LegacyOptions {
  readonly byteOffset?: number;
  /** Put before keys: of a checkpoint inside another one. */
  readonly keyPrefix?: string;
}

export function readLegacy(source: ByteSource, context: ReadContext, options: LegacyOptions = {}): ContainerContents {
  const { byteOffset = 0, keyPrefix = '' } = options;
  const stream = new PickleStream(source, context, byteOffset);
  const fail = (what: string): CheckpointError =>
    new CheckpointError('LEGACY_CORRUPT', what, { path: source.name, byteOffset: stream.position });
  if (stream.unpickle({ plain: true }) !== MAGIC_NUMBER) throw fail('Invalid magic number; corrupt file?');
  const version = stream.unpickle({ plain: true });
  if (version !== PROTOCOL_VERSION) throw fail(`Invalid protocol version: ${describe(version)}`);
  // System info: never consulted, by PyTorch neither.
  stream.unpickle({ plain: true });
  const storages = new LegacyStorages(source, context, keyPrefix);
  const root = stream.unpickle({ persistentLoad: (pid) => storages.load(pid) });
  const keys = stream.unpickle({ plain: true });
  if (!Array.isArray(keys)) throw fail(`a list of storage keys was expected, found ${describe(keys)}`);
  const records = storages.readData(keys, stream);
  return {
    root,
    byteOrder: 'little',
    formatVersion: String(PROTOCOL_VERSION),
    records,
    moduleSources: storages.moduleSources.all,
    byteEnd: stream.position,
  };
}

interface LegacyStorage {
  readonly id: StorageId;
  readonly bytes: DeferredBytes;
  readonly placed: Storage;
  settled: boolean;
}

class LegacyStorages {
  readonly moduleSources = new ModuleSources();
  readonly #source: ByteSource;
  readonly #context: ReadContext;
  readonly #keyPrefix: string;
  readonly #byKey = new Map<string, LegacyStorage>();
  readonly #views = new Map<string, Storage>();

  constructor(source: ByteSource, context: ReadContext, keyPrefix: string) {
    this.#source = source;
    this.#context = context;
    this.#keyPrefix = keyPrefix;
  }

  /** Resolves a persistent id of the object's pickle. */
  load(pid: PyValue): PyValue {
    const kind = persistentKind(pid);
    const items = pid as Tuple;
    if (kind === 'module') return this.moduleSources.load(items.slice(1));
    if (kind !== 'storage') throw this.#corrupt(`Unknown saved id type: ${kind.slice(0, 100)}`);
    const id = parseStorageId(pid);
    const root = this.#root(id);
    const view = items[5];
    return view === undefined || view === null ? root.placed : this.#view(view, id, root);
  }

  #root(id: StorageId): LegacyStorage {
    const known = this.#byKey.get(id.key);
    if (known) {
      if (known.id.byteLength === id.byteLength) return known;
      throw this.#corrupt(
        `storage "${id.key}" has ${known.id.byteLength} bytes at its first mention and ${id.byteLength} at a later one`,
      );
    }
    const bytes = new DeferredBytes(id.byteLength);
    const placed = this.#context.place(new Storage(this.#keyPrefix + id.key, id.location, id.dtype, bytes, id.untyped));
    const root = { id, bytes, placed, settled: false };
    this.#byKey.set(id.key, root);
    return root;
  }

  /** `(view_key, offset, view_size)` in elements: a part of the root storage under a key of its own. */
  #view(metadata: PyValue, id: StorageId, root: LegacyStorage): Storage {
    if (!(metadata instanceof Tuple) || metadata.length !== 3) {
      throw this.#corrupt(`view metadata of storage "${id.key}" must be a triple, found ${describe(metadata)}`);
    }
    const key = keyText(metadata[0]);
    if (key === undefined) throw this.#corrupt(`the key of a view must be a string, found ${describe(metadata[0])}`);
    const known = this.#views.get(key);
    if (known) return known;
    const offset = count(metadata[1], `the offset of view "${key}"`);
    const numel = count(metadata[2], `the size of view "${key}"`);
    if (offset + numel > id.numel) {
      throw this.#corrupt(
        `view "${key}" ends at element ${offset + numel} of storage "${id.key}", which has ${id.numel}`,
      );
    }
    const { itemsize } = id.dtype;
    const part = root.placed.source.slice(offset * itemsize, numel * itemsize);
    const view = new Storage(this.#keyPrefix + key, root.placed.location, id.dtype, part, id.untyped);
    this.#views.set(key, view);
    return view;
  }

  /** Finds the data of every storage; `stream` stands behind the list of keys. */
  readData(keys: readonly PyValue[], stream: PickleStream): RecordInfo[] {
    this.#checkLength(keys.length, stream.position);
    const records: RecordInfo[] = [];
    for (const item of keys) {
      const key = keyText(item);
      const storage = key === undefined ? undefined : this.#byKey.get(key);
      if (!storage) throw this.#corrupt(`storage ${describe(item)} has data, but the object does not mention it`);
      if (storage.settled) throw this.#corrupt(`storage "${key}" has data twice`);
      const { id } = storage;
      const numel = stream.readCount(`the size of storage "${key}"`);
      if (numel !== id.numel) {
        const { itemsize } = id.dtype;
        throw this.#corrupt(
          `storage "${key}" has wrong byte size: expected ${id.byteLength} got ${numel * itemsize}`,
          stream.position - COUNT_BYTES,
        );
      }
      const byteOffset = stream.skip(id.byteLength, `storage "${key}"`);
      const alignment = id.untyped ? WIDEST_ITEM_BYTES : id.dtype.swapWidth;
      storage.bytes.settle(this.#source.storageBytes(byteOffset, id.byteLength, alignment));
      storage.settled = true;
      records.push(storageRecord(id, byteOffset));
    }
    for (const [key, { settled }] of this.#byKey)
      if (!settled) throw this.#corrupt(`storage "${key}" is mentioned, but its data is missing`);
    return records;
  }

  /** All sizes are known by now, so a file that was cut short can be told its whole length. */
  #checkLength(keyCount: number, position: number): void {
    let expected = position + keyCount * COUNT_BYTES;
    for (const { id } of this.#byKey.values()) expected += id.byteLength;
    const { byteLength, name } = this.#source;
    if (byteLength >= expected) return;
    throw new CheckpointError(
      'TRUNCATED',
      `unexpected EOF, expected ${expected - byteLength} more bytes. The file might be corrupted. It has ${byteLength} bytes of ${expected}`,
      { path: name },
    );
  }

  #corrupt(what: string, byteOffset?: number): CheckpointError {
    return new CheckpointError('LEGACY_CORRUPT', what, { path: this.#source.name, byteOffset });
  }
}
