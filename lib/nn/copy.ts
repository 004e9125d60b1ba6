/**
 * Python's `copy_`: the values of one tensor written into another's storage.
 *
 * The source is read in bounded pieces through native code, so that a mapped checkpoint never becomes part of the
 * process's memory; only what is written to does.
 */
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { castElements } from '../tensor/elements';
import { gatherBlocks } from '../tensor/gather';
import { QuantizedTensor } from '../tensor/quantized';
import { Tensor } from '../tensor/tensor';
import { type AnyTensor, isTensor } from '../walk';

/** Both have the same shape. A target on the meta device stays as it is. Throws what PyTorch would, in its words. */
export function copyInto(target: AnyTensor, source: AnyTensor): void {
  if (!(target instanceof Tensor) || !(source instanceof Tensor)) throw mixedLayouts(target, source);
  if (target.isMeta) return;
  if (source.isMeta) throw new CheckpointError('NO_DATA', 'Cannot copy out of meta tensor; no data!');
  if (target instanceof QuantizedTensor || source instanceof QuantizedTensor) return copyQuantized(target, source);
  if (target.numel === 0) return;
  if (target.isContiguous() && !target.conj && !target.neg) return copyContiguous(target, source);
  copyStrided(target, source);
}

function mixedLayouts(target: AnyTensor, source: AnyTensor): CheckpointError {
  const same = isTensor(source) && source.constructor === target.constructor;
  const what = same
    ? `copying into a ${target.constructor.name} is not supported`
    : 'copy_() between dense and sparse Tensors is not implemented!';
  return new CheckpointError('UNSUPPORTED', what, same ? { hint: 'use assign' } : {});
}

function copyQuantized(target: Tensor, source: Tensor): void {
  if (
    !(target instanceof QuantizedTensor) ||
    !(source instanceof QuantizedTensor) ||
    target.dtype !== source.dtype ||
    !target.isContiguous()
  ) {
    throw new CheckpointError('UNSUPPORTED', 'Quantized Copy only works with contiguous and NHWC Tensors');
  }
  writableBytes(target).set(source.toBytes());
  // As in PyTorch, the integers keep the meaning that they had in the source.
  (target as { quantizer: QuantizedTensor['quantizer'] }).quantizer = source.quantizer;
}

/** The target's own memory. Writing to it writes to every tensor over the storage, never to a file. */
function writableBytes({ storage, storageOffset, dtype, numel }: Tensor): Uint8Array {
  const start = (storageOffset / dtype.elementsPerByte) * dtype.itemsize;
  const byteLength = dtype.byteLength(numel);
  try {
    return storage.bytes().subarray(start, start + byteLength);
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.code !== 'ARRAY_TOO_LARGE' || byteLength === storage.nbytes)
      throw error;
    return storage.source.slice(start, byteLength).bytes();
  }
}

function copyContiguous(target: Tensor, source: Tensor): void {
  const { dtype } = target;
  const bytes = writableBytes(target);
  if (dtype.elementsPerByte > 1 || source.dtype.elementsPerByte > 1) {
    if (dtype !== source.dtype)
      throw new CheckpointError('UNSUPPORTED', `"copy_" not implemented for '${source.dtype.name}'`);
    bytes.set(source.toBytes());
    return;
  }
  demandCastable(target, source);
  const isFloat32 = dtype === DType.float32 && dtype !== source.dtype && source.dtype.kernel !== undefined;
  if (isFloat32 && bytes.byteOffset % 4 === 0) {
    source.toFloat32Array(new Float32Array(bytes.buffer, bytes.byteOffset, target.numel));
    return;
  }
  const same = dtype === source.dtype;
  for (const block of gatherBlocks(source)) {
    const into = bytes.subarray(block.start * dtype.itemsize, (block.start + block.numel) * dtype.itemsize);
    if (same) into.set(block.bytes);
    else castElements(source.dtype, block.bytes, dtype, into, block.numel);
  }
}

function demandCastable(target: Tensor, source: Tensor): void {
  if (target.dtype === source.dtype) return;
  for (const { dtype } of [target, source]) {
    if (dtype.kind === 'bits' || dtype.kind === 'quantized')
      throw new CheckpointError('UNSUPPORTED', `"copy_" not implemented for '${dtype.name}'`);
  }
}

/** A target whose elements do not lie side by side: transposed, or a window on a larger tensor. */
function copyStrided(target: Tensor, source: Tensor): void {
  if (target.conj || target.neg)
    throw new CheckpointError('UNSUPPORTED', 'copying into a lazily conjugated or negated tensor is not supported');
  const { dtype, shape, stride } = target;
  demandCastable(target, source);
  const { itemsize } = dtype;
  const memory = target.storage.bytes();
  const index = new Array<number>(shape.length).fill(0);
  let at = target.storageOffset;
  for (const block of gatherBlocks(source)) {
    const values = new Uint8Array(block.numel * itemsize);
    castElements(source.dtype, block.bytes, dtype, values, block.numel);
    for (let i = 0; i < block.numel; i++) {
      memory.set(values.subarray(i * itemsize, (i + 1) * itemsize), at * itemsize);
      for (let d = shape.length - 1; d >= 0; d--) {
        at += stride[d] as number;
        index[d] = (index[d] as number) + 1;
        if ((index[d] as number) < (shape[d] as number)) break;
        at -= (shape[d] as number) * (stride[d] as number);
        index[d] = 0;
      }
    }
  }
}
