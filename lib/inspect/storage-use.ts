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
import { Tensor } from '../tensor/tensor';
import type { AnyTensor } from '../walk';
import type { RootPlace } from './storage-roots';

interface Window {
  readonly start: number;
  readonly end: number;
  /** Distinct elements of the storage in it, and whether they are values rather than indices of a sparse tensor. */
  readonly elements: number;
  readonly bytes: number;
  readonly countsAsParameter: boolean;
}

/** What is known of one storage. The first tensor is nearly always the only one, and there may be a million storages. */
interface Use {
  path: string | undefined;
  window: Window | undefined;
  /** Paths and windows of all, the first included, in file order; only where there are several. */
  paths: string[] | undefined;
  windows: Window[] | undefined;
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

/** `byteOffset`: where the tensor's storage begins in the one that it is counted in. */
function windowOf(tensor: Tensor, countsAsParameter: boolean, byteOffset: number): Window {
  const { dtype, shape, stride, storageOffset } = tensor;
  let last = storageOffset;
  let elements = 1;
  for (let d = 0; d < shape.length; d++) {
    const size = shape[d] as number;
    if (size === 0) return { start: byteOffset, end: byteOffset, elements: 0, bytes: 0, countsAsParameter };
    last += (size - 1) * (stride[d] as number);
    // Expanded dimensions repeat the same elements.
    if (stride[d] !== 0) elements *= size;
  }
  const per = dtype.elementsPerByte;
  const start = byteOffset + Math.floor(storageOffset / per) * dtype.itemsize;
  const end = byteOffset + (Math.floor(last / per) + 1) * dtype.itemsize;
  return { start, end, elements, bytes: Math.min(dtype.byteLength(elements), end - start), countsAsParameter };
}

export class StorageUse {
  readonly #uses = new Map<Storage, Use>();
  readonly #roots: ReadonlyMap<Storage, RootPlace>;

  /** `roots`: the storages that others are parts of, where a format has such parts. */
  constructor(roots: ReadonlyMap<Storage, RootPlace> = new Map()) {
    this.#roots = roots;
  }

  /** Enters a tensor; returns the path of the first tensor over the same memory, undefined when this is the first. */
  add(path: string, tensor: AnyTensor): string | undefined {
    if (tensor instanceof Tensor) return this.#addValues(path, tensor);
    const [values, ...indices] = stridedParts(tensor);
    for (const part of indices) this.#addWindow(this.#use(part.storage), part, false);
    return this.#addValues(path, values as Tensor);
  }

  /** Enters a storage that stands in the file by itself: all of it is reached. */
  addStorage(storage: Storage): void {
    this.#use(storage).isWhole = true;
  }

  #addValues(path: string, values: Tensor): string | undefined {
    const use = this.#use(values.storage);
    const first = use.path;
    if (first === undefined) use.path = path;
    else {
      use.paths ??= [first];
      use.paths.push(path);
    }
    this.#addWindow(use, values, true);
    return first;
  }

  #addWindow(use: Use, part: Tensor, countsAsParameter: boolean): void {
    const window = windowOf(part, countsAsParameter, this.#roots.get(part.storage)?.byteOffset ?? 0);
    if (use.window === undefined) use.window = window;
    else {
      use.windows ??= [use.window];
      use.windows.push(window);
    }
  }

  #use(storage: Storage): Use {
    const root = this.#roots.get(storage)?.root ?? storage;
    let use = this.#uses.get(root);
    if (!use) {
      use = { path: undefined, window: undefined, paths: undefined, windows: undefined, isWhole: false };
      this.#uses.set(root, use);
    }
    return use;
  }

  /** Paths over one storage, for every storage that has several; empty storages alias nothing. */
  get aliases(): string[][] {
    const groups: string[][] = [];
    for (const [storage, { paths }] of this.#uses) if (paths && storage.nbytes > 0) groups.push([...new Set(paths)]);
    return groups.filter(({ length }) => length > 1);
  }

  get totals(): UseTotals {
    const totals = { parameters: 0, tensorBytes: 0, storageBytes: 0, unreachableBytes: 0 };
    for (const [storage, use] of this.#uses) {
      const { elements, bytes, reached } = measure(use.windows ?? (use.window ? [use.window] : []));
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
