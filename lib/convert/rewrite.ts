/**
 * A graph of Python values with parts left out and tensors replaced: a new graph, the old one untouched.
 *
 * Every container on the way is copied once, so that sharing and cycles stay what they are, and takes its notes along
 * (see `pickle/notes.ts`), so that all the rest is saved as it was. The walk keeps its own stack.
 */
import { getPickled, type Picklable, pickledForm } from '../pickle/classes';
import { isFloatKey, isFloatSlot, moveNotes, noteFloat } from '../pickle/notes';
import {
  Counter,
  DefaultDict,
  FrozenSet,
  NdArray,
  OrderedDict,
  PyObject,
  type PyValue,
  Size,
  Tuple,
} from '../pickle/values';
import { originOf, rememberOrigin } from '../provenance';
import { Storage } from '../tensor/storage';
import { type AnyTensor, isTensor, joinPath } from '../walk';

export interface Rewriting {
  /** True for what is to be left out, with all below it. */
  readonly drops: (path: string) => boolean;
  /** What takes the place of a tensor, null for None; called once for each tensor object. */
  readonly replace: (tensor: AnyTensor) => AnyTensor | null;
  /** The same for storages that are values themselves; without it they stay. */
  readonly replaceStorage?: (storage: Storage) => Storage | null;
}

/** The new root; paths are relative to it. */
export function rewrite(root: PyValue, { drops, replace, replaceStorage }: Rewriting): PyValue {
  const copies = new Map<object, object>();
  const pending: (() => void)[] = [];

  function copy(value: PyValue, path: string): PyValue {
    if (typeof value !== 'object' || value === null) return value;
    const known = copies.get(value);
    if (known) return known;
    const made = isTensor(value)
      ? replace(value)
      : replaceStorage && value instanceof Storage
        ? replaceStorage(value)
        : shell(value, path);
    if (made === null) return null;
    copies.set(value, made);
    return made;
  }

  /** An empty copy, to be filled later; the value itself where it holds nothing that could change. */
  function shell(value: object, path: string): object {
    if (value instanceof Storage || value instanceof NdArray || value instanceof Uint8Array) return value;
    if (value instanceof Map)
      return later(emptyLike(value), (made) => fillMap(value as Map<PyValue, PyValue>, made, path));
    if (Array.isArray(value)) {
      return later(value instanceof Size ? new Size() : value instanceof Tuple ? new Tuple() : [], (made) =>
        fillList(value as PyValue[], made as PyValue[], path),
      );
    }
    if (value instanceof Set) {
      return later(value instanceof FrozenSet ? new FrozenSet<PyValue>() : new Set<PyValue>(), (made) => {
        for (const item of value as Set<PyValue>) made.add(copy(item, path));
        moveNotes(value, made);
      });
    }
    const pickled =
      value instanceof PyObject
        ? value
        : ((value as Picklable)[getPickled]?.call(value, pickledForm(value)) ?? pickledForm(value));
    if (!pickled) return value;
    return later(new PyObject(pickled.callable, new Tuple(), pickled.construction), (made) =>
      fillObject(pickled, made, path),
    );
  }

  function later<T extends object>(made: T, fill: (made: T) => void): T {
    pending.push(() => fill(made));
    return made;
  }

  function fillMap(from: Map<PyValue, PyValue>, to: Map<PyValue, PyValue>, path: string): void {
    for (const [key, item] of from) {
      const at = joinPath(path, key, typeof key === 'number' && isFloatKey(from, key));
      if (!drops(at)) to.set(typeof key === 'object' ? copy(key, at) : key, copy(item, at));
    }
    if (from instanceof DefaultDict && to instanceof DefaultDict) to.factory = from.factory;
    if (from instanceof OrderedDict && from.attributes && to instanceof OrderedDict) {
      to.attributes = new Map();
      fillMap(from.attributes, to.attributes as Map<PyValue, PyValue>, path);
    }
    moveNotes(from, to);
  }

  function fillList(from: PyValue[], to: PyValue[], path: string): void {
    for (const [i, item] of from.entries()) {
      const at = joinPath(path, i);
      if (!drops(at)) to.push(copy(item, at));
      // The slots behind what is left out have other numbers now.
      if (to.length <= i && !drops(at) && typeof item === 'number' && isFloatSlot(from, i, item))
        noteFloat(to, to.length - 1, item);
    }
    if (to.length === from.length) moveNotes(from, to);
  }

  function fillObject(from: PyObject, to: PyObject, path: string): void {
    fillList(from.args as PyValue[], to.args as PyValue[], joinPath(path, '__args__'));
    if (from.args.length > 0) copies.set(from.args, to.args);
    if (from.kwargs) {
      to.kwargs = new Map();
      fillMap(from.kwargs, to.kwargs, joinPath(path, '__kwargs__'));
    }
    if (from.base !== undefined) to.base = copy(from.base, path);
    // The state's own dicts add no step to the paths below them.
    const { state } = from;
    if (state !== undefined && isSlots(state))
      to.state = Tuple.from((state as PyValue[]).map((part) => copy(part, path)));
    else if (state !== undefined) to.state = copy(state, state instanceof Map ? path : joinPath(path, '__state__'));
    if (from.listItems) {
      to.listItems = [];
      fillList(from.listItems, to.listItems, path);
    }
    if (from.dictItems) {
      to.dictItems = [];
      for (const [key, item] of from.dictItems) {
        const at = joinPath(path, key);
        if (!drops(at)) to.dictItems.push([key, copy(item, at)]);
      }
      moveNotes(from.dictItems, to.dictItems);
    }
    moveNotes(from, to);
  }

  const result = copy(root, '');
  for (let next = pending.pop(); next; next = pending.pop()) next();
  const origin = originOf(root);
  if (origin) rememberOrigin(result, origin);
  return result;
}

function isSlots(state: PyValue): boolean {
  return (
    state instanceof Tuple &&
    state.length === 2 &&
    (state[0] === null || state[0] instanceof Map) &&
    state[1] instanceof Map
  );
}

function emptyLike(map: Map<unknown, unknown>): Map<PyValue, PyValue> {
  if (map instanceof Counter) return new Counter() as Map<PyValue, PyValue>;
  if (map instanceof DefaultDict) return new DefaultDict();
  return map instanceof OrderedDict ? new OrderedDict() : new Map();
}
