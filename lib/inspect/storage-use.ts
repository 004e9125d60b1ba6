/**
 * How the tensors of a checkpoint share and use its storages: who aliases whom, and which bytes nobody reaches.
 *
 * A view of a larger storage keeps all of it in the file, a tied weight is two tensors over one storage. Everything is
 * counted in windows, from the first to behind the last element of a tensor; equal windows count once, overlapping ones
 * as their union.
 */
import { NestedTensor } from '../tensor/nested';
import { SparseTensor } from '../tensor/sparse';
import type { Storage } from '../tensor/storage';
import type { Tensor } from '../tensor/tensor';
import type { AnyTensor } from '../walk';

interface Window {
  readonly start: number;
  readonly end: number;
  /** Distinct elements of the storage in it, and whether they are values rather than indices of a sparse tensor. */
  readonly elements: number;
  readonly bytes: number;
  readonly countsAsParameter: boolean;
}

interface Use {
  /** Paths of the tensors on it, in file order. */
  readonly paths: string[];
  readonly windows: Window[];
  isWhole: boolean;
}

export interface UseTotals {
  /** Elements and bytes that tensors stand for, aliases once. */
  readonly parameters: number;
  readonly tensorBytes: number;
  /** Whole storages, and the part of them that no tensor reaches. */
  readonly storageBytes: number;
  readonly unreachableBytes: number;
}

/** The strided tensors that a tensor of any layout is made of; the first holds its values. */
export function stridedParts(tensor: AnyTensor): readonly Tensor[] {
  if (tensor instanceof NestedTensor) return [tensor.components.buffer];
  if (!(tensor instanceof SparseTensor)) return [tensor];
  const { values, ...indices } = tensor.components;
  return [values, ...Object.values(indices)];
}

function windowOf(tensor: Tensor, countsAsParameter: boolean): Window {
  const { dtype, shape, stride, storageOffset } = tensor;
  let last = storageOffset;
  let elements = 1;
  for (let d = 0; d < shape.length; d++) {
    const size = shape[d] as number;
    if (size === 0) return { start: 0, end: 0, elements: 0, bytes: 0, countsAsParameter };
    last += (size - 1) * (stride[d] as number);
    // Expanded dimensions repeat the same elements.
    if (stride[d] !== 0) elements *= size;
  }
  const per = dtype.elementsPerByte;
  const start = Math.floor(storageOffset / per) * dtype.itemsize;
  const end = (Math.floor(last / per) + 1) * dtype.itemsize;
  return { start, end, elements, bytes: Math.min(dtype.byteLength(elements), end - start), countsAsParameter };
}

export class StorageUse {
  readonly #uses = new Map<Storage, Use>();
  readonly #rootOf: (storage: Storage) => { root: Storage; byteOffset: number };

  /** `rootOf` finds the storage that another one is a part of, where a format has such parts. */
  constructor(
    rootOf: (storage: Storage) => { root: Storage; byteOffset: number } = (root) => ({ root, byteOffset: 0 }),
  ) {
    this.#rootOf = rootOf;
  }

  /** Enters a tensor; returns the path of the first tensor over the same memory, undefined when this is the first. */
  add(path: string, tensor: AnyTensor): string | undefined {
    let first: string | undefined;
    for (const [i, part] of stridedParts(tensor).entries()) {
      const { root, byteOffset } = this.#rootOf(part.storage);
      const use = this.#use(root);
      if (i === 0) {
        first = use.paths[0];
        use.paths.push(path);
      }
      const window = windowOf(part, i === 0);
      use.windows.push(
        byteOffset === 0 ? window : { ...window, start: window.start + byteOffset, end: window.end + byteOffset },
      );
    }
    return first;
  }

  /** Enters a storage that stands in the file by itself: all of it is reached. */
  addStorage(storage: Storage): void {
    this.#use(this.#rootOf(storage).root).isWhole = true;
  }

  #use(storage: Storage): Use {
    let use = this.#uses.get(storage);
    if (!use) this.#uses.set(storage, (use = { paths: [], windows: [], isWhole: false }));
    return use;
  }

  /** Paths over one storage, for every storage that has several; empty storages alias nothing. */
  get aliases(): string[][] {
    const groups: string[][] = [];
    for (const [storage, { paths }] of this.#uses)
      if (paths.length > 1 && storage.nbytes > 0) groups.push([...new Set(paths)]);
    return groups.filter(({ length }) => length > 1);
  }

  get totals(): UseTotals {
    const totals = { parameters: 0, tensorBytes: 0, storageBytes: 0, unreachableBytes: 0 };
    for (const [storage, use] of this.#uses) {
      const { elements, bytes, reached } = measure(use.windows);
      totals.parameters += elements;
      if (storage.isMeta) continue;
      totals.tensorBytes += bytes;
      totals.storageBytes += storage.nbytes;
      if (!use.isWhole) totals.unreachableBytes += Math.max(0, storage.nbytes - reached);
    }
    return totals;
  }
}

function measure(windows: Window[]): { elements: number; bytes: number; reached: number } {
  const sorted = windows.length > 1 ? [...windows].sort((a, b) => a.start - b.start || b.end - a.end) : windows;
  let [elements, bytes, reached] = [0, 0, 0];
  for (let i = 0; i < sorted.length; ) {
    const first = sorted[i] as Window;
    let { end } = first;
    let isOne = true;
    // Everything that overlaps, taken together.
    for (i++; i < sorted.length && (sorted[i] as Window).start < end; i++) {
      const next = sorted[i] as Window;
      if (next.start !== first.start || next.end !== first.end) isOne = false;
      end = Math.max(end, next.end);
    }
    const span = end - first.start;
    reached += span;
    bytes += isOne ? first.bytes : span;
    if (!first.countsAsParameter || first.elements === 0) continue;
    elements += isOne ? first.elements : Math.round((span * first.elements) / Math.max(first.bytes, 1));
  }
  return { elements, bytes, reached };
}
