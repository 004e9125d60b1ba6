/** Sparse tensors: a few dense tensors that say where the elements are, in one of PyTorch's five layouts. */
import { inspect } from 'node:util';
import type { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { Complex, type Device, type Layout, type PyGlobal, type PyValue, printer } from '../pickle/values';
import { elementAccess, type Scalar } from './elements';
import { numbersOf } from './gather';
import { contiguousStride, listOf, numelOf } from './geometry';
import { Tensor } from './tensor';

/** COO. `indices` is int64 of shape [sparse dimensions, nnz]; `values` is [nnz, ...dense dimensions]. */
export interface CooComponents {
  readonly indices: Tensor;
  readonly values: Tensor;
}
/** CSR and BSR: `crowIndices` is [...batch, rows + 1], `colIndices` [...batch, nnz], `values` [...batch, nnz, ...block, ...dense]. */
export interface RowComponents {
  readonly crowIndices: Tensor;
  readonly colIndices: Tensor;
  readonly values: Tensor;
}
/** CSC and BSC, the same by columns. */
export interface ColumnComponents {
  readonly ccolIndices: Tensor;
  readonly rowIndices: Tensor;
  readonly values: Tensor;
}
export type SparseComponents = CooComponents | RowComponents | ColumnComponents;

/** A sparse tensor: COO, CSR, CSC, BSR or BSC. */
export class SparseTensor {
  /** True where the file holds it as an nn.Parameter: `Parameter` itself is for plain tensors. */
  isParameter = false;
  /** As for `Tensor`: attributes that were pickled with it, and its Python class if that is a subclass. */
  attributes: PyValue | undefined = undefined;
  pythonType: PyGlobal | undefined = undefined;
  /** `torch.sparse_coo`, `_csr`, `_csc`, `_bsr` or `_bsc`. */
  readonly layout: Layout;
  readonly components: SparseComponents;
  /** Of the tensor that it stands for, in elements. */
  readonly shape: readonly number[];
  requiresGrad: boolean;
  /** COO only: whether indices are sorted and unique; undefined when the file does not say. */
  readonly isCoalesced: boolean | undefined;

  /** Nothing is checked against the indices until `toDense`, so that a hostile file costs nothing before. */
  constructor(
    layout: Layout,
    components: SparseComponents,
    shape: readonly number[],
    options: { isCoalesced?: boolean | undefined; requiresGrad?: boolean } = {},
  ) {
    this.layout = layout;
    this.components = components;
    this.shape = shape;
    this.isCoalesced = options.isCoalesced;
    this.requiresGrad = options.requiresGrad ?? false;
  }

  get dtype(): DType {
    return this.components.values.dtype;
  }

  get device(): Device {
    return this.components.values.device;
  }

  get isMeta(): boolean {
    return this.components.values.isMeta;
  }

  get ndim(): number {
    return this.shape.length;
  }

  /** Elements of the dense tensor. */
  get numel(): number {
    return numelOf(this.shape);
  }

  /** Stored elements, or blocks of them, in each batch. */
  get nnz(): number {
    const { components } = this;
    const last =
      'indices' in components
        ? components.indices
        : 'colIndices' in components
          ? components.colIndices
          : components.rowIndices;
    return last.shape.at(-1) ?? 0;
  }

  /** A dense copy, with the values of equal indices added up. Throws TENSOR_CORRUPT when an index is outside the shape. */
  toDense(): Tensor {
    const dense = Tensor.zeros(this.shape, { dtype: this.dtype, device: this.components.values.storage.location });
    if (this.isMeta) return dense;
    const bytes = dense.storage.bytes();
    if ('indices' in this.components) this.#scatterCoo(this.components, bytes);
    else this.#scatterCompressed(bytes);
    dense.requiresGrad = this.requiresGrad;
    return dense;
  }

  #scatterCoo({ indices, values }: CooComponents, bytes: Uint8Array): void {
    if (values.numel === 0) return;
    const sparseDims = indices.ndim === 2 ? indices.shape[0]! : -1;
    const inner = this.shape.slice(sparseDims);
    const fits = sparseDims >= 0 && sparseDims <= this.ndim && String(values.shape) === String([this.nnz, ...inner]);
    if (!fits)
      this.#corrupt(`indices of shape ${listOf(indices.shape)} and values of shape ${listOf(values.shape)} do not fit`);
    const index = numbersOf(indices);
    const steps = contiguousStride(this.shape);
    const innerNumel = numelOf(inner);
    const add = adder(values, bytes);
    for (let n = 0; n < this.nnz; n++) {
      let to = 0;
      for (let d = 0; d < sparseDims; d++) {
        to += this.#index(index[d * this.nnz + n]!, d, this.shape[d]!) * steps[d]!;
      }
      for (let i = 0; i < innerNumel; i++) add(n * innerNumel + i, to + i);
    }
  }

  #scatterCompressed(bytes: Uint8Array): void {
    const { components, nnz } = this;
    const byRows = 'crowIndices' in components;
    if (!byRows && !('ccolIndices' in components)) return;
    const compressed = byRows ? components.crowIndices : components.ccolIndices;
    const plain = byRows ? components.colIndices : components.rowIndices;
    const { values } = components;
    if (values.numel === 0) return;
    const batchDims = compressed.ndim - 1;
    const blockDims = this.layout.name.startsWith('sparse_b') ? 2 : 0;
    const [blockRows, blockColumns] = blockDims ? values.shape.slice(batchDims + 1, batchDims + 3) : [1, 1];
    const [rows, columns] = this.shape.slice(batchDims, batchDims + 2);
    const batch = this.shape.slice(0, Math.max(batchDims, 0));
    const inner = this.shape.slice(batchDims + 2);
    const outer = (byRows ? rows! / blockRows! : columns! / blockColumns!) || 0;
    const fits =
      batchDims >= 0 &&
      Number.isInteger(outer) &&
      String(compressed.shape) === String([...batch, outer + 1]) &&
      String(plain.shape) === String([...batch, nnz]) &&
      String(values.shape) === String([...batch, nnz, ...(blockDims ? [blockRows, blockColumns] : []), ...inner]);
    if (!fits) {
      this.#corrupt(
        `indices of shapes ${listOf(compressed.shape)} and ${listOf(plain.shape)} and values of shape ${listOf(values.shape)} do not fit`,
      );
    }
    const starts = numbersOf(compressed);
    const others = numbersOf(plain);
    const innerNumel = numelOf(inner);
    const blockNumel = blockRows! * blockColumns!;
    const add = adder(values, bytes);
    for (let b = 0; b < numelOf(batch); b++) {
      for (let line = 0; line < outer; line++) {
        const end = this.#index(starts[b * (outer + 1) + line + 1]!, batchDims, nnz + 1);
        for (let n = this.#index(starts[b * (outer + 1) + line]!, batchDims, nnz + 1); n < end; n++) {
          const limit = byRows ? columns! / blockColumns! : rows! / blockRows!;
          const other = this.#index(others[b * nnz + n]!, batchDims + (byRows ? 1 : 0), limit);
          const [blockRow, blockColumn] = byRows ? [line, other] : [other, line];
          for (let i = 0; i < blockNumel; i++) {
            const row = blockRow * blockRows! + Math.floor(i / blockColumns!);
            const column = blockColumn * blockColumns! + (i % blockColumns!);
            const to = ((b * rows! + row) * columns! + column) * innerNumel;
            for (let k = 0; k < innerNumel; k++) add(((b * nnz + n) * blockNumel + i) * innerNumel + k, to + k);
          }
        }
      }
    }
  }

  /** An index from the file, proved to be below `size`. */
  #index(value: number, dim: number, size: number): number {
    if (value < 0 || value >= size)
      this.#corrupt(`size is inconsistent with indices: for dim ${dim}, size is ${size} but found index ${value}`);
    return value;
  }

  #corrupt(what: string): never {
    throw new CheckpointError('TENSOR_CORRUPT', `${this.layout} tensor of shape ${listOf(this.shape)}: ${what}`);
  }

  /** The text that PyTorch prints. */
  toString(): string {
    return printer.repr(this);
  }

  [inspect.custom](): string {
    return printer.repr(this);
  }
}

/** Adds element `from` of the values, in C order, to element `to` of a dense run of the same dtype. */
function adder(values: Tensor, bytes: Uint8Array): (from: number, to: number) => void {
  const { itemsize } = values.dtype;
  const access = elementAccess(values.dtype);
  const source = values.toBytes();
  const from = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const to = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (i, j) => access.write(to, j * itemsize, sum(access.read(to, j * itemsize), access.read(from, i * itemsize)));
}

function sum(a: Scalar, b: Scalar): Scalar {
  if (a instanceof Complex && b instanceof Complex) return new Complex(a.re + b.re, a.im + b.im);
  if (typeof a === 'boolean') return a || (b as boolean);
  // Both come from one dtype, so that they are two bigints or two numbers.
  return typeof a === 'bigint' ? a + (b as bigint) : (a as number) + (b as number);
}
