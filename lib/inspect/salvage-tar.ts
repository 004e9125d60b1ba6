/**
 * What is left of the tar of PyTorch 0.1 (format.md 3.2): its member `storages`, which comes last, is read up to where it
 * ends; `pickle` and `tensors` must be whole, for without them no storage has a name.
 */
import { asciiText, count, keyText, sizedStorage } from '../container/persistent-id';
import { PickleStream } from '../container/pickle-stream';
import { TAR_MEMBERS } from '../container/tar';
import { type TarMember, tarMembersUpTo } from '../container/tar-members';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { readContext } from '../load';
import { StorageClass } from '../pickle/rules';
import { PyGlobal, type PyValue, Tuple } from '../pickle/values';
import { type ByteSource, WIDEST_ITEM_BYTES } from '../source/byte-source';
import { checkBounds } from '../tensor/geometry';
import { MetaBytes, Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { Loss, partOf } from './found-storages';
import { type Lost, nothing, type Remains, reading } from './remains';
import { bytesAt } from './salvage-stream';
import { dangerousNames } from './unsafe';

/** A tensor's number of dimensions is 32 bits, then 32 bits of padding. */
const PADDING_BYTES = 4;
const MAX_DIMS = 1024;

export function remainsOfTar(source: ByteSource): Remains {
  const members = new Map(tarMembersUpTo(source).map((member) => [member.name, member]));
  const missing = TAR_MEMBERS.find((name) => name !== 'storages' && !members.has(name));
  if (missing !== undefined) return nothing(`its member "${missing}", which names the tensors, is missing`);
  const tar = new TornTar(source, members);
  const root = reading(() => ({ value: tar.readObject() }));
  if (typeof root === 'string') return nothing(`its pickles, which name the tensors, cannot be read: ${root}`);
  const [dangerous] = dangerousNames(tar.context.globals);
  if (dangerous !== undefined) return nothing(`it names ${dangerous}, which would run in Python`);
  return { graph: { root: root.value, lost: tar.lost } };
}

class TornTar {
  readonly context: ReturnType<typeof readContext>;
  readonly lost = new Map<Storage, Lost>();
  readonly #source: ByteSource;
  readonly #members: ReadonlyMap<string, TarMember>;
  /** Storages and tensors share one numbering. */
  readonly #byKey = new Map<string, Storage | Tensor>();

  constructor(source: ByteSource, members: ReadonlyMap<string, TarMember>) {
    this.context = readContext(source);
    this.#source = source;
    this.#members = members;
  }

  readObject(): PyValue {
    // What stands behind the cut is found missing when a tensor asks for it.
    if (this.#members.has('storages')) reading(() => this.#readStorages());
    this.#readTensors();
    return this.#stream('pickle').unpickle({
      record: 'pickle',
      persistentLoad: (pid) => {
        if (pid instanceof Tuple) return pid[0] ?? null;
        const found = this.#byKey.get(keyText(pid) ?? '');
        if (found) return found;
        throw new CheckpointError('LEGACY_CORRUPT', 'a persistent id is neither a tensor nor a storage');
      },
    });
  }

  /** For each `(key, location, class)` its size and data; last the views, as `(key, root key, offset, numel)`. */
  #readStorages(): this {
    const stream = this.#stream('storages');
    const total = count(stream.unpickle({ plain: true }), 'the number of storages');
    for (let i = 0; i < total; i++) {
      const [key, location, storageClass] = this.#tuple(stream.unpickle({ plain: true }));
      if (!(storageClass instanceof StorageClass))
        throw new CheckpointError('LEGACY_CORRUPT', 'a storage has no storage class');
      const numel = stream.readCount('the size of a storage');
      const id = sizedStorage(storageClass, keyText(key) ?? '', asciiText(location) ?? 'cpu', numel);
      const found = bytesAt(this.#source, stream.position, id.byteLength, WIDEST_ITEM_BYTES);
      const bytes = found instanceof Loss ? new MetaBytes(id.byteLength) : found;
      const storage = new Storage(id.key, id.location, id.dtype, bytes, id.untyped);
      this.#byKey.set(id.key, storage);
      if (found instanceof Loss) this.#lose(storage, found);
      stream.skip(id.byteLength, 'a storage');
    }
    const views = stream.unpickle({ plain: true });
    for (const view of Array.isArray(views) ? (views as PyValue[]) : []) this.#addView(this.#tuple(view));
    return this;
  }

  #addView([key, rootKey, offset, numel]: Tuple): void {
    const root = this.#byKey.get(keyText(rootKey) ?? '');
    if (!(root instanceof Storage)) return;
    const { itemsize } = root.dtype;
    const start = count(offset, 'the offset of a view') * itemsize;
    const byteLength = count(numel, 'the size of a view') * itemsize;
    if (!(start + byteLength <= root.nbytes)) return;
    const name = keyText(key) ?? '';
    const view = new Storage(name, root.location, root.dtype, root.source.slice(start, byteLength), root.untyped);
    this.#byKey.set(name, view);
    const lost = this.lost.get(root);
    if (lost) this.#lose(view, new Loss(lost.reason, lost.part && partOf(lost.part, start, byteLength)));
  }

  /** For each `(key, storage key, class)` its dimensions, sizes, strides and offset. */
  #readTensors(): void {
    const stream = this.#stream('tensors');
    const total = count(stream.unpickle({ plain: true }), 'the number of tensors');
    for (let i = 0; i < total; i++) {
      const [key, storageKey, tensorClass] = this.#tuple(stream.unpickle({}));
      const ndim = stream.readInt32();
      if (ndim < 0 || ndim > MAX_DIMS) throw new CheckpointError('LEGACY_CORRUPT', `a tensor has ${ndim} dimensions`);
      stream.skip(PADDING_BYTES, 'padding');
      const shape = Array.from({ length: ndim }, () => stream.readCount('a size'));
      const stride = Array.from({ length: ndim }, () => stream.readCount('a stride'));
      const storageOffset = stream.readCount('a storage offset');
      const last = shape.reduce((sum, size, d) => sum + (size - 1) * (stride[d] as number), storageOffset);
      const numel = shape.includes(0) ? 0 : last + 1;
      const storage = this.#storage(keyText(storageKey) ?? '', tensorClass, numel);
      checkBounds(storage.nbytes, storage.dtype, shape, stride, storageOffset);
      const tensor = new Tensor(storage, storage.dtype, shape, stride, storageOffset, false);
      this.#byKey.set(keyText(key) ?? '', tensor);
    }
  }

  /** Of a storage behind the cut nothing is known but the class of its tensors, and how far this one reaches. */
  #storage(key: string, tensorClass: PyValue | undefined, numel: number): Storage {
    const known = this.#byKey.get(key);
    if (known instanceof Storage && (known.nbytes >= numel * known.dtype.itemsize || !this.lost.has(known)))
      return known;
    const name = tensorClass instanceof PyGlobal ? (tensorClass.global.split('.').at(-1) as string) : '';
    const dtype = DTYPES.get(name.replace(/Tensor$/, 'Storage'));
    if (!dtype || !Number.isSafeInteger(numel * dtype.itemsize))
      throw new CheckpointError('LEGACY_CORRUPT', `a tensor is of the class ${name}, which is none`);
    const storage = new Storage(key, 'cpu', dtype, new MetaBytes(numel * dtype.itemsize));
    this.#byKey.set(key, storage);
    this.#lose(storage, Loss.missing());
    return storage;
  }

  #lose(storage: Storage, { reason, part }: Loss): void {
    this.lost.set(storage, { record: storage.key, reason, part });
  }

  #stream(name: (typeof TAR_MEMBERS)[number]): PickleStream {
    const { byteOffset, byteLength } = this.#members.get(name) as TarMember;
    const end = Math.min(byteOffset + byteLength, this.#source.byteLength);
    return new PickleStream(this.#source, this.context, byteOffset, end);
  }

  #tuple(value: PyValue): Tuple {
    if (value instanceof Tuple) return value;
    throw new CheckpointError('LEGACY_CORRUPT', 'a tuple was expected');
  }
}

const DTYPES: ReadonlyMap<string, DType> = new Map(
  DType.all().flatMap((dtype) => (dtype.storageClass === undefined ? [] : [[dtype.storageClass, dtype] as const])),
);
