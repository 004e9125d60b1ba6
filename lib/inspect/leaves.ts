/**
 * What a checkpoint holds besides tensors: the walk over its root, with what slots remember of their numbers.
 *
 * JavaScript has one type for `3` and `3.0`. Which of them the file said is noted beside the container, so that it must be
 * asked while the container is at hand: a leaf carries the answer along.
 */
import type { Checkpoint } from '../checkpoint';
import { isFloatSlot } from '../pickle/notes';
import { PyObject, type PyValue, Tuple } from '../pickle/values';
import { type AnyTensor, isTensor, joinPath, walk } from '../walk';

export interface Leaf {
  readonly path: string;
  readonly value: PyValue;
  /** True for an integral number that is a float in Python. */
  readonly isFloat: boolean;
}

export function isScalar(value: unknown): value is string | number | bigint | boolean | null {
  return value === null || typeof value !== 'object';
}

/** A list, tuple or set of scalars: told as one value rather than an entry for each. */
export function isFlat(value: PyValue): value is PyValue & (readonly PyValue[] | ReadonlySet<PyValue>) {
  if (Array.isArray(value)) return value.length > 0 && value.every(isScalar);
  return value instanceof Set && value.size > 0 && [...(value as Set<PyValue>)].every(isScalar);
}

/**
 * Every tensor and every other value in file order; containers come before what they hold. With `flat`, lists of scalars
 * come alone.
 */
export function* leavesOf(checkpoint: Checkpoint, flat = false): Generator<Leaf, void, undefined> {
  // Paths of the integral floats that the last containers announced; each is met soon after and then forgotten.
  const floats = new Set<string>();
  const told = new Set<object>();
  let skip = 0;
  let tensors = 0;
  for (const [path, value] of walk(checkpoint.root)) {
    if (skip > 0) {
      skip--;
      continue;
    }
    if (isScalar(value)) {
      const isFloat = typeof value === 'number' && floats.delete(path);
      yield { path, value, isFloat };
      continue;
    }
    if (isTensor(value)) tensors++;
    else announceFloats(value, path, floats);
    yield { path, value, isFloat: false };
    if (!flat || !isFlat(value)) continue;
    // The walk lists what is in a list or set once, in a plain tuple each time.
    if (!(value instanceof Tuple) && told.has(value)) continue;
    told.add(value);
    skip = value instanceof Set ? value.size : (value as readonly PyValue[]).length;
  }
  yield* otherRoots(checkpoint, tensors);
}

/** The tensors of an archive's other pickles, which `root` does not reach. */
function* otherRoots(checkpoint: Checkpoint, known: number): Generator<Leaf, void, undefined> {
  if (checkpoint.format !== 'torchscript') return;
  let index = 0;
  for (const [path, value] of checkpoint.tensors()) {
    if (index++ >= known) yield { path, value: value as AnyTensor as PyValue, isFloat: false };
  }
}

function announceFloats(value: PyValue, path: string, floats: Set<string>): void {
  const check = (container: object, slot: PyValue, item: PyValue): void => {
    if (typeof item !== 'number' || !Number.isInteger(item) || !isFloatSlot(container, slot, item)) return;
    floats.add(joinPath(path, slot));
  };
  const checkMap = (map: Map<PyValue, PyValue>): void => {
    for (const [key, item] of map) check(map, key, item);
  };
  if (value instanceof Map) checkMap(value as Map<PyValue, PyValue>);
  else if (Array.isArray(value)) (value as PyValue[]).forEach((item, i) => check(value, i, item));
  else if (value instanceof PyObject) {
    const { state, dictItems, listItems } = value;
    const parts = state instanceof Tuple && state.length === 2 ? state : [state];
    for (const part of parts) if (part instanceof Map) checkMap(part as Map<PyValue, PyValue>);
    for (const [key, item] of dictItems ?? []) check(dictItems as object, key, item);
    listItems?.forEach((item, i) => check(listItems, i, item));
  }
}
