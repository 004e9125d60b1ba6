/**
 * `torch.nn.Module`, for checkpoints: registration, names, state dicts and printing. There is no forward pass.
 *
 * Attributes are kept in one Map under Python's names (`attributes.ts`). Two proxies make it look like an object:
 *
 *   - The constructor returns a Proxy of the instance, because only that sees every write: an assignment in a
 *     constructor (`this.fc1 = new nn.Linear(3, 2)`), a class field (`fc1 = new nn.Linear(3, 2)`, which defines and does
 *     not assign) and a `delete`. So children register in the order in which they are assigned, as in Python, and not
 *     in the order in which properties first came to be. `instanceof` and subclasses work as ever; JavaScript's private
 *     fields work in subclasses, since what they extend is the Proxy already.
 *   - The prototype of `Module.prototype` is a Proxy too. It is asked for names that no prototype has, and it is all
 *     there is for a module from a file, which is made without its constructor. A name from a file can therefore
 *     shadow nothing, and never becomes a property.
 *
 * A read of a child goes through both and takes a microsecond or two; methods are found on the prototypes before the last
 * one is asked, and what is here works on the Maps.
 */
import { inspect } from 'node:util';
import { DType } from '../dtype';
import { getPickled, type Picklable, setState } from '../pickle/classes';
import { type Device, type PyObject, type PyValue, printer } from '../pickle/values';
import { type Parameter, Tensor } from '../tensor/tensor';
import {
  type Attributes,
  assignAttribute,
  attributeNames,
  attributesOf,
  buffersOf,
  childrenOf,
  deleteAttribute,
  getAttribute,
  knownAttributes,
  moduleBrand,
  newAttributes,
  parametersOf,
  setAttributes,
} from './attributes';
import { convertTensors } from './convert-tensors';
import {
  addHook,
  type HookHandle,
  type LoadPostHook,
  type LoadPreHook,
  type StateDictHook,
  type StateDictPreHook,
} from './hooks';
import type { IncompatibleKeys } from './incompatible-keys';
import { type LoadStateDictOptions, type LoadStep, loadOwnState, loadStateDict } from './load-state-dict';
import { bufferAt, parameterAt, replaceSubmodule, submoduleAt } from './paths';
import { pickledModule } from './pickled-module';
import { registerBuffer, registerModule, registerParameter } from './registration';
import { type StateDict, type StateDictOptions, saveOwnState, stateDict } from './state-dict';
import { modulesUpwards, namedMembers, namedModules, type WalkOptions } from './traverse';

/** A child by number, for containers that count them: what `model[0]` asks for. */
export const childByIndex: unique symbol = Symbol.for('torch-checkpoint.nn.childByIndex');

/** Undefined when the module has no such attribute and a prototype must answer. */
function lookUp(module: object, name: string): PyValue | undefined {
  const found = getAttribute(attributesOf(module), name);
  if (found !== undefined || !/^\d+$/.test(name)) return found;
  return (module as { [childByIndex]?(index: number): PyValue | undefined })[childByIndex]?.(Number(name));
}

/** The traps of the instance's Proxy, which is handed the instance itself; both share one Map of attributes. */
const instanceTraps: ProxyHandler<object> = {
  defineProperty(target, key, descriptor) {
    if (typeof key !== 'string' || !('value' in descriptor) || key === '__proto__')
      return Reflect.defineProperty(target, key, descriptor);
    // A class field without a value is no attribute: Python has none until one is assigned.
    if (descriptor.value !== undefined && !assignAttribute(attributesOf(target), key, descriptor.value))
      return Reflect.defineProperty(target, key, descriptor);
    return Reflect.deleteProperty(target, key);
  },
  deleteProperty(target, key) {
    if (typeof key === 'string' && deleteAttribute(attributesOf(target), key)) return true;
    return Reflect.deleteProperty(target, key);
  },
  has: (target, key) => Reflect.has(target, key) || (typeof key === 'string' && lookUp(target, key) !== undefined),
  ownKeys: (target) => [...new Set([...attributeNames(attributesOf(target)), ...Reflect.ownKeys(target)])],
  getOwnPropertyDescriptor(target, key) {
    const value = typeof key === 'string' ? lookUp(target, key) : undefined;
    if (value === undefined) return Reflect.getOwnPropertyDescriptor(target, key);
    return { value, writable: true, enumerable: true, configurable: true };
  },
};

/** The traps at the end of the prototype chain; `receiver` is the module. */
const lastTraps: ProxyHandler<object> = {
  get(target, key, receiver: object) {
    if (typeof key !== 'string' || key in target) return Reflect.get(target, key, receiver) as unknown;
    // A prototype that is looked at by itself, by a debugger say, is no module.
    return isInstance(receiver) ? lookUp(receiver, key) : undefined;
  },
  set(target, key, value: unknown, receiver: object) {
    if (typeof key !== 'string' || key in target || !isInstance(receiver))
      return Reflect.set(target, key, value, receiver);
    if (assignAttribute(attributesOf(receiver), key, value)) return true;
    return (
      value === undefined ||
      Reflect.defineProperty(receiver, key, { value, writable: true, enumerable: true, configurable: true })
    );
  },
};

function isInstance(receiver: object): boolean {
  return knownAttributes(receiver) !== undefined;
}

export class Module implements Picklable {
  /** False during evaluation; see `train` and `eval`. */
  declare training: boolean;
  declare readonly [moduleBrand]: true;

  constructor() {
    const attributes = newAttributes();
    const proxy = new Proxy<this>(this, instanceTraps);
    setAttributes(this, attributes);
    setAttributes(proxy, attributes);
    // biome-ignore lint/correctness/noConstructorReturn: see the head of this file
    return proxy;
  }

  /** Version of the state dict's layout, kept in its `_metadata`. */
  get _version(): number | null {
    return 1;
  }

  /** An attribute, parameter, buffer or child by its Python name, whatever methods are called; undefined when there is none. */
  get(name: string): PyValue | undefined {
    return lookUp(this, name);
  }

  /**
   * Removes an attribute, parameter, buffer or child; false when there is none. For a module that was made here, `delete
   * module.name` does the same; a module from a file is no Proxy and cannot see it.
   */
  deleteAttribute(name: string): boolean {
    return deleteAttribute(attributesOf(this), name);
  }

  /** `persistent: false` keeps the buffer out of state dicts. */
  registerBuffer(name: string, tensor: Tensor | null, options: { persistent?: boolean } = {}): void {
    registerBuffer(this, name, tensor, options.persistent ?? true);
  }

  registerParameter(name: string, parameter: Parameter | null): void {
    registerParameter(this, name, parameter);
  }

  registerModule(name: string, module: Module | null): void {
    registerModule(this, name, module);
  }

  addModule(name: string, module: Module | null): void {
    registerModule(this, name, module);
  }

  *parameters(recurse = true): Generator<Parameter, void, undefined> {
    for (const [, parameter] of this.namedParameters({ recurse })) yield parameter;
  }

  /** Each once, under the first name that leads to it. */
  namedParameters(
    options: WalkOptions & { recurse?: boolean } = {},
  ): Generator<[name: string, parameter: Parameter], void, undefined> {
    return namedMembers(this, 'parameters', options) as Generator<[string, Parameter], void, undefined>;
  }

  *buffers(recurse = true): Generator<Tensor, void, undefined> {
    for (const [, buffer] of this.namedBuffers({ recurse })) yield buffer;
  }

  namedBuffers(
    options: WalkOptions & { recurse?: boolean } = {},
  ): Generator<[name: string, buffer: Tensor], void, undefined> {
    return namedMembers(this, 'buffers', options) as Generator<[string, Tensor], void, undefined>;
  }

  *children(): Generator<Module, void, undefined> {
    for (const [, child] of this.namedChildren()) yield child;
  }

  /** Direct children, each once. */
  *namedChildren(): Generator<[name: string, child: Module], void, undefined> {
    const seen = new Set<object>();
    for (const [name, child] of childrenOf(this)) {
      if (seen.has(child)) continue;
      seen.add(child);
      yield [name, child as unknown as Module];
    }
  }

  /** This module and all below it. One of an unregistered class is a `PyObject`. */
  *modules(): Generator<Module, void, undefined> {
    for (const [, module] of this.namedModules()) yield module;
  }

  namedModules(options: WalkOptions = {}): Generator<[name: string, module: Module], void, undefined> {
    return namedModules(this, options) as unknown as Generator<[string, Module], void, undefined>;
  }

  /** The module at a path such as `'features.0'`. Throws RangeError with PyTorch's text when there is none. */
  getSubmodule(path: string): Module {
    return submoduleAt(this, path) as unknown as Module;
  }

  /** Puts another module at a path. */
  setSubmodule(path: string, module: Module): void {
    replaceSubmodule(this, path, module);
  }

  getParameter(path: string): Parameter {
    return parameterAt(this, path);
  }

  getBuffer(path: string): Tensor {
    return bufferAt(this, path);
  }

  /** Calls `visit` with every module, children before parents. */
  apply(visit: (module: Module) => void): this {
    for (const module of modulesUpwards(this)) visit(module as unknown as Module);
    return this;
  }

  train(mode = true): this {
    if (typeof mode !== 'boolean') throw new TypeError('training mode is expected to be boolean');
    for (const module of this.modules()) attributesOf(module).set('training', mode);
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Sets `requiresGrad` of every parameter. */
  requiresGrad_(requiresGrad = true): this {
    for (const parameter of this.parameters()) if (parameter instanceof Tensor) parameter.requiresGrad_(requiresGrad);
    return this;
  }

  /** Converts floating point parameters and buffers to a dtype, or moves all to a device; in place, tied ones stay tied. */
  to(target: DType | Device | string): this {
    const dtype = typeof target === 'string' ? DType.of(target) : target;
    if (!(dtype instanceof DType)) convertTensors(this, (tensor) => tensor.to(target as Device | string));
    else if (!dtype.isFloatingPoint && !dtype.isComplex)
      throw new TypeError(`nn.Module.to only accepts floating point or complex dtypes, but got desired dtype=${dtype}`);
    else
      convertTensors(this, (tensor) =>
        tensor.dtype.isFloatingPoint || tensor.dtype.isComplex ? tensor.to(dtype) : tensor,
      );
    return this;
  }

  float(): this {
    return this.to(DType.float32);
  }

  double(): this {
    return this.to(DType.float64);
  }

  half(): this {
    return this.to(DType.float16);
  }

  bfloat16(): this {
    return this.to(DType.bfloat16);
  }

  /** See the function `stateDict`. */
  stateDict(options: StateDictOptions = {}): StateDict {
    return stateDict(this, options);
  }

  /** See the function `loadStateDict`. */
  loadStateDict(state: unknown, options: LoadStateDictOptions = {}): IncompatibleKeys {
    return loadStateDict(this, state, options);
  }

  /** This module's own part of a state dict; a class may add to it. */
  saveToStateDict(destination: StateDict, prefix: string, keepVars: boolean): void {
    saveOwnState(this, destination, prefix, keepVars);
    if (this.getExtraState !== Module.prototype.getExtraState)
      destination.set(`${prefix}_extra_state`, this.getExtraState());
  }

  /** Takes this module's own part of a state dict; a class may look at it first. */
  loadFromStateDict(step: LoadStep): void {
    const takesExtra = this.setExtraState !== Module.prototype.setExtraState;
    loadOwnState(this, step, takesExtra ? (state) => this.setExtraState(state) : undefined);
  }

  /** A class that defines this and `setExtraState` has an entry `_extra_state` of its own in state dicts. */
  getExtraState(): PyValue {
    throw new TypeError('Reached a code path in Module.get_extra_state() that should never be called.');
  }

  setExtraState(_state: PyValue): void {
    throw new TypeError('Reached a code path in Module.set_extra_state() that should never be called.');
  }

  registerStateDictPreHook(hook: StateDictPreHook): HookHandle {
    return addHook(this, 'stateDictPre', hook);
  }

  registerStateDictPostHook(hook: StateDictHook): HookHandle {
    return addHook(this, 'stateDict', hook);
  }

  registerLoadStateDictPreHook(hook: LoadPreHook): HookHandle {
    return addHook(this, 'loadPre', hook);
  }

  registerLoadStateDictPostHook(hook: LoadPostHook): HookHandle {
    return addHook(this, 'loadPost', hook);
  }

  /** What stands between the parentheses when the module prints. */
  extraRepr(): string {
    return '';
  }

  /** The tree that Python prints. */
  toString(): string {
    return printer.repr(this);
  }

  [inspect.custom](): string {
    return printer.repr(this);
  }

  /** Parameters and buffers of this module alone; null is one it goes without. */
  get _parameters(): ReadonlyMap<string, PyValue> {
    return parametersOf(this);
  }

  get _buffers(): ReadonlyMap<string, PyValue> {
    return buffersOf(this);
  }

  get _modules(): ReadonlyMap<string, PyValue> {
    const modules = attributesOf(this).get('_modules');
    return modules instanceof Map ? (modules as Map<string, PyValue>) : new Map();
  }

  /** @internal A module from a file takes the pickled Map as its attributes; what is not known in it stays. */
  [setState](state: PyValue): void {
    if (state instanceof Map) setAttributes(this, state as Attributes);
  }

  /** @internal */
  [getPickled](pickled: PyObject | undefined): PyObject {
    return pickledModule(this, pickled, knownAttributes(this));
  }
}

Object.defineProperty(Module.prototype, moduleBrand, { value: true });
Object.setPrototypeOf(Module.prototype, new Proxy(Object.prototype, lastTraps));
