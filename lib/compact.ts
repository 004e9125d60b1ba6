/**
 * The option `compact`: of each storage only the bytes that tensors reach.
 *
 * Views that overlap stay in one storage and so stay shared; views that lie apart get storages of their own. Everything
 * between the first and the last element of a view counts as reached.
 */
import { NestedTensor } from './tensor/nested';
import { QuantizedTensor } from './tensor/quantized';
import { SparseTensor } from './tensor/sparse';
import { Storage } from './tensor/storage';
import { Tensor } from './tensor/tensor';
import { walk } from './walk';

interface Part {
  readonly start: number;
  end: number;
  storage: Storage | undefined;
}

/** Where a tensor is to be found after compaction. */
export type Relocate = (tensor: Tensor) => { readonly storage: Storage; readonly storageOffset: number };

/** Bytes [start, end) of the storage between the first and the last element; undefined for a tensor without any. */
function reach(tensor: Tensor): readonly [start: number, end: number] | undefined {
  const { dtype, shape, stride, storageOffset } = tensor;
  if (shape.includes(0)) return undefined;
  let last = storageOffset;
  for (let d = 0; d < shape.length; d++) last += ((shape[d] as number) - 1) * (stride[d] as number);
  // Packed elements share bytes: start at the byte that holds the first.
  const per = dtype.elementsPerByte;
  return [Math.floor(storageOffset / per) * dtype.itemsize, (Math.floor(last / per) + 1) * dtype.itemsize];
}

function* denseTensors(root: unknown): Generator<Tensor, void, undefined> {
  const pending: unknown[] = [];
  for (const [, value] of walk(root as object)) {
    pending.push(value);
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      if (next instanceof SparseTensor || next instanceof NestedTensor) pending.push(...Object.values(next.components));
      if (!(next instanceof Tensor)) continue;
      if (next instanceof QuantizedTensor && 'scales' in next.quantizer) pending.push(next.quantizer.scales, next.quantizer.zeroPoints);
      yield next;
    }
  }
}

/** Plans the parts of every storage that `root` reaches; bare storages in it stay whole. */
export function planCompaction(root: unknown): { relocate: Relocate; sparedBytes: number } {
  const spans = new Map<Storage, Part[]>();
  const whole = new Set<Storage>();
  for (const [, value] of walk(root as object)) if (value instanceof Storage) whole.add(value);
  for (const tensor of denseTensors(root)) {
    if (whole.has(tensor.storage) || tensor.isMeta || tensor.storage.source.asyncOnly) continue;
    let parts = spans.get(tensor.storage);
    if (!parts) spans.set(tensor.storage, (parts = []));
    const span = reach(tensor);
    if (span) parts.push({ start: span[0], end: span[1], storage: undefined });
  }
  let sparedBytes = 0;
  for (const [storage, parts] of spans) {
    const merged: Part[] = [];
    for (const part of parts.sort((a, b) => a.start - b.start)) {
      const top = merged.at(-1);
      if (top && part.start < top.end) top.end = Math.max(top.end, part.end);
      else merged.push(part);
    }
    spans.set(storage, merged);
    sparedBytes += merged.reduce((rest, part) => rest - (part.end - part.start), storage.nbytes);
  }
  const empty = new Map<Storage, Storage>();

  const relocate: Relocate = (tensor) => {
    const { storage, storageOffset, dtype } = tensor;
    const parts = spans.get(storage);
    if (!parts) return { storage, storageOffset };
    const span = reach(tensor);
    if (!span) return { storage: part(empty, storage), storageOffset: 0 };
    const found = parts.find(({ start, end }) => start <= span[0] && span[1] <= end) as Part;
    if (found.start === 0 && found.end === storage.nbytes) return { storage, storageOffset };
    found.storage ??= new Storage(storage.key, storage.location, storage.dtype, storage.source.slice(found.start, found.end - found.start), storage.untyped);
    return { storage: found.storage, storageOffset: storageOffset - (found.start / dtype.itemsize) * dtype.elementsPerByte };
  };
  return { relocate, sparedBytes };
}

/** The empty storage that stands for `storage` under tensors without elements. */
function part(empty: Map<Storage, Storage>, storage: Storage): Storage {
  let made = empty.get(storage);
  if (!made) empty.set(storage, (made = new Storage(storage.key, storage.location, storage.dtype, storage.source.slice(0, 0), storage.untyped)));
  return made;
}
