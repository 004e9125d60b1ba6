/** What Python calls the types of values, in the texts of PyTorch's errors. */
import { DType } from '../dtype';
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  NdArray,
  OrderedDict,
  PyFloat,
  PyInt,
  PyObject,
  Size,
  Tuple,
} from '../pickle/values';
import { registeredName } from '../registry';
import { Storage } from '../tensor/storage';
import { Parameter, Tensor } from '../tensor/tensor';
import { isTensor } from '../walk';

/** `torch.FloatTensor` of a float32 tensor, as `Tensor.type()` gives it. */
export function tensorTypeName(tensor: { readonly dtype: DType }): string {
  const name =
    tensor.dtype.storageClass?.replace('Storage', '') ??
    tensor.dtype.name.replace(/^./, (first) => first.toUpperCase());
  return `torch.${name}Tensor`;
}

const CLASSES: readonly (readonly [abstract: new (...args: never[]) => object, name: string])[] = [
  [Size, 'torch.Size'],
  [Tuple, 'tuple'],
  [Counter, 'collections.Counter'],
  [DefaultDict, 'collections.defaultdict'],
  [OrderedDict, 'collections.OrderedDict'],
  [Map, 'dict'],
  [FrozenSet, 'frozenset'],
  [Set, 'set'],
  [ByteArray, 'bytearray'],
  [Uint8Array, 'bytes'],
  [Complex, 'complex'],
  [PyFloat, 'float'],
  [PyInt, 'int'],
  [Device, 'torch.device'],
  [DType, 'torch.dtype'],
  [NdArray, 'numpy.ndarray'],
  [Storage, 'torch.storage.TypedStorage'],
];

/** `list`, `torch.nn.parameter.Parameter`, ...: the module and the qualified name of a value's class. */
export function pythonClassName(value: unknown): string {
  switch (typeof value) {
    case 'boolean':
      return 'bool';
    case 'string':
      return 'str';
    case 'bigint':
      return 'int';
    case 'number':
      return Number.isInteger(value) ? 'int' : 'float';
    case 'function':
      return 'function';
    case 'symbol':
      return 'object';
  }
  if (value === null || value === undefined) return 'NoneType';
  if (Array.isArray(value) && !(value instanceof Tuple)) return 'list';
  if (value instanceof Parameter) return 'torch.nn.parameter.Parameter';
  if (isTensor(value)) return 'torch.Tensor';
  for (const [Class, name] of CLASSES) if (value instanceof Class) return name;
  if (value instanceof PyObject) return value.global;
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype === null || prototype === Object.prototype) return 'dict';
  return registeredName(value.constructor) ?? `__main__.${value.constructor?.name ?? 'object'}`;
}

/** What `torch.typename` gives: tensors by their dtype, everything else by its class. */
export function pythonTypeName(value: unknown): string {
  return value instanceof Tensor ? tensorTypeName(value) : pythonClassName(value);
}

/** What `str(type(value))` gives. */
export function pythonTypeText(value: unknown): string {
  return `<class '${pythonClassName(value)}'>`;
}
