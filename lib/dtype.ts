/**
 * The dtype table. A dtype is one line here; storage classes, array types and conversions are derived from it.
 *
 * Sizes, storage classes and the choice between `_rebuild_tensor_v2` and `_v3` are PyTorch's (torch/storage.py,
 * `_dtype_to_storage_type_map`; torch/_tensor.py, `_reduce_ex_internal`).
 */
import { inspect } from 'node:util';
import { Kernel } from './binding';

/** The array types that elements come in; see `DType.array`. */
export type TypedArray =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

interface TypedArrayConstructor {
  readonly BYTES_PER_ELEMENT: number;
  readonly name: string;
  new (length: number): TypedArray;
  new (buffer: ArrayBufferLike, byteOffset?: number, length?: number): TypedArray;
}

export type DTypeKind = 'float' | 'int' | 'uint' | 'bool' | 'complex' | 'quantized' | 'bits';

interface DTypeTraits {
  /** Name of the typed storage class in a pickle; absent when PyTorch saves the dtype over an UntypedStorage. */
  storageClass?: string;
  /** The array type that `asTypedArray` gives; absent when no array of numbers can stand for it. */
  array?: TypedArrayConstructor;
  /** Numbers of the array type for one element: 2 for complex. */
  arrayPerElement?: number;
  /** The native conversion to float32. */
  kernel?: Kernel;
  /** Elements packed in one byte (quint4x2: 2); itemsize then is that of the packed byte. */
  elementsPerByte?: number;
  /** Width in bytes of the units that change order between endiannesses; default itemsize. */
  swapWidth?: number;
}

// Node 20 has no Float16Array; its bits are given as Uint16Array there.
const half = (globalThis as { Float16Array?: TypedArrayConstructor }).Float16Array ?? Uint16Array;

const byName = new Map<string, DType>();
const byStorageClass = new Map<string, DType>();

/** What TorchScript calls the storage of a dtype that has no such class in Python: its pickler names one for each. */
function scriptStorageClass(name: string): string {
  const scalar = name === 'complex32' ? 'complexHalf' : name.replace('uint', 'UInt');
  return `${scalar.charAt(0).toUpperCase()}${scalar.slice(1)}Storage`;
}

/** An element type. Every instance is one of the constants; compare with `===`. */
export class DType {
  static readonly float64 = DType.#row('float64', 8, 'float', {
    storageClass: 'DoubleStorage',
    array: Float64Array,
    kernel: Kernel.Float64,
  });
  static readonly float32 = DType.#row('float32', 4, 'float', {
    storageClass: 'FloatStorage',
    array: Float32Array,
    kernel: Kernel.Float32,
  });
  static readonly float16 = DType.#row('float16', 2, 'float', {
    storageClass: 'HalfStorage',
    array: half,
    kernel: Kernel.Float16,
  });
  static readonly bfloat16 = DType.#row('bfloat16', 2, 'float', {
    storageClass: 'BFloat16Storage',
    array: Uint16Array,
    kernel: Kernel.BFloat16,
  });
  static readonly int64 = DType.#row('int64', 8, 'int', {
    storageClass: 'LongStorage',
    array: BigInt64Array,
    kernel: Kernel.Int64,
  });
  static readonly int32 = DType.#row('int32', 4, 'int', {
    storageClass: 'IntStorage',
    array: Int32Array,
    kernel: Kernel.Int32,
  });
  static readonly int16 = DType.#row('int16', 2, 'int', {
    storageClass: 'ShortStorage',
    array: Int16Array,
    kernel: Kernel.Int16,
  });
  static readonly int8 = DType.#row('int8', 1, 'int', {
    storageClass: 'CharStorage',
    array: Int8Array,
    kernel: Kernel.Int8,
  });
  static readonly uint8 = DType.#row('uint8', 1, 'uint', {
    storageClass: 'ByteStorage',
    array: Uint8Array,
    kernel: Kernel.UInt8,
  });
  static readonly bool = DType.#row('bool', 1, 'bool', {
    storageClass: 'BoolStorage',
    array: Uint8Array,
    kernel: Kernel.Bool,
  });
  static readonly uint16 = DType.#row('uint16', 2, 'uint', { array: Uint16Array, kernel: Kernel.UInt16 });
  static readonly uint32 = DType.#row('uint32', 4, 'uint', { array: Uint32Array, kernel: Kernel.UInt32 });
  static readonly uint64 = DType.#row('uint64', 8, 'uint', { array: BigUint64Array, kernel: Kernel.UInt64 });
  static readonly complex32 = DType.#row('complex32', 4, 'complex', { array: half, arrayPerElement: 2, swapWidth: 2 });
  static readonly complex64 = DType.#row('complex64', 8, 'complex', {
    storageClass: 'ComplexFloatStorage',
    array: Float32Array,
    arrayPerElement: 2,
    swapWidth: 4,
  });
  static readonly complex128 = DType.#row('complex128', 16, 'complex', {
    storageClass: 'ComplexDoubleStorage',
    array: Float64Array,
    arrayPerElement: 2,
    swapWidth: 8,
  });
  static readonly float8_e4m3fn = DType.#row('float8_e4m3fn', 1, 'float', {
    array: Uint8Array,
    kernel: Kernel.Float8E4M3FN,
  });
  static readonly float8_e4m3fnuz = DType.#row('float8_e4m3fnuz', 1, 'float', {
    array: Uint8Array,
    kernel: Kernel.Float8E4M3FNUZ,
  });
  static readonly float8_e5m2 = DType.#row('float8_e5m2', 1, 'float', { array: Uint8Array, kernel: Kernel.Float8E5M2 });
  static readonly float8_e5m2fnuz = DType.#row('float8_e5m2fnuz', 1, 'float', {
    array: Uint8Array,
    kernel: Kernel.Float8E5M2FNUZ,
  });
  static readonly float8_e8m0fnu = DType.#row('float8_e8m0fnu', 1, 'float', {
    array: Uint8Array,
    kernel: Kernel.Float8E8M0FNU,
  });
  static readonly float4_e2m1fn_x2 = DType.#row('float4_e2m1fn_x2', 1, 'bits', { array: Uint8Array });
  static readonly qint8 = DType.#row('qint8', 1, 'quantized', {
    storageClass: 'QInt8Storage',
    array: Int8Array,
    kernel: Kernel.Int8,
  });
  static readonly quint8 = DType.#row('quint8', 1, 'quantized', {
    storageClass: 'QUInt8Storage',
    array: Uint8Array,
    kernel: Kernel.UInt8,
  });
  static readonly qint32 = DType.#row('qint32', 4, 'quantized', {
    storageClass: 'QInt32Storage',
    array: Int32Array,
    kernel: Kernel.Int32,
  });
  static readonly quint4x2 = DType.#row('quint4x2', 1, 'quantized', {
    storageClass: 'QUInt4x2Storage',
    array: Uint8Array,
    elementsPerByte: 2,
  });
  static readonly quint2x4 = DType.#row('quint2x4', 1, 'quantized', {
    storageClass: 'QUInt2x4Storage',
    array: Uint8Array,
    elementsPerByte: 4,
  });
  static readonly bits8 = DType.#row('bits8', 1, 'bits', { array: Uint8Array });
  static readonly bits16 = DType.#row('bits16', 2, 'bits', { array: Uint16Array });
  static readonly bits1x8 = DType.#row('bits1x8', 1, 'bits', { array: Uint8Array });
  static readonly bits2x4 = DType.#row('bits2x4', 1, 'bits', { array: Uint8Array });
  static readonly bits4x2 = DType.#row('bits4x2', 1, 'bits', { array: Uint8Array });
  // Named by PyTorch 2.13 and allowed in pickles, but no tensor of them can be saved, unless it is on the meta device.
  static readonly uint1 = DType.#row('uint1', 1, 'bits');
  static readonly uint2 = DType.#row('uint2', 1, 'bits');
  static readonly uint3 = DType.#row('uint3', 1, 'bits');
  static readonly uint4 = DType.#row('uint4', 1, 'bits');
  static readonly uint5 = DType.#row('uint5', 1, 'bits');
  static readonly uint6 = DType.#row('uint6', 1, 'bits');
  static readonly uint7 = DType.#row('uint7', 1, 'bits');
  static readonly int1 = DType.#row('int1', 1, 'bits');
  static readonly int2 = DType.#row('int2', 1, 'bits');
  static readonly int3 = DType.#row('int3', 1, 'bits');
  static readonly int4 = DType.#row('int4', 1, 'bits');
  static readonly int5 = DType.#row('int5', 1, 'bits');
  static readonly int6 = DType.#row('int6', 1, 'bits');
  static readonly int7 = DType.#row('int7', 1, 'bits');

  static #row(name: string, itemsize: number, kind: DTypeKind, traits: DTypeTraits = {}): DType {
    const dtype = new DType(name, itemsize, kind, traits);
    byName.set(name, dtype);
    byStorageClass.set(traits.storageClass ?? scriptStorageClass(name), dtype);
    return dtype;
  }

  /** PyTorch's name without `torch.`: `float32`. */
  readonly name: string;
  /** Bytes per element (per packed byte where `elementsPerByte` is over 1). */
  readonly itemsize: number;
  readonly kind: DTypeKind;
  readonly storageClass: string | undefined;
  readonly array: TypedArrayConstructor | undefined;
  readonly arrayPerElement: number;
  readonly kernel: Kernel | undefined;
  readonly elementsPerByte: number;
  readonly swapWidth: number;

  /** @internal Use the constants, or `DType.of`. */
  constructor(name: string, itemsize: number, kind: DTypeKind, traits: DTypeTraits) {
    this.name = name;
    this.itemsize = itemsize;
    this.kind = kind;
    this.storageClass = traits.storageClass;
    this.array = traits.array;
    this.arrayPerElement = traits.arrayPerElement ?? 1;
    this.kernel = traits.kernel;
    this.elementsPerByte = traits.elementsPerByte ?? 1;
    this.swapWidth = traits.swapWidth ?? itemsize;
  }

  /** The dtype called `name`, with or without `torch.`; undefined when PyTorch has none of that name. */
  static of(name: string): DType | undefined {
    return byName.get(name.startsWith('torch.') ? name.slice(6) : name);
  }

  /** The dtype of a typed storage class: `FloatStorage` gives float32; so does one that only TorchScript names. */
  static ofStorageClass(name: string): DType | undefined {
    return byStorageClass.get(name);
  }

  /** Every dtype, in table order. */
  static all(): readonly DType[] {
    return [...byName.values()];
  }

  get isFloatingPoint(): boolean {
    return this.kind === 'float';
  }

  get isComplex(): boolean {
    return this.kind === 'complex';
  }

  /** Bytes that `numel` elements take, packed ones rounded up. */
  byteLength(numel: number): number {
    return this.elementsPerByte === 1 ? numel * this.itemsize : Math.ceil(numel / this.elementsPerByte);
  }

  /** Whole elements in `byteLength` bytes of a storage. */
  numelIn(byteLength: number): number {
    return Math.floor(byteLength / this.itemsize) * this.elementsPerByte;
  }

  toString(): string {
    return `torch.${this.name}`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}
