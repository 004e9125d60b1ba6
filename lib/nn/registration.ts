/** `register_parameter`, `register_buffer` and `add_module`, with PyTorch's checks and texts. */
import { Parameter } from '../tensor/tensor';
import { isTensor } from '../walk';
import {
  attributesOf,
  buffersOf,
  getAttribute,
  isModule,
  type ModuleObject,
  parametersOf,
  setBuffer,
  setModule,
  setParameter,
} from './attributes';
import { pythonTypeName } from './python-names';

/** Python raises KeyError, which is a RangeError here. */
function demandName(
  module: ModuleObject,
  name: unknown,
  kind: 'parameter' | 'buffer' | 'module',
  known: { has(name: string): boolean },
): asserts name is string {
  if (typeof name !== 'string') throw new TypeError(`${kind} name should be a string. Got ${pythonTypeName(name)}`);
  if (kind !== 'module') demandPlain(name, kind);
  if (!known.has(name) && isTaken(module, name)) throw new RangeError(`attribute '${name}' already exists`);
  if (kind === 'module') demandPlain(name, kind);
}

function demandPlain(name: string, kind: string): void {
  if (name.includes('.'))
    throw new RangeError(`${kind} name can't contain "."${kind === 'module' ? `, got: ${name}` : ''}`);
  if (name === '') throw new RangeError(`${kind} name can't be empty string ""`);
}

/** A method of the class takes a name as well as an attribute does. */
function isTaken(module: ModuleObject, name: string): boolean {
  return (
    getAttribute(attributesOf(module), name) !== undefined ||
    typeof Object.getOwnPropertyDescriptor(module.constructor.prototype, name)?.value === 'function'
  );
}

export function registerParameter(module: ModuleObject, name: unknown, value: unknown): void {
  demandName(module, name, 'parameter', parametersOf(module));
  if (value !== null && !(value instanceof Parameter)) {
    throw new TypeError(
      `cannot assign '${pythonTypeName(value)}' object to parameter '${name}' (torch.nn.Parameter or None required)`,
    );
  }
  setParameter(attributesOf(module), name, value);
}

export function registerBuffer(module: ModuleObject, name: unknown, value: unknown, persistent: boolean): void {
  demandName(module, name, 'buffer', buffersOf(module));
  if (value !== null && !isTensor(value)) {
    throw new TypeError(
      `cannot assign '${pythonTypeName(value)}' object to buffer '${name}' (torch Tensor or None required)`,
    );
  }
  setBuffer(attributesOf(module), name, value, persistent);
}

export function registerModule(module: ModuleObject, name: unknown, value: unknown): void {
  if (value !== null && !isModule(value)) throw new TypeError(`${pythonTypeName(value)} is not a Module subclass`);
  const modules = attributesOf(module).get('_modules');
  demandName(module, name, 'module', modules instanceof Map ? modules : new Map());
  setModule(attributesOf(module), name, value);
}
