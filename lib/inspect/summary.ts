/** Any value in one bounded line: what it is, and how Python would begin to write it. */
import { DType } from '../dtype';
import { isFloatSlot } from '../pickle/notes';
import {
  ByteArray,
  Complex,
  Device,
  Layout,
  NdArray,
  NumpyScalar,
  PyGlobal,
  PyObject,
  type PyValue,
  pyFloat,
  QScheme,
  Size,
  Tuple,
} from '../pickle/values';
import { repr } from '../repr';
import { Storage } from '../tensor/storage';
import { isTensor } from '../walk';
import { isFlat } from './leaves';

export interface Summary {
  /** Python's name of the type: `int`, `float`, `str`, `list`, `ndarray`; the class of an object. */
  readonly kind: string;
  /** As Python writes it, cut off at some hundred characters. */
  readonly repr: string;
}

const MAX_TEXT = 200;
const MAX_ITEMS = 20;

/** `isFloat`: the number is integral here and a float in Python. */
export function summarise(value: PyValue, isFloat = false): Summary {
  return { kind: kindOf(value, isFloat), repr: textOf(value, isFloat) };
}

function kindOf(value: PyValue, isFloat: boolean): string {
  switch (typeof value) {
    case 'number':
      return isFloat || !Number.isInteger(value) || Object.is(value, -0) ? 'float' : 'int';
    case 'bigint':
      return 'int';
    case 'string':
      return 'str';
    case 'boolean':
      return 'bool';
  }
  if (value === null || value === undefined) return 'None';
  if (isTensor(value)) return 'tensor';
  if (Array.isArray(value)) return value instanceof Size ? 'torch.Size' : value instanceof Tuple ? 'tuple' : 'list';
  if (value instanceof Map) return 'dict';
  if (value instanceof Set) return 'set';
  if (value instanceof Uint8Array) return value instanceof ByteArray ? 'bytearray' : 'bytes';
  if (value instanceof NdArray) return 'ndarray';
  if (value instanceof NumpyScalar) return 'numpy scalar';
  if (value instanceof Complex) return 'complex';
  if (value instanceof Storage) return 'storage';
  if (value instanceof DType) return 'torch.dtype';
  if (value instanceof Device) return 'torch.device';
  if (value instanceof Layout || value instanceof QScheme) return 'torch constant';
  if (value instanceof PyGlobal) return 'global';
  if (value instanceof PyObject) return clip(value.global);
  return clip(value.constructor?.name ?? 'object');
}

function textOf(value: PyValue, isFloat: boolean): string {
  if (typeof value === 'number') return isFloat ? repr(pyFloat(value)) : repr(value);
  if (typeof value === 'bigint') return clip(String(value));
  if (typeof value === 'string')
    return value.length > MAX_TEXT ? `${repr(wellFormed(value.slice(0, MAX_TEXT)))}...` : repr(value);
  if (value === null || value === undefined || typeof value === 'boolean') return repr(value);
  if (isTensor(value)) return `<tensor of ${value.dtype}>`;
  if (value instanceof Uint8Array)
    return value.length > MAX_TEXT ? `${repr(value.slice(0, MAX_TEXT))}...` : repr(value);
  if (isFlat(value)) return flatText(value);
  if (Array.isArray(value))
    return counted(value instanceof Tuple ? 'tuple' : 'list', value.length, value instanceof Tuple ? '()' : '[]');
  if (value instanceof Map)
    return counted(value.constructor.name === 'Map' ? 'dict' : value.constructor.name, value.size, '{}');
  if (value instanceof Set) return counted('set', value.size, 'set()');
  if (value instanceof NdArray) return `<array of ${clip(value.dtype)} [${value.shape.join(', ')}]>`;
  if (value instanceof Storage) return `<storage of ${value.dtype}, ${value.nbytes} bytes>`;
  if (value instanceof PyObject) return clip(`<${value.global} object>`);
  if (value instanceof PyGlobal) return clip(`<class '${value.global}'>`);
  if (value instanceof NumpyScalar || value instanceof Complex || value instanceof DType || value instanceof Device)
    return clip(repr(value));
  if (value instanceof Layout || value instanceof QScheme) return repr(value);
  return `<${clip(value.constructor?.name ?? 'object')} object>`;
}

function flatText(items: readonly PyValue[] | ReadonlySet<PyValue>): string {
  const isSet = items instanceof Set;
  const first: string[] = [];
  let length = 0;
  let index = 0;
  for (const item of items as Iterable<PyValue>) {
    if (index === MAX_ITEMS || length > MAX_TEXT) break;
    const isFloat = typeof item === 'number' && Number.isInteger(item) && isFloatSlot(items, index, item);
    const text = textOf(item, isFloat);
    length += text.length;
    first.push(text);
    index++;
  }
  const total = isSet ? items.size : (items as readonly PyValue[]).length;
  const more = total > first.length ? `, ... ${total} items` : '';
  const [start, end] = isSet ? '{}' : items instanceof Tuple ? '()' : '[]';
  return `${start}${first.join(', ')}${more}${items instanceof Tuple && total === 1 ? ',' : ''}${end}`;
}

function counted(name: string, count: number, empty: string): string {
  return count === 0 ? empty : `<${name} of ${count} ${count === 1 ? 'item' : 'items'}>`;
}

function clip(text: string): string {
  return text.length > MAX_TEXT ? `${wellFormed(text.slice(0, MAX_TEXT))}...` : text;
}

/** A cut may have left half of a surrogate pair at the end. */
function wellFormed(text: string): string {
  return /[\ud800-\udbff]$/.test(text) ? text.slice(0, -1) : text;
}
