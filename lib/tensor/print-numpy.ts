/** NumPy's arrays and scalars as NumPy 2 prints them, for the plain dtypes. */
import { DType } from '../dtype';
import { Complex, type NdArray, NumpyScalar, type PyValue } from '../pickle/values';
import { miniFloat } from './minifloat';
import { complexRepr, exponential, fixed, floatRepr, shortest, tupleRepr } from './print-number';
import { bytesRepr, stringRepr } from './print-string';

/** NumPy's defaults; `torch.set_printoptions` does not change them. */
const PRECISION = 8;
const THRESHOLD = 1000;
const EDGE_ITEMS = 3;
const LINE_WIDTH = 75;

const KINDS: Record<string, string> = {
  b1: 'bool',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  c8: 'complex64',
  c16: 'complex128',
};
/** From this power of ten on, scalars of a float of so many bytes have an exponent. */
const WHOLE_EXPONENT: Record<number, number> = { 2: 3, 4: 6, 8: 16 };
/** Python values have these dtypes by themselves. */
const DEFAULTS = new Set(['int64', 'float64', 'bool', 'complex128']);

function nameOf(dtype: string): string | undefined {
  return KINDS[dtype.replace(/^[<>|=]/, '')];
}

/** The nearest number of the float type of `bytes` bytes. */
function rounder(bytes: number): (value: number) => number {
  if (bytes !== 2) return bytes === 4 ? Math.fround : Number;
  const half = miniFloat(DType.float16)!;
  return (value) => half.decode(half.encode(value));
}

/** The fewest digits that give the same number in the float type of `bytes` bytes, as mantissa and exponent. */
function shortestDigits(value: number, bytes: number): [mantissa: string, exponent: number] {
  let text = value.toExponential();
  if (bytes < 8) {
    const round = rounder(bytes);
    for (let digits = 0; digits < 9; digits++) {
      // Of two that are equally near the even one is taken, unless only the other leads back to the number.
      const found = [exponential(value, digits), value.toExponential(digits)].find(
        (near) => round(Number(near)) === value,
      );
      if (found === undefined) continue;
      text = found;
      break;
    }
  }
  const at = text.indexOf('e');
  return [text.slice(0, at), Number(text.slice(at + 1))];
}

function numpyFloat(value: number, bytes: number): string {
  if (!Number.isFinite(value) || value === 0) return floatRepr(value);
  const [mantissa, exponent] = shortestDigits(Math.abs(value), bytes);
  return (value < 0 ? '-' : '') + shortest(mantissa, exponent, WHOLE_EXPONENT[bytes]);
}

export function numpyScalarText(scalar: NumpyScalar): string {
  const name = nameOf(scalar.dtype);
  const value = scalar.item();
  if (name === 'bool') return `np.${value ? 'True' : 'False'}_`;
  const bytes = Number(name?.replace(/\D+/, '')) / 8;
  if (typeof value === 'number' && name?.startsWith('float')) return `np.${name}(${numpyFloat(value, bytes)})`;
  if (value instanceof Complex) {
    return `np.${name}(${complexRepr(value.re, value.im, (part) => numpyFloat(part, bytes / 2)).replace(/^\(|\)$/g, '')})`;
  }
  if (name) return `np.${name}(${String(value)})`;
  if (typeof value === 'string') return `np.str_(${stringRepr(value)})`;
  if (value instanceof Uint8Array)
    return scalar.dtype.includes('S') ? `np.bytes_(${bytesRepr(trimZeros(value))})` : `np.void(${bytesRepr(value)})`;
  return `np.array(${String(value)}, dtype='${scalar.dtype}')`;
}

function trimZeros(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return bytes.subarray(0, end);
}

/** `repr(array)` of an array that does not hold objects. */
export function ndArrayText(array: NdArray): string {
  const { shape } = array;
  const numel = shape.reduce((product, size) => product * size, 1);
  const name = nameOf(array.dtype);
  const dtype = name ?? `'${array.dtype}'`;
  const summarize = numel > THRESHOLD;
  const suffixes: string[] = [];
  if (numel === 0 ? shape.length !== 1 : summarize) suffixes.push(`shape=${tupleRepr(shape)}`);
  if (numel === 0 || !DEFAULTS.has(dtype)) suffixes.push(`dtype=${dtype}`);
  const body = numel === 0 ? '[]' : arrayBody(array, summarize);
  const suffix = suffixes.join(', ');
  if (suffix === '') return `array(${body})`;
  const lastLine = `array(${body}`.length - (`array(${body}`.lastIndexOf('\n') + 1);
  return `array(${body},${lastLine + suffix.length + 3 > LINE_WIDTH ? '\n      ' : ' '}${suffix})`;
}

function arrayBody(array: NdArray, summarize: boolean): string {
  const { shape, itemsize } = array;
  const shown = shape.map((size) => {
    if (!summarize || size <= 2 * EDGE_ITEMS) return [...Array(size).keys()];
    return Array.from({ length: 2 * EDGE_ITEMS }, (_, i) => (i < EDGE_ITEMS ? i : size - 2 * EDGE_ITEMS + i));
  });
  const bytes = array.toBytes();
  const little = array.dtype.replace(/^>/, '<');
  const values: PyValue[] = [];
  const visit = (dim: number, at: number): void => {
    if (dim === shape.length)
      values.push(new NumpyScalar(little, bytes.subarray(at * itemsize, (at + 1) * itemsize)).item());
    else for (const i of shown[dim]!) visit(dim + 1, at * shape[dim]! + i);
  };
  visit(0, 0);
  const texts = formatAll(values, array.dtype, shape.length === 0);
  if (shape.length === 0) return texts[0]!;
  let next = 0;
  const write = (dim: number, indent: number): string => {
    const isCut = shown[dim]!.length < shape[dim]!;
    const isLast = dim === shape.length - 1;
    const items = shown[dim]!.map(() => (isLast ? texts[next++]! : write(dim + 1, indent + 1)));
    if (isCut) items.splice(EDGE_ITEMS, 0, '...');
    if (!isLast) return `[${items.join(`,${'\n'.repeat(shape.length - dim - 1)}${' '.repeat(indent + 1)}`)}]`;
    return wrap(items, indent + 1, shape.length);
  };
  return write(0, 6);
}

/** Items in brackets, `indent` columns in. Every closing bracket keeps a column free, on every line, and so does `)`. */
function wrap(items: readonly string[], indent: number, ndim: number): string {
  const lines: string[] = [];
  let line = '';
  for (const item of items) {
    if (line && indent + line.length + 2 + item.length > LINE_WIDTH - 1 - ndim) {
      lines.push(line);
      line = item;
    } else line = line ? `${line}, ${item}` : item;
  }
  lines.push(line);
  return `[${lines.join(`,\n${' '.repeat(indent)}`)}]`;
}

function formatAll(values: readonly PyValue[], dtype: string, isScalar: boolean): string[] {
  const kind = dtype.replace(/^[<>|=]/, '');
  if (kind.startsWith('f')) return formatFloats(values as number[], Number(kind.slice(1)));
  if (kind.startsWith('c')) {
    const parts = values as Complex[];
    const bytes = Number(kind.slice(1)) / 2;
    const re = formatFloats(
      parts.map((value) => value.re),
      bytes,
    );
    const im = formatFloats(
      parts.map((value) => value.im),
      bytes,
      true,
    );
    // The j goes before the padding of the imaginary part.
    return re.map((real, i) => real + im[i]!.replace(/(\s*)$/, 'j$1'));
  }
  const texts = values.map((value) => {
    if (typeof value === 'string') return stringRepr(value);
    if (value instanceof Uint8Array) return bytesRepr(kind.startsWith('S') ? trimZeros(value) : value);
    return typeof value === 'boolean' ? (value ? 'True' : 'False') : String(value);
  });
  if (isScalar) return texts;
  if (kind.startsWith('U') || kind.startsWith('S')) return texts;
  // Booleans leave room for False whether there is one or not.
  const width = Math.max(kind === 'b1' ? 5 : 0, ...texts.map((item) => item.length));
  return texts.map((item) => item.padStart(width));
}

/** NumPy's FloatingFormat: shortest digits up to the precision, points aligned, exponents where sizes differ much. */
function formatFloats(values: readonly number[], bytes: number, forceSign = false): string[] {
  const finite = values.filter((value) => Number.isFinite(value));
  const nonzero = finite.map(Math.abs).filter((value) => value !== 0);
  const max = Math.max(...nonzero);
  const min = Math.min(...nonzero);
  const round = rounder(bytes);
  // NumPy compares in the array's own type, and gives up whole numbers where its digits end.
  const largest = bytes === 8 ? 1e8 : bytes === 4 ? 1e6 : 1e3;
  const isExponent = nonzero.length > 0 && (max >= largest || min < round(1e-4) || round(max / min) > 1000);
  const sign = (value: number): string => (value < 0 || Object.is(value, -0) ? '-' : forceSign ? '+' : '');
  const cut = (value: number): string => {
    const [mantissa, exponent] = shortestDigits(Math.abs(value), bytes);
    if (isExponent) {
      const digits =
        mantissa.length - 2 > PRECISION
          ? exponential(Math.abs(value), PRECISION)
          : `${mantissa}${mantissa.includes('.') ? '' : '.'}e${exponent}`;
      const [head, tail] = digits.split('e') as [string, string];
      return `${head.includes('.') ? head.replace(/0+$/, '') : `${head}.`}e${Number(tail)}`;
    }
    const whole = value === 0 ? '0.0' : shortest(mantissa, exponent, Number.POSITIVE_INFINITY);
    const [integer, fraction] = (exponent < -4 ? '0.0' : whole).split('.') as [string, string];
    const rounded = fraction.length > PRECISION ? fixed(Math.abs(value), PRECISION) : `${integer}.${fraction}`;
    return rounded.replace(/0+$/, '');
  };
  const texts = values.map((value) => (Number.isFinite(value) ? cut(value) : ''));
  if (isExponent) return formatExponents(values, texts, sign);
  const right = Math.max(0, ...texts.map((item) => (item ? item.length - item.indexOf('.') - 1 : 0)));
  // What is not finite widens the part before the point only as far as it does not fit over the rest.
  const left = Math.max(
    ...texts.map((item, i) => sign(values[i]!).length + (item ? item.indexOf('.') : 3 - right - 1)),
  );
  return texts.map((item, i) => {
    const value = values[i]!;
    if (!item) return special(value, left + 1 + right, sign);
    const point = item.indexOf('.');
    return (sign(value) + item).padStart(left + item.length - point).padEnd(left + 1 + right);
  });
}

/** Each gets as many digits as the longest of the shortest forms has. */
function formatExponents(
  values: readonly number[],
  texts: readonly string[],
  sign: (value: number) => string,
): string[] {
  const parts = texts.map((item) => item.split('e') as [string, string]);
  const digits = Math.max(0, ...parts.map(([head]) => (head ? head.length - head.indexOf('.') - 1 : 0)));
  const exponents = Math.max(2, ...parts.map(([, tail]) => (tail ?? '').replace('-', '').length));
  const full = values.map((value, i) => {
    if (!texts[i]) return undefined;
    const [own, ownTail] = parts[i]!;
    // Shortest digits of the full length stay as they are, more are those of the exact value.
    const isFull = own.length - own.indexOf('.') - 1 === digits;
    const [head, tail] = (isFull ? `${own}e${ownTail}` : exponential(Math.abs(value), digits)).split('e') as [
      string,
      string,
    ];
    const exponent = tail.replace(/^[+-]/, '').padStart(exponents, '0');
    return `${sign(value)}${head}${head.includes('.') ? '' : '.'}e${tail.startsWith('-') ? '-' : '+'}${exponent}`;
  });
  const width = Math.max(...full.map((item, i) => item?.length ?? sign(values[i]!).length + 3));
  return full.map((item, i) => item?.padStart(width) ?? special(values[i]!, width, sign));
}

function special(value: number, width: number, sign: (value: number) => string): string {
  const word = Number.isNaN(value) ? 'nan' : 'inf';
  return ((Number.isNaN(value) ? sign(0) : sign(value)) + word).padStart(width);
}
