/**
 * Python's numbers in the slots of containers.
 *
 * Hyperparameters live in Maps as plain JavaScript numbers. Whether an integral one is Python's `1` or `1.0` is noted
 * beside its slot, as for everything that is loaded. Arithmetic takes a number out with that knowledge (`PyFloat` where
 * it is needed) and puts the result back with it, so that a learning rate that reaches 0.0 is saved as a float.
 */
import { isFloatSlot, keyIdentity, noteFloat, noteKey, noteString, stringIdentity } from '../pickle/notes';
import { PyFloat, PyInt, type PyValue, pyFloat, safeInteger, Tuple } from '../pickle/values';
import { repr } from '../repr';
import { Tensor } from '../tensor/tensor';
import { isTensor } from '../walk';

/** A Python float where it is a `PyFloat` or not integral, else a Python int. */
export type PyNumber = number | PyFloat;

export function isPyFloat(value: PyNumber): boolean {
  return value instanceof PyFloat || !Number.isSafeInteger(value);
}

/** What Python's float(x) gives. */
export function float(value: PyNumber): PyNumber {
  const number = Number(value);
  return Number.isInteger(number) ? pyFloat(number) : number;
}

/** Python's a * b: an int only when both are. */
export function product(a: PyNumber, b: PyNumber): PyNumber {
  const value = Number(a) * Number(b);
  return isPyFloat(a) || isPyFloat(b) ? float(value) : value;
}

/** True for what Python takes as a number, a tensor of one element included. */
export function isNumeric(value: unknown): boolean {
  return (
    typeof value === 'number' ||
    typeof value === 'bigint' ||
    value instanceof PyFloat ||
    value instanceof PyInt ||
    value instanceof Tensor
  );
}

/** The number in a value that `take` gave. Throws TypeError where there is none. */
export function numberOf(value: PyValue | undefined, what: string): PyNumber {
  if (value instanceof Tensor) return Number(value.item());
  if (value instanceof PyInt) return Number(value.value);
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'number' || value instanceof PyFloat) return value;
  throw new TypeError(`${what} must be a number, not ${value === undefined ? 'missing' : repr(value)}`);
}

function slotValue(container: object, slot: PyValue): PyValue | undefined {
  if (container instanceof Map) return container.get(slot) as PyValue | undefined;
  return (container as Record<string, PyValue>)[slot as string];
}

/** The value in a slot; an integral number that is a Python float comes as a `PyFloat`. */
export function take(container: object, slot: PyValue): PyValue | undefined {
  const value = slotValue(container, slot);
  return typeof value === 'number' && Number.isInteger(value) && isFloatSlot(container, slot, value)
    ? pyFloat(value)
    : value;
}

export function takeNumber(container: object, slot: PyValue): PyNumber {
  return numberOf(take(container, slot), `'${String(slot)}'`);
}

/** Puts a value into a slot: numbers bare, with a note where they are integral floats. */
export function put(container: object, slot: PyValue, value: PyValue): void {
  const bare = value instanceof PyFloat ? value.value : value instanceof PyInt ? safeInteger(value.value) : value;
  if (typeof bare === 'number' && Number.isInteger(bare)) {
    // A note that matches no number takes back one that an equal float left here.
    if (value instanceof PyFloat) noteFloat(container, slot, bare);
    else if (isFloatSlot(container, slot, bare)) noteFloat(container, slot, Number.NaN);
  }
  if (container instanceof Map) container.set(slot, bare);
  else (container as Record<string, PyValue>)[slot as string] = bare;
}

/** A Python list or tuple of values that may be `PyFloat`. */
export function listOf(values: Iterable<PyValue>): PyValue[] {
  return fill([], values);
}

export function tupleOf(values: Iterable<PyValue>): Tuple {
  return fill(new Tuple(), values);
}

function fill<T extends PyValue[]>(list: T, values: Iterable<PyValue>): T {
  let i = 0;
  for (const value of values) {
    list.push(null);
    put(list, i++, value);
  }
  return list;
}

/** The values of a list, each as `take` gives it. */
export function itemsOf(list: readonly PyValue[]): PyValue[] {
  return list.map((_, i) => take(list, i) as PyValue);
}

/** Hands a value from slot to slot, with what is noted of it. */
export function copySlot(from: object, to: object, slot: PyValue, toSlot = slot, value = take(from, slot)): void {
  put(to, toSlot, value as PyValue);
  const identity = typeof value === 'string' ? stringIdentity(from, slot, value) : undefined;
  if (identity) noteString(to, toSlot, identity);
}

/** Copies one entry of a mapping under the same key object. */
export function copyEntry(from: object, to: Map<PyValue, PyValue>, key: PyValue, value?: PyValue): void {
  copySlot(from, to, key, key, value ?? take(from, key));
  const identity = typeof key === 'string' ? keyIdentity(from, key) : undefined;
  if (identity) noteKey(to, key, identity);
}

/** Python's dict(mapping), also of what `load` gives with `dicts: 'object'`. */
export function copyMapping(mapping: object): Map<PyValue, PyValue> {
  const copy = new Map<PyValue, PyValue>();
  for (const key of mapping instanceof Map ? mapping.keys() : Object.keys(mapping))
    copyEntry(mapping, copy, key as PyValue);
  return copy;
}

/** True for a Map, and for an object that `load` gives in place of one. */
export function isMapping(value: unknown): value is Map<PyValue, PyValue> | Record<string, PyValue> {
  if (value instanceof Map) return true;
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as object | null;
  return prototype === null || prototype === Object.prototype;
}

/** Python's `copy.deepcopy` of plain data: a tuple stays itself where nothing inside it changes, tensors are cloned. */
export function deepCopy(value: PyValue): PyValue {
  if (isMapping(value)) {
    const copy = copyMapping(value);
    for (const [key, item] of copy) if (typeof item === 'object' && item !== null) copy.set(key, deepCopy(item));
    return copy;
  }
  if (Array.isArray(value)) {
    const items = itemsOf(value as PyValue[]);
    const copies = items.map(deepCopy);
    if (!(value instanceof Tuple)) return listOf(copies);
    return copies.some((item, i) => item !== items[i] && !(item instanceof PyFloat)) ? tupleOf(copies) : value;
  }
  return isTensor(value) && value instanceof Tensor ? value.clone() : value;
}
