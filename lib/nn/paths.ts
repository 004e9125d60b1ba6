/** `get_submodule`, `get_parameter` and `get_buffer`: parts of a module by path, with PyTorch's texts. */
import { type Parameter, Tensor } from '../tensor/tensor';
import {
  assignAttribute,
  attributesOf,
  buffersOf,
  getAttribute,
  isModule,
  type ModuleObject,
  parametersOf,
} from './attributes';
import { className } from './state-dict';

/** Python raises AttributeError, which is a RangeError here. */
function attribute(module: ModuleObject, name: string): unknown {
  const found = getAttribute(attributesOf(module), name) ?? (module as Record<string, unknown>)[name];
  if (found === undefined) throw new RangeError(`${className(module)} has no attribute \`${name}\``);
  return found;
}

export function submoduleAt(root: ModuleObject, path: string): ModuleObject {
  if (path === '') return root;
  let module = root;
  for (const name of path.split('.')) {
    const found = attribute(module, name);
    if (!isModule(found)) throw new RangeError(`\`${name}\` is not an nn.Module`);
    module = found;
  }
  return module;
}

/** The module that `path` goes through, and the last name. */
function parentOf(root: ModuleObject, path: string): [module: ModuleObject, name: string] {
  const dot = path.lastIndexOf('.');
  return [dot < 0 ? root : submoduleAt(root, path.slice(0, dot)), path.slice(dot + 1)];
}

export function parameterAt(root: ModuleObject, path: string): Parameter {
  const [module, name] = parentOf(root, path);
  const found = parametersOf(module).get(name) ?? attribute(module, name);
  // Files of old versions have plain tensors among their parameters.
  if (!(found instanceof Tensor) || buffersOf(module).has(name))
    throw new RangeError(`\`${name}\` is not an nn.Parameter`);
  return found;
}

export function bufferAt(root: ModuleObject, path: string): Tensor {
  const [module, name] = parentOf(root, path);
  const found = buffersOf(module).get(name) ?? attribute(module, name);
  if (!(found instanceof Tensor) || !buffersOf(module).has(name)) throw new RangeError(`\`${name}\` is not a buffer`);
  return found;
}

export function replaceSubmodule(root: ModuleObject, path: string, value: unknown): void {
  if (path === '') throw new RangeError('Cannot set the submodule without a target name!');
  if (!isModule(value)) throw new TypeError('`module` is not an nn.Module');
  const [module, name] = parentOf(root, path);
  const found = getAttribute(attributesOf(module), name);
  if (found !== undefined && !isModule(found)) throw new RangeError(`\`${name}\` is not an nn.Module`);
  assignAttribute(attributesOf(module), name, value);
}
