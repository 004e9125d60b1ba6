/**
 * Rules for the functions through which PyTorch rebuilds tensors (torch/_utils.py, torch/_tensor.py), for all forms since
 * 0.1. Every number that a file gives is proven against the storage before a tensor exists.
 */

import { isBigEndianUntyped } from '../container/byte-order';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { NestedTensor } from '../tensor/nested';
import { QuantizedTensor, type Quantizer } from '../tensor/quantized';
import { type SparseComponents, SparseTensor } from '../tensor/sparse';
import { MemoryBytes, MetaBytes, Storage } from '../tensor/storage';
import { checkBounds, Parameter, Tensor } from '../tensor/tensor';
import { isFloatSlot } from './notes';
import {
  fail,
  type GlobalRule,
  type Host,
  KnownGlobal,
  type NumberedStorages,
  type PlainWindow,
  StorageClass,
} from './rules';
import { kindOf, Layout, NdArray, PyGlobal, PyObject, type PyValue, QScheme, Tuple } from './values';

function storageArg(value: PyValue | undefined): Storage {
  if (value instanceof Storage) return value;
  throw new CheckpointError('TENSOR_CORRUPT', `a tensor is built on ${kindOf(value)} instead of a storage`);
}

function tensorArg(value: PyValue | undefined, what: string): Tensor {
  if (value instanceof Tensor) return value;
  throw new CheckpointError('TENSOR_CORRUPT', `${what} is ${kindOf(value)}, not a tensor`);
}

function dtypeArg(value: PyValue | undefined): DType {
  if (value instanceof DType) return value;
  throw new CheckpointError('TENSOR_CORRUPT', `the dtype of a tensor is ${kindOf(value)}`);
}

function dimsArg(value: PyValue | undefined, what: string): readonly number[] {
  if (Array.isArray(value)) {
    for (let d = 0; d < value.length; d++) if (isFloatSlot(value, d, value[d])) refuseFloat(what);
    // A plain array, as a shape is to its user; `checkBounds` proves what is in it.
    return Array.from(value as number[]);
  }
  throw new CheckpointError('TENSOR_CORRUPT', `the ${what} of a tensor is ${kindOf(value)}, not a tuple`);
}

function refuseFloat(what: string): never {
  throw new CheckpointError('TENSOR_CORRUPT', `the ${what} of a tensor holds a float where an integer belongs`);
}

/** Whether a tensor of the dtype requires grad, as its argument says. */
function requiresGradArg(value: PyValue | undefined, dtype: DType): boolean {
  if (typeof value !== 'boolean')
    throw new CheckpointError('TENSOR_CORRUPT', `requires_grad must be a bool, found ${kindOf(value)}`);
  if (value) checkGrad(dtype);
  return value;
}

function checkGrad(dtype: DType): void {
  if (!dtype.isFloatingPoint && !dtype.isComplex)
    throw new CheckpointError(
      'TENSOR_CORRUPT',
      `only Tensors of floating point and complex dtype can require gradients, not one of ${dtype}`,
    );
}

/** `args`: the storage, or what `storage` takes the place of, then the offset, size and stride. */
function build(
  args: readonly (PyValue | undefined)[],
  dtype: DType,
  requiresGrad: boolean,
  storage = storageArg(args[0]),
): Tensor {
  const offset = args[1] as number;
  if (isFloatSlot(args, 1, offset)) refuseFloat('storage offset');
  const shape = dimsArg(args[2], 'size');
  const stride = dimsArg(args[3], 'stride');
  checkBounds(storage.nbytes, dtype, shape, stride, offset);
  return new Tensor(storage, dtype, shape, stride, offset, requiresGrad);
}

/** The lazy conjugate and negative bits, the optional last argument of v2 and v3. */
function withBits(tensor: Tensor, metadata: PyValue | undefined): Tensor {
  if (metadata instanceof Map && [...metadata.keys()].every((name) => typeof name === 'string')) {
    tensor.conj = metadata.get('conj') === true;
    tensor.neg = metadata.get('neg') === true;
  } else if (metadata)
    throw new CheckpointError(
      'TENSOR_CORRUPT',
      `the metadata of a tensor: expected a dict of names, got ${kindOf(metadata)}`,
    );
  return tensor;
}

/** `_rebuild_tensor_v2` as the fast path reads it: the arguments are numbers already, and are taken over. */
export function rebuildPlainTensor(storage: PyValue, window: PlainWindow): Tensor {
  const known = storageArg(storage);
  const { shape, stride, storageOffset, requiresGrad } = window;
  if (requiresGrad) checkGrad(known.dtype);
  checkBounds(known.nbytes, known.dtype, shape, stride, storageOffset);
  return new Tensor(known, known.dtype, shape, stride, storageOffset, requiresGrad);
}

/** The same on a storage that is not made yet. */
export function rebuildOnShelf(shelf: NumberedStorages, place: number, window: PlainWindow): Tensor {
  const { storageOffset, requiresGrad } = window;
  const form = shelf.formAt(place, window);
  const { dtype, shape, stride } = form;
  if (requiresGrad) checkGrad(dtype);
  checkBounds(shelf.nbytesAt(place), dtype, shape, stride, storageOffset);
  return new Tensor(form, dtype, shape, stride, storageOffset, requiresGrad, place);
}

const rebuildTensor: GlobalRule['reduce'] = (args) => build(args, storageArg(args[0]).dtype, false);

const rebuildTensorV2: GlobalRule['reduce'] = (args) => {
  const { dtype } = storageArg(args[0]);
  return withBits(build(args, dtype, requiresGradArg(args[4], dtype)), args[6]);
};

const rebuildTensorV3: GlobalRule['reduce'] = (args, host) => {
  const dtype = dtypeArg(args[6]);
  const requiresGrad = requiresGradArg(args[4], dtype);
  let storage = storageArg(args[0]);
  if (dtype.swapWidth > 1 && isBigEndianUntyped(storage)) storage = host.swapped(storage, dtype.swapWidth);
  return withBits(build(args, dtype, requiresGrad, storage), args[7]);
};

const rebuildQuantized: GlobalRule['reduce'] = (args) => {
  const { dtype } = storageArg(args[0]);
  const base = build(args, dtype, requiresGradArg(args[5], dtype));
  const params = args[4];
  const qscheme = Array.isArray(params) ? (params as PyValue[])[0] : undefined;
  if (!(qscheme instanceof QScheme))
    throw new CheckpointError('TENSOR_CORRUPT', `the quantizer of a tensor is ${kindOf(params)}`);
  const [, a, b, axis] = params as PyValue[];
  if (qscheme.name === 'per_tensor_affine' || qscheme.name === 'per_tensor_symmetric') {
    if (typeof a !== 'number' || typeof b !== 'number')
      throw new CheckpointError('TENSOR_CORRUPT', 'the scale and zero point of a quantized tensor are no numbers');
    return quantized(base, { qscheme, scale: a, zeroPoint: b });
  }
  const channel = Number(axis);
  const channels = base.shape[channel];
  const scales = tensorArg(a, 'the scales of a quantized tensor');
  const zeroPoints = tensorArg(b, 'the zero points of a quantized tensor');
  if (channels === undefined || scales.numel !== channels || zeroPoints.numel !== channels) {
    throw new CheckpointError(
      'TENSOR_CORRUPT',
      `a quantized tensor of ${String(channels)} channels along axis ${String(axis)} has ${scales.numel} scales and ${zeroPoints.numel} zero points`,
    );
  }
  // PyTorch writes per_channel_affine for both schemes; the zero points tell which it is.
  const byFloats = qscheme.name === 'per_channel_affine' && zeroPoints.dtype.isFloatingPoint;
  return quantized(base, {
    qscheme: byFloats ? QScheme.of('per_channel_affine_float_qparams') : qscheme,
    scales,
    zeroPoints,
    axis: channel,
  });
};

function quantized(base: Tensor, quantizer: Quantizer): QuantizedTensor {
  const { storage, dtype, shape, stride, storageOffset, requiresGrad } = base;
  return new QuantizedTensor(storage, dtype, shape, stride, storageOffset, quantizer, requiresGrad);
}

/** What becomes the attributes of a tensor one by one: a dict, or one beside that of its slots; None where there are none. */
function attributesArg(state: PyValue | undefined): PyValue | undefined {
  if (state === undefined || state === null) return undefined;
  const dicts = state instanceof Tuple && state.length === 2 ? state : [state];
  for (const dict of dicts) {
    if (dict !== null && !(dict instanceof Map && [...dict.keys()].every((name) => typeof name === 'string')))
      return fail(`the attributes of a tensor are no dict of names but ${kindOf(dict)}`);
  }
  return state;
}

/** A Parameter over a tensor; a Variable of PyTorch 0.3 may stand in its place. */
function parameter(data: PyValue | undefined, requiresGrad: PyValue | undefined, state?: PyValue): PyValue {
  const attributes = attributesArg(state);
  // The tensor was made for this parameter alone: it becomes the parameter.
  if (data instanceof QuantizedTensor || data instanceof SparseTensor || data instanceof NestedTensor) {
    data.isParameter = true;
    if (attributes !== undefined) data.attributes = attributes;
    data.requiresGrad = requiresGradArg(requiresGrad, data.dtype);
    return data;
  }
  const tensor = tensorArg(data, 'the data of a parameter');
  const made = new Parameter(tensor, requiresGradArg(requiresGrad, tensor.dtype));
  if (attributes !== undefined) made.attributes = attributes;
  return made;
}

/** The components of each layout, in the order of the pickled tuple; a `Size` follows them. */
const SPARSE: Readonly<Record<string, (parts: readonly PyValue[]) => SparseComponents>> = {
  sparse_coo: ([indices, values]) => {
    const made = { indices: component(indices, 'indices'), values: component(values, 'values') };
    if (made.indices.shape[1] !== made.values.shape[0])
      throw new CheckpointError(
        'TENSOR_CORRUPT',
        `indices and values must have same nnz, but got nnz from indices: ${made.indices.shape[1]}, nnz from values: ${made.values.shape[0]}`,
      );
    return made;
  },
  sparse_csr: rowComponents,
  sparse_bsr: rowComponents,
  sparse_csc: columnComponents,
  sparse_bsc: columnComponents,
};

function component(value: PyValue | undefined, name: string): Tensor {
  return tensorArg(value, `the ${name} of a sparse tensor`);
}

function rowComponents([crow, col, values]: readonly PyValue[]): SparseComponents {
  return {
    crowIndices: component(crow, 'crow_indices'),
    colIndices: component(col, 'col_indices'),
    values: component(values, 'values'),
  };
}

function columnComponents([ccol, row, values]: readonly PyValue[]): SparseComponents {
  return {
    ccolIndices: component(ccol, 'ccol_indices'),
    rowIndices: component(row, 'row_indices'),
    values: component(values, 'values'),
  };
}

const rebuildSparse: GlobalRule['reduce'] = ([layout, data]) => {
  const name = layout instanceof Layout ? layout.name : '';
  const components = Object.hasOwn(SPARSE, name) ? SPARSE[name] : undefined;
  if (!components || !Array.isArray(data))
    throw new CheckpointError('TENSOR_CORRUPT', `a sparse tensor has the layout ${String(layout)}`);
  const parts = data as PyValue[];
  const made = components(parts);
  const count = Object.keys(made).length;
  const shape = dimsArg(parts[count], 'size');
  if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
    throw new CheckpointError('TENSOR_CORRUPT', `the size of a sparse tensor is [${shape.join(', ')}]`);
  const coalesced = parts[count + 1] ?? undefined;
  if (coalesced !== undefined && typeof coalesced !== 'boolean')
    throw new CheckpointError('TENSOR_CORRUPT', `is_coalesced of a sparse tensor is ${kindOf(coalesced)}, not a bool`);
  return new SparseTensor(layout as Layout, made, shape, coalesced === undefined ? {} : { isCoalesced: coalesced });
};

const rebuildNested: GlobalRule['reduce'] = ([buffer, sizes, strides, offsets]) =>
  new NestedTensor({
    buffer: tensorArg(buffer, 'the buffer of a nested tensor'),
    sizes: tensorArg(sizes, 'the sizes of a nested tensor'),
    strides: tensorArg(strides, 'the strides of a nested tensor'),
    storageOffsets: tensorArg(offsets, 'the offsets of a nested tensor'),
  });

const rebuildMeta: GlobalRule['reduce'] = ([dtype, size, stride, requiresGrad]) => {
  const type = dtypeArg(dtype);
  const shape = dimsArg(size, 'size');
  const steps = dimsArg(stride, 'stride');
  checkBounds(Number.MAX_SAFE_INTEGER, type, shape, steps, 0);
  let last = 0;
  for (let d = 0; d < shape.length; d++) last += ((shape[d] as number) - 1) * (steps[d] as number);
  const nbytes = shape.includes(0) ? 0 : type.byteLength(last + 1);
  const storage = new Storage('', 'meta', type, new MetaBytes(nbytes));
  return new Tensor(storage, type, shape, steps, 0, requiresGradArg(requiresGrad, type));
};

/** A tensor of a device without storages: its values came over the CPU. */
const rebuildFromCpu: GlobalRule['reduce'] = ([data, dtype, device, requiresGrad], host) => {
  const tensor = tensorArg(data, 'the values of a device tensor');
  if (tensor.dtype !== dtypeArg(dtype))
    throw new CheckpointError('TENSOR_CORRUPT', `a device tensor of ${String(dtype)} has values of ${tensor.dtype}`);
  const storage = host.placeDevice(tensor.storage.withLocation(String(device)));
  const isTrained = requiresGradArg(requiresGrad, tensor.dtype);
  return new Tensor(storage, tensor.dtype, tensor.shape, tensor.stride, tensor.storageOffset, isTrained);
};

const rebuildFromNumpy: GlobalRule['reduce'] = ([array, dtype, device, requiresGrad], host) => {
  if (!(array instanceof NdArray))
    throw new CheckpointError(
      'TENSOR_CORRUPT',
      `the values of a device tensor are ${kindOf(array)}, not a numpy array`,
    );
  const type = dtypeArg(dtype);
  if (array.itemsize !== type.itemsize)
    throw new CheckpointError('TENSOR_CORRUPT', `a device tensor of ${type} has values of numpy dtype ${array.dtype}`);
  const stored = new Storage('numpy', String(device), type, new MemoryBytes(array.toBytes(), false));
  const stride: number[] = [];
  let step = 1;
  for (const dim of [...array.shape].reverse()) {
    stride.unshift(step);
    step *= Math.max(dim, 1);
  }
  return build([host.placeDevice(stored), 0, array.shape, stride], type, requiresGradArg(requiresGrad, type));
};

/** Whether it may be a subclass of Tensor: a class that is not known to be another one, or is taken from another class. */
function isTensorType(type: PyValue | undefined): boolean {
  if (type instanceof KnownGlobal) return type.global === 'torch.nn.parameter.Parameter';
  return (type instanceof PyGlobal && !(type instanceof StorageClass)) || type instanceof PyObject;
}

/** `_rebuild_from_type_v2(func, type, args, state)`: tensors with attributes, and subclasses of Tensor. */
const rebuildFromType: GlobalRule['reduce'] = (args, host, callable) => {
  const [func, type, inner, state] = args;
  if (!(func instanceof KnownGlobal) || !func.rule.reduce || !(inner instanceof Tuple)) {
    if (!(func instanceof PyGlobal || func instanceof PyObject))
      return fail(`${kindOf(func)} is called to rebuild a tensor`);
    if (!(inner instanceof Tuple)) return fail(`the arguments of a call are ${kindOf(inner)}, not a tuple`);
    if (!(func instanceof PyGlobal)) return new PyObject(callable, args, 'reduce');
    // What an unknown function would make, as of DTensor and other wrappers of tensors: a call of it, and the attributes.
    const made = new PyObject(func, inner, 'from_type');
    made.base = type as PyValue;
    made.state = state ?? null;
    return made;
  }
  if (func.rule === fromType) return fail('_rebuild_from_type_v2 is given itself as the function to call');
  const made = func.rule.reduce(inner, host, func);
  if (!(made instanceof Tensor || made instanceof SparseTensor || made instanceof NestedTensor)) return made;
  if (!isTensorType(type)) return fail(`a tensor is made one of ${kindOf(type)}, which is no class of tensors`);
  const isSubclass =
    type instanceof PyGlobal && type.global !== 'torch.Tensor' && type.global !== 'torch.nn.parameter.Parameter';
  if (isSubclass) made.pythonType = type;
  // A subclass may have its own way with its state.
  const attributes = isSubclass ? state : attributesArg(state);
  if (attributes !== undefined && attributes !== null) made.attributes = attributes;
  return made;
};

/** An empty CPU tensor that a later BUILD fills in place: the memo already knows it by this object. */
function hollow(dtype: DType): Tensor {
  return new Tensor(new Storage('', 'cpu', dtype, new MemoryBytes(new Uint8Array())), dtype, [0], [1], 0, false);
}

/** Parameters and Variables of PyTorch 0.1 to 0.3: made empty, or over a tensor, and then given their state. */
function legacyVariable(kind: 'Parameter' | 'Variable'): GlobalRule {
  return {
    reduce(args) {
      if (kind === 'Parameter' && args.length > 2)
        return fail(`Parameter() takes 2 arguments at most, found ${args.length}`);
      const [data, requiresGrad] = args;
      const tensor = data instanceof Tensor ? data : hollow(DType.float32);
      return kind === 'Parameter'
        ? new Parameter(tensor, requiresGrad !== false)
        : new Tensor(
            tensor.storage,
            tensor.dtype,
            tensor.shape,
            tensor.stride,
            tensor.storageOffset,
            requiresGrad === true,
          );
    },
  };
}

/** `torch.FloatTensor()` of PyTorch up to 0.1.10, whose BUILD gives (storage, offset, size, stride). */
const tensorClasses: (readonly [string, GlobalRule])[] = DType.all().flatMap((dtype) => {
  if (!dtype.storageClass) return [];
  const name = dtype.storageClass.replace('Storage', 'Tensor');
  const rule: GlobalRule = {
    reduce(args) {
      if (args.length) return fail(`torch.${name} is called with arguments`);
      return hollow(dtype);
    },
  };
  return [`torch.${name}`, `torch.cuda.${name}`].map((global) => [global, rule] as const);
});

/** The fields of `source`, taken over by a tensor that was made before its contents were known. */
function fill(target: Tensor, source: Tensor, requiresGrad: boolean): Tensor {
  target.become(source);
  target.requiresGrad = requiresGrad;
  return target;
}

/**
 * BUILD on a tensor. States of old files are tuples: (storage, offset, size, stride) of a bare tensor, or (data, grad,
 * hooks, requiresGrad) of a variable, or a dict with `data`. Anything else only subclasses know.
 */
export function buildTensor(tensor: Tensor, state: PyValue, weightsOnly: boolean): Tensor {
  // PyTorch's restricted reader calls `set_` with the state, and knows no other.
  if (weightsOnly && !(tensor instanceof Parameter) && !(state instanceof Tuple && state[0] instanceof Storage))
    return fail(`the state of a tensor is ${kindOf(state)}, not its storage, offset, size and stride`);
  if (state instanceof Tensor) return fill(tensor, state, true);
  if (state instanceof Tuple) {
    const [first, second, , fourth] = state;
    if (first instanceof Storage && state.length === 4) return fill(tensor, build(state, first.dtype, false), false);
    if (first instanceof Tensor) {
      if (second instanceof Tensor) tensor.grad = second;
      return fill(tensor, first, state.length > 3 ? fourth === true : tensor.requiresGrad);
    }
    // Parameter(data) was made with its data; then (requiresGrad, volatile, hooks) follows.
    if (typeof first === 'boolean') {
      tensor.requiresGrad = first;
      return tensor;
    }
  }
  if (state instanceof Map && state.get('data') instanceof Tensor) {
    const grad = state.get('_grad');
    if (grad instanceof Tensor) tensor.grad = grad;
    return fill(tensor, state.get('data') as Tensor, state.get('requires_grad') === true);
  }
  // A subclass may have its own way with its state.
  if (tensor.pythonType === undefined || !(state instanceof Map || state instanceof Tuple))
    return fail(`the state of a tensor is ${kindOf(state)}`);
  tensor.attributes = state;
  return tensor;
}

/** A function that is called with `least` to `most` arguments. */
function functionOf(reduce: NonNullable<GlobalRule['reduce']>, least: number, most = least): GlobalRule {
  return {
    isFunction: true,
    reduce(args, host, callable) {
      if (args.length < least || args.length > most)
        fail(
          `${callable.name}() takes ${least === most ? least : `${least} to ${most}`} arguments, found ${args.length}`,
        );
      return reduce(args, host, callable);
    },
  };
}

const fromType = functionOf(rebuildFromType, 4);
const firstArgument: GlobalRule = { isFunction: true, reduce: (args) => args[0] ?? null };

export const torchRules: readonly (readonly [global: string, rule: GlobalRule])[] = [
  ['torch._utils._rebuild_tensor', functionOf(rebuildTensor, 4)],
  ['torch._utils._rebuild_tensor_v2', functionOf(rebuildTensorV2, 6, 7)],
  ['torch._utils._rebuild_tensor_v3', functionOf(rebuildTensorV3, 7, 8)],
  ['torch._utils._rebuild_qtensor', functionOf(rebuildQuantized, 7)],
  ['torch._utils._rebuild_parameter', functionOf((args) => parameter(args[0], args[1]), 3)],
  ['torch._utils._rebuild_parameter_with_state', functionOf((args) => parameter(args[0], args[1], args[3]), 4)],
  ['torch._utils._rebuild_sparse_tensor', functionOf(rebuildSparse, 2)],
  ['torch._utils._rebuild_sparse_csr_tensor', functionOf(rebuildSparse, 2)],
  ['torch._utils._rebuild_nested_tensor', functionOf(rebuildNested, 4)],
  ['torch._utils._rebuild_meta_tensor_no_storage', functionOf(rebuildMeta, 4)],
  ['torch._utils._rebuild_device_tensor_from_numpy', functionOf(rebuildFromNumpy, 4)],
  ['torch._utils._rebuild_xla_tensor', functionOf(rebuildFromNumpy, 4)],
  ['torch._utils._rebuild_device_tensor_from_cpu_tensor', functionOf(rebuildFromCpu, 4)],
  ['torch._tensor._rebuild_from_type', fromType],
  ['torch._tensor._rebuild_from_type_v2', fromType],
  ['torch.tensor._rebuild_from_type', fromType],
  ['torch.nn.parameter.Parameter', legacyVariable('Parameter')],
  ['torch.autograd.variable.Variable', legacyVariable('Variable')],
  ['torch.autograd.Variable', legacyVariable('Variable')],
  ...tensorClasses,
  [
    'torch.storage._load_from_bytes',
    {
      isFunction: true,
      reduce: ([bytes], host: Host) =>
        bytes instanceof Uint8Array ? host.loadNested(bytes) : fail('torch.storage._load_from_bytes is given no bytes'),
    },
  ],
  [
    'torch.serialization._get_layout',
    {
      isFunction: true,
      reduce: ([name]) =>
        typeof name === 'string' ? Layout.of(name.replace(/^torch\./, '')) : fail('a layout has no name'),
    },
  ],
  // TorchScript wraps typed containers; the types are in the code and the values are plain.
  ['torch.jit._pickle.build_intlist', firstArgument],
  ['torch.jit._pickle.build_doublelist', firstArgument],
  ['torch.jit._pickle.build_boollist', firstArgument],
  ['torch.jit._pickle.build_tensorlist', firstArgument],
  [
    'torch.jit._pickle.build_tensor_from_id',
    {
      isFunction: true,
      reduce: ([id], host) =>
        typeof id === 'number' ? host.tensorFromId(id) : fail('build_tensor_from_id is given no number'),
    },
  ],
  ['torch.jit._pickle.restore_type_tag', firstArgument],
];
