/**
 * Arguments as Python takes them: by position, then by name in one options object with camelCase names.
 *
 * A signature is Python's own text (`in_features, out_features, bias=True`); its defaults are Python literals, so that
 * `1.0` stays a float. Lists of numbers stand for tuples.
 */
import { DType } from '../dtype';
import { Device, PyFloat, type PyValue, pyFloat, Tuple } from '../pickle/values';

/** What may stand where an optional argument is given by position. */
export type Positional = boolean | number | bigint | string | null | object;

/** Required arguments by position, then optional ones by position or in an options object at the end. */
export type Arguments<Required extends readonly unknown[], Options extends object> = [
  ...required: Required,
  ...optional: (Options | Positional)[],
];

interface ArgumentRow {
  readonly name: string;
  readonly camel: string;
  /** Absent where the argument is required. */
  readonly initial?: PyValue;
}

export interface Signature {
  readonly rows: readonly ArgumentRow[];
  /** Arguments from here on are taken by name only. */
  readonly positional: number;
}

/** `start_dim` as `startDim`, `T_max` as `tMax`. */
function camelCase(name: string): string {
  return name
    .replace(/^_/, '')
    .replace(/^[A-Z]/, (letter) => letter.toLowerCase())
    .replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function literal(text: string): PyValue {
  if (text === 'None') return null;
  if (text === 'True' || text === 'False') return text === 'True';
  if (text === '()') return new Tuple();
  if (text.startsWith("'")) return text.slice(1, -1);
  return /[.e]/.test(text) ? pyFloat(Number(text)) : Number(text);
}

export function parseSignature(text: string): Signature {
  const rows: ArgumentRow[] = [];
  let positional = Number.POSITIVE_INFINITY;
  for (const item of text.split(',').map((part) => part.trim())) {
    if (item === '*') positional = rows.length;
    if (item === '' || item === '*') continue;
    const [name, initial] = item.split('=') as [string, string | undefined];
    rows.push({ name, camel: camelCase(name), ...(initial === undefined ? {} : { initial: literal(initial) }) });
  }
  return { rows, positional: Math.min(positional, rows.length) };
}

function isOptions(value: unknown): value is Record<string, PyValue | undefined> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as object | null;
  return prototype === Object.prototype || prototype === null;
}

/** Python tuples for lists, at every level. */
export function asTuples(value: PyValue): PyValue {
  return Array.isArray(value) && !(value instanceof Tuple)
    ? Tuple.from(value.map((item) => asTuples(item as PyValue)))
    : value;
}

/** The arguments of one call, by Python name. */
export class Call {
  readonly className: string;
  readonly #values: Map<string, PyValue>;

  /** Throws TypeError in Python's words when arguments are missing, unknown or too many. */
  constructor(className: string, { rows, positional }: Signature, given: readonly unknown[]) {
    this.className = className;
    const options = isOptions(given.at(-1)) ? (given.at(-1) as Record<string, PyValue | undefined>) : undefined;
    const values = options ? given.slice(0, -1) : given;
    const where = `${className}.__init__()`;
    if (values.length > positional)
      throw new TypeError(`${where} takes ${positional + 1} positional arguments but ${values.length + 1} were given`);
    this.#values = new Map(rows.map(({ name, initial }) => [name, initial] as [string, PyValue]));
    for (const [i, value] of values.entries())
      if (value !== undefined) this.#values.set((rows[i] as ArgumentRow).name, asTuples(value as PyValue));
    for (const [key, value] of Object.entries(options ?? {})) {
      const row = rows.find(({ camel, name }) => camel === key || name === key);
      if (!row) throw new TypeError(`${where} got an unexpected keyword argument '${key}'`);
      if (rows.indexOf(row) < values.length)
        throw new TypeError(`${where} got multiple values for argument '${row.name}'`);
      if (value !== undefined) this.#values.set(row.name, asTuples(value));
    }
    const missing = rows.filter(({ name }) => this.#values.get(name) === undefined).map(({ name }) => `'${name}'`);
    if (missing.length === 0) return;
    const list = missing.length === 1 ? missing[0] : `${missing.slice(0, -1).join(', ')} and ${missing.at(-1)}`;
    throw new TypeError(
      `${where} missing ${missing.length} required positional argument${missing.length === 1 ? '' : 's'}: ${list}`,
    );
  }

  /** The argument as it is to be stored: numbers may be marked as floats. */
  value(name: string): PyValue {
    return this.#values.get(name) ?? null;
  }

  set(name: string, value: PyValue): void {
    this.#values.set(name, value);
  }

  isNone(name: string): boolean {
    return this.value(name) === null;
  }

  /** A whole number such as a size. */
  int(name: string): number {
    const value = this.number(name);
    if (!Number.isSafeInteger(value))
      throw new TypeError(`${this.className}: ${name} must be an integer, not ${String(this.value(name))}`);
    return value;
  }

  /** A size: whole and not negative. */
  size(name: string): number {
    const value = this.int(name);
    if (value < 0) throw new RangeError(`Trying to create tensor with negative dimension ${value}`);
    return value;
  }

  number(name: string): number {
    const value = this.value(name);
    if (typeof value === 'number') return value;
    if (value instanceof PyFloat) return value.value;
    if (typeof value === 'boolean' || typeof value === 'bigint') return Number(value);
    throw new TypeError(`${this.className}: ${name} must be a number, not ${String(value)}`);
  }

  flag(name: string): boolean {
    const value = this.value(name);
    return value !== null && value !== false && value !== 0 && value !== '';
  }

  text(name: string): string {
    const value = this.value(name);
    if (typeof value !== 'string')
      throw new TypeError(`${this.className}: ${name} must be a string, not ${String(value)}`);
    return value;
  }

  /** `count` numbers from one number or a tuple of them, as `_ntuple` of PyTorch. */
  tuple(name: string, count: number): Tuple {
    const value = this.value(name);
    if (value instanceof Tuple) return value;
    return Tuple.from(new Array<PyValue>(count).fill(value));
  }

  /** The dtype of new parameters, float32 unless given. */
  get dtype(): DType {
    const given = this.value('dtype');
    const dtype = typeof given === 'string' ? DType.of(given) : (given ?? DType.float32);
    if (!(dtype instanceof DType))
      throw new TypeError(`${this.className}: dtype must be a DType, not ${String(given)}`);
    return dtype;
  }

  /** Where new parameters are, in PyTorch's words. */
  get device(): string {
    const given = this.value('device') ?? 'cpu';
    const device = given instanceof Device ? given : new Device(given as string);
    return device.type === 'cuda' && device.index === undefined ? 'cuda:0' : String(device);
  }
}
