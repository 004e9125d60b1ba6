/** The classes that whole-model files come back as: those of `nn`, and those a program registers. */
import type { ClassRegistry, PickleClass } from './pickle/classes';

const classes = new Map<string, PickleClass>();

/**
 * Makes objects of the Python class `pkg.module.Class` come back as `Class`, in every later load. The constructor does
 * not run on loading: the object is made from the prototype and given its pickled state.
 */
export function register(globalName: string, Class: PickleClass): void {
  if (typeof globalName !== 'string' || !/^[^.\s]+(\.[^.\s]+)+$/.test(globalName))
    throw new TypeError(`'${String(globalName)}' is no global of the form "module.Class"`);
  if (typeof (Class as unknown) !== 'function' || typeof Class.prototype !== 'object')
    throw new TypeError(`register('${globalName}', ...) needs a class`);
  classes.set(globalName, Class);
}

/** The registered classes by Python name, to pass on or to copy and extend for the `classes` option. */
export function registry(): ClassRegistry {
  return classes;
}

/** The Python name that a JavaScript class was registered under; undefined when it was not. */
export function registeredName(Class: unknown): string | undefined {
  for (const [name, known] of classes) if (known === Class) return name;
  return undefined;
}
