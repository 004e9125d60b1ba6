/**
 * The elements of a tensor as PyTorch prints them, brackets included (torch/_tensor_str.py).
 *
 * Large tensors are summarised, and only the elements that are shown are ever read: a tensor of many gigabytes in a
 * file prints as fast as a small one.
 */
import { DType } from '../dtype';
import type { Complex } from '../pickle/values';
import type { Scalar } from './elements';
import { ElementReader, type Source } from './gather';
import { numelOf } from './geometry';
import { exponential, fixed } from './print-number';
import { QuantizedTensor } from './quantized';

export interface PrintOptions {
  /** Digits after the point. */
  precision: number;
  /** Tensors of more elements are summarised. */
  threshold: number;
  /** Elements shown at each end of a summarised dimension. */
  edgeitems: number;
  /** Characters in a line. */
  linewidth: number;
  /** Scientific notation: always, never, or by PyTorch's rules when undefined. */
  sciMode: boolean | undefined;
}

const DEFAULTS: PrintOptions = { precision: 4, threshold: 1000, edgeitems: 3, linewidth: 80, sciMode: undefined };
const PROFILES = {
  default: DEFAULTS,
  short: { ...DEFAULTS, precision: 2, edgeitems: 2 },
  full: { ...DEFAULTS, threshold: Number.POSITIVE_INFINITY },
};

/** A shape of many small dimensions is shown whole even when summarised; beyond this a file only wants to hang us. */
const MAX_SHOWN_ELEMENTS = 1_000_000;

export const printOptions: PrintOptions = { ...DEFAULTS };

/**
 * How tensors print from now on, as `torch.set_printoptions`: a profile first, then what is given beside it. `sciMode`
 * goes back to automatic with every call that does not name it.
 */
export function setPrintOptions(
  options: Partial<PrintOptions> & { profile?: 'default' | 'short' | 'full' } = {},
): void {
  const { profile, ...given } = options;
  if (profile !== undefined && !(profile in PROFILES))
    throw new TypeError(`no print profile is called ${String(profile)}`);
  const next = {
    ...printOptions,
    ...(profile && PROFILES[profile]),
    ...withoutUndefined(given),
    sciMode: given.sciMode,
  };
  if (!Number.isInteger(next.precision) || next.precision < 0 || next.precision > 99) {
    throw new RangeError(`precision ${next.precision} is not an integer from 0 to 99`);
  }
  if (!Number.isInteger(next.edgeitems) || next.edgeitems < 0)
    throw new RangeError(`edgeitems ${next.edgeitems} is not a count`);
  if (!(next.threshold >= 0)) throw new RangeError(`threshold ${next.threshold} is not a count`);
  if (!Number.isInteger(next.linewidth) || next.linewidth < 1)
    throw new RangeError(`linewidth ${next.linewidth} is not positive`);
  Object.assign(printOptions, next);
}

function withoutUndefined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** Decides once for all elements how each is written. */
class Formatter {
  readonly #floating: boolean;
  #integral = true;
  #scientific = false;
  width = 1;

  /** `counts` tells which elements decide the form of all: the others are written in it as they can be. */
  constructor(values: readonly Scalar[], floating: boolean, counts = isNonzeroFinite) {
    this.#floating = floating;
    if (!floating) {
      for (const value of values) this.width = Math.max(this.width, this.#write(value).length);
      return;
    }
    const deciding = (values as readonly number[]).filter(counts);
    if (deciding.length === 0) return;
    let min = Number.POSITIVE_INFINITY;
    let max = 0;
    for (const value of deciding) {
      min = Math.min(min, Math.abs(value));
      max = Math.max(max, Math.abs(value));
      if (!Number.isInteger(value)) this.#integral = false;
    }
    this.#scientific = printOptions.sciMode ?? (max / min > 1000 || max > 1e8 || min < 1e-4);
    for (const value of deciding) this.width = Math.max(this.width, this.#write(value).length);
  }

  #write(value: Scalar): string {
    if (!this.#floating) return typeof value === 'boolean' ? (value ? 'True' : 'False') : String(value);
    const number = value as number;
    if (this.#scientific) return exponential(number, printOptions.precision);
    if (!this.#integral) return fixed(number, printOptions.precision);
    return fixed(number, 0) + (Number.isFinite(number) ? '.' : '');
  }

  format(value: Scalar): string {
    return this.#write(value).padStart(this.width);
  }
}

function isNonzeroFinite(value: number): boolean {
  return Number.isFinite(value) && value !== 0;
}

/** PyTorch's `isfinite` and `ne(0)` of float8_e8m0fnu: NaN is finite, and its smallest value is what 0 casts to. */
function isNonzeroFiniteScale(value: number): boolean {
  return value !== 2 ** -127;
}

/** What writes an element, and how wide it is with the separator. */
interface ElementWriter {
  write(value: Scalar): string;
  readonly width: number;
}

function elementWriter(values: readonly Scalar[], dtype: DType): ElementWriter {
  if (!dtype.isComplex) {
    const floating = dtype.isFloatingPoint || dtype.kind === 'quantized' || dtype === DType.float4_e2m1fn_x2;
    const formatter = new Formatter(
      values,
      floating,
      dtype === DType.float8_e8m0fnu ? isNonzeroFiniteScale : undefined,
    );
    return { write: (value) => formatter.format(value), width: formatter.width + 2 };
  }
  const parts = values as readonly Complex[];
  const real = new Formatter(
    parts.map((value) => value.re),
    true,
  );
  const imaginary = new Formatter(
    parts.map((value) => value.im),
    true,
  );
  return {
    write: (value) => {
      const { re, im } = value as Complex;
      const text = `${imaginary.format(im)}j`.trimStart();
      return real.format(re) + (/^[+-]/.test(text) ? '' : '+') + text;
    },
    width: real.width + 2 + imaginary.width + 1,
  };
}

/** The indices that are shown along a dimension; a gap is where the second half begins. */
interface Shown {
  readonly indices: readonly number[];
  /** How many come before the dots; all of them where there are none. */
  readonly before: number;
}

function shownAlong(size: number, summarize: boolean): Shown {
  const edge = printOptions.edgeitems;
  if (!summarize || size <= 2 * edge) return { indices: [...Array(size).keys()], before: size };
  const indices = Array.from({ length: 2 * edge }, (_, i) => (i < edge ? i : size - 2 * edge + i));
  return { indices, before: edge };
}

/** The elements in brackets; lines after the first begin `indent` columns in. */
export function elementsText(source: Source, indent: number): string {
  const { shape, dtype } = source;
  const numel = numelOf(shape);
  if (numel === 0) return '[]';
  const summarize = numel > printOptions.threshold;
  if (summarize && printOptions.edgeitems === 0 && shape.length > 0) return '[...]';
  const sizes = shape.map((size) => (summarize ? Math.min(size, 2 * printOptions.edgeitems) : size));
  if (summarize && numelOf(sizes) > MAX_SHOWN_ELEMENTS) return '...';
  const shown = shape.map((size) => shownAlong(size, summarize));
  const values = readShown(source, shown);
  const writer = elementWriter(values, dtype);
  let next = 0;
  const write = (dim: number, column: number): string => {
    const { indices, before } = shown[dim] ?? { indices: [], before: 0 };
    if (dim === shape.length) return writer.write(values[next++]!);
    const isLast = dim === shape.length - 1;
    const items = indices.map(() => (isLast ? writer.write(values[next++]!) : write(dim + 1, column + 1)));
    if (before < indices.length) items.splice(before, 0, isLast ? ' ...' : '...');
    const newline = ' '.repeat(column + 1);
    if (!isLast) return `[${items.join(`,${'\n'.repeat(shape.length - dim - 1)}${newline}`)}]`;
    const perLine = Math.max(1, Math.floor((printOptions.linewidth - column) / writer.width));
    const lines: string[] = [];
    for (let i = 0; i < items.length; i += perLine) lines.push(items.slice(i, i + perLine).join(', '));
    return `[${lines.join(`,\n${newline}`)}]`;
  };
  return write(0, indent);
}

/** The elements at every combination of shown indices, in C order. */
function readShown(source: Source, shown: readonly Shown[]): Scalar[] {
  const { stride } = source;
  const read = source instanceof QuantizedTensor ? source.valueReader() : plainReader(source);
  const values: Scalar[] = [];
  const index = new Array<number>(shown.length).fill(0);
  const visit = (dim: number, at: number): void => {
    if (dim === shown.length) {
      values.push(read(at, index));
      return;
    }
    for (const i of shown[dim]!.indices) {
      index[dim] = i;
      visit(dim + 1, at + i * stride[dim]!);
    }
  };
  visit(0, source.storageOffset);
  return values;
}

function plainReader(source: Source): (at: number) => Scalar {
  const reader = new ElementReader(source);
  return (at) => reader.at(at);
}
