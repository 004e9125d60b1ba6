/** Manifests of checkpoints, and the differences between what they say and what we read. */
import { createHash } from 'node:crypto';
import type { Checkpoint } from '../lib/checkpoint';
import { DType } from '../lib/dtype';
import {
  ByteArray,
  Complex,
  Device,
  Layout,
  NdArray,
  NumpyScalar,
  type PyValue,
  QScheme,
  Size,
  Tuple,
} from '../lib/pickle/values';
import { repr } from '../lib/repr';
import { QuantizedTensor } from '../lib/tensor/quantized';
import { SparseTensor } from '../lib/tensor/sparse';
import type { Storage } from '../lib/tensor/storage';
import { Parameter, Tensor } from '../lib/tensor/tensor';
import { type AnyTensor, walk } from '../lib/walk';

export interface ExpectedTensor {
  readonly path: string;
  readonly dtype: string;
  readonly shape: number[] | null;
  readonly stride?: number[];
  readonly storage_offset?: number;
  /** Tensors of one storage have the same number; null for an empty one. */
  readonly storage?: number | null;
  readonly storage_key?: string;
  readonly storage_nbytes?: number;
  readonly location?: string;
  readonly device?: string;
  readonly sha256?: string | null;
  readonly too_large_to_hash?: boolean;
  readonly meta?: boolean;
  readonly layout?: string;
  readonly is_coalesced?: boolean | null;
  readonly components?: Record<string, Omit<ExpectedTensor, 'path'>>;
  readonly qscheme?: string;
  readonly effective_qscheme?: string;
  readonly scale?: number;
  readonly zero_point?: number;
  readonly scales?: number[] | Omit<ExpectedTensor, 'path'>;
  readonly zero_points?: number[] | Omit<ExpectedTensor, 'path'>;
  readonly axis?: number;
  readonly is_parameter?: boolean | null;
  readonly requires_grad?: boolean | null;
  readonly same_object_as?: string;
}

export interface ExpectedArray {
  readonly path: string;
  readonly dtype: string;
  readonly shape: number[];
  readonly fortran_order: boolean;
  readonly sha256?: string | null;
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const camelCase = (name: string): string => name.replace(/_([a-z])/g, (_all, letter: string) => letter.toUpperCase());

export interface CompareOptions {
  /** False where the manifest cannot say whether a tensor is a parameter. */
  readonly parameters?: boolean;
}

/** Compares tensors one by one, and which of them share a storage; differences are added to `wrong`. */
export class TensorComparison {
  readonly wrong: string[] = [];
  readonly #options: CompareOptions;
  readonly #storages = new Map<number | string, Storage>();
  readonly #numbers = new Map<Storage, number | string>();

  constructor(options: CompareOptions = {}) {
    this.#options = options;
  }

  tensors(actual: readonly (readonly [string, AnyTensor])[], expected: readonly ExpectedTensor[]): void {
    this.#same(
      'paths',
      actual.map(([path]) => path).slice(0, 20_000),
      expected.map(({ path }) => path).slice(0, 20_000),
    );
    if (this.wrong.length) return;
    expected.forEach((tensor, i) => this.tensor((actual[i] as readonly [string, AnyTensor])[1], tensor, tensor.path));
  }

  tensor(actual: AnyTensor, expected: Omit<ExpectedTensor, 'path'>, at: string): void {
    this.#same(`${at}: dtype`, actual.dtype.name, expected.dtype);
    if (expected.components) {
      if (actual instanceof Tensor) return void this.wrong.push(`${at}: strided, expected ${expected.layout}`);
      if (expected.shape && actual instanceof SparseTensor)
        this.#same(`${at}: shape`, [...actual.shape], expected.shape);
      if (expected.layout && expected.layout !== 'nested' && expected.layout !== 'strided')
        this.#same(`${at}: layout`, actual.layout.name, expected.layout);
      if (typeof expected.is_coalesced === 'boolean' && actual instanceof SparseTensor)
        this.#same(`${at}: coalesced`, actual.isCoalesced, expected.is_coalesced);
      const parts = actual.components as unknown as Record<string, Tensor>;
      const names = Object.keys(expected.components);
      this.#same(`${at}: components`, Object.keys(parts).sort(), names.map(camelCase).sort());
      for (const name of names) {
        const part = parts[camelCase(name)];
        if (part) this.tensor(part, expected.components[name] as Omit<ExpectedTensor, 'path'>, `${at}.${name}`);
      }
      return;
    }
    if (!(actual instanceof Tensor))
      return void this.wrong.push(`${at}: ${actual.constructor.name}, expected a strided tensor`);
    this.#same(`${at}: shape`, [...actual.shape], expected.shape);
    this.#same(`${at}: stride`, [...actual.stride], expected.stride);
    this.#same(`${at}: storage offset`, actual.storageOffset, expected.storage_offset);
    if (this.#options.parameters !== false && expected.is_parameter !== null) {
      this.#same(`${at}: parameter`, actual instanceof Parameter, expected.is_parameter ?? false);
      if (expected.requires_grad !== null)
        this.#same(`${at}: requires grad`, actual.requiresGrad, expected.requires_grad ?? false);
    }
    if (expected.qscheme) this.#quantizer(actual, expected, at);
    this.#same(`${at}: meta`, actual.isMeta, expected.meta ?? false);
    if (expected.meta) return;
    const { storage } = actual;
    this.#same(`${at}: location`, storage.location, expected.device ?? expected.location);
    if (expected.storage_nbytes !== undefined)
      this.#same(`${at}: storage bytes`, storage.nbytes, expected.storage_nbytes);
    this.#sharing(actual, expected, at);
    if (expected.too_large_to_hash || expected.sha256 === null || expected.sha256 === undefined) return;
    this.#same(`${at}: sha256`, sha256(actual.toBytes()), expected.sha256);
  }

  /** Same number or key in the manifest: same Storage object; and the other way round. */
  #sharing(actual: Tensor, expected: Omit<ExpectedTensor, 'path'>, at: string): void {
    const { storage } = actual;
    const key = expected.storage_key;
    // Arrays of NumPy inside a rebuilt tensor have no storage of the file.
    if (key === 'numpy' || storage.nbytes === 0) return;
    if (key !== undefined) this.#same(`${at}: storage key`, storage.key, key);
    const number = key ?? expected.storage;
    if (number === undefined || number === null) return;
    const known = this.#storages.get(number);
    if (known && known !== storage) this.wrong.push(`${at}: not the Storage object of storage ${number}`);
    const other = this.#numbers.get(storage);
    if (other !== undefined && other !== number)
      this.wrong.push(`${at}: the Storage object of storage ${other}, expected ${number}`);
    this.#storages.set(number, storage);
    this.#numbers.set(storage, number);
  }

  #quantizer(actual: Tensor, expected: Omit<ExpectedTensor, 'path'>, at: string): void {
    if (!(actual instanceof QuantizedTensor)) return void this.wrong.push(`${at}: not quantized`);
    this.#same(`${at}: qscheme`, actual.qscheme.name, expected.effective_qscheme ?? expected.qscheme);
    this.#same(`${at}: scale`, actual.scale, expected.scale);
    this.#same(`${at}: zero point`, actual.zeroPoint, expected.zero_point);
    this.#same(`${at}: axis`, actual.axis, expected.axis);
    for (const [name, part, want] of [
      ['scales', actual.scales, expected.scales],
      ['zero points', actual.zeroPoints, expected.zero_points],
    ] as const) {
      if (Array.isArray(want)) this.#same(`${at}: ${name}`, part?.toArray(), want);
      else if (want && part) this.tensor(part, want, `${at}.${name}`);
    }
  }

  #same(what: string, actual: unknown, expected: unknown): void {
    const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)];
    if (a !== e) this.wrong.push(`${what}: ${a?.slice(0, 300)}, expected ${e?.slice(0, 300)}`);
  }
}

export function arraysOf(checkpoint: Checkpoint): ExpectedArray[] {
  return nodes(checkpoint).flatMap(([path, value]) => {
    if (!(value instanceof NdArray)) return [];
    // NumPy swaps arrays of the other byte order when it loads them; we keep what the file says.
    const { shape, fortranOrder } = value;
    const dtype = value.dtype.replace(/^>/, '<');
    return [
      {
        path,
        dtype,
        shape: [...shape],
        fortran_order: fortranOrder,
        sha256: value.objects ? null : sha256(value.toBytes()),
      },
    ];
  });
}

/** Every value with its path, those of TorchScript's other pickles left out. */
export function nodes(checkpoint: Checkpoint): (readonly [path: string, value: PyValue])[] {
  return [...walk(checkpoint.root)];
}

/** The text of a plain value of Python type `type` as manifests write it; what it is instead when it is of another. */
export function scalarOf(value: PyValue | undefined, type: string): string {
  const is = (condition: boolean, text: () => string): string =>
    condition ? text() : `${typeof value}: ${value === undefined ? 'nothing' : repr(value)}`;
  switch (type) {
    case 'str':
      return is(typeof value === 'string', () => value as string);
    case 'bool':
      return is(typeof value === 'boolean', () => repr(value as boolean));
    case 'NoneType':
      return is(value === null, () => 'None');
    case 'int':
      return is(Number.isSafeInteger(value) || typeof value === 'bigint', () => String(value));
    case 'float':
      return is(typeof value === 'number', () => floatHex(value as number));
    case 'complex':
      return is(value instanceof Complex, () => repr(value as Complex));
    case 'bytes':
      return is(value instanceof Uint8Array && !(value instanceof ByteArray), () =>
        Buffer.from(value as Uint8Array).toString('hex'),
      );
    case 'bytearray':
      return is(value instanceof ByteArray, () => Buffer.from(value as ByteArray).toString('hex'));
    case 'list':
      return is(Array.isArray(value) && !(value instanceof Tuple), () => repr(value as PyValue[]));
    case 'tuple':
      return is(value instanceof Tuple, () => repr(value as Tuple));
    case 'dict':
      return is(value instanceof Map, () => repr(value as Map<PyValue, PyValue>));
  }
  if (type.startsWith('numpy.'))
    return is(value instanceof NumpyScalar && value.dtype === type.slice(6), () => repr((value as NumpyScalar).item()));
  const Class = TORCH_CONSTANTS.get(type);
  return is(Class !== undefined && value instanceof Class, () => repr(value as PyValue));
}

const TORCH_CONSTANTS: ReadonlyMap<string, abstract new (...args: never[]) => object> = new Map<
  string,
  abstract new (
    ...args: never[]
  ) => object
>([
  ['dtype', DType],
  ['device', Device],
  ['layout', Layout],
  ['qscheme', QScheme],
  ['Size', Size],
]);

/** Python's float.hex(). */
export function floatHex(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf';
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const sign = bits >> 63n ? '-' : '';
  const exponent = Number((bits >> 52n) & 0x7ffn);
  const fraction = (bits & 0xf_ffff_ffff_ffffn).toString(16).padStart(13, '0');
  if (exponent === 0) return value === 0 ? `${sign}0x0.0p+0` : `${sign}0x0.${fraction}p-1022`;
  return `${sign}0x1.${fraction}p${exponent >= 1023 ? '+' : ''}${exponent - 1023}`;
}
