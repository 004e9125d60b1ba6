/** Places in a graph of Python values that hold something: found by path, and changed where they are. */
import { isFloatKey, isFloatSlot, noteFloat } from '../pickle/notes';
import { NdArray, OrderedDict, PyObject, type PyValue, pyFloat, pyInt, Tuple } from '../pickle/values';
import { childrenOf, joinPath } from '../walk';

export interface Slot {
  /** The path of the container, and of the slot itself. */
  readonly parent: string;
  readonly path: string;
  set(value: PyValue): void;
  delete(): void;
  /** Another key at the same position; undefined where there are no keys to change. */
  rename: ((key: string) => void) | undefined;
  /** Whether its container has such a key already. */
  hasKey(key: string): boolean;
}

/**
 * The slots at `path`: one, or where there is no value at it, those whose keys begin with it and a dot, as the names of a
 * state dict do.
 */
export function slotsAt(root: PyValue, path: string): Slot[] {
  const prefixed: Slot[] = [];
  // Depth first over what the path may lead through; the rest gets shorter with each step, so this ends on cycles too.
  const stack: { value: PyValue; at: string; rest: string }[] = [{ value: root, at: '', rest: path }];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { value, at, rest } = next;
    for (const { slot, segment, item } of slotsOf(value, at)) {
      // Below the root a key stands behind a dot, and so does the rest of the path.
      const step = at === '' || segment.startsWith('[') ? segment : `.${segment}`;
      if (step === rest) return [slot];
      if (step !== '' && rest.startsWith(step) && /^[.[]/.test(rest.slice(step.length)))
        stack.push({ value: item, at: slot.path, rest: rest.slice(step.length) });
      else if (slot.rename && step.startsWith(`${rest}.`)) prefixed.push(slot);
    }
  }
  return prefixed;
}

interface Found {
  readonly slot: Slot;
  /** The step of the path, without a dot before it. */
  readonly segment: string;
  readonly item: PyValue;
}

function slotsOf(value: PyValue, at: string): Found[] {
  if (value instanceof Map) {
    const attributes =
      value instanceof OrderedDict && value.attributes ? mapSlots(value.attributes as Map<PyValue, PyValue>, at) : [];
    return [...mapSlots(value as Map<PyValue, PyValue>, at), ...attributes];
  }
  if (Array.isArray(value)) return listSlots(value as PyValue[], at);
  if (value instanceof PyObject) return objectSlots(value, at);
  if (value instanceof NdArray || typeof value !== 'object' || value === null) return [];
  // What cannot be changed itself may still hold what can.
  return [...(childrenOf(value) ?? [])].map(([key, item, isFloat]) =>
    found(at, key, item, isFloat, { set: unchangeable, delete: unchangeable, rename: undefined, hasKey: () => false }),
  );
}

function unchangeable(): never {
  throw new TypeError('this value has no place that could be edited');
}

function found(
  parent: string,
  key: PyValue,
  item: PyValue,
  isFloat: boolean | undefined,
  actions: Omit<Slot, 'parent' | 'path'>,
): Found {
  return {
    slot: { parent, path: joinPath(parent, key, isFloat), ...actions },
    segment: joinPath('', key, isFloat),
    item,
  };
}

function mapSlots(map: Map<PyValue, PyValue>, at: string): Found[] {
  return [...map].map(([key, item]) =>
    found(at, key, item, typeof key === 'number' && isFloatKey(map, key), {
      set: (value) => map.set(key, value),
      delete: () => map.delete(key),
      rename: typeof key === 'string' ? (name) => renameKey(map, key, name) : undefined,
      hasKey: (name) => map.has(name),
    }),
  );
}

/** Maps keep the order of insertion, so that all entries are inserted anew. */
function renameKey(map: Map<PyValue, PyValue>, from: string, to: string): void {
  const entries = [...map];
  map.clear();
  for (const [key, item] of entries) {
    map.set(key === from ? to : key, item);
    if (key === from && typeof item === 'number' && isFloatSlot(map, from, item)) noteFloat(map, to, item);
  }
}

function listSlots(list: PyValue[], at: string): Found[] {
  return list.map((item, i) =>
    found(at, i, item, false, {
      set: (value) => {
        list[i] = value;
      },
      delete: () => removeItem(list, i),
      rename: undefined,
      hasKey: () => false,
    }),
  );
}

/** The items behind it move up, and what is remembered of their numbers goes by position: so it is written out. */
function removeItem(list: PyValue[], index: number): void {
  for (const [i, item] of list.entries()) {
    if (i > index && typeof item === 'number' && Number.isInteger(item))
      list[i] = isFloatSlot(list, i, item) ? pyFloat(item) : pyInt(item);
  }
  list.splice(index, 1);
}

function objectSlots(object: PyObject, at: string): Found[] {
  const { state } = object;
  const parts = state instanceof Tuple && state.length === 2 ? [...state] : [state];
  const slots = parts.flatMap((part) => (part instanceof Map ? mapSlots(part as Map<PyValue, PyValue>, at) : []));
  if (object.listItems) slots.push(...listSlots(object.listItems, at));
  for (const pair of object.dictItems ?? []) {
    const items = object.dictItems as [PyValue, PyValue][];
    slots.push(
      found(at, pair[0], pair[1], false, {
        set: (value) => {
          pair[1] = value;
        },
        delete: () => items.splice(items.indexOf(pair), 1),
        rename: typeof pair[0] === 'string' ? (name) => (pair[0] = name) : undefined,
        hasKey: (name) => items.some(([key]) => key === name),
      }),
    );
  }
  if (object.args.length > 0)
    slots.push(
      ...listSlots(object.args as PyValue[], joinPath(at, '__args__')).map((one) => ({
        ...one,
        segment: `__args__${one.segment}`,
      })),
    );
  return slots;
}
