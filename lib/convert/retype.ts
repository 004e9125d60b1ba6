/**
 * Tensors over other storages: cast, put on another device, cut down to the bytes that are used.
 *
 * A storage is cast whole where all its tensors have one dtype, so that views stay views of one storage; otherwise each
 * tensor gets its own.
 */
import { planCompaction } from '../compact';
import type { DType } from '../dtype';
import { type MapLocation, placement } from '../location';
import type { PyValue } from '../pickle/values';
import { contiguousStride } from '../tensor/geometry';
import { NestedTensor } from '../tensor/nested';
import { QuantizedTensor, type Quantizer } from '../tensor/quantized';
import { type SparseComponents, SparseTensor } from '../tensor/sparse';
import { Storage } from '../tensor/storage';
import { Parameter, Tensor } from '../tensor/tensor';
import { type AnyTensor, walk } from '../walk';
import { EncodedBytes } from './payload';

interface Place {
  readonly storage: Storage;
  readonly storageOffset: number;
}

/** The function that gives the new form of each tensor below `root`. */
export function retyper(
  root: PyValue,
  dtype: DType | undefined,
  mapLocation: MapLocation | undefined,
): (tensor: AnyTensor) => AnyTensor {
  const { relocate } = planCompaction((visit, keepWhole) => {
    for (const [, value] of walk(root)) {
      if (value instanceof Storage) keepWhole(value);
      else for (const tensor of denseParts(value)) visit(tensor);
    }
  });
  const place = mapLocation === undefined ? undefined : placement(mapLocation);
  const placed = new Map<Storage, Storage>();
  const cast = new Map<Storage, Storage>();
  const mixed = dtype ? mixedStorages(root) : new Set<Storage>();

  /** Once for each storage, as when a file is loaded. */
  function located(storage: Storage): Storage {
    if (!place || storage.isMeta) return storage;
    let found = placed.get(storage);
    if (!found) placed.set(storage, (found = place(storage)));
    return found;
  }

  function wholeCast(storage: Storage, from: DType, to: DType): Storage {
    let found = cast.get(storage);
    if (!found) {
      const flat = new Tensor(storage, from, [from.numelIn(storage.nbytes)], [1], 0);
      const bytes = storage.isMeta ? storage.source.slice(0, to.byteLength(flat.numel)) : new EncodedBytes(flat, to);
      found = new Storage(storage.key, storage.location, to, bytes, to.storageClass === undefined);
      cast.set(storage, found);
    }
    return found;
  }

  function retyped(tensor: Tensor): Tensor {
    const casts = dtype !== undefined && tensor.dtype.isFloatingPoint && tensor.dtype !== dtype;
    if (casts && mixed.has(tensor.storage)) {
      const bytes = new EncodedBytes(tensor, dtype);
      const own = located(new Storage('', tensor.storage.location, dtype, bytes, dtype.storageClass === undefined));
      const copy = over(tensor, { storage: own, storageOffset: 0 }, dtype, contiguousStride(tensor.shape));
      copy.neg = false;
      return copy;
    }
    if (!casts) {
      const storage = located(tensor.storage);
      return storage === tensor.storage
        ? tensor
        : over(tensor, { storage, storageOffset: tensor.storageOffset }, tensor.dtype);
    }
    // Of a storage that is not cast whole `save` cuts off what is not used; here it must be done before.
    const { storage, storageOffset } = relocate(tensor);
    return over(tensor, { storage: located(wholeCast(storage, tensor.dtype, dtype)), storageOffset }, dtype);
  }

  /** Attributes and gradient go along as they are. */
  function over(tensor: Tensor, { storage, storageOffset }: Place, type: DType, stride = tensor.stride): Tensor {
    const { shape, requiresGrad } = tensor;
    const plain =
      tensor instanceof QuantizedTensor
        ? new QuantizedTensor(storage, type, shape, stride, storageOffset, quantizer(tensor.quantizer), requiresGrad)
        : new Tensor(storage, type, shape, stride, storageOffset, requiresGrad);
    plain.conj = tensor.conj;
    plain.neg = tensor.neg;
    const made = tensor instanceof Parameter ? new Parameter(plain, requiresGrad) : plain;
    made.attributes = tensor.attributes;
    made.pythonType = tensor.pythonType;
    made.grad = tensor.grad && retyped(tensor.grad);
    return made;
  }

  function quantizer(of: Quantizer): Quantizer {
    return 'scale' in of
      ? of
      : {
          ...of,
          scales: over(of.scales, { ...of.scales, storage: located(of.scales.storage) }, of.scales.dtype),
          zeroPoints: over(
            of.zeroPoints,
            { ...of.zeroPoints, storage: located(of.zeroPoints.storage) },
            of.zeroPoints.dtype,
          ),
        };
  }

  return (tensor) => {
    if (tensor instanceof SparseTensor) {
      const components = Object.fromEntries(
        Object.entries(tensor.components).map(([name, part]) => [name, retyped(part as Tensor)]),
      ) as unknown as SparseComponents;
      return new SparseTensor(tensor.layout, components, tensor.shape, {
        isCoalesced: tensor.isCoalesced,
        requiresGrad: tensor.requiresGrad,
      });
    }
    if (tensor instanceof NestedTensor) {
      const { buffer, sizes, strides, storageOffsets } = tensor.components;
      return new NestedTensor(
        {
          buffer: retyped(buffer),
          sizes: retyped(sizes),
          strides: retyped(strides),
          storageOffsets: retyped(storageOffsets),
        },
        tensor.requiresGrad,
      );
    }
    return retyped(tensor);
  };
}

/** Storages whose tensors differ in dtype, or that stand in the graph themselves. */
function mixedStorages(root: PyValue): Set<Storage> {
  const dtypes = new Map<Storage, DType>();
  const mixed = new Set<Storage>();
  const meet = ({ storage, dtype }: Tensor): void => {
    const known = dtypes.get(storage);
    if (known === undefined) dtypes.set(storage, dtype);
    else if (known !== dtype) mixed.add(storage);
  };
  for (const [, value] of walk(root)) {
    if (value instanceof Storage) mixed.add(value);
    else denseParts(value).forEach(meet);
  }
  return mixed;
}

/** The dense tensors that a value is made of; none where it is no tensor. */
export function denseParts(value: unknown): Tensor[] {
  if (value instanceof SparseTensor || value instanceof NestedTensor)
    return Object.values(value.components) as Tensor[];
  if (!(value instanceof Tensor)) return [];
  if (value instanceof QuantizedTensor && value.scales && value.zeroPoints)
    return [value, value.scales, value.zeroPoints];
  return value.grad ? [value, value.grad] : [value];
}
