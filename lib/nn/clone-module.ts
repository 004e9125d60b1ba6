/** Python's `copy.deepcopy` of a module: new parameters and buffers with the same values, sharing as it was. */
import { moveNotes } from '../pickle/notes';
import { OrderedDict, type PyValue, Tuple } from '../pickle/values';
import { Parameter, Tensor } from '../tensor/tensor';
import { attributesOf, isModule, setAttributes } from './attributes';
import { Module } from './module';

/** Copies a module and all below it. Its class must be a JavaScript class; the constructor does not run. */
export function cloneModule<T extends Module>(root: T): T {
  const copies = new Map<object, object>();
  const pending: (() => void)[] = [];

  const copy = (value: PyValue): PyValue => {
    if (typeof value !== 'object' || value === null) return value;
    const known = copies.get(value);
    if (known) return known;
    const made = begin(value);
    copies.set(value, made);
    return made;
  };
  const begin = (value: object): object => {
    if (value instanceof Parameter) return new Parameter(value.clone(), value.requiresGrad);
    if (value instanceof Tensor) return value.clone();
    if (value instanceof Module) {
      const made = Reflect.construct(Module, [], value.constructor as typeof Module) as Module;
      const attributes = new Map<string, PyValue>();
      setAttributes(made, attributes);
      pending.push(() => copyEntries(attributesOf(value), attributes));
      return made;
    }
    if (isModule(value) || value instanceof Tuple) return value;
    if (value instanceof Map) {
      const made = value instanceof OrderedDict ? new OrderedDict() : new Map<PyValue, PyValue>();
      pending.push(() => copyEntries(value, made));
      return made;
    }
    if (value instanceof Set) return new Set(value);
    if (!Array.isArray(value)) return value;
    const made: PyValue[] = [];
    pending.push(() => {
      for (const item of value) made.push(copy(item as PyValue));
      moveNotes(value, made);
    });
    return made;
  };
  const copyEntries = (from: Map<PyValue, PyValue>, to: Map<PyValue, PyValue>): void => {
    for (const [key, value] of from) to.set(key, copy(value));
    moveNotes(from, to);
  };

  const result = copy(root) as T;
  for (let next = pending.shift(); next; next = pending.shift()) next();
  return result;
}
