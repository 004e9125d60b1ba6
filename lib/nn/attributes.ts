/**
 * A module's attributes: what Python calls its `__dict__`, under Python's names and in Python's order.
 *
 * One Map for each module is the only truth. For a module from a file it is the very Map that the pickle gave, so that
 * saving writes back what was there, with every change made since. A module of a class that is not registered is a
 * `PyObject` with the same Map as its state; what is here works on both.
 */
import { noteFloat } from '../pickle/notes';
import { OrderedDict, PyFloat, PyGlobal, PyInt, PyObject, type PyValue, safeInteger, Tuple } from '../pickle/values';
import { Parameter, Tensor } from '../tensor/tensor';
import { isTensor } from '../walk';
import { pythonTypeName } from './python-names';

export type Attributes = Map<string, PyValue>;

/** Marks the prototype of `Module`, for code that `module.ts` itself depends on. */
export const moduleBrand: unique symbol = Symbol.for('torch-checkpoint.nn.Module');

/** A module here: an instance of `Module`, or of an unregistered Python class. */
export type ModuleObject = object & ({ readonly [moduleBrand]: true } | PyObject);

/** The attributes that hold a module's parts. */
type Part = '_parameters' | '_buffers' | '_modules';
const PARTS: readonly Part[] = ['_parameters', '_buffers', '_modules'];

const attributesByModule = new WeakMap<object, Attributes>();

/** The attributes of a module as PyTorch 2.13 makes it, in the order of `Module.__init__`. */
export function newAttributes(): Attributes {
  return new Map<string, PyValue>([
    ['training', true],
    ['_parameters', new Map()],
    ['_buffers', new Map()],
    ['_non_persistent_buffers_set', new Set()],
    ['_backward_pre_hooks', new OrderedDict()],
    ['_backward_hooks', new OrderedDict()],
    ['_is_full_backward_hook', null],
    ['_forward_hooks', new OrderedDict()],
    ['_forward_hooks_with_kwargs', new OrderedDict()],
    ['_forward_hooks_always_called', new OrderedDict()],
    ['_forward_pre_hooks', new OrderedDict()],
    ['_forward_pre_hooks_with_kwargs', new OrderedDict()],
    ['_state_dict_hooks', new OrderedDict()],
    ['_state_dict_pre_hooks', new OrderedDict()],
    ['_load_state_dict_pre_hooks', new OrderedDict()],
    ['_load_state_dict_post_hooks', new OrderedDict()],
    ['_modules', new Map()],
  ]);
}

/** Attributes that every module has; no parameter or child takes their place. */
const BOOKKEEPING: ReadonlySet<string> = new Set(newAttributes().keys());

export function setAttributes(module: object, attributes: Attributes): void {
  attributesByModule.set(module, attributes);
}

export function attributesOf(module: object): Attributes {
  if (module instanceof PyObject) return attributesOfObject(module);
  let attributes = attributesByModule.get(module);
  // A module that a file never gave a state.
  if (!attributes) attributesByModule.set(module, (attributes = newAttributes()));
  return attributes;
}

/** Undefined for a module from a file whose state was not read (yet). */
export function knownAttributes(module: object): Attributes | undefined {
  return attributesByModule.get(module);
}

function attributesOfObject({ state }: PyObject): Attributes {
  const parts = state instanceof Tuple ? state : [state];
  for (const part of parts) if (part instanceof Map && part.has('_modules')) return part as Attributes;
  return new Map();
}

export function isModule(value: unknown): value is ModuleObject {
  if (typeof value !== 'object' || value === null) return false;
  if (moduleBrand in value) return true;
  return value instanceof PyObject && value.callable instanceof PyGlobal && value.get('_modules') instanceof Map;
}

/** Never written to: what is missing is made by `writablePart`. */
const NOTHING = new Map<string, PyValue>();

function part(attributes: Attributes, name: Part): Map<string, PyValue> {
  const found = attributes.get(name);
  return found instanceof Map ? (found as Map<string, PyValue>) : NOTHING;
}

function writablePart(attributes: Attributes, name: Part): Map<string, PyValue> {
  const found = attributes.get(name);
  if (found instanceof Map) return found as Map<string, PyValue>;
  const made = new Map<string, PyValue>();
  attributes.set(name, made);
  return made;
}

/** Parameters by name; null is one that the module goes without, as `bias=False` leaves it. */
export function parametersOf(module: object): ReadonlyMap<string, PyValue> {
  return part(attributesOf(module), '_parameters');
}

export function buffersOf(module: object): ReadonlyMap<string, PyValue> {
  return part(attributesOf(module), '_buffers');
}

/** Child modules by name, without those that are None and without what a damaged file has in their place. */
export function* childrenOf(module: object): Generator<[name: string, child: ModuleObject], void, undefined> {
  for (const [name, child] of part(attributesOf(module), '_modules')) if (isModule(child)) yield [String(name), child];
}

export function nonPersistentOf(module: object): ReadonlySet<PyValue> {
  const found = attributesOf(module).get('_non_persistent_buffers_set');
  return found instanceof Set ? (found as Set<PyValue>) : new Set();
}

/** `in_features` of `inFeatures`: attributes can be had in either spelling. */
function pythonSpelling(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The attribute as Python's `getattr` finds it, in either spelling; undefined when there is none. */
export function getAttribute(attributes: Attributes, name: string): PyValue | undefined {
  const found = exactAttribute(attributes, name);
  if (found !== undefined) return found;
  const spelled = pythonSpelling(name);
  return spelled === name ? undefined : exactAttribute(attributes, spelled);
}

function exactAttribute(attributes: Attributes, name: string): PyValue | undefined {
  const own = attributes.get(name);
  if (own !== undefined) return own;
  for (const where of PARTS) {
    const found = part(attributes, where).get(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Every name that `getAttribute` finds and that is not PyTorch's own bookkeeping. */
export function attributeNames(attributes: Attributes): string[] {
  const names = [...attributes.keys()].filter((name) => typeof name === 'string' && !BOOKKEEPING.has(name));
  for (const where of PARTS) names.push(...part(attributes, where).keys());
  return names;
}

/** Python's `setattr` of a module. False when the value is none that Python could hold (a function, undefined). */
export function assignAttribute(attributes: Attributes, given: string, value: unknown): boolean {
  const spelled = pythonSpelling(given);
  const isAlias =
    spelled !== given &&
    exactAttribute(attributes, given) === undefined &&
    exactAttribute(attributes, spelled) !== undefined;
  const name = isAlias ? spelled : given;
  if (value instanceof Parameter) {
    setParameter(attributes, name, value);
    return true;
  }
  if (part(attributes, '_parameters').has(name)) {
    demandNull(value, `parameter '${name}' (torch.nn.Parameter or None expected)`);
    setParameter(attributes, name, null);
    return true;
  }
  if (isModule(value)) {
    setModule(attributes, name, value);
    return true;
  }
  if (part(attributes, '_modules').has(name)) {
    demandNull(value, `child module '${name}' (torch.nn.Module or None expected)`);
    writablePart(attributes, '_modules').set(name, null);
    return true;
  }
  if (isBuffer(value) || part(attributes, '_buffers').has(name)) {
    if (!isTensor(value)) demandNull(value, `buffer '${name}' (torch.nn.Buffer, torch.Tensor or None expected)`);
    const persistent = isBuffer(value) ? isPersistent(value) : !isNonPersistent(attributes, name);
    setBuffer(attributes, name, value as PyValue, persistent);
    return true;
  }
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') return false;
  setPlain(attributes, name, value as PyValue);
  return true;
}

function demandNull(value: unknown, what: string): void {
  if (value !== null) throw new TypeError(`cannot assign '${pythonTypeName(value)}' as ${what}`);
}

function isBuffer(value: unknown): value is Tensor {
  return value instanceof Tensor && value.pythonType?.global === 'torch.nn.parameter.Buffer';
}

function isPersistent({ attributes }: Tensor): boolean {
  return !(attributes instanceof Map) || attributes.get('persistent') !== false;
}

function isNonPersistent(attributes: Attributes, name: string): boolean {
  const names = attributes.get('_non_persistent_buffers_set');
  return names instanceof Set && names.has(name);
}

/** An attribute that is no parameter, buffer or module; numbers may say whether they are a Python int or float. */
export function setPlain(attributes: Attributes, name: string, value: PyValue): void {
  attributes.set(name, plainNumber(attributes, name, value));
}

/** What `pyFloat` and `pyInt` wrap, with a note in the slot that is to hold it. */
export function plainNumber(container: object, slot: PyValue, value: PyValue): PyValue {
  if (value instanceof PyInt) return safeInteger(value.value);
  if (!(value instanceof PyFloat)) return value;
  if (Number.isInteger(value.value)) noteFloat(container, slot, value.value);
  return value.value;
}

export function setParameter(attributes: Attributes, name: string, value: PyValue): void {
  if (value !== null) removeFrom(attributes, name, ['_buffers', '_modules'], true);
  writablePart(attributes, '_parameters').set(name, value);
  // Recurrent modules keep their parameters in a list as well.
  const names = attributes.get('_flat_weights_names');
  const weights = attributes.get('_flat_weights');
  if (!Array.isArray(names) || !Array.isArray(weights)) return;
  const at = names.indexOf(name);
  if (at >= 0) weights[at] = value;
}

export function setModule(attributes: Attributes, name: string, value: PyValue): void {
  removeFrom(attributes, name, ['_parameters', '_buffers'], true);
  writablePart(attributes, '_modules').set(name, value);
}

export function setBuffer(attributes: Attributes, name: string, value: PyValue, persistent: boolean): void {
  writablePart(attributes, '_buffers').set(name, value);
  const names = attributes.get('_non_persistent_buffers_set');
  if (names instanceof Set) {
    if (persistent) names.delete(name);
    else names.add(name);
  } else if (!persistent) attributes.set('_non_persistent_buffers_set', new Set([name]));
}

function removeFrom(attributes: Attributes, name: string, parts: readonly Part[], own: boolean): void {
  for (const where of parts) part(attributes, where).delete(name);
  if (!own) return;
  const names = attributes.get('_non_persistent_buffers_set');
  if (names instanceof Set) names.delete(name);
  if (!BOOKKEEPING.has(name)) attributes.delete(name);
}

/** Python's `delattr`; false when there is no such attribute. */
export function deleteAttribute(attributes: Attributes, name: string): boolean {
  for (const where of PARTS) {
    if (!part(attributes, where).delete(name)) continue;
    if (where === '_buffers') removeFrom(attributes, name, [], true);
    return true;
  }
  return attributes.delete(name);
}
