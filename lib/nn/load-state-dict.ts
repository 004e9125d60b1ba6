/**
 * `Module.load_state_dict` of PyTorch 2.13: module by module, parents first, everything that is wrong collected and said
 * at the end in PyTorch's words. Nothing is rolled back: what matched has been copied when the error is thrown.
 */
import { CheckpointError } from '../errors';
import { OrderedDict, PyObject, type PyValue } from '../pickle/values';
import { repr } from '../repr';
import { NestedTensor } from '../tensor/nested';
import { Parameter, Tensor } from '../tensor/tensor';
import { type AnyTensor, isTensor } from '../walk';
import {
  assignAttribute,
  attributesOf,
  buffersOf,
  childrenOf,
  isModule,
  type ModuleObject,
  nonPersistentOf,
  parametersOf,
  setBuffer,
  setParameter,
} from './attributes';
import { copyInto } from './copy';
import { hooksOf } from './hooks';
import { IncompatibleKeys } from './incompatible-keys';
import { pythonTypeText } from './python-names';
import { className, countsBatches } from './state-dict';
import { isLazy, MAX_MODULE_DEPTH, MAX_MODULE_VISITS, tooDeep, tooMany } from './traverse';

export interface LoadStateDictOptions {
  /** Missing and unexpected keys are errors; default true. Sizes that differ always are. */
  strict?: boolean;
  /** Takes the tensors of the state dict themselves (they stay mapped) instead of copying their values; default false. */
  assign?: boolean;
}

/** What one module is given of a state dict, and where it says what does not fit. */
export interface LoadStep {
  /** Only the keys below `prefix`; a class may change it for itself and those below. */
  readonly state: Map<string, PyValue>;
  readonly prefix: string;
  readonly localMetadata: Map<PyValue, PyValue>;
  readonly strict: boolean;
  readonly missingKeys: string[];
  readonly unexpectedKeys: string[];
  readonly errors: string[];
}

/** What a class of module may do in its own way. */
export interface LoadMethods {
  loadFromStateDict(step: LoadStep): void;
}

/** A copy of the state as a Map; a TypeError in PyTorch's words for what is no mapping of strings. */
function mappingOf(state: unknown): { entries: Map<string, PyValue>; metadata: PyValue | undefined } {
  const prototype =
    typeof state === 'object' && state !== null ? (Object.getPrototypeOf(state) as object | null) : undefined;
  const plain = prototype === null || prototype === Object.prototype;
  if (!(state instanceof Map) && !plain)
    throw new TypeError(`Expected state_dict to be dict-like, got ${pythonTypeText(state)}.`);
  const entries = new Map<string, PyValue>(
    state instanceof Map ? state : (Object.entries(state as object) as [string, PyValue][]),
  );
  for (const key of entries.keys()) {
    if (typeof key !== 'string')
      throw new TypeError(`'${pythonTypeText(key).slice(8, -2)}' object has no attribute 'startswith'`);
  }
  return { entries, metadata: state instanceof OrderedDict ? state.attributes?.get('_metadata') : undefined };
}

interface Frame {
  readonly module: ModuleObject;
  readonly prefix: string;
  readonly children: Iterator<[string, ModuleObject]>;
  /** The state of each child by its name, made when the first child is entered: hooks may change the state before. */
  readonly state: Map<string, PyValue>;
  groups: Map<string, Map<string, PyValue>> | undefined;
}

/**
 * Copies a state dict into a module and all below it. Takes instances of `Module` and loaded objects of unregistered
 * module classes; `state` is a Map or an object of tensors by name. Throws CheckpointError STATE_DICT with PyTorch's
 * text, after everything that fits was copied; TypeError when `state` is no mapping.
 */
export function loadStateDict(target: object, state: unknown, options: LoadStateDictOptions = {}): IncompatibleKeys {
  if (!isModule(target)) throw new TypeError(`loadStateDict() loads into a module, not into ${pythonTypeText(target)}`);
  const { strict = true, assign = false } = options;
  const { entries, metadata } = mappingOf(state);
  const incompatible = new IncompatibleKeys([], []);
  const { missingKeys, unexpectedKeys } = incompatible;
  const errors: string[] = [];
  const causes: unknown[] = [];

  const enter = (module: ModuleObject, local: Map<string, PyValue>, prefix: string): Frame => {
    const known = metadata instanceof Map ? (metadata as Map<PyValue, PyValue>).get(prefix.slice(0, -1)) : undefined;
    const localMetadata: Map<PyValue, PyValue> = known instanceof Map ? known : new Map();
    // PyTorch writes this into the metadata of the state dict that it was given.
    if (assign) localMetadata.set('assign_to_params_buffers', true);
    const step: LoadStep = { state: local, prefix, localMetadata, strict: true, missingKeys, unexpectedKeys, errors };
    stepCauses.set(step, causes);
    if (module instanceof PyObject) loadOwnState(module, step);
    else (module as unknown as LoadMethods).loadFromStateDict(step);
    return { module, prefix, state: local, children: childrenOf(module), groups: undefined };
  };

  let visits = 0;
  const stack: Frame[] = [enter(target, entries, '')];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const next = top.children.next();
    if (!next.done) {
      if (stack.length > MAX_MODULE_DEPTH) throw tooDeep();
      if (++visits > MAX_MODULE_VISITS) throw tooMany();
      const [name, child] = next.value;
      stack.push(enter(child, stateOfChild(top, name), `${top.prefix}${name}.`));
      continue;
    }
    stack.pop();
    for (const hook of hooksOf(top.module)?.loadPost.values() ?? []) {
      if (((hook as (...args: Parameters<typeof hook>) => unknown)(top.module, incompatible) ?? null) === null)
        continue;
      throw new TypeError(
        'Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values, if incompatible_keys need to be modified, it should be done inplace.',
      );
    }
  }

  const quoted = (keys: readonly string[]): string => keys.map((key) => `"${key}"`).join(', ');
  if (strict && unexpectedKeys.length > 0)
    errors.unshift(`Unexpected key(s) in state_dict: ${quoted(unexpectedKeys)}. `);
  if (strict && missingKeys.length > 0) errors.unshift(`Missing key(s) in state_dict: ${quoted(missingKeys)}. `);
  if (errors.length > 0) {
    throw new CheckpointError(
      'STATE_DICT',
      `Error(s) in loading state_dict for ${className(target)}:\n\t${errors.join('\n\t')}`,
      causes.length > 0 ? { cause: causes[0] } : {},
    );
  }
  return incompatible;
}

/** Exceptions behind the error lines of a step, for the `cause` of what is thrown at the end. */
const stepCauses = new WeakMap<LoadStep, unknown[]>();

/** The entries below one child. They are grouped in one pass: filtering for each child would be quadratic. */
function stateOfChild(frame: Frame, name: string): Map<string, PyValue> {
  const { prefix, state } = frame;
  if (name.includes('.')) {
    const childPrefix = `${prefix}${name}.`;
    return new Map([...state].filter(([key]) => key.startsWith(childPrefix)));
  }
  if (!frame.groups) {
    frame.groups = new Map();
    for (const [key, value] of state) {
      const dot = key.startsWith(prefix) ? key.indexOf('.', prefix.length) : -1;
      if (dot < 0) continue;
      const first = key.slice(prefix.length, dot);
      const group = frame.groups.get(first);
      if (group) group.set(key, value);
      else frame.groups.set(first, new Map([[key, value]]));
    }
  }
  return frame.groups.get(name) ?? new Map();
}

/** BatchNorm of before version 2 had no count of batches: the module's own stands in for it. */
function completeOldState(module: ModuleObject, { state, prefix, localMetadata }: LoadStep): void {
  const version = localMetadata.get('version');
  if (!countsBatches(module) || (typeof version === 'number' && version >= 2)) return;
  const key = `${prefix}num_batches_tracked`;
  if (state.has(key)) return;
  const own = buffersOf(module).get('num_batches_tracked');
  state.set(key, own instanceof Tensor && !own.isMeta ? own : Tensor.from(new BigInt64Array(1), { shape: [] }));
}

/** The step that every module takes, `_load_from_state_dict`: extra state is the business of `Module`. */
export function loadOwnState(module: ModuleObject, step: LoadStep, setExtraState?: (state: PyValue) => void): void {
  const { state, prefix, localMetadata, strict, missingKeys, unexpectedKeys, errors } = step;
  completeOldState(module, step);
  for (const hook of hooksOf(module)?.loadPre.values() ?? [])
    hook(module, state, prefix, localMetadata, strict, missingKeys, unexpectedKeys, errors);

  const transient = nonPersistentOf(module);
  const local = new Map<string, PyValue>();
  for (const [name, value] of parametersOf(module)) if (value !== null) local.set(name, value);
  for (const [name, value] of buffersOf(module)) if (value !== null && !transient.has(name)) local.set(name, value);
  const assign = localMetadata.get('assign_to_params_buffers') === true;
  for (const [name, own] of local) {
    const key = prefix + name;
    const value = state.get(key);
    if (value === undefined) {
      if (strict) missingKeys.push(key);
    } else loadOne(module, name, own, value, key, assign, step);
  }

  const extraKey = `${prefix}_extra_state`;
  const extra = state.get(extraKey);
  if (setExtraState) {
    if (extra !== undefined) setExtraState(extra);
    else if (strict) missingKeys.push(extraKey);
  } else if (strict && extra !== undefined) unexpectedKeys.push(extraKey);

  if (!strict) return;
  const modules = attributesOf(module).get('_modules');
  for (const key of state.keys()) {
    if (!key.startsWith(prefix) || key === extraKey) continue;
    const dot = key.indexOf('.', prefix.length);
    const first = key.slice(prefix.length, dot < 0 ? undefined : dot);
    const known = dot < 0 ? local.has(first) : modules instanceof Map && modules.has(first);
    if (!known) unexpectedKeys.push(key);
  }
}

/** A nested tensor has no shape of its own; it fits no parameter. */
function sizesOf(tensor: AnyTensor): readonly number[] {
  return tensor instanceof NestedTensor ? [-1] : tensor.shape;
}

function shapeText(tensor: AnyTensor): string {
  return `torch.Size([${sizesOf(tensor).join(', ')}])`;
}

function loadOne(
  module: ModuleObject,
  name: string,
  own: PyValue,
  given: PyValue,
  key: string,
  assign: boolean,
  step: LoadStep,
): void {
  const { errors } = step;
  if (!isTensor(given)) {
    if (!isLazy(given)) {
      errors.push(
        `While copying the parameter named "${key}", expected torch.Tensor or Tensor-like object from checkpoint but received ${pythonTypeText(given)}`,
      );
    }
    return;
  }
  if (isLazy(own)) return materialize(module, name, given);
  if (!isTensor(own)) return;
  // Files of PyTorch 0.3 have one element where a 0-dim tensor is meant.
  const value =
    sizesOf(own).length === 0 && given instanceof Tensor && given.shape.length === 1 && given.shape[0] === 1
      ? given.select(0, 0)
      : given;
  if (String(sizesOf(value)) !== String(sizesOf(own))) {
    errors.push(
      `size mismatch for ${key}: copying a param with shape ${shapeText(value)} from checkpoint, the shape in current model is ${shapeText(own)}.`,
    );
    return;
  }
  if (own instanceof Tensor && own.isMeta && !(value instanceof Tensor && value.isMeta) && !assign) {
    process.emitWarning(
      `for ${key}: copying from a non-meta parameter in the checkpoint to a meta parameter in the current model, which is a no-op. (Did you mean to pass \`assign=True\` to assign items in the state dictionary to their corresponding key in the module instead of copying them in place?)`,
    );
  }
  try {
    if (assign) assignOne(module, name, own, value);
    else copyInto(own, value);
  } catch (error) {
    stepCauses.get(step)?.push(error);
    const text = repr(error instanceof Error ? error.message : String(error));
    errors.push(
      `While copying the parameter named "${key}", whose dimensions in the model are ${shapeText(own)} and whose dimensions in the checkpoint are ${shapeText(value)}, an exception occurred : (${text},).`,
    );
  }
}

function assignOne(module: ModuleObject, name: string, own: AnyTensor, value: AnyTensor): void {
  const attributes = attributesOf(module);
  if (!(own instanceof Parameter)) {
    if (buffersOf(module).has(name)) setBuffer(attributes, name, value, true);
    else setParameter(attributes, name, value);
    return;
  }
  if (!(value instanceof Tensor)) throw new TypeError('a Parameter over a sparse or nested tensor is not supported');
  if (own.requiresGrad && !value.dtype.isFloatingPoint && !value.dtype.isComplex) {
    throw new TypeError('Only Tensors of floating point and complex dtype can require gradients');
  }
  if (value instanceof Parameter) value.requiresGrad = own.requiresGrad;
  assignAttribute(attributes, name, value instanceof Parameter ? value : new Parameter(value, own.requiresGrad));
}

/** A lazy parameter takes the shape of the first state that it is given. */
function materialize(module: ModuleObject, name: string, given: AnyTensor): void {
  const copy = given instanceof Tensor ? given.clone() : given;
  const attributes = attributesOf(module);
  if (buffersOf(module).has(name)) setBuffer(attributes, name, copy, true);
  else setParameter(attributes, name, copy instanceof Tensor ? new Parameter(copy) : copy);
}
