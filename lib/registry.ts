/** The classes that whole-model files come back as: those of `nn` and `optim`, and those a program registers. */
import type { ClassRegistry, PickleClass } from './pickle/classes';

const classes = new Map<string, PickleClass>();
/** Families of classes that no one has asked for: the prefix of their Python names, and what registers them. */
const waiting = new Map<string, () => void>();

/**
 * Makes objects of the Python class `pkg.module.Class` come back as `Class`, in every later load. The constructor does
 * not run on loading: the object is made from the prototype and given its pickled state.
 */
export function register(globalName: string, Class: PickleClass): void {
  if (typeof globalName !== 'string' || !/^[^.\s]+(\.[^.\s]+)+$/.test(globalName))
    throw new TypeError(`'${String(globalName)}' is no global of the form "module.Class"`);
  if (typeof (Class as unknown) !== 'function' || typeof Class.prototype !== 'object')
    throw new TypeError(`register('${globalName}', ...) needs a class`);
  awaken(globalName);
  classes.set(globalName, Class);
}

/** The registered classes by Python name, to pass on or to copy and extend for the `classes` option. */
export function registry(): ClassRegistry {
  for (const prefix of waiting.keys()) awaken(prefix);
  return classes;
}

/** As `registry().get(globalName)`, without the families that the name is not of. */
export function registeredClass(globalName: string): PickleClass | undefined {
  awaken(globalName);
  return classes.get(globalName);
}

/**
 * Leaves a family of classes unregistered until a name under `prefix` is asked for: most programs never load a whole
 * model, and need none of its classes.
 */
export function registerFamily(prefix: string, registerAll: () => void): void {
  waiting.set(prefix, registerAll);
}

/** Registers the family that a name is of, if it still waits: for what else comes with its classes, too. */
export function awaken(globalName: string): void {
  for (const [prefix, registerAll] of waiting) {
    if (!globalName.startsWith(prefix)) continue;
    waiting.delete(prefix);
    registerAll();
  }
}

/** The Python name that a JavaScript class was registered under; undefined when it was not. */
export function registeredName(Class: unknown): string | undefined {
  let name = nameAmongAwake(Class);
  for (const prefix of waiting.keys()) {
    if (name !== undefined) break;
    awaken(prefix);
    name = nameAmongAwake(Class);
  }
  return name;
}

function nameAmongAwake(Class: unknown): string | undefined {
  for (const [name, known] of classes) if (known === Class) return name;
  return undefined;
}
