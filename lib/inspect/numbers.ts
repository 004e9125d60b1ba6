/** Elements of any real dtype as numbers, for code that only computes with them. */
import { native } from '../binding';
import { DType, type TypedArray } from '../dtype';

export class Numbers {
  readonly #dtype: DType;
  #floats = new Float32Array(0);

  constructor(dtype: DType) {
    this.#dtype = dtype;
  }

  /**
   * Contiguous elements as numbers; 64-bit integers are rounded to doubles. `bytes` must be aligned for the dtype. Valid
   * until the next call.
   */
  in(bytes: Uint8Array, numel: number): ArrayLike<number> {
    const dtype = this.#dtype;
    const { buffer, byteOffset } = bytes;
    if (dtype === DType.float64) return new Float64Array(buffer, byteOffset, numel);
    if (dtype === DType.float32) return new Float32Array(buffer, byteOffset, numel);
    const { kernel } = dtype;
    if (dtype.isFloatingPoint && kernel !== undefined) {
      if (this.#floats.length < numel) this.#floats = new Float32Array(numel);
      const target = this.#floats.subarray(0, numel);
      native({}, (addon) => addon.toFloat32(kernel, bytes, target));
      return target;
    }
    if (dtype === DType.qint32) return new Int32Array(buffer, byteOffset, numel);
    if (dtype === DType.qint8) return new Int8Array(buffer, byteOffset, numel);
    if (!dtype.array) return bytes;
    const array: TypedArray = new dtype.array(buffer, byteOffset, numel);
    return array instanceof BigInt64Array || array instanceof BigUint64Array
      ? Float64Array.from(array as BigInt64Array, Number)
      : array;
  }
}
