/** Modules as a pickle has them: made by `cls.__new__(cls)` and given their attributes. Also what they print from. */
import { CheckpointError } from '../errors';
import { PyGlobal, PyObject, Tuple } from '../pickle/values';
import { registeredName } from '../registry';
import { moduleExtraRepr } from '../repr';
import type { Attributes } from './attributes';

/** The class of a module that has no Python name: it prints, and refuses to be pickled. */
class UnregisteredClass extends PyGlobal {
  constructor(name: string) {
    super('__main__', name);
    Object.defineProperty(this, 'module', {
      get(): never {
        throw new CheckpointError(
          'UNSAVABLE',
          `the class ${name} has no Python name, so a whole ${name} cannot be saved`,
          {
            hint: `save module.stateDict(), or call register('package.module.${name}', ${name}) first`,
          },
        );
      },
    });
  }
}

const made = new WeakMap<object, PyObject>();
const owners = new WeakMap<PyObject, { extraRepr(): string }>();

interface Owner {
  extraRepr(): string;
}

/** The pickled form of `module`: what the file said with its attributes as they are now, or a new one. */
export function pickledModule(
  module: Owner,
  pickled: PyObject | undefined,
  attributes: Attributes | undefined,
): PyObject {
  let form = pickled ?? made.get(module);
  if (!form || (!pickled && form.callable instanceof UnregisteredClass)) {
    const name = registeredName(module.constructor);
    const dot = name?.lastIndexOf('.') ?? -1;
    const callable =
      name === undefined
        ? new UnregisteredClass(module.constructor.name)
        : new PyGlobal(name.slice(0, dot), name.slice(dot + 1));
    form = new PyObject(callable, new Tuple(), 'newobj');
    made.set(module, form);
  }
  if (attributes) form.state = attributes;
  owners.set(form, module);
  if (!moduleExtraRepr.has(form.global)) moduleExtraRepr.set(form.global, extraReprOfOwner);
  return form;
}

/** A module's own `extraRepr`, wherever its class overrides it. */
function extraReprOfOwner(object: PyObject): string {
  return owners.get(object)?.extraRepr() ?? '';
}

/** Makes modules of a Python class print with `extraRepr`, those loaded as a `PyObject` included. */
export function printModules(global: string, extraRepr: (object: PyObject) => string): void {
  moduleExtraRepr.set(global, (object) => owners.get(object)?.extraRepr() ?? extraRepr(object));
}
