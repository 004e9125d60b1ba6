/** The values of two checkpoints that are no tensors, compared by path. */
import { createHash } from 'node:crypto';
import { DType } from '../dtype';
import { Complex, Device, NdArray, NumpyScalar, PyGlobal, PyObject, type PyValue, Tuple } from '../pickle/values';
import { repr } from '../repr';
import { Storage } from '../tensor/storage';
import { isTensor } from '../walk';
import type { Leaf } from './leaves';
import { summarise } from './summary';

/**
 * A text that two values share exactly when they are the same: `3` and `3.0` do not, `dict` and `OrderedDict` do. Containers
 * stand for their kind, since what they hold is compared by itself.
 */
export function identityOf({ value, isFloat }: Leaf): string {
  switch (typeof value) {
    case 'number':
      return `${isFloat || !Number.isInteger(value) || Object.is(value, -0) ? 'float' : 'int'} ${Object.is(value, -0) ? '-0' : value}`;
    case 'bigint':
      return `int ${value}`;
    case 'boolean':
      return `bool ${value}`;
    case 'string':
      return `str ${value.length > MAX_TEXT ? digest(Buffer.from(value, 'utf16le')) : value}`;
  }
  if (value === null || value === undefined) return 'None';
  if (value instanceof Uint8Array) return `${summarise(value).kind} ${digest(value)}`;
  if (value instanceof NdArray)
    return `ndarray ${value.dtype.replace('>', '<')} ${value.shape.join()} ${value.objects ? '' : digest(value.toBytes())}`;
  if (value instanceof NumpyScalar) return `scalar ${value.dtype.replace('>', '<')} ${String(value.item())}`;
  if (value instanceof Storage) return `storage ${value.dtype} ${value.nbytes}`;
  if (value instanceof Map) return 'dict';
  if (Array.isArray(value)) return value instanceof Tuple ? 'tuple' : 'list';
  if (value instanceof Set) return `set ${value.size}`;
  if (value instanceof PyObject) return `object ${value.global}`;
  if (value instanceof PyGlobal) return `global ${value.global}`;
  if (value instanceof Complex || value instanceof Device || value instanceof DType) return repr(value);
  return summarise(value).repr;
}

const MAX_TEXT = 200;

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Values by path, without tensors and without containers that are only structure. */
export class ValueTable {
  readonly #values = new Map<string, { identity: string; leaf: Leaf }>();
  readonly #containers = new Set<string>();

  add(leaf: Leaf): void {
    if (isTensor(leaf.value)) return;
    this.#values.set(leaf.path, { identity: identityOf(leaf), leaf });
    if (isFilled(leaf.value)) this.#containers.add(leaf.path);
  }

  identity(path: string): string | undefined {
    return this.#values.get(path)?.identity;
  }

  text(path: string): string {
    const { leaf } = this.#values.get(path) ?? {};
    return leaf ? summarise(leaf.value, leaf.isFloat).repr : '';
  }

  /** Paths in file order. */
  paths(): IterableIterator<string> {
    return this.#values.keys();
  }

  /** A container with something in it is not news by itself: what it holds is. */
  isStructure(path: string): boolean {
    return this.#containers.has(path);
  }
}

function isFilled(value: PyValue): boolean {
  if (value instanceof Map || value instanceof Set) return value.size > 0;
  return Array.isArray(value) ? value.length > 0 : value instanceof PyObject;
}
