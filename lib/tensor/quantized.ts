/** Quantized tensors: integers that stand for `(q - zeroPoint) * scale`, with one scale or one for each channel. */
import { native } from '../binding';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import type { Complex, QScheme } from '../pickle/values';
import { freshFloats, nest } from './conversion';
import type { NestedArray } from './creation';
import { contiguousSpan, ElementReader, gather, numbersOf } from './gather';
import { contiguousStride, isContiguous } from './geometry';
import { MemoryBytes, Storage } from './storage';
import { Tensor } from './tensor';

/** How the integers are read. Per channel: one scale and zero point for each index along `axis`. */
export type Quantizer =
  | { readonly qscheme: QScheme; readonly scale: number; readonly zeroPoint: number }
  | { readonly qscheme: QScheme; readonly scales: Tensor; readonly zeroPoints: Tensor; readonly axis: number };

/** A tensor of integers that stand for `(q - zeroPoint) * scale`. */
export class QuantizedTensor extends Tensor {
  /** True where the file holds it as an nn.Parameter: `Parameter` itself is for plain tensors. */
  isParameter = false;
  readonly quantizer: Quantizer;

  /** @internal As for `Tensor`: bounds have been checked. */
  constructor(
    storage: Storage,
    dtype: DType,
    shape: readonly number[],
    stride: readonly number[],
    storageOffset: number,
    quantizer: Quantizer,
    requiresGrad = false,
  ) {
    super(storage, dtype, shape, stride, storageOffset, requiresGrad);
    this.quantizer = quantizer;
  }

  get qscheme(): QScheme {
    return this.quantizer.qscheme;
  }

  /** Per tensor; undefined when quantized by channel, as the other four are the other way round. */
  get scale(): number | undefined {
    return 'scale' in this.quantizer ? this.quantizer.scale : undefined;
  }

  get zeroPoint(): number | undefined {
    return 'scale' in this.quantizer ? this.quantizer.zeroPoint : undefined;
  }

  get scales(): Tensor | undefined {
    return 'scales' in this.quantizer ? this.quantizer.scales : undefined;
  }

  get zeroPoints(): Tensor | undefined {
    return 'scales' in this.quantizer ? this.quantizer.zeroPoints : undefined;
  }

  get axis(): number | undefined {
    return 'scales' in this.quantizer ? this.quantizer.axis : undefined;
  }

  /** A copy of the integers: int8, uint8 or int32; of packed dtypes the bytes, one-dimensional, as PyTorch gives them. */
  intRepr(): Tensor {
    const bytes = gather(this);
    const packed = this.dtype.elementsPerByte > 1;
    const dtype = this.dtype === DType.qint8 ? DType.int8 : this.dtype === DType.qint32 ? DType.int32 : DType.uint8;
    const shape = packed ? [bytes.length] : this.shape;
    const storage = new Storage('', this.storage.location, dtype, new MemoryBytes(bytes));
    return new Tensor(storage, dtype, shape, contiguousStride(shape), 0);
  }

  /** The float32 values that the integers stand for: a copy. */
  dequantize(): Tensor {
    const floats = this.toFloat32Array();
    const bytes = new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
    const storage = new Storage('', this.storage.location, DType.float32, new MemoryBytes(bytes));
    return new Tensor(storage, DType.float32, this.shape, contiguousStride(this.shape), 0);
  }

  /** The dequantized values. */
  override toFloat32Array(into?: Float32Array): Float32Array {
    const { quantizer, numel } = this;
    const target = into ?? freshFloats(numel);
    if (target.length !== numel) throw new RangeError(`the target has ${target.length} elements, the tensor ${numel}`);
    const { kernel } = this.dtype;
    if ('scale' in quantizer && kernel !== undefined) {
      const source = isContiguous(this.shape, this.stride) ? contiguousSpan(this) : gather(this);
      if (numel > 0)
        native(this.storage.place, (addon) =>
          addon.dequantize(kernel, source, target, quantizer.scale, quantizer.zeroPoint),
        );
      return target;
    }
    const value = this.valueReader();
    const index = new Array<number>(this.ndim).fill(0);
    let at = 0;
    const visit = (dim: number, from: number): void => {
      if (dim === this.ndim) target[at++] = value(from, index);
      else {
        for (let i = 0; i < this.shape[dim]!; i++) {
          index[dim] = i;
          visit(dim + 1, from + i * this.stride[dim]!);
        }
      }
    };
    if (numel > 0) visit(0, this.storageOffset);
    return target;
  }

  /** Gives the value at an element of the storage; `index` is where that is in the tensor. @internal */
  valueReader(): (at: number, index: readonly number[]) => number {
    const reader = new ElementReader(this);
    const { quantizer } = this;
    if ('scale' in quantizer) {
      const scale = Math.fround(quantizer.scale);
      // The difference is an int32 that wraps, and a float32 before it is scaled.
      return (at) => Math.fround(Math.fround(((reader.at(at) as number) - quantizer.zeroPoint) | 0) * scale);
    }
    const { scales, zeroPoints, axis } = quantizer;
    const channels = this.shape[axis];
    if (channels === undefined || scales.numel !== channels || zeroPoints.numel !== channels) {
      throw new CheckpointError(
        'TENSOR_CORRUPT',
        `${scales.numel} scales and ${zeroPoints.numel} zero points for ${channels ?? 'no'} channels along dimension ${axis}`,
      );
    }
    const scale = numbersOf(scales);
    const zeroPoint = numbersOf(zeroPoints);
    // With float64 scales PyTorch rounds once, with float32 ones (and fractional zero points) twice.
    const round = scales.dtype === DType.float32 ? Math.fround : (difference: number): number => difference;
    return (at, index) => {
      const channel = index[axis]!;
      return Math.fround(round((reader.at(at) as number) - zeroPoint[channel]!) * scale[channel]!);
    };
  }

  override toArray(): NestedArray {
    return nest([...this.toFloat32Array()], this.shape);
  }

  override item(): number | bigint | boolean | Complex {
    if (this.numel !== 1) return super.item();
    return this.toFloat32Array()[0]!;
  }

  /** True when integers, shape, dtype and quantization are all the same. */
  override equal(other: Tensor): boolean {
    return (
      other instanceof QuantizedTensor &&
      this.dtype === other.dtype &&
      sameQuantizer(this.quantizer, other.quantizer) &&
      super.equal(other)
    );
  }

  protected override like(
    storage: Storage,
    shape: readonly number[],
    stride: readonly number[],
    storageOffset: number,
  ): Tensor {
    if ('scales' in this.quantizer && String(shape) !== String(this.shape)) {
      throw new CheckpointError('UNSUPPORTED', 'Setting strides is possible only on uniformly quantized tensor', {
        hint: 'dequantize() first',
      });
    }
    return new QuantizedTensor(storage, this.dtype, shape, stride, storageOffset, this.quantizer, this.requiresGrad);
  }

  protected override cast(dtype: DType): Tensor {
    throw new TypeError(`a quantized tensor does not cast to ${dtype.name}; dequantize() first`);
  }
}

function sameQuantizer(a: Quantizer, b: Quantizer): boolean {
  if (a.qscheme !== b.qscheme) return false;
  if ('scale' in a) return 'scale' in b && a.scale === b.scale && a.zeroPoint === b.zeroPoint;
  return 'scales' in b && a.axis === b.axis && a.scales.equal(b.scales) && a.zeroPoints.equal(b.zeroPoints);
}
