/**
 * Arithmetic of shapes and strides: where the elements of a tensor are, and which views of it exist.
 *
 * Nothing here touches bytes. Shapes, strides and offsets are in elements. The rules and the error texts are PyTorch's
 * (aten/src/ATen/{TensorUtils,InferSize,ExpandUtils}.cpp).
 */
import type { DType } from '../dtype';
import { CheckpointError } from '../errors';

/** PyTorch's own loops stop at 64 dimensions; a shape beyond this is an attack on whoever walks it recursively. */
const MAX_DIMS = 1024;

/** Sizes beside a dimension of no elements: beyond any tensor that fits in a machine. */
const MAX_EMPTY_DIM = 2 ** 40;

export function numelOf(shape: readonly number[]): number {
  // Infinity times 0 would be no number.
  if (shape.includes(0)) return 0;
  let numel = 1;
  for (let d = 0; d < shape.length; d++) numel *= shape[d]!;
  return numel;
}

/** The strides of a C-order tensor; dimensions of no elements count as one, as in PyTorch. */
export function contiguousStride(shape: readonly number[]): number[] {
  const stride = new Array<number>(shape.length);
  let step = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    stride[d] = step;
    step *= Math.max(shape[d]!, 1);
  }
  return stride;
}

/** True when the elements lie in C order without gaps; dimensions of one element may have any stride. */
export function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
  let step = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    const size = shape[d]!;
    if (size === 0) return true;
    if (size !== 1 && stride[d] !== step) {
      // A later dimension of no elements would still make the tensor empty, and an empty tensor is contiguous.
      return shape.includes(0);
    }
    step *= size;
  }
  return true;
}

/** A shape as PyTorch's C++ writes it: `[2, 3]`. */
export function listOf(values: readonly number[]): string {
  return `[${values.join(', ')}]`;
}

/**
 * Proves that every element of a window lies inside its storage. All numbers come from a file; after this they may be
 * used without another check. A tensor without elements may claim any offset. Throws TENSOR_CORRUPT with the facts.
 */
export function checkBounds(
  storageBytes: number,
  dtype: DType,
  shape: readonly number[],
  stride: readonly number[],
  storageOffset: number,
): void {
  const ndim = shape.length;
  if (stride.length !== ndim) {
    corrupt(`mismatch in length of strides and shape: ${ndim} sizes, ${stride.length} strides`);
  }
  if (ndim > MAX_DIMS) corrupt(`a tensor of ${ndim} dimensions, ${MAX_DIMS} at most are accepted`);
  if (!isCount(storageOffset)) corrupt(`storage offset ${storageOffset} is not a count of elements`);
  let numel = 1;
  let last = storageOffset;
  let empty = false;
  for (let d = 0; d < ndim; d++) {
    const size = shape[d]!;
    const step = stride[d]!;
    if (!isCount(size)) corrupt(`Trying to create tensor with negative dimension ${size}: ${listOf(shape)}`);
    if (!isCount(step))
      corrupt(`as_strided: Negative strides are not supported at the moment, got strides: ${listOf(stride)}`);
    if (size === 0) empty = true;
    numel *= size;
    // Products may round, but never from above 2^53 to below it: a rounded sum stays out of bounds.
    last += (size - 1) * step;
  }
  if (empty) {
    // Nothing is read, but the other dimensions still count: whoever walks them must come to an end.
    if (shape.some((size) => size > MAX_EMPTY_DIM))
      corrupt(`an empty tensor of sizes ${listOf(shape)}; ${MAX_EMPTY_DIM} at most are accepted`);
    return;
  }
  const bytes = Math.ceil((last + 1) / dtype.elementsPerByte) * dtype.itemsize;
  if (bytes > storageBytes || !isCount(numel)) {
    corrupt(
      `setStorage: sizes ${listOf(shape)}, strides ${listOf(stride)}, storage offset ${storageOffset}, and itemsize ` +
        `${dtype.itemsize} requiring a storage size of ${bytes} are out of bounds for storage of size ${storageBytes}`,
    );
  }
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function corrupt(what: string): never {
  throw new CheckpointError('TENSOR_CORRUPT', what);
}

/** A dimension counted from the front; negative ones count from the end. A 0-dim tensor accepts -1 and 0. */
export function wrapDim(dim: number, ndim: number): number {
  const count = Math.max(ndim, 1);
  if (!Number.isInteger(dim) || dim < -count || dim >= count) {
    throw new RangeError(
      `Dimension out of range (expected to be in range of [${-count}, ${count - 1}], but got ${dim})`,
    );
  }
  return dim < 0 ? dim + count : dim;
}

/** A shape, or dimensions, as separate arguments or as one array. */
export type Dims = readonly number[] | readonly [readonly number[]];

export function dimsOf(dims: Dims): readonly number[] {
  return Array.isArray(dims[0]) ? (dims[0] as readonly number[]) : (dims as readonly number[]);
}

/** The shape with its one `-1` filled in so that it has `numel` elements. */
export function inferShape(wanted: readonly number[], numel: number): number[] {
  const shape = [...wanted];
  let inferred = -1;
  let known = 1;
  for (const [d, size] of shape.entries()) {
    if (size === -1) {
      if (inferred >= 0) throw new RangeError('only one dimension can be inferred');
      inferred = d;
    } else if (Number.isSafeInteger(size) && size >= 0) {
      known *= size;
    } else {
      throw new RangeError(`invalid shape dimension ${size} at index ${d} of shape ${listOf(wanted)}`);
    }
  }
  if (inferred >= 0 && known > 0 && numel % known === 0) {
    shape[inferred] = numel / known;
    return shape;
  }
  if (inferred >= 0 && known === 0 && numel === 0) {
    throw new RangeError(
      `cannot reshape tensor of 0 elements into shape ${listOf(wanted)} because the unspecified dimension size -1 can be any value and is ambiguous`,
    );
  }
  if (inferred >= 0 || known !== numel) {
    throw new RangeError(`shape '${listOf(wanted)}' is invalid for input of size ${numel}`);
  }
  return shape;
}

/** The strides that show the same elements under `target` without a copy; undefined when there are none. */
export function viewStride(
  shape: readonly number[],
  stride: readonly number[],
  target: readonly number[],
): number[] | undefined {
  const numel = numelOf(shape);
  if (numel === 0) return String(shape) === String(target) ? [...stride] : contiguousStride(target);
  if (shape.length === 0) return target.map(() => 1);
  const result = new Array<number>(target.length);
  // Dimensions are taken from the last: each run of them that lies in one stretch of memory must be used up by a run
  // of target dimensions.
  let at = target.length - 1;
  let base = stride[stride.length - 1]!;
  let run = 1;
  let used = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    run *= shape[d]!;
    if (d > 0 && (shape[d - 1] === 1 || stride[d - 1] === run * base)) continue;
    while (at >= 0 && (used < run || target[at] === 1)) {
      result[at] = used * base;
      used *= target[at]!;
      at--;
    }
    if (used !== run) return undefined;
    if (d > 0) {
      base = stride[d - 1]!;
      run = 1;
      used = 1;
    }
  }
  return at === -1 ? result : undefined;
}

/** The strides that repeat dimensions of one element over `target`, as `expand` does; `-1` keeps a size. */
export function expandStride(
  shape: readonly number[],
  stride: readonly number[],
  target: readonly number[],
): { shape: number[]; stride: number[] } {
  const added = target.length - shape.length;
  if (added < 0) {
    throw new RangeError(
      `expand(torch.FloatTensor{${listOf(shape)}}, size=${listOf(target)}): the number of sizes provided (${target.length}) must be greater or equal to the number of dimensions in the tensor (${shape.length})`,
    );
  }
  const newShape: number[] = [];
  const newStride: number[] = [];
  for (const [d, wanted] of target.entries()) {
    const own = d < added ? 1 : shape[d - added]!;
    if (wanted === -1 && d < added) {
      throw new RangeError(
        `The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension ${d}`,
      );
    }
    const size = wanted === -1 ? own : wanted;
    if (size !== own && own !== 1) {
      throw new RangeError(
        `The expanded size of the tensor (${size}) must match the existing size (${own}) at non-singleton dimension ${d}.  Target sizes: ${listOf(target)}.  Tensor sizes: ${listOf(shape)}`,
      );
    }
    newShape.push(size);
    newStride.push(d < added || size !== own ? 0 : stride[d - added]!);
  }
  return { shape: newShape, stride: newStride };
}

/** A window on a storage, as far as reading its elements needs to know. */
export interface Window {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
  readonly storageOffset: number;
}

type View = Pick<Window, 'shape' | 'stride' | 'storageOffset'>;

/** One index along a dimension, which is gone in the result. */
export function selected({ shape, stride, storageOffset }: View, dim: number, index: number): View {
  if (shape.length === 0) throw new RangeError('select() cannot be applied to a 0-dim tensor.');
  const d = wrapDim(dim, shape.length);
  const size = shape[d]!;
  if (!Number.isInteger(index) || index < -size || index >= size) {
    throw new RangeError(`select(): index ${index} out of range for tensor of size ${listOf(shape)} at dimension ${d}`);
  }
  const step = stride[d]! * (index < 0 ? index + size : index);
  return { shape: shape.toSpliced(d, 1), stride: stride.toSpliced(d, 1), storageOffset: storageOffset + step };
}

/** `length` indices from `start` on along a dimension. */
export function narrowed({ shape, stride, storageOffset }: View, dim: number, start: number, length: number): View {
  if (shape.length === 0) throw new RangeError('narrow() cannot be applied to a 0-dim tensor.');
  if (!Number.isInteger(length) || length < 0) throw new RangeError('narrow(): length must be non-negative.');
  const d = wrapDim(dim, shape.length);
  const size = shape[d]!;
  if (!Number.isInteger(start) || start < -size || start > size) {
    throw new RangeError(`start out of range (expected to be in range of [${-size}, ${size}], but got ${start})`);
  }
  const from = start < 0 ? start + size : start;
  if (from + length > size) {
    throw new RangeError(`start (${from}) + length (${length}) exceeds dimension size (${size}).`);
  }
  return { shape: shape.with(d, length), stride, storageOffset: storageOffset + from * stride[d]! };
}

/** An order of all dimensions, counted from the front. */
export function permutation(order: readonly number[], ndim: number): number[] {
  if (order.length !== ndim) {
    throw new RangeError(
      `permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of dimensions i.e. input.dim() = ${ndim} is not equal to len(dims) = ${order.length}`,
    );
  }
  const wrapped = order.map((d) => wrapDim(d, ndim));
  if (new Set(wrapped).size !== wrapped.length) throw new RangeError('permute(): duplicate dims are not allowed.');
  return wrapped;
}

export interface Block {
  readonly shape: readonly number[];
  readonly stride: readonly number[];
  readonly storageOffset: number;
  /** Index of its first element, in C order, among those of the whole. */
  readonly start: number;
  readonly numel: number;
}

/**
 * Cuts a window into parts of at most `maxElements`, in C order: what is read piece by piece stays bounded. Where the
 * cuts fall depends on the shape and `flat` only; a flat window is cut as one long dimension and must be contiguous.
 */
export function* blocks(
  window: Window,
  maxElements: number,
  flat = isContiguous(window.shape, window.stride),
): Generator<Block, void, undefined> {
  const numel = numelOf(window.shape);
  if (numel === 0) return;
  yield* cut(
    {
      shape: flat ? [numel] : window.shape,
      stride: flat ? [1] : window.stride,
      storageOffset: window.storageOffset,
      start: 0,
      numel,
    },
    Math.max(1, maxElements),
  );
}

function* cut(block: Block, maxElements: number): Generator<Block, void, undefined> {
  if (block.numel <= maxElements) {
    yield block;
    return;
  }
  const [rows, ...rest] = block.shape as [number, ...number[]];
  const [step, ...innerStride] = block.stride as [number, ...number[]];
  const rowNumel = block.numel / rows;
  const rowsAtOnce = Math.floor(maxElements / rowNumel);
  for (let row = 0; row < rows; row += Math.max(rowsAtOnce, 1)) {
    const storageOffset = block.storageOffset + row * step;
    const start = block.start + row * rowNumel;
    if (rowsAtOnce === 0) {
      yield* cut({ shape: rest, stride: innerStride, storageOffset, start, numel: rowNumel }, maxElements);
    } else {
      const count = Math.min(rowsAtOnce, rows - row);
      yield { shape: [count, ...rest], stride: block.stride, storageOffset, start, numel: count * rowNumel };
    }
  }
}
