/**
 * JavaScript classes that stand for Python classes.
 *
 * An object of a registered class is made from its prototype: its own constructor does not run, because the file's state
 * is what it is made of. What the pickle said is kept beside it, so that saving writes the same object back.
 */
import type { PyObject, PyValue } from './values';

/** A method with this name takes the pickled state; without it, state that is a dict becomes own properties. */
export const setState: unique symbol = Symbol.for('torch-checkpoint.setState');
/** A method with this name gives the object as it is to be pickled; without it, the state it was loaded with is. */
export const getPickled: unique symbol = Symbol.for('torch-checkpoint.getPickled');

/** What a registered class may define to take its state and to give it back. */
export interface Picklable {
  [setState]?(state: PyValue, pickled: PyObject): void;
  [getPickled]?(pickled: PyObject | undefined): PyObject;
}

/** A class that can stand for a Python class: anything with a prototype. */
export interface PickleClass {
  readonly prototype: object;
}

/** Python 3 names of classes, `pkg.module.Class`, to the JavaScript classes that stand for them. */
export type ClassRegistry = ReadonlyMap<string, PickleClass>;

/** What a load needs of them. */
export type ClassLookup = Pick<ClassRegistry, 'get'>;

const pickledForms = new WeakMap<object, PyObject>();

/** What the pickle said of an object of a registered class; undefined for one made in JavaScript. */
export function pickledForm(instance: object): PyObject | undefined {
  return pickledForms.get(instance);
}

export function instantiate(Class: PickleClass, pickled: PyObject): object {
  const instance = Object.create(Class.prototype) as object;
  pickledForms.set(instance, pickled);
  return instance;
}

/** Hands the state of a BUILD opcode to an object of a registered class. */
export function buildInstance(instance: object, pickled: PyObject, state: PyValue): void {
  pickled.state = state;
  const own = (instance as Picklable)[setState];
  if (own) {
    own.call(instance, state, pickled);
    return;
  }
  if (!(state instanceof Map)) return;
  for (const [key, value] of state) {
    // A key that the prototype knows (`constructor`, a method) must not be shadowed by a file.
    if (typeof key !== 'string' || key in instance || key === '__proto__') continue;
    Object.defineProperty(instance, key, { value, writable: true, enumerable: true, configurable: true });
  }
}
