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
import { fail, type GlobalRule, type Host, KnownGlobal, type NumberedStorages, type PlainWindow } from './rules';
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
  // A plain array, as a shape is to its user; `checkBounds` proves what is in it.
  if (Array.isArray(value)) return Array.from(value as number[]);
  throw new CheckpointError('TENSOR_CORRUPT', `the ${what} of a tensor is ${kindOf(value)}, not a tuple`);
}

function build(
  storage: Storage,
  dtype: DType,
  offset: PyValue | undefined,
  size: PyValue | undefined,
  stride: PyValue | undefined,
  requiresGrad: boolean,
): Tensor {
  const shape = dimsArg(size, 'size');
  const steps = dimsArg(stride, 'stride');
  checkBounds(storage.nbytes, dtype, shape, steps, offset as number);
  return new Tensor(storage, dtype, shape, steps, offset as number, requiresGrad);
}

/** The lazy conjugate and negative bits, the optional last argument of v2 and v3. */
function withBits(tensor: Tensor, metadata: PyValue | undefined): Tensor {
  if (metadata instanceof Map) {
    tensor.conj = metadata.get('conj') === true;
    tensor.neg = metadata.get('neg') === true;
  }
  return tensor;
}

/** `_rebuild_tensor_v2` as the fast path reads it: the arguments are numbers already, and are taken over. */
export function rebuildPlainTensor(storage: PyValue, window: PlainWindow): Tensor {
  const known = storageArg(storage);
  const { shape, stride, storageOffset, requiresGrad } = window;
  checkBounds(known.nbytes, known.dtype, shape, stride, storageOffset);
  return new Tensor(known, known.dtype, shape, stride, storageOffset, requiresGrad);
}

/** The same on a storage that is not made yet. */
export function rebuildOnShelf(shelf: NumberedStorages, place: number, window: PlainWindow): Tensor {
  const { storageOffset, requiresGrad } = window;
  const form = shelf.formAt(place, window);
  const { dtype, shape, stride } = form;
  checkBounds(shelf.nbytesAt(place), dtype, shape, stride, storageOffset);
  return new Tensor(form, dtype, shape, stride, storageOffset, requiresGrad, place);
}

const rebuildTensor: GlobalRule['reduce'] = (args) => {
  const storage = storageArg(args[0]);
  return build(storage, storage.dtype, args[1], args[2], args[3], false);
};

const rebuildTensorV2: GlobalRule['reduce'] = (args) => {
  const storage = storageArg(args[0]);
  const tensor = build(storage, storage.dtype, args[1], args[2], args[3], args[4] === true);
  return args.length > 6 ? withBits(tensor, args[6]) : tensor;
};

const rebuildTensorV3: GlobalRule['reduce'] = (args, host) => {
  const dtype = dtypeArg(args[6]);
  let storage = storageArg(args[0]);
  if (dtype.swapWidth > 1 && isBigEndianUntyped(storage)) storage = host.swapped(storage, dtype.swapWidth);
  const tensor = build(storage, dtype, args[1], args[2], args[3], args[4] === true);
  return args.length > 7 ? withBits(tensor, args[7]) : tensor;
};

const rebuildQuantized: GlobalRule['reduce'] = (args) => {
  const storage = storageArg(args[0]);
  const base = build(storage, storage.dtype, args[1], args[2], args[3], args[5] === true);
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

/** A Parameter over a tensor; a Variable of PyTorch 0.3 may stand in its place. */
function parameter(data: PyValue | undefined, requiresGrad: PyValue | undefined, state?: PyValue): PyValue {
  // The tensor was made for this parameter alone: it becomes the parameter.
  if (data instanceof QuantizedTensor || data instanceof SparseTensor || data instanceof NestedTensor) {
    data.isParameter = true;
    if (state !== undefined && state !== null) data.attributes = state;
    data.requiresGrad = requiresGrad === true;
    return data;
  }
  const made = new Parameter(tensorArg(data, 'the data of a parameter'), requiresGrad === true);
  if (state !== undefined && state !== null) made.attributes = state;
  return made;
}

/** The components of each layout, in the order of the pickled tuple; a `Size` follows them. */
const SPARSE: Readonly<Record<string, (parts: readonly PyValue[]) => SparseComponents>> = {
  sparse_coo: ([indices, values]) => ({ indices: component(indices, 'indices'), values: component(values, 'values') }),
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
  const coalesced = parts[count + 1];
  return new SparseTensor(
    layout as Layout,
    made,
    shape,
    typeof coalesced === 'boolean' ? { isCoalesced: coalesced } : {},
  );
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
  return new Tensor(new Storage('', 'meta', type, new MetaBytes(nbytes)), type, shape, steps, 0, requiresGrad === true);
};

/** A tensor of a device without storages: its values came over the CPU. */
const rebuildFromCpu: GlobalRule['reduce'] = ([data, dtype, device, requiresGrad], host) => {
  const tensor = tensorArg(data, 'the values of a device tensor');
  if (tensor.dtype !== dtypeArg(dtype))
    throw new CheckpointError('TENSOR_CORRUPT', `a device tensor of ${String(dtype)} has values of ${tensor.dtype}`);
  const storage = host.placeDevice(tensor.storage.withLocation(String(device)));
  return new Tensor(storage, tensor.dtype, tensor.shape, tensor.stride, tensor.storageOffset, requiresGrad === true);
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
  return build(host.placeDevice(stored), type, 0, array.shape, stride, requiresGrad === true);
};

/** `_rebuild_from_type_v2(func, type, args, state)`: tensors with attributes, and subclasses of Tensor. */
const rebuildFromType: GlobalRule['reduce'] = (args, host, callable) => {
  const [func, type, inner, state] = args;
  if (!(func instanceof KnownGlobal) || !func.rule.reduce || !(inner instanceof Tuple)) {
    if (!(func instanceof PyGlobal) || !(inner instanceof Tuple)) return new PyObject(callable, args, 'reduce');
    // What an unknown function would make, as of DTensor and other wrappers of tensors: a call of it, and the attributes.
    const made = new PyObject(func, inner, 'from_type');
    made.base = type as PyValue;
    made.state = state ?? null;
    return made;
  }
  if (func.rule.reduce === rebuildFromType)
    return fail('_rebuild_from_type_v2 is given itself as the function to call');
  const made = func.rule.reduce(inner, host, func);
  if (!(made instanceof Tensor || made instanceof SparseTensor || made instanceof NestedTensor)) return made;
  if (type instanceof PyGlobal && type.global !== 'torch.Tensor' && type.global !== 'torch.nn.parameter.Parameter')
    made.pythonType = type;
  if (state !== undefined && state !== null) made.attributes = state;
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
 * hooks, requiresGrad) of a variable, or a dict with `data`. Anything else is attributes set from Python.
 */
export function buildTensor(tensor: Tensor, state: PyValue): Tensor {
  if (state instanceof Tensor) return fill(tensor, state, true);
  if (state instanceof Tuple) {
    const [first, second, third, fourth] = state;
    if (first instanceof Storage && state.length === 4)
      return fill(tensor, build(first, first.dtype, second, third, fourth, false), false);
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
  if (!(state instanceof Map) && !(state instanceof Tuple)) return fail(`the state of a tensor is ${kindOf(state)}`);
  tensor.attributes = state;
  return tensor;
}

const firstArgument: GlobalRule['reduce'] = (args) => args[0] ?? null;

export const torchRules: readonly (readonly [global: string, rule: GlobalRule])[] = [
  ['torch._utils._rebuild_tensor', { reduce: rebuildTensor }],
  ['torch._utils._rebuild_tensor_v2', { reduce: rebuildTensorV2 }],
  ['torch._utils._rebuild_tensor_v3', { reduce: rebuildTensorV3 }],
  ['torch._utils._rebuild_qtensor', { reduce: rebuildQuantized }],
  ['torch._utils._rebuild_parameter', { reduce: (args) => parameter(args[0], args[1]) }],
  ['torch._utils._rebuild_parameter_with_state', { reduce: (args) => parameter(args[0], args[1], args[3]) }],
  ['torch._utils._rebuild_sparse_tensor', { reduce: rebuildSparse }],
  ['torch._utils._rebuild_sparse_csr_tensor', { reduce: rebuildSparse }],
  ['torch._utils._rebuild_nested_tensor', { reduce: rebuildNested }],
  ['torch._utils._rebuild_meta_tensor_no_storage', { reduce: rebuildMeta }],
  ['torch._utils._rebuild_device_tensor_from_numpy', { reduce: rebuildFromNumpy }],
  ['torch._utils._rebuild_xla_tensor', { reduce: rebuildFromNumpy }],
  ['torch._utils._rebuild_device_tensor_from_cpu_tensor', { reduce: rebuildFromCpu }],
  ['torch._tensor._rebuild_from_type', { reduce: rebuildFromType }],
  ['torch._tensor._rebuild_from_type_v2', { reduce: rebuildFromType }],
  ['torch.tensor._rebuild_from_type', { reduce: rebuildFromType }],
  ['torch.nn.parameter.Parameter', legacyVariable('Parameter')],
  ['torch.autograd.variable.Variable', legacyVariable('Variable')],
  ['torch.autograd.Variable', legacyVariable('Variable')],
  ...tensorClasses,
  [
    'torch.storage._load_from_bytes',
    {
      reduce: ([bytes], host: Host) =>
        bytes instanceof Uint8Array ? host.loadNested(bytes) : fail('torch.storage._load_from_bytes is given no bytes'),
    },
  ],
  [
    'torch.serialization._get_layout',
    {
      reduce: ([name]) =>
        typeof name === 'string' ? Layout.of(name.replace(/^torch\./, '')) : fail('a layout has no name'),
    },
  ],
  // TorchScript wraps typed containers; the types are in the code and the values are plain.
  ['torch.jit._pickle.build_intlist', { reduce: firstArgument }],
  ['torch.jit._pickle.build_doublelist', { reduce: firstArgument }],
  ['torch.jit._pickle.build_boollist', { reduce: firstArgument }],
  ['torch.jit._pickle.build_tensorlist', { reduce: firstArgument }],
  [
    'torch.jit._pickle.build_tensor_from_id',
    {
      reduce: ([id], host) =>
        typeof id === 'number' ? host.tensorFromId(id) : fail('build_tensor_from_id is given no number'),
    },
  ],
  ['torch.jit._pickle.restore_type_tag', { reduce: firstArgument }],
];
