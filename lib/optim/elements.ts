/**
 * The elements of tensors as arrays of floats, for updates in place.
 *
 * PyTorch computes in the tensor's own dtype, half types in float32, and rounds after every operation; `rounding` is that
 * rounding. Where its kernels fuse a multiplication with an addition there is one rounding for both.
 */
import { DType } from '../dtype';
import { elementAccess } from '../tensor/elements';
import { contiguousStride } from '../tensor/geometry';
import { Tensor } from '../tensor/tensor';

export type Floats = Float32Array | Float64Array;

/** Gradients by parameter, or in the order of the parameters. */
export type GradientSource = ReadonlyMap<Tensor, Tensor> | readonly (Tensor | null | undefined)[];

/** Where a parameter's gradient is found; checked against the parameter's shape. */
export function gradientOf(
  params: readonly Tensor[],
  gradients: GradientSource | undefined,
): (param: Tensor) => Tensor | undefined {
  const source =
    gradients === undefined || gradients instanceof Map
      ? gradients
      : new Map(params.map((param, i) => [param, (gradients as readonly Tensor[])[i]]));
  if (Array.isArray(gradients) && gradients.length !== params.length)
    throw new RangeError(`${gradients.length} gradients were given for ${params.length} parameters`);
  return (param) => {
    const grad = source ? (source as ReadonlyMap<Tensor, Tensor | null>).get(param) : param.grad;
    if (!grad) return undefined;
    if (!(grad instanceof Tensor)) throw new TypeError('a gradient must be a dense Tensor');
    if (String(grad.shape) !== String(param.shape)) {
      throw new RangeError(
        `a gradient has shape [${grad.shape.join(', ')}], its parameter [${param.shape.join(', ')}]`,
      );
    }
    return grad;
  };
}

/** The rounding of one operation on elements of `dtype`. */
export function rounding(dtype: DType): (value: number) => number {
  if (dtype === DType.float64 || dtype === DType.complex128) return (value) => value;
  if (dtype === DType.float32 || dtype === DType.complex64) return Math.fround;
  const access = elementAccess(dtype);
  const scratch = new DataView(new ArrayBuffer(8));
  return (value) => {
    access.write(scratch, 0, value);
    return access.read(scratch, 0) as number;
  };
}

/** The rounding of a scalar operand: that of the dtype, for half types of float32. */
export function scalarRounding(dtype: DType): (value: number) => number {
  return dtype === DType.float64 || dtype === DType.complex128 ? (value) => value : Math.fround;
}

/** Elements in C order, complex ones as pairs: the tensor's own memory where that is possible, else a copy. */
export class Elements {
  readonly values: Floats;
  readonly #tensor: Tensor;
  readonly #isView: boolean;

  constructor(tensor: Tensor) {
    const { dtype } = tensor;
    if (!dtype.isFloatingPoint && !dtype.isComplex)
      throw new TypeError(`an optimizer updates floating point tensors, not ${String(dtype)}`);
    this.#tensor = tensor;
    const isPlain = dtype.array === Float32Array || dtype.array === Float64Array;
    this.#isView = isPlain && tensor.isContiguous() && !tensor.conj && !tensor.neg && aligned(tensor);
    this.values = (
      this.#isView ? tensor.asTypedArray() : isPlain ? tensor.toTypedArray() : tensor.toFloat32Array()
    ) as Floats;
  }

  /** Puts the values back where they came from. */
  commit(): void {
    if (this.#isView) return;
    const { dtype, shape, stride, storageOffset, storage } = this.#tensor;
    const { itemsize } = dtype;
    const source =
      dtype.array === this.values.constructor
        ? new Uint8Array(this.values.buffer, this.values.byteOffset, this.values.byteLength)
        : Tensor.from(this.values, { dtype }).toBytes();
    const target = storage.bytes();
    const index = new Array<number>(shape.length).fill(0);
    let at = storageOffset;
    for (let from = 0; from < source.length; from += itemsize) {
      target.set(source.subarray(from, from + itemsize), at * itemsize);
      for (let d = shape.length - 1; d >= 0; d--) {
        const next = (index[d] as number) + 1;
        at += stride[d] as number;
        if (next < (shape[d] as number)) {
          index[d] = next;
          break;
        }
        at -= (shape[d] as number) * (stride[d] as number);
        index[d] = 0;
      }
    }
  }
}

/** A view cannot be had of a tensor that lies at an odd address; such a file is read into aligned memory by `storage`. */
function aligned(tensor: Tensor): boolean {
  return (
    (tensor.storage.bytes().byteOffset + tensor.storageOffset * tensor.dtype.itemsize) %
      (tensor.dtype.array?.BYTES_PER_ELEMENT ?? 1) ===
    0
  );
}

export function zero(tensor: Tensor): void {
  fillTensor(tensor, 0);
}

export function fillTensor(tensor: Tensor, value: number): void {
  const elements = new Elements(tensor);
  elements.values.fill(value);
  elements.commit();
}

/** `torch.full_like(param, value, memory_format=torch.preserve_format)`: without holes or overlaps strides are kept. */
export function fullLike(param: Tensor, value: number): Tensor {
  const { dtype, shape, stride } = param;
  const device = param.storage.location;
  const flat = Tensor.full([param.numel], value, { dtype, device });
  return new Tensor(flat.storage, dtype, [...shape], isDense(shape, stride) ? [...stride] : contiguousStride(shape), 0);
}

/** A copy of a tensor's shape and strides, with these values. */
export function tensorLike(tensor: Tensor, values: Floats): Tensor {
  const copy = fullLike(tensor, 0);
  const elements = new Elements(copy);
  elements.values.set(values);
  elements.commit();
  return copy;
}

/** True where every element of the memory between the first and the last belongs to the tensor, once. */
function isDense(shape: readonly number[], stride: readonly number[]): boolean {
  const order = [...shape.keys()]
    .filter((d) => shape[d] !== 1)
    .sort((a, b) => (stride[a] as number) - (stride[b] as number));
  let expected = 1;
  for (const d of order) {
    if (stride[d] !== expected) return false;
    expected *= shape[d] as number;
  }
  return true;
}

/** A 0-dim float32 tensor, as steps are counted in: on the CPU unless a GPU is to read it. */
export function scalarTensor(value: number, device = 'cpu'): Tensor {
  return Tensor.full([], value, { dtype: DType.float32, device });
}
