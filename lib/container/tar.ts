/** The tar of PyTorch 0.1: members `storages`, `tensors` and `pickle` (format.md 3.2). */
import { CheckpointError } from '../errors';
import { StorageClass } from '../pickle/rules';
import { type PyValue, Tuple } from '../pickle/values';
import { TAR_REFUSED } from '../pickle/weights-only';
import { type ByteSource, WIDEST_ITEM_BYTES } from '../source/byte-source';
import { checkBounds } from '../tensor/geometry';
import { Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import type { ContainerContents, ReadContext, RecordInfo } from './container';
import { asciiText, count, describe, keyText, ModuleSources, sizedStorage, storageRecord } from './persistent-id';
import { PickleStream } from './pickle-stream';
import type { TarMember } from './tar-members';

/** A tensor's number of dimensions is 32 bits, then 32 bits of padding. */
const PADDING_BYTES = 4;
const MAX_DIMS = 1024;

/** Written before them, and not read: a tar that has it and lacks one of them was cut. */
export const FIRST_TAR_MEMBER = 'sys_info';
export const TAR_MEMBERS = ['storages', 'tensors', 'pickle'] as const;

export function readTar(
  source: ByteSource,
  members: ReadonlyMap<string, TarMember>,
  context: ReadContext,
): ContainerContents {
  if (context.weightsOnly) throw new CheckpointError('WEIGHTS_ONLY', TAR_REFUSED, { path: source.name });
  const tar = new TarReader(source, members, context);
  tar.readStorages();
  tar.readTensors();
  return {
    root: tar.readObject(),
    byteOrder: 'little',
    records: tar.records,
    moduleSources: tar.moduleSources.all,
    writer: '<=0.1',
  };
}

class TarReader {
  readonly records: RecordInfo[] = [];
  readonly moduleSources = new ModuleSources();
  readonly #source: ByteSource;
  readonly #members: ReadonlyMap<string, TarMember>;
  readonly #context: ReadContext;
  /** Storages and tensors share one numbering. */
  readonly #byKey = new Map<string, Storage | Tensor>();

  constructor(source: ByteSource, members: ReadonlyMap<string, TarMember>, context: ReadContext) {
    this.#source = source;
    this.#members = members;
    this.#context = context;
  }

  /** How many, then for each `(key, location, class)`, its size and data; last the list of views. */
  readStorages(): void {
    const record = 'storages';
    const stream = this.#stream(record);
    const total = count(stream.unpickle({ record, plain: true }), 'the number of storages');
    for (let i = 0; i < total; i++) {
      const [key, location, storageClass] = this.#triple(stream.unpickle({ record, plain: true }), record);
      const where = asciiText(location);
      if (!(storageClass instanceof StorageClass) || where === undefined)
        throw this.#corrupt(`a storage is described by a key, a location and a storage class`, record);
      const numel = stream.readCount(`the size of storage ${describe(key)}`);
      const id = sizedStorage(storageClass, this.#key(key, record), where, numel);
      const byteOffset = stream.skip(id.byteLength, `storage "${id.key}"`);
      const alignment = id.untyped ? WIDEST_ITEM_BYTES : id.dtype.swapWidth;
      const bytes = this.#source.storageBytes(byteOffset, id.byteLength, alignment);
      this.#add(id.key, this.#context.place(new Storage(id.key, where, id.dtype, bytes, id.untyped)), record);
      this.records.push(storageRecord(id, byteOffset));
    }
    const views = stream.unpickle({ record, plain: true });
    if (!Array.isArray(views)) throw this.#corrupt(`a list of views was expected, found ${describe(views)}`, record);
    for (const view of views as PyValue[]) this.#addView(view, record);
  }

  /** `(key, root key, offset, numel)` in elements. */
  #addView(view: PyValue, record: string): void {
    if (!(view instanceof Tuple) || view.length !== 4)
      throw this.#corrupt(`a view is four numbers, found ${describe(view)}`, record);
    const key = this.#key(view[0], record);
    const root = this.#byKey.get(this.#key(view[1], record));
    if (!(root instanceof Storage))
      throw this.#corrupt(`view "${key}" is of storage ${describe(view[1])}, which is not there`, record);
    const { itemsize } = root.dtype;
    const start = count(view[2], `the offset of view "${key}"`) * itemsize;
    const byteLength = count(view[3], `the size of view "${key}"`) * itemsize;
    if (!(start + byteLength <= root.nbytes)) {
      throw this.#corrupt(
        `view "${key}" ends at byte ${start + byteLength} of storage "${root.key}", which has ${root.nbytes}`,
        record,
      );
    }
    this.#add(
      key,
      new Storage(key, root.location, root.dtype, root.source.slice(start, byteLength), root.untyped),
      record,
    );
  }

  /** How many, then for each `(key, storage key, class)`, dimensions, sizes, strides and offset. */
  readTensors(): void {
    const record = 'tensors';
    const stream = this.#stream(record);
    const total = count(stream.unpickle({ record, plain: true }), 'the number of tensors');
    for (let i = 0; i < total; i++) {
      const [key, storageKey] = this.#triple(stream.unpickle({ record }), record);
      const storage = this.#byKey.get(this.#key(storageKey, record));
      if (!(storage instanceof Storage))
        throw this.#corrupt(
          `tensor ${describe(key)} is on storage ${describe(storageKey)}, which is not there`,
          record,
        );
      const ndim = stream.readInt32();
      if (ndim < 0 || ndim > MAX_DIMS) throw this.#corrupt(`tensor ${describe(key)} has ${ndim} dimensions`, record);
      stream.skip(PADDING_BYTES, 'padding');
      const shape = Array.from({ length: ndim }, () => stream.readCount('a size'));
      const stride = Array.from({ length: ndim }, () => stream.readCount('a stride'));
      const storageOffset = stream.readCount('a storage offset');
      checkBounds(storage.nbytes, storage.dtype, shape, stride, storageOffset);
      this.#add(
        this.#key(key, record),
        new Tensor(storage, storage.dtype, shape, stride, storageOffset, false),
        record,
      );
    }
  }

  /** Persistent ids are the keys above, or `(class, source file, source text)` of a module's class. */
  readObject(): PyValue {
    const record = 'pickle';
    return this.#stream(record).unpickle({
      record,
      persistentLoad: (pid) => {
        if (pid instanceof Tuple) return this.moduleSources.load(pid);
        const found = this.#byKey.get(keyText(pid) ?? '');
        if (found) return found;
        throw this.#corrupt(`persistent id ${describe(pid)} is neither a tensor nor a storage`, record);
      },
    });
  }

  #stream(name: (typeof TAR_MEMBERS)[number]): PickleStream {
    const { byteOffset, byteLength } = this.#members.get(name) as TarMember;
    return new PickleStream(this.#source, this.#context, byteOffset, byteOffset + byteLength);
  }

  #triple(value: PyValue, record: string): Tuple {
    if (value instanceof Tuple && value.length === 3) return value;
    throw this.#corrupt(`a tuple of three was expected, found ${describe(value)}`, record);
  }

  #key(value: PyValue | undefined, record: string): string {
    const key = keyText(value);
    if (key !== undefined) return key;
    throw this.#corrupt(`a key must be a number, found ${describe(value)}`, record);
  }

  #add(key: string, value: Storage | Tensor, record: string): void {
    if (this.#byKey.has(key)) throw this.#corrupt(`key "${key}" stands for two things`, record);
    this.#byKey.set(key, value);
  }

  #corrupt(what: string, record: string): CheckpointError {
    return new CheckpointError('LEGACY_CORRUPT', what, { path: this.#source.name, record });
  }
}
