/** `ParameterList` and `ParameterDict`: containers that register what they hold as parameters. */
import type { PyValue } from '../pickle/values';
import { Parameter, Tensor } from '../tensor/tensor';
import { assignAttribute, attributesOf, deleteAttribute, getAttribute } from './attributes';
import { absoluteIndex, entriesOf, type Named } from './container';
import { ShownAttributes } from './extra-repr';
import { Module } from './module';
import { pythonClassName, tensorTypeName } from './python-names';

/** Files may claim any size; a longer list is no one's to read. */
const MAX_SHOWN = 10_000;

/** One line of the printed container. */
function line(key: string, value: PyValue | undefined, typeName: (tensor: Tensor) => string): string {
  if (!(value instanceof Tensor)) return `  (${key}): Object of type: ${pythonClassName(value).replace(/^.*\./, '')}`;
  const device = value.storage.location.startsWith('cuda') ? ` (${value.storage.location})` : '';
  const kind = value instanceof Parameter ? 'Parameter' : 'Tensor';
  return `  (${key}): ${kind} containing: [${typeName(value)} of size ${value.shape.join('x')}${device}]`;
}

export function parameterListExtra(shown: ShownAttributes): string {
  const size = shown.value('_size');
  const count = typeof size === 'number' ? Math.min(size, MAX_SHOWN) : 0;
  return Array.from({ length: count }, (_, i) =>
    line(String(i), shown.value(String(i)), ({ dtype }) => String(dtype)),
  ).join('\n');
}

export function parameterDictExtra(shown: ShownAttributes): string {
  const keys = shown.value('_keys');
  if (!(keys instanceof Map)) return '';
  return [...keys.keys()].map((key) => line(String(key), shown.value(String(key)), tensorTypeName)).join('\n');
}

/** A tensor becomes a parameter; other values stay what they are. */
function asParameter(value: PyValue): PyValue {
  return value instanceof Tensor && !(value instanceof Parameter) ? new Parameter(value) : value;
}

export class ParameterList extends Module implements Iterable<PyValue> {
  [index: number]: Parameter;

  constructor(values: Iterable<PyValue> = []) {
    super();
    attributesOf(this).set('_size', 0);
    this.extend(values);
  }

  get length(): number {
    return attributesOf(this).get('_size') as number;
  }

  at(index: number): PyValue {
    return getAttribute(attributesOf(this), String(absoluteIndex(index, this.length))) as PyValue;
  }

  /** Puts another value in the place of the one at `index`. */
  set(index: number, value: PyValue): void {
    assignAttribute(attributesOf(this), String(absoluteIndex(index, this.length)), asParameter(value));
  }

  append(value: PyValue): this {
    const attributes = attributesOf(this);
    const index = this.length;
    attributes.set('_size', index + 1);
    assignAttribute(attributes, String(index), asParameter(value));
    return this;
  }

  extend(values: Iterable<PyValue>): this {
    if (typeof (values as Iterable<PyValue> | null)?.[Symbol.iterator] !== 'function') {
      throw new TypeError(`ParameterList.extend should be called with an iterable, but got ${pythonClassName(values)}`);
    }
    for (const value of [...values]) this.append(value);
    return this;
  }

  override extraRepr(): string {
    return parameterListExtra(new ShownAttributes(this));
  }

  *[Symbol.iterator](): Iterator<PyValue> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }
}

export class ParameterDict extends Module implements Iterable<[name: string, value: PyValue]> {
  /** As in PyTorch, entries of a plain object (a dict there) are sorted by name; those of a Map or of pairs keep their order. */
  constructor(parameters: Named<PyValue> = []) {
    super();
    attributesOf(this).set('_keys', new Map());
    this.update(parameters);
  }

  get size(): number {
    return keysOf(this).size;
  }

  override extraRepr(): string {
    return parameterDictExtra(new ShownAttributes(this));
  }

  override get(name: string): PyValue | undefined {
    return keysOf(this).has(name) ? getAttribute(attributesOf(this), name) : undefined;
  }

  has(name: string): boolean {
    return keysOf(this).has(name);
  }

  set(name: string, value: PyValue): this {
    if (typeof name !== 'string') {
      throw new TypeError(
        `Index given to ParameterDict cannot be used as a key as it is not a string (type is '${pythonClassName(name)}'). Open an issue on github if you need non-string keys.`,
      );
    }
    keysOf(this).set(name, null);
    assignAttribute(attributesOf(this), name, asParameter(value));
    return this;
  }

  delete(name: string): boolean {
    return keysOf(this).delete(name) && deleteAttribute(attributesOf(this), name);
  }

  update(parameters: Named<PyValue>): void {
    const entries = entriesOf(parameters);
    if (!(Symbol.iterator in parameters)) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    for (const [name, value] of entries) this.set(name, value);
  }

  keys(): IterableIterator<string> {
    return keysOf(this).keys();
  }

  *entries(): IterableIterator<[name: string, value: PyValue]> {
    for (const name of this.keys()) yield [name, this.get(name) as PyValue];
  }

  [Symbol.iterator](): Iterator<[name: string, value: PyValue]> {
    return this.entries();
  }
}

/** PyTorch keeps the names in a dict of Nones. */
function keysOf(module: Module): Map<string, PyValue> {
  return attributesOf(module).get('_keys') as Map<string, PyValue>;
}
