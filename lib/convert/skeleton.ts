/**
 * A graph of Python values as JSON. Texts, booleans, None, integers and fractions are themselves; everything else is an
 * object with one telling key: `dict` (pairs), `list`, `tuple`, `float` (where JSON would show an int), `tensor`, `object`.
 * Containers have an `id`, and are `{ "ref": id }` wherever they are met again.
 */

import { getPickled, type Picklable, pickledForm } from '../pickle/classes';
import { isFloatKey, isFloatSlot } from '../pickle/notes';
import {
  FrozenSet,
  NdArray,
  OrderedDict,
  PyGlobal,
  PyObject,
  type PyValue,
  Size,
  Tuple,
  typeName,
} from '../pickle/values';
import { repr } from '../repr';
import { NestedTensor } from '../tensor/nested';
import { QuantizedTensor } from '../tensor/quantized';
import { SparseTensor } from '../tensor/sparse';
import { Storage } from '../tensor/storage';
import { Parameter, Tensor } from '../tensor/tensor';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Longer texts are no structure: module sources, encoded data. */
const MAX_TEXT = 500;

/** `root` and the table of the storages that its tensors mention, by number. */
export function describe(root: PyValue): { storages: Json[]; root: Json } {
  return new Describer().describe(root);
}

class Describer {
  readonly #ids = new Map<object, number>();
  readonly #storages = new Map<Storage, number>();
  readonly #table: Json[] = [];
  /** What is still to be filled, so that nothing here recurses. */
  readonly #pending: (() => void)[] = [];

  describe(root: PyValue): { storages: Json[]; root: Json } {
    const json = this.#value(root);
    for (let next = this.#pending.pop(); next; next = this.#pending.pop()) next();
    return { storages: this.#table, root: json };
  }

  #value(value: PyValue, isFloat = false): Json {
    switch (typeof value) {
      case 'string':
        return value.length > MAX_TEXT ? { str: value.slice(0, MAX_TEXT), length: value.length } : value;
      case 'bigint':
        return { int: String(value) };
      case 'number':
        return isFloat || !Number.isFinite(value) || Object.is(value, -0)
          ? { float: Object.is(value, -0) ? '-0' : Number.isFinite(value) ? value : String(value) }
          : value;
      case 'boolean':
        return value;
    }
    if (value === null) return null;
    const known = this.#ids.get(value);
    if (known !== undefined) return { ref: known };
    const leaf = this.#leaf(value);
    if (leaf) return leaf;
    this.#ids.set(value, this.#ids.size + 1);
    return this.#container(value, this.#ids.size);
  }

  /** What has no values of its own inside. */
  #leaf(value: object): Json | undefined {
    if (value instanceof Storage) return { storage: this.#storage(value) };
    if (value instanceof Tensor) return this.#tensor(value);
    if (value instanceof SparseTensor || value instanceof NestedTensor) {
      const components = Object.entries(value.components).map(([name, part]): [string, Json] => [
        name,
        this.#tensor(part as Tensor),
      ]);
      return {
        tensor: value.dtype.name,
        layout: value.layout.name,
        ...(value instanceof SparseTensor ? { shape: [...value.shape] } : {}),
        components: Object.fromEntries(components),
      };
    }
    if (value instanceof Uint8Array) return { bytes: value.byteLength };
    if (value instanceof NdArray && !value.objects) return { ndarray: value.dtype, shape: [...value.shape] };
    if (value instanceof PyGlobal) return { global: value.global };
    return undefined;
  }

  #container(value: object, id: number): Json {
    if (value instanceof Map) return this.#map(value as Map<PyValue, PyValue>, id);
    if (Array.isArray(value)) {
      const items: Json[] = [];
      this.#later(() => this.#fill(value as PyValue[], items));
      return { id, [value instanceof Size ? 'size' : value instanceof Tuple ? 'tuple' : 'list']: items };
    }
    if (value instanceof Set || value instanceof NdArray) {
      const items: Json[] = [];
      const from = value instanceof NdArray ? (value.objects ?? []) : [...(value as Set<PyValue>)];
      this.#later(() => this.#fill(from, items));
      return { id, [value instanceof NdArray ? 'ndarray' : value instanceof FrozenSet ? 'frozenset' : 'set']: items };
    }
    const pickled =
      value instanceof PyObject
        ? value
        : ((value as Picklable)[getPickled]?.call(value, pickledForm(value)) ?? pickledForm(value));
    return pickled ? this.#object(pickled, id) : { id, [typeName(value)]: repr(value).slice(0, MAX_TEXT) };
  }

  #map(map: Map<PyValue, PyValue>, id: number): Json {
    const pairs: Json[] = [];
    this.#later(() => {
      for (const [key, item] of map) {
        const isFloat = typeof key === 'number' && isFloatKey(map, key);
        pairs.push([
          this.#value(key, isFloat),
          this.#value(item, typeof item === 'number' && isFloatSlot(map, key, item)),
        ]);
      }
    });
    const attributes =
      map instanceof OrderedDict && map.attributes
        ? { attributes: this.#map(map.attributes as Map<PyValue, PyValue>, 0) }
        : {};
    return { id, [map.constructor === Map ? 'dict' : typeName(map)]: pairs, ...attributes };
  }

  #object(object: PyObject, id: number): Json {
    const json: { [key: string]: Json } = {
      id,
      object: object.callable instanceof PyGlobal ? object.global : this.#value(object.callable),
      by: object.construction,
    };
    this.#later(() => {
      if (object.args.length > 0) json['args'] = this.#value(object.args as PyValue);
      if (object.kwargs?.size) json['kwargs'] = this.#value(object.kwargs);
      if (object.state !== undefined) json['state'] = this.#value(object.state);
      if (object.listItems) json['items'] = this.#value(object.listItems);
      if (object.dictItems)
        json['pairs'] = object.dictItems.map(([key, item]) => [this.#value(key), this.#value(item)]);
    });
    return json;
  }

  #later(fill: () => void): void {
    this.#pending.push(fill);
  }

  #fill(from: readonly PyValue[], to: Json[]): void {
    for (const [i, item] of from.entries())
      to.push(this.#value(item, typeof item === 'number' && isFloatSlot(from as object, i, item)));
  }

  #tensor(tensor: Tensor): Json {
    const { dtype, shape, stride, storageOffset, storage, requiresGrad } = tensor;
    const json: { [key: string]: Json } = {
      tensor: dtype.name,
      shape: [...shape],
      stride: [...stride],
      storageOffset,
      storage: this.#storage(storage),
    };
    if (requiresGrad) json['requiresGrad'] = true;
    if (tensor instanceof Parameter) json['parameter'] = true;
    if (tensor.conj) json['conj'] = true;
    if (tensor.neg) json['neg'] = true;
    if (tensor.pythonType) json['class'] = tensor.pythonType.global;
    if (tensor instanceof QuantizedTensor) json['qscheme'] = tensor.qscheme.name;
    return json;
  }

  #storage(storage: Storage): number {
    let number = this.#storages.get(storage);
    if (number === undefined) {
      number = this.#storages.size;
      this.#storages.set(storage, number);
      const { key, location, dtype, nbytes, untyped } = storage;
      this.#table.push({ number, key, location, dtype: untyped ? 'untyped' : dtype.name, nbytes });
    }
    return number;
  }
}
