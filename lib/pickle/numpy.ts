/**
 * Rules for NumPy arrays and scalars, under the module names of NumPy 1 (`numpy.core`) and 2 (`numpy._core`).
 *
 * The forms are those of `ndarray.__reduce__`: `_reconstruct(ndarray, (0,), b'b')` and then BUILD with
 * (version, shape, dtype, isFortran, bytes); of protocol 5, `_frombuffer(buffer, dtype, shape, order)`; and of scalars,
 * `scalar(dtype, bytes)`.
 */
import { fail, type GlobalRule } from './rules';
import { kindOf, NdArray, NumpyScalar, PyGlobal, PyObject, type PyValue, Tuple } from './values';

interface DTypeFacts {
  readonly text: string;
  readonly itemsize: number;
  readonly isObject: boolean;
}

/** The instances of `numpy.dtypes` classes, by class name. */
const DTYPE_CLASSES: Readonly<Record<string, string>> = {
  BoolDType: '|b1',
  Int8DType: '|i1',
  UInt8DType: '|u1',
  Int16DType: '<i2',
  UInt16DType: '<u2',
  Int32DType: '<i4',
  UInt32DType: '<u4',
  Int64DType: '<i8',
  UInt64DType: '<u8',
  LongLongDType: '<i8',
  ULongLongDType: '<u8',
  Float16DType: '<f2',
  Float32DType: '<f4',
  Float64DType: '<f8',
  Complex64DType: '<c8',
  Complex128DType: '<c16',
  ObjectDType: '|O',
};

/** What a pickled `numpy.dtype` says: its type string, such as `<f4`, and the bytes of one element. */
export function dtypeFacts(dtype: PyValue | undefined): DTypeFacts {
  if (!(dtype instanceof PyObject)) return fail(`a numpy dtype is ${kindOf(dtype)}`);
  // Strings of any length, which come as Python's own; NumPy has no type code for them.
  if (dtype.global === 'numpy._core._internal._convert_to_stringdtype_kwargs')
    return { text: 'StringDType()', itemsize: 16, isObject: true };
  const className = /^numpy\.dtypes\.(\w+)$/.exec(dtype.global)?.[1];
  const code =
    className === undefined
      ? dtype.args[0]
      : Object.hasOwn(DTYPE_CLASSES, className)
        ? DTYPE_CLASSES[className]
        : undefined;
  const state = dtype.state instanceof Tuple ? dtype.state : new Tuple();
  // state: version, byte order, subarray, names, fields, itemsize, alignment, flags
  const fields = state[3] instanceof Tuple;
  const declared = typeof state[5] === 'number' && state[5] >= 0 ? state[5] : undefined;
  // A class stands where a type code does: `numpy.record`, whose items are structures, or a type of another package, such
  // as `ml_dtypes.bfloat16`, that NumPy itself knows only the size of.
  if (code instanceof PyGlobal && declared !== undefined)
    return { text: fields ? `|V${declared} (structured)` : `<V${declared}`, itemsize: declared, isObject: false };
  const match = typeof code === 'string' ? /^([<>|=])?([a-zA-Z])(\d*)$/.exec(code) : null;
  if (!match) return fail(`the numpy dtype ${String(code)} is not known`);
  const letter = match[2] as string;
  if (letter === 'O') return { text: '|O', itemsize: 8, isObject: true };
  const count = match[3] === '' ? 1 : Number(match[3]);
  const itemsize = declared !== undefined && 'VSU'.includes(letter) ? declared : letter === 'U' ? count * 4 : count;
  if (!Number.isSafeInteger(itemsize)) return fail(`the numpy dtype ${String(code)} is not known`);
  const order = typeof state[1] === 'string' ? state[1] : (match[1] ?? '<');
  const single = itemsize === 1 || letter === 'S' || letter === 'V' || letter === 'b';
  const unit = letter === 'M' || letter === 'm' ? dateUnit(state[8]) : '';
  const text = `${single ? '|' : order === '>' ? '>' : '<'}${letter}${letter === 'U' ? itemsize / 4 : itemsize}${unit}`;
  return { text: fields ? `${text} (structured)` : text, itemsize, isObject: false };
}

/** The unit of a date or time span, `[D]` or `[25s]`, from the last item of its dtype's state: ({}, (unit, multiple, 1, 1)). */
function dateUnit(metadata: PyValue | undefined): string {
  const parts = metadata instanceof Tuple ? metadata[1] : undefined;
  if (!(parts instanceof Tuple)) return '';
  const [unit, multiple] = parts as PyValue[];
  const name = unit instanceof Uint8Array ? Buffer.from(unit).toString('latin1') : unit;
  if (typeof name !== 'string' || !/^[A-Za-z]{1,2}$/.test(name)) return '';
  return `[${typeof multiple === 'number' && multiple !== 1 ? multiple : ''}${name}]`;
}

function shapeOf(value: PyValue | undefined): number[] {
  const dims = Array.isArray(value) ? value : [value];
  if (!dims.every((dim) => Number.isSafeInteger(dim) && (dim as number) >= 0))
    return fail('the shape of a numpy array is no tuple of sizes');
  return dims as number[];
}

/** Checks that `data` holds exactly the elements that dtype and shape promise. */
function arrayOf(
  dtype: PyValue | undefined,
  shape: readonly number[],
  data: PyValue | undefined,
  fortranOrder: boolean,
  pickled: PyObject,
): NdArray {
  const { text, itemsize, isObject } = dtypeFacts(dtype);
  const count = shape.reduce((product, dim) => product * dim, 1);
  if (isObject || (Array.isArray(data) && data.length === count)) {
    if (!Array.isArray(data) || data.length !== count)
      return fail(`a numpy object array of ${count} elements has ${Array.isArray(data) ? data.length : 'no'} items`);
    return new NdArray(text, shape, new Uint8Array(), { fortranOrder, objects: data as PyValue[], pickled, itemsize });
  }
  // NumPy of Python 2 wrote its bytes as a string.
  const bytes = typeof data === 'string' ? new Uint8Array(Buffer.from(data, 'latin1')) : data;
  if (!(bytes instanceof Uint8Array) || bytes.byteLength !== count * itemsize) {
    const found = bytes instanceof Uint8Array ? `${bytes.byteLength} bytes` : `${kindOf(bytes)}`;
    return fail(`a numpy array of ${count} elements of ${text} has ${found}, not ${count * itemsize} bytes`);
  }
  return new NdArray(text, shape, bytes, { fortranOrder, pickled, itemsize });
}

const reconstruct: GlobalRule = {
  isFunction: true,
  // Empty until BUILD fills it in place: the memo already holds this very array.
  reduce: (args, _host, callable) =>
    new NdArray('|V0', [0], new Uint8Array(), { pickled: new PyObject(callable, args, 'reduce'), itemsize: 0 }),
  build(object, state) {
    if (!(state instanceof Tuple) || state.length < 4)
      return fail('the state of a numpy array is no tuple of version, shape, dtype, order and data');
    const [shape, dtype, fortran, data] = state.length >= 5 ? state.slice(1) : state;
    object.state = state;
    // A one-dimensional array is both C and Fortran contiguous; NumPy records it as C.
    const dims = shapeOf(shape);
    return arrayOf(dtype, dims, data, fortran === true && dims.length > 1, object);
  },
};

const scalar: GlobalRule = {
  isFunction: true,
  reduce(args, _host, callable) {
    const { text, itemsize, isObject } = dtypeFacts(args[0]);
    const data = typeof args[1] === 'string' ? new Uint8Array(Buffer.from(args[1], 'latin1')) : args[1];
    if (isObject) return new PyObject(callable, args, 'reduce');
    if (!(data instanceof Uint8Array) || data.byteLength !== itemsize)
      return fail(`a numpy scalar of ${text} has not ${itemsize} bytes`);
    return new NumpyScalar(text, data, new PyObject(callable, args, 'reduce'));
  },
};

const fromBuffer: GlobalRule = {
  isFunction: true,
  reduce(args, _host, callable) {
    const [buffer, dtype, shape, order] = args;
    const dims = shapeOf(shape);
    return arrayOf(dtype, dims, buffer, order === 'F' && dims.length > 1, new PyObject(callable, args, 'reduce'));
  },
};

const both = (name: string, rule: GlobalRule): (readonly [string, GlobalRule])[] => [
  [`numpy.core.${name}`, rule],
  [`numpy._core.${name}`, rule],
];

export const numpyRules: readonly (readonly [global: string, rule: GlobalRule])[] = [
  ...both('multiarray._reconstruct', reconstruct),
  ...both('multiarray.scalar', scalar),
  ...both('numeric._frombuffer', fromBuffer),
];
