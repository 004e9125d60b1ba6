/** Nested tensors of the strided layout: tensors of different sizes in one buffer. */
import { inspect } from 'node:util';
import type { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { type Device, Layout, type PyGlobal, type PyValue, printer } from '../pickle/values';
import { numbersOf } from './gather';
import { checkBounds, listOf } from './geometry';
import { Tensor } from './tensor';

/** One row for each tensor: `sizes` and `strides` are int64 [tensors, dimensions], `storageOffsets` int64 [tensors]. */
export interface NestedComponents {
  readonly buffer: Tensor;
  readonly sizes: Tensor;
  readonly strides: Tensor;
  readonly storageOffsets: Tensor;
}

/** `torch.nested` in the strided layout: tensors of different sizes in one buffer. */
export class NestedTensor {
  /** True where the file holds it as an nn.Parameter: `Parameter` itself is for plain tensors. */
  isParameter = false;
  /** As for `Tensor`: attributes that were pickled with it, and its Python class if that is a subclass. */
  attributes: PyValue | undefined = undefined;
  pythonType: PyGlobal | undefined = undefined;
  readonly components: NestedComponents;
  requiresGrad: boolean;

  /** Nothing is checked until `unbind`. */
  constructor(components: NestedComponents, requiresGrad = false) {
    this.components = components;
    this.requiresGrad = requiresGrad;
  }

  get dtype(): DType {
    return this.components.buffer.dtype;
  }

  get device(): Device {
    return this.components.buffer.device;
  }

  get layout(): Layout {
    return Layout.strided;
  }

  /** How many tensors there are. */
  get length(): number {
    return this.components.sizes.shape[0] ?? 0;
  }

  /** `[length]`: the other dimensions differ from tensor to tensor. */
  get shape(): readonly number[] {
    return [this.length];
  }

  /** The tensors, as views of the buffer. Throws TENSOR_CORRUPT when one is outside it. */
  unbind(): Tensor[] {
    const { buffer, sizes, strides, storageOffsets } = this.components;
    const count = this.length;
    const ndim = sizes.shape[1] ?? 0;
    if (String(strides.shape) !== String(sizes.shape) || storageOffsets.numel !== count) {
      throw new CheckpointError(
        'TENSOR_CORRUPT',
        `nested tensor: sizes ${listOf(sizes.shape)}, strides ${listOf(strides.shape)} and offsets ${listOf(storageOffsets.shape)} do not fit`,
      );
    }
    const [allSizes, allStrides, offsets] = [sizes, strides, storageOffsets].map(numbersOf) as [
      number[],
      number[],
      number[],
    ];
    // Without dimensions the sizes hold no numbers that would bound the count; the offsets always do.
    return Array.from({ length: count }, (_, i) => {
      const shape = allSizes.slice(i * ndim, (i + 1) * ndim);
      const stride = allStrides.slice(i * ndim, (i + 1) * ndim);
      checkBounds(buffer.storage.nbytes, buffer.dtype, shape, stride, offsets[i]!);
      return new Tensor(buffer.storage, buffer.dtype, shape, stride, offsets[i]!, this.requiresGrad);
    });
  }

  /** The text that PyTorch prints. */
  toString(): string {
    return printer.repr(this);
  }

  [inspect.custom](): string {
    return printer.repr(this);
  }
}
