/** Tensors: strided windows on a storage, with PyTorch's views, conversions and error texts. */
import { inspect } from 'node:util';
import { DType, type TypedArray } from '../dtype';
import { CheckpointError } from '../errors';
import { type Complex, Device, Layout, type PyGlobal, type PyValue, printer, safeInteger } from '../pickle/values';
import { arrayCopy, arrayView, castTo, equalValues, toFloat32, toNested } from './conversion';
import { arangeElements, type Elements, elementsOf, filled, fromNested, type NestedArray, shapeOf } from './creation';
import type { Scalar } from './elements';
import { ElementReader, gather, type Source } from './gather';
import {
  contiguousStride,
  type Dims,
  dimsOf,
  expandStride,
  inferShape,
  isContiguous,
  listOf,
  narrowed,
  numelOf,
  permutation,
  selected,
  viewStride,
  wrapDim,
} from './geometry';
import { MemoryBytes, MetaBytes, Storage, type StorageShelf } from './storage';
import { StreamBytes } from './stream-bytes';

export type { NestedArray } from './creation';
export { checkBounds } from './geometry';

/** What the tensors of many layers have in common: they hold one of these, for there are many tensors. @internal */
export class TensorForm {
  /** The storage, or what makes the storage of each tensor when it is asked for. */
  readonly home: Storage | StorageShelf;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly stride: readonly number[];

  constructor(home: Storage | StorageShelf, dtype: DType, shape: readonly number[], stride: readonly number[]) {
    this.home = home;
    this.dtype = dtype;
    this.shape = shape;
    this.stride = stride;
  }
}

/** A strided window on a storage. */
export class Tensor implements Source {
  // What follows few tensors of a checkpoint have: it stands on the prototype until it is set.
  /** The first element, counted in elements from the start of the storage. */
  declare readonly storageOffset: number;
  declare requiresGrad: boolean;
  /** PyTorch's lazy conjugation and negation: the stored elements stand for their conjugates or negatives. */
  declare conj: boolean;
  declare neg: boolean;
  /** Attributes that were pickled with the tensor: a Map, or a Tuple of dict and slots. */
  declare attributes: PyValue | undefined;
  /** The Python class of a tensor subclass, such as `torch.nn.parameter.Buffer`. */
  declare pythonType: PyGlobal | undefined;
  /** The gradient that files of PyTorch 0.1 to 0.3 pickled with a variable. */
  declare grad: Tensor | undefined;

  #form: TensorForm;
  /** Where the home of the form makes the storage. */
  #place: number;

  /**
   * @internal Nothing is checked: `checkBounds` has been called, or the window is known to be inside. A form in the place
   * of the storage is shared with others; the arguments up to the stride are then those of the form.
   */
  constructor(
    home: Storage | TensorForm,
    dtype: DType,
    shape: readonly number[],
    stride: readonly number[],
    storageOffset: number,
    requiresGrad = false,
    place = 0,
  ) {
    this.#form = home instanceof TensorForm ? home : new TensorForm(home, dtype, shape, stride);
    this.#place = place;
    if (storageOffset !== 0) this.storageOffset = storageOffset;
    if (requiresGrad) this.requiresGrad = true;
  }

  get dtype(): DType {
    return this.#form.dtype;
  }

  /** Elements along each dimension. */
  get shape(): readonly number[] {
    return this.#form.shape;
  }

  /** Steps from one element to the next along each dimension, in elements. */
  get stride(): readonly number[] {
    return this.#form.stride;
  }

  /** Shared by every view of the same memory, and by tied weights. */
  get storage(): Storage {
    const { home } = this.#form;
    return home instanceof Storage ? home : home.storageAt(this.#place);
  }

  /** Takes over the window of another tensor, for whoever holds this one by identity. @internal */
  become(other: Tensor): void {
    this.#form = other.#form;
    this.#place = other.#place;
    Object.assign(this, { storageOffset: other.storageOffset });
  }

  /** Total elements. */
  get numel(): number {
    return numelOf(this.shape);
  }

  /** Bytes that the elements take when contiguous; the storage may be larger or, under `expand`, smaller. */
  get nbytes(): number {
    return this.dtype.byteLength(this.numel);
  }

  get ndim(): number {
    return this.shape.length;
  }

  get layout(): Layout {
    return Layout.strided;
  }

  /** Where the storage is. Throws LOCATION when its tag in the file is no device at all. */
  get device(): Device {
    return deviceOf(this.storage);
  }

  /** True on the meta device: a shape and a dtype without bytes. What needs bytes throws NO_DATA. */
  get isMeta(): boolean {
    return this.storage.isMeta;
  }

  /** True when the elements lie in C order without gaps. */
  isContiguous(): boolean {
    return isContiguous(this.shape, this.stride);
  }

  /**
   * A view of the elements in the dtype's own array type (see `DType.array`), without a copy: writing to it writes to
   * every tensor of the storage, never to the file. Throws UNSUPPORTED where no array can show the elements as they lie
   * (not contiguous, lazily conjugated or negated, packed, misaligned) and ARRAY_TOO_LARGE beyond the host's arrays.
   */
  asTypedArray(): TypedArray {
    return arrayView(this);
  }

  /** A contiguous copy in the dtype's own array type; packed dtypes as their bytes. Throws ARRAY_TOO_LARGE. */
  toTypedArray(): TypedArray {
    return arrayCopy(this);
  }

  /** The values as contiguous C-order little-endian bytes, lazy bits applied: a copy. Throws ARRAY_TOO_LARGE. */
  toBytes(): Uint8Array {
    return gather(this);
  }

  /**
   * A copy converted to float32 with PyTorch's rounding, from any real dtype; into `into`, of length numel, where given.
   * Other memory is used in bounded pieces only.
   */
  toFloat32Array(into?: Float32Array): Float32Array {
    return toFloat32(this, into);
  }

  /** Nested arrays of the elements, a bare element for 0-dim; 64-bit integers are bigints where a number is not exact. */
  toArray(): NestedArray {
    return toNested(this);
  }

  /** The only element. Throws RangeError when there is more than one, or none. */
  item(): number | bigint | boolean | Complex {
    if (this.numel !== 1) throw new RangeError(`a Tensor with ${this.numel} elements cannot be converted to Scalar`);
    const value = new ElementReader(this).at(this.storageOffset);
    return typeof value === 'bigint' ? safeInteger(value) : value;
  }

  /** What views and copies are made with: the same kind of tensor over other memory. */
  protected like(storage: Storage, shape: readonly number[], stride: readonly number[], storageOffset: number): Tensor {
    const tensor = new Tensor(storage, this.dtype, shape, stride, storageOffset, this.requiresGrad);
    if (this.conj) tensor.conj = true;
    if (this.neg) tensor.neg = true;
    return tensor;
  }

  #view(shape: readonly number[], stride: readonly number[], storageOffset = this.storageOffset): Tensor {
    return this.like(this.storage, shape, stride, storageOffset);
  }

  /** A view of one index along `dim`, with that dimension gone. */
  select(dim: number, index: number): Tensor {
    const { shape, stride, storageOffset } = selected(this, dim, index);
    return this.#view(shape, stride, storageOffset);
  }

  /** A view of `length` indices from `start` on along `dim`. */
  narrow(dim: number, start: number, length: number): Tensor {
    const { shape, stride, storageOffset } = narrowed(this, dim, start, length);
    return this.#view(shape, stride, storageOffset);
  }

  /** The same elements under another shape, never copied; one size may be -1. */
  view(...shape: Dims): Tensor {
    const target = inferShape(dimsOf(shape), this.numel);
    const stride = viewStride(this.shape, this.stride, target);
    if (!stride) {
      throw new RangeError(
        "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous subspaces). Use .reshape(...) instead.",
      );
    }
    return this.#view(target, stride);
  }

  /** A view where one exists, else a copy. */
  reshape(...shape: Dims): Tensor {
    const target = inferShape(dimsOf(shape), this.numel);
    const stride = viewStride(this.shape, this.stride, target);
    return stride ? this.#view(target, stride) : this.clone().view(target);
  }

  /** Dimensions `startDim` to `endDim` as one; a view where one exists. */
  flatten(startDim = 0, endDim = -1): Tensor {
    const start = wrapDim(startDim, this.ndim);
    const end = wrapDim(endDim, this.ndim);
    if (start > end) throw new RangeError('flatten() has invalid args: start_dim cannot come after end_dim');
    const merged = numelOf(this.shape.slice(start, end + 1));
    return this.reshape([...this.shape.slice(0, start), merged, ...this.shape.slice(end + 1)]);
  }

  /** A view with two dimensions exchanged. */
  transpose(dim0: number, dim1: number): Tensor {
    const a = wrapDim(dim0, this.ndim);
    const b = wrapDim(dim1, this.ndim);
    if (this.ndim === 0) return this.#view([], []);
    const order = this.shape.map((_, d) => (d === a ? b : d === b ? a : d));
    return this.permute(order);
  }

  /** A matrix transposed; vectors and 0-dim tensors as they are. */
  t(): Tensor {
    if (this.ndim > 2) throw new RangeError(`t() expects a tensor with <= 2 dimensions, but self is ${this.ndim}D`);
    return this.ndim === 2 ? this.transpose(0, 1) : this.#view(this.shape, this.stride);
  }

  /** A view with the dimensions in the given order. */
  permute(...dims: Dims): Tensor {
    const order = permutation(dimsOf(dims), this.ndim);
    return this.#view(
      order.map((d) => this.shape[d]!),
      order.map((d) => this.stride[d]!),
    );
  }

  /** A view without the dimensions of one element, or without dimension `dim` where that has one. */
  squeeze(dim?: number): Tensor {
    const only = dim === undefined ? undefined : wrapDim(dim, this.ndim);
    const kept = [...this.shape.keys()].filter((d) => this.shape[d] !== 1 || (only !== undefined && d !== only));
    return this.#view(
      kept.map((d) => this.shape[d]!),
      kept.map((d) => this.stride[d]!),
    );
  }

  /** A view with a dimension of one element before `dim`. */
  unsqueeze(dim: number): Tensor {
    const d = wrapDim(dim, this.ndim + 1);
    const step = d < this.ndim ? this.shape[d]! * this.stride[d]! : 1;
    return this.#view(this.shape.toSpliced(d, 0, 1), this.stride.toSpliced(d, 0, step));
  }

  /** A view that repeats dimensions of one element; -1 keeps a size. */
  expand(...shape: Dims): Tensor {
    const expanded = expandStride(this.shape, this.stride, dimsOf(shape));
    return this.#view(expanded.shape, expanded.stride);
  }

  /** This tensor where it is contiguous, else a contiguous copy. */
  contiguous(): Tensor {
    return this.isContiguous() ? this : this.clone();
  }

  /** A contiguous copy with a storage of its own; lazy bits are applied. */
  clone(): Tensor {
    if (this.isMeta) return this.#view(this.shape, contiguousStride(this.shape), 0);
    const storage = newStorage(this.dtype, new MemoryBytes(this.toBytes()), this.storage.location);
    const copy = this.like(storage, this.shape, contiguousStride(this.shape), 0);
    copy.conj = false;
    copy.neg = false;
    return copy;
  }

  /** The same memory without `requiresGrad`. */
  detach(): Tensor {
    return this.#view(this.shape, this.stride).requiresGrad_(false);
  }

  /** Sets `requiresGrad` and returns this tensor. */
  requiresGrad_(requiresGrad = true): this {
    if (requiresGrad && !this.dtype.isFloatingPoint && !this.dtype.isComplex) {
      throw new TypeError('only Tensors of floating point dtype can require gradients');
    }
    this.requiresGrad = requiresGrad;
    return this;
  }

  /**
   * Another dtype: a cast copy, rounded as PyTorch rounds. Another device: the same bytes under that location, or none
   * for `meta`. This tensor itself where nothing changes. A string names either, a dtype first.
   */
  to(target: DType | Device | string): Tensor {
    const dtype = typeof target === 'string' ? DType.of(target) : target;
    if (dtype instanceof DType) return dtype === this.dtype ? this : this.cast(dtype);
    const device = target instanceof Device ? target : new Device(target as string);
    // As in PyTorch, `cuda` alone is the current device, which is the first.
    const location = device.type === 'cuda' && device.index === undefined ? 'cuda:0' : String(device);
    if (location === this.storage.location) return this;
    if (this.isMeta) throw new CheckpointError('NO_DATA', 'Cannot copy out of meta tensor; no data!');
    if (location !== 'meta')
      return this.like(this.storage.withLocation(location), this.shape, this.stride, this.storageOffset);
    return Tensor.#of(
      { dtype: this.dtype, shape: this.shape, bytes: new MetaBytes(this.nbytes) },
      this.requiresGrad,
      'meta',
    );
  }

  protected cast(dtype: DType): Tensor {
    const requiresGrad = this.requiresGrad && (dtype.isFloatingPoint || dtype.isComplex);
    return Tensor.#of(castTo(this, dtype), requiresGrad, this.storage.location);
  }

  /**
   * True when shape and every value are equal; as in PyTorch NaN equals nothing and -0 equals 0. Tensors of different
   * dtypes are equal when their values are, exactly: PyTorch rounds them to a common dtype first.
   */
  equal(other: Tensor): boolean {
    return String(this.shape) === String(other.shape) && equalValues(this, other);
  }

  /** The text that PyTorch prints. */
  toString(): string {
    return printer.repr(this);
  }

  [inspect.custom](): string {
    return printer.repr(this);
  }

  /**
   * A tensor over `data`. A typed array is shared, not copied, and gives the dtype; with another `dtype` its values are
   * cast, except that the array type a dtype is shown as (Uint16Array for bfloat16, ...) is taken as that dtype's bits.
   * Nested arrays are copied: numbers are float32, booleans bool, bigints int64, Complex complex64, unless `dtype` says
   * otherwise. With a complex dtype, numbers come in [re, im] pairs. `shape` defaults to that of the data.
   */
  static from(
    data: TypedArray | NestedArray,
    options: { dtype?: DType | undefined; shape?: readonly number[] | undefined } = {},
  ): Tensor {
    const elements = ArrayBuffer.isView(data)
      ? elementsOf(data, options.dtype, options.shape)
      : fromNested(data, options.dtype, options.shape);
    return Tensor.#of(elements);
  }

  /** A tensor whose bytes (contiguous, little-endian) `open` gives when it is saved; it cannot be read before. */
  static fromStream(spec: { dtype: DType; shape: readonly number[] }, open: () => AsyncIterable<Uint8Array>): Tensor {
    if (!(spec.dtype instanceof DType)) throw new TypeError('the dtype of a tensor is a DType, such as DType.float32');
    const shape = shapeOf(spec.shape);
    const byteLength = spec.dtype.byteLength(numelOf(shape));
    if (!Number.isSafeInteger(byteLength)) throw new RangeError(`a tensor of shape ${listOf(shape)} is too large`);
    return Tensor.#of({ dtype: spec.dtype, shape, bytes: new StreamBytes(byteLength, open) });
  }

  static zeros(shape: readonly number[], options: { dtype?: DType; device?: string | Device } = {}): Tensor {
    return Tensor.full(shape, 0, options);
  }

  static ones(shape: readonly number[], options: { dtype?: DType; device?: string | Device } = {}): Tensor {
    return Tensor.full(shape, 1, options);
  }

  /** A tensor of one repeated value, float32 unless `dtype` is given. */
  static full(
    shape: readonly number[],
    value: Scalar,
    options: { dtype?: DType; device?: string | Device } = {},
  ): Tensor {
    const { dtype = DType.float32, device = 'cpu' } = options;
    const location = String(device);
    if (location !== 'meta') return Tensor.#of(filled(shapeOf(shape), value, dtype), false, location);
    const bytes = new MetaBytes(dtype.byteLength(numelOf(shapeOf(shape))));
    return Tensor.#of({ dtype, shape: [...shape], bytes }, false, location);
  }

  /** `end` numbers from 0 on: int64 as in PyTorch, unless `dtype` is given. */
  static arange(end: number, options: { dtype?: DType } = {}): Tensor {
    return Tensor.#of(arangeElements(end, options.dtype ?? DType.int64));
  }

  static #of({ dtype, shape, bytes }: Elements, requiresGrad = false, location = 'cpu'): Tensor {
    return new Tensor(newStorage(dtype, bytes, location), dtype, shape, contiguousStride(shape), 0, requiresGrad);
  }
}

Object.assign(Tensor.prototype, {
  storageOffset: 0,
  requiresGrad: false,
  conj: false,
  neg: false,
  attributes: undefined,
  pythonType: undefined,
  grad: undefined,
});

/** `torch.nn.Parameter`: a tensor that a module registers. Shares the storage of the tensor it is made of. */
export class Parameter extends Tensor {
  constructor(tensor: Tensor, requiresGrad = true) {
    super(tensor.storage, tensor.dtype, tensor.shape, tensor.stride, tensor.storageOffset, requiresGrad);
    if (tensor.conj) this.conj = true;
    if (tensor.neg) this.neg = true;
  }
}

function newStorage(dtype: DType, bytes: Elements['bytes'], location: string): Storage {
  const untyped = dtype.storageClass === undefined;
  return new Storage('', location, untyped ? DType.uint8 : dtype, bytes, untyped);
}

/** By location; files choose locations, so that their number is bounded. */
const devices = new Map<string, Device>();
const MAX_DEVICES = 64;

function deviceOf(storage: Storage): Device {
  const known = devices.get(storage.location);
  if (known) return known;
  try {
    const device = new Device(storage.location);
    if (devices.size < MAX_DEVICES) devices.set(storage.location, device);
    return device;
  } catch (cause) {
    throw new CheckpointError('LOCATION', `storage "${storage.key}" is on "${storage.location}", which is no device`, {
      cause,
    });
  }
}
