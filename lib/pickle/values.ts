/**
 * Python values in JavaScript.
 *
 * Values that JavaScript has are themselves: null, booleans, numbers (bigint beyond 2^53), strings, arrays, Map, Set,
 * Uint8Array. The classes here stand for the rest. Nothing from a file becomes a property name: attributes live in Maps.
 */
import { inspect } from 'node:util';

/** Any value that a checkpoint can hold. */
export type PyValue = null | boolean | number | bigint | string | object;

/** Filled in by `repr.ts`, the stage above, so that every value prints as Python prints it. */
export const printer: { repr(value: unknown): string } = {
  repr: () => {
    throw new Error('repr.ts has not been loaded');
  },
};

/** The name of a value's class, for messages about what a caller gave. */
export function typeName(value: unknown): string {
  if (value === null) return 'None';
  if (typeof value !== 'object') return typeof value;
  const name = value.constructor?.name ?? 'object';
  return name === 'Array' ? 'list' : name;
}

/** Python's names of the types that have another one here. */
const PYTHON_NAMES: Readonly<Record<string, string>> = {
  Map: 'dict',
  Object: 'dict',
  Tuple: 'tuple',
  Set: 'set',
  FrozenSet: 'frozenset',
  Uint8Array: 'bytes',
  Buffer: 'bytes',
  ByteArray: 'bytearray',
  DefaultDict: 'defaultdict',
  Complex: 'complex',
  Size: 'torch.Size',
  Device: 'torch.device',
  DType: 'torch.dtype',
  Layout: 'torch.layout',
  QScheme: 'torch.qscheme',
  NdArray: 'numpy array',
  NumpyScalar: 'numpy scalar',
  Storage: 'storage',
};

/** What Python calls the type of a value of a file, without its module but for those of PyTorch. */
export function pythonName(value: NonNullable<unknown>): string {
  switch (typeof value) {
    case 'string':
      return 'str';
    case 'boolean':
      return 'bool';
    case 'bigint':
      return 'int';
    case 'number':
      return Number.isInteger(value) ? 'int' : 'float';
  }
  if (value instanceof PyGlobal) return 'class or function';
  if (value instanceof PyObject) return `object of ${value.global}`;
  const name = Object.getPrototypeOf(value) === null ? 'Map' : typeName(value);
  return PYTHON_NAMES[name] ?? name;
}

/** What a value of a file is called in messages: by Python's name of its type, and with an article. */
export function kindOf(value: unknown): string {
  if (value === undefined || value === null) return value === null ? 'None' : 'nothing';
  const name = pythonName(value);
  return `${/^[aeio]/i.test(name) ? 'an' : 'a'} ${name}`;
}

/**
 * What Python's `str(type(value))` gives. Classes and functions are all the same here; a caller's own values, which may be
 * of subclasses, are named by `nn/python-names.ts`.
 */
export function typeText(value: unknown): string {
  const name = value === null || value === undefined ? 'NoneType' : pythonName(value).replace(/^object of /, '');
  return `<class '${/^(OrderedDict|defaultdict|Counter)$/.test(name) ? `collections.${name}` : name}'>`;
}

/** What `console.log` calls: the same text as `String(value)`. */
function inspectAsPython(this: object): string {
  return printer.repr(this);
}

/** A Python tuple. Array methods that make new arrays give plain ones. */
export class Tuple<T = PyValue> extends Array<T> {
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }
  /** A tuple of exactly these items (`new Tuple(3)` would be three holes). */
  static override from<T>(items: Iterable<T> | ArrayLike<T>): Tuple<T> {
    const source = Array.isArray(items) ? (items as T[]) : Array.from(items as Iterable<T>);
    const tuple = new Tuple<T>();
    for (let i = 0; i < source.length; i++) tuple.push(source[i] as T);
    return tuple;
  }
  static override of<T>(...items: T[]): Tuple<T> {
    return this.from(items);
  }
  override toString(): string {
    return printer.repr(this);
  }
}

/** `torch.Size`. */
export class Size extends Tuple<number> {
  static override from<T>(items: Iterable<T> | ArrayLike<T>): Tuple<T> {
    const size = new Size();
    for (const item of Array.from(items as Iterable<T>)) size.push(item as number);
    return size as unknown as Tuple<T>;
  }
}

/** `collections.OrderedDict`; `attributes` are those set on the object itself, such as a state dict's `_metadata`. */
export class OrderedDict<V = PyValue, K = PyValue> extends Map<K, V> {
  attributes?: Map<string, PyValue>;
  override toString(): string {
    return printer.repr(this);
  }
}

/** `collections.defaultdict`; `factory` is the global that made missing values, or null. It is never called. */
export class DefaultDict<V = PyValue, K = PyValue> extends OrderedDict<V, K> {
  factory: PyValue = null;
}

/** `collections.Counter`. */
export class Counter<K = PyValue> extends OrderedDict<number, K> {}

/** Python's frozenset. */
export class FrozenSet<T = PyValue> extends Set<T> {
  override toString(): string {
    return printer.repr(this);
  }
}

/** Python's mutable bytes. */
export class ByteArray extends Uint8Array {}

/** Python's complex number. */
export class Complex {
  readonly re: number;
  readonly im: number;
  constructor(re: number, im: number) {
    this.re = re;
    this.im = im;
  }
  toString(): string {
    return printer.repr(this);
  }
}

/**
 * A number that is to be saved as a Python float, whatever its value. `load` never returns one, but for the second and
 * further NaN keys of a dict or members of a set: a Map has room for one NaN that is a number.
 */
export class PyFloat {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
  valueOf(): number {
    return this.value;
  }
}

/** A number that is to be saved as a Python int. `load` never returns one. */
export class PyInt {
  readonly value: bigint;
  constructor(value: bigint) {
    this.value = value;
  }
  valueOf(): bigint {
    return this.value;
  }
}

/** Marks a number to be saved as a Python float, whatever its value. */
export function pyFloat(value: number): PyFloat {
  if (typeof value !== 'number') throw new TypeError(`pyFloat takes a number, not ${typeof value}`);
  return new PyFloat(value);
}

/** Marks an integer to be saved as a Python int. */
export function pyInt(value: number | bigint): PyInt {
  if (typeof value !== 'bigint' && !Number.isInteger(value))
    throw new TypeError(`pyInt takes an integer, not ${String(value)}`);
  return new PyInt(BigInt(value));
}

/** A class or function named by a pickle. It is a name only: nothing is imported and nothing is called. */
export class PyGlobal {
  /** Module and qualified name as the file spells them; protocol 2 uses Python 2 names such as `__builtin__`. */
  readonly module: string;
  readonly name: string;
  /** `module.name` in Python 3 names. */
  readonly global: string;
  constructor(module: string, name: string, global = `${module}.${name}`) {
    this.module = module;
    this.name = name;
    this.global = global;
  }
  toString(): string {
    return printer.repr(this);
  }
}

/**
 * How the pickle makes an object: by a call, by `cls.__new__(cls, *args)`, as protocol 0 and 1 make instances, by
 * `copyreg._reconstructor(cls, base, baseState)`, or by `torch._tensor._rebuild_from_type_v2(function, type, args, state)`.
 */
export type Construction = 'reduce' | 'newobj' | 'newobj_ex' | 'inst' | 'obj' | 'reconstructor' | 'from_type';

/** An object of a class we do not know, kept whole and inert: enough to read it and to write it back. */
export class PyObject {
  /** What is called to make it: almost always a `PyGlobal`. */
  callable: PyValue;
  construction: Construction;
  args: Tuple;
  kwargs?: Map<PyValue, PyValue>;
  /** What else the call was given: the base class of a 'reconstructor', the type of a 'from_type'. */
  base?: PyValue;
  /** What the pickle hands to `__setstate__` or `__dict__`, by BUILD or as an argument; undefined when there is none. */
  state: PyValue | undefined;
  /** Items appended to a list subclass, or set in a dict subclass. */
  listItems?: PyValue[];
  dictItems?: [key: PyValue, value: PyValue][];

  constructor(callable: PyValue, args: Tuple = new Tuple(), construction: Construction = 'newobj', state?: PyValue) {
    this.callable = callable;
    this.construction = construction;
    this.args = args;
    this.state = state;
  }

  /** `module.Class` in Python 3 names; '?' when what is called is itself a made object. */
  get global(): string {
    return this.callable instanceof PyGlobal ? this.callable.global : '?';
  }

  /** The attribute `name` from the object's state (a dict, or a pair of dict and slots). */
  get(name: string): PyValue | undefined {
    const state = this.state;
    const parts = state instanceof Tuple && state.length === 2 ? state : [state];
    for (const part of parts) if (part instanceof Map && part.has(name)) return part.get(name) as PyValue;
    return undefined;
  }

  toString(): string {
    return printer.repr(this);
  }
}

/** `torch.device`. */
export class Device {
  /** `cpu`, `cuda`, `mps`, `meta`, ... */
  readonly type: string;
  readonly index: number | undefined;
  constructor(device: string | Device, index?: number) {
    if (device instanceof Device) {
      this.type = device.type;
      this.index = device.index;
      return;
    }
    const match = /^([a-z_][a-z0-9_]*?)(?::(\d+))?$/i.exec(device);
    if (!match) throw new TypeError(`Invalid device string: '${device}'`);
    this.type = match[1] as string;
    this.index = match[2] === undefined ? index : Number(match[2]);
  }
  toString(): string {
    return this.index === undefined ? this.type : `${this.type}:${this.index}`;
  }
}

/** A named constant of PyTorch that is written as a bare global or by name: layouts, memory formats, qschemes. */
abstract class TorchConstant {
  /** Without `torch.`: `sparse_coo`. */
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
  toString(): string {
    return `torch.${this.name}`;
  }
}
const layouts = new Map<string, Layout>();
/** `torch.layout`: `torch.strided`, `torch.sparse_coo`, ... */
export class Layout extends TorchConstant {
  static of(name: string): Layout {
    let layout = layouts.get(name);
    if (!layout) layouts.set(name, (layout = new Layout(name)));
    return layout;
  }
  static readonly strided = Layout.of('strided');
}
const qschemes = new Map<string, QScheme>();
/** `torch.qscheme`: `torch.per_tensor_affine`, ... */
export class QScheme extends TorchConstant {
  static of(name: string): QScheme {
    let qscheme = qschemes.get(name);
    if (!qscheme) qschemes.set(name, (qscheme = new QScheme(name)));
    return qscheme;
  }
}

/** An array of NumPy. `toBytes` gives its values in C order, little-endian. */
export class NdArray {
  /** NumPy's type string: `<f4`, `|b1`, `|O`; a structured type is its repr. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** True when the stored bytes are in Fortran (column-major) order. */
  readonly fortranOrder: boolean;
  /** The bytes as stored: in the array's own order and endianness. Empty for object arrays. */
  readonly data: Uint8Array;
  /** The elements of an object array, in C order. */
  readonly objects: PyValue[] | undefined;
  /** The dtype object and call that the pickle used, so that saving repeats them. */
  readonly pickled: PyObject | undefined;
  /** Bytes of one element. */
  readonly itemsize: number;
  constructor(
    dtype: string,
    shape: readonly number[],
    data: Uint8Array,
    options: {
      fortranOrder?: boolean;
      objects?: PyValue[] | undefined;
      pickled?: PyObject;
      itemsize?: number | undefined;
    } = {},
  ) {
    this.itemsize = options.itemsize ?? itemsizeOf(dtype);
    this.dtype = dtype;
    this.shape = shape;
    this.data = data;
    this.fortranOrder = options.fortranOrder ?? false;
    this.objects = options.objects;
    this.pickled = options.pickled;
  }
  /** A copy of the values, contiguous in C order, little-endian. */
  toBytes(): Uint8Array {
    const { itemsize, shape } = this;
    const bytes = this.fortranOrder ? fortranToC(this.data, shape, itemsize) : this.data.slice();
    if (!this.dtype.startsWith('>')) return bytes;
    const unit = this.dtype[1] === 'U' ? 4 : this.dtype[1] === 'c' ? itemsize / 2 : itemsize;
    if (this.dtype[1] !== 'S' && this.dtype[1] !== 'V')
      for (let i = 0; i < bytes.length; i += unit) bytes.subarray(i, i + unit).reverse();
    return bytes;
  }
  toString(): string {
    return printer.repr(this);
  }
}

/** Bytes of one element of a plain NumPy type string: `<f4` is 4, `<U3` is 12. */
function itemsizeOf(dtype: string): number {
  const match = /^[<>|=]?([a-zA-Z])(\d+)$/.exec(dtype);
  if (!match) throw new TypeError(`the itemsize of numpy dtype ${dtype} is not known`);
  return Number(match[2]) * (match[1] === 'U' ? 4 : 1);
}

function fortranToC(data: Uint8Array, shape: readonly number[], itemsize: number): Uint8Array {
  const out = new Uint8Array(data.length);
  const index = new Array<number>(shape.length).fill(0);
  for (let at = 0; at < out.length; at += itemsize) {
    let from = 0;
    for (let d = shape.length - 1; d >= 0; d--) from = from * (shape[d] as number) + (index[d] as number);
    out.set(data.subarray(from * itemsize, (from + 1) * itemsize), at);
    for (let d = shape.length - 1; d >= 0; d--) {
      index[d] = (index[d] as number) + 1;
      if ((index[d] as number) < (shape[d] as number)) break;
      index[d] = 0;
    }
  }
  return out;
}

/** A scalar of NumPy. */
export class NumpyScalar {
  readonly dtype: string;
  readonly data: Uint8Array;
  readonly pickled: PyObject | undefined;
  constructor(dtype: string, data: Uint8Array, pickled?: PyObject) {
    this.dtype = dtype;
    this.data = data;
    this.pickled = pickled;
  }
  /** The value: bigint for 64-bit integers beyond 2^53, string for `U`, bytes for `S` and `V`. */
  item(): PyValue {
    const view = new DataView(this.data.buffer, this.data.byteOffset, this.data.byteLength);
    const little = !this.dtype.startsWith('>');
    switch (this.dtype.replace(/^[<>|=]|\[.*$/g, '')) {
      case 'f8':
        return view.getFloat64(0, little);
      case 'f4':
        return view.getFloat32(0, little);
      case 'f2':
        return halfToNumber(view.getUint16(0, little));
      case 'i8':
      case 'm8':
      case 'M8':
        return safeInteger(view.getBigInt64(0, little));
      case 'u8':
        return safeInteger(view.getBigUint64(0, little));
      case 'i4':
        return view.getInt32(0, little);
      case 'u4':
        return view.getUint32(0, little);
      case 'i2':
        return view.getInt16(0, little);
      case 'u2':
        return view.getUint16(0, little);
      case 'i1':
        return view.getInt8(0);
      case 'u1':
        return view.getUint8(0);
      case 'b1':
        return view.getUint8(0) !== 0;
      case 'c8':
        return new Complex(view.getFloat32(0, little), view.getFloat32(4, little));
      case 'c16':
        return new Complex(view.getFloat64(0, little), view.getFloat64(8, little));
    }
    if (/^[<>|=]?U/.test(this.dtype)) {
      let text = '';
      for (let i = 0; i + 4 <= this.data.length; i += 4)
        text += String.fromCodePoint(view.getUint32(i, little) % 0x110000);
      return text.replace(/\0+$/, '');
    }
    return this.data.slice();
  }
  toString(): string {
    return printer.repr(this);
  }
}

/** IEEE binary16 bits as a number. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** A number where it is exact, else the bigint. */
export function safeInteger(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

const PRINTED = [
  Tuple,
  OrderedDict,
  FrozenSet,
  Complex,
  PyGlobal,
  PyObject,
  Device,
  TorchConstant,
  NdArray,
  NumpyScalar,
];
for (const Class of PRINTED) {
  Object.defineProperty(Class.prototype, inspect.custom, {
    value: inspectAsPython,
    configurable: true,
    writable: true,
  });
}
