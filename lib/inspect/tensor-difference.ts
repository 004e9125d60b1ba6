/** Whether two tensors are the same, of any kind: dtype, shape, how they are stored, then their elements. */
import { NestedTensor } from '../tensor/nested';
import { QuantizedTensor } from '../tensor/quantized';
import { SparseTensor } from '../tensor/sparse';
import type { Tensor } from '../tensor/tensor';
import type { AnyTensor } from '../walk';
import { type ElementDifference, elementDifference, type Tolerance } from './element-difference';
import { atHand } from './find';
import { stridedParts } from './storage-use';

export interface TensorDifference extends Partial<ElementDifference> {
  readonly reason: 'values' | 'dtype' | 'shape' | 'value';
  /** What each side has, where that is short. */
  readonly a?: string;
  readonly b?: string;
}

/** Undefined when they are equal. */
export async function tensorDifference(
  a: AnyTensor,
  b: AnyTensor,
  tolerance: Tolerance,
  signal?: AbortSignal,
): Promise<TensorDifference | undefined> {
  if (a.dtype !== b.dtype) return { reason: 'dtype', a: a.dtype.name, b: b.dtype.name };
  const [shapeA, shapeB] = [shapeText(a), shapeText(b)];
  if (shapeA !== shapeB) return { reason: 'shape', a: shapeA, b: shapeB };
  const [kindA, kindB] = [kindText(a), kindText(b)];
  if (kindA !== kindB) return { reason: 'value', a: kindA, b: kindB };
  const others = stridedParts(b);
  for (const [i, part] of stridedParts(a).entries()) {
    const other = others[i] as Tensor;
    const [partA, partB] = [shapeText(part), shapeText(other)];
    // The stored elements of a sparse tensor: another number of them is another tensor.
    if (partA !== partB) return { reason: 'values', a: `${partA} stored`, b: `${partB} stored` };
    const difference = await elementDifference(await atHand(part), await atHand(other), tolerance, signal);
    if (difference) return { reason: 'values', ...difference };
  }
  return undefined;
}

export function shapeText(tensor: AnyTensor): string {
  return tensor instanceof NestedTensor ? `[${tensor.length}, *]` : `[${tensor.shape.join(', ')}]`;
}

function kindText(tensor: AnyTensor): string {
  if (tensor instanceof NestedTensor) return 'nested';
  if (tensor instanceof SparseTensor) return tensor.layout.name;
  if (tensor instanceof QuantizedTensor) return `${tensor.qscheme.name} ${quantizerText(tensor)}`;
  return tensor.isMeta ? 'meta' : 'strided';
}

function quantizerText({ quantizer }: QuantizedTensor): string {
  if ('scale' in quantizer) return `scale ${quantizer.scale}, zero point ${quantizer.zeroPoint}`;
  return `scales ${String(quantizer.scales.toArray()).slice(0, 1000)}, zero points ${String(quantizer.zeroPoints.toArray()).slice(0, 1000)}, axis ${quantizer.axis}`;
}
