/**
 * The option `compact`: of each storage only the bytes that tensors reach.
 *
 * Views that overlap stay in one storage and so stay shared; views that lie apart get storages of their own. Everything
 * between the first and the last element of a view counts as reached.
 */
import { Storage } from './tensor/storage';
import type { Tensor } from './tensor/tensor';

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

/**
 * Plans the parts of every storage that tensors reach. `visit` hands each tensor to `relocate` and each storage that
 * stands by itself, which stays whole, to `keepWhole`.
 */
export function planCompaction(visit: (relocate: Relocate, keepWhole: (storage: Storage) => void) => void): {
  relocate: Relocate;
  sparedBytes: number;
} {
  const spans = new Map<Storage, Part[]>();
  const whole = new Set<Storage>();
  /** The widest element of a storage: parts start at a multiple of it, so that all offsets stay whole. */
  const widths = new Map<Storage, number>();
  visit(
    (tensor) => {
      const { storage, storageOffset, dtype } = tensor;
      if (tensor.isMeta || storage.source.asyncOnly) return { storage, storageOffset };
      let parts = spans.get(storage);
      if (!parts) spans.set(storage, (parts = []));
      const span = reach(tensor);
      if (span) parts.push({ start: span[0], end: span[1], storage: undefined });
      widths.set(storage, Math.max(dtype.itemsize, widths.get(storage) ?? 1));
      return { storage, storageOffset };
    },
    (storage) => whole.add(storage),
  );
  for (const storage of whole) spans.delete(storage);
  let sparedBytes = 0;
  for (const [storage, parts] of spans) {
    const merged: Part[] = [];
    const width = widths.get(storage) as number;
    const aligned = parts.map(({ start, end }): Part => ({ start: start - (start % width), end, storage: undefined }));
    for (const part of aligned.sort((a, b) => a.start - b.start)) {
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
    const found = partAround(parts, span[0]);
    // A graph that is another one at each look: nothing is known of this tensor.
    if (!found || found.end < span[1]) return { storage, storageOffset };
    if (found.start === 0 && found.end === storage.nbytes) return { storage, storageOffset };
    found.storage ??= new Storage(
      storage.key,
      storage.location,
      storage.dtype,
      storage.source.slice(found.start, found.end - found.start),
      storage.untyped,
    );
    return {
      storage: found.storage,
      storageOffset: storageOffset - (found.start / dtype.itemsize) * dtype.elementsPerByte,
    };
  };
  return { relocate, sparedBytes };
}

/** The last part that starts at `byte` or before. The parts are sorted and lie apart. */
function partAround(parts: readonly Part[], byte: number): Part | undefined {
  let low = 0;
  for (let high = parts.length; low < high; ) {
    const middle = (low + high) >> 1;
    if ((parts[middle] as Part).start <= byte) low = middle + 1;
    else high = middle;
  }
  return parts[low - 1];
}

/** The empty storage that stands for `storage` under tensors without elements. */
function part(empty: Map<Storage, Storage>, storage: Storage): Storage {
  let made = empty.get(storage);
  if (!made)
    empty.set(
      storage,
      (made = new Storage(storage.key, storage.location, storage.dtype, storage.source.slice(0, 0), storage.untyped)),
    );
  return made;
}
