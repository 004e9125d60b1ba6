/**
 * What the pickle machine makes: the results of REDUCE, NEWOBJ, BUILD and of adding items.
 *
 * A global with a rule is rebuilt by it; an object of a registered class becomes that JavaScript class; everything else
 * becomes an inert `PyObject` that keeps all it was given.
 */
import { Tensor } from '../tensor/tensor';
import { buildInstance, instantiate, pickledForm } from './classes';
import { filedKey } from './keys';
import { buildTensor } from './rebuild';
import { fail, type Host, KnownGlobal, StorageClass } from './rules';
import {
  type Construction,
  Counter,
  DefaultDict,
  kindOf,
  NdArray,
  OrderedDict,
  PyGlobal,
  PyObject,
  type PyValue,
  Tuple,
  typeText,
} from './values';
import { weightsOnlyError } from './weights-only';

/** The strings of a persistent id that PyTorch takes from one constant each: they are shared by value. */
export const persistentIdItems: readonly { index: number; isConstant(text: string): boolean }[] = [
  { index: 0, isConstant: (text) => text === 'storage' || text === 'module' },
  { index: 3, isConstant: (text) => text === 'cpu' || text === 'mps' || text === 'meta' },
];

export function reduce(callable: PyValue, args: Tuple, host: Host, weightsOnly: boolean): PyValue {
  if (callable instanceof KnownGlobal && callable.rule.reduce) return callable.rule.reduce(args, host, callable);
  if (weightsOnly && !(callable instanceof PyGlobal))
    throw weightsOnlyError(`Trying to call reduce for unrecognized function ${typeText(callable)}`);
  return make(callable, args, undefined, 'reduce', host);
}

export function newObject(
  callable: PyValue,
  args: Tuple,
  kwargs: Map<PyValue, PyValue> | undefined,
  construction: Construction,
  host: Host,
  weightsOnly: boolean,
): PyValue {
  if (callable instanceof KnownGlobal) {
    const { rule } = callable;
    // INST and OBJ call the class; NEWOBJ calls its `__new__`, which functions have not.
    const calls = construction === 'inst' || construction === 'obj';
    if (rule.isFunction && !calls) return fail(`NEWOBJ class argument must be a type, not function ${callable.global}`);
    if (rule.newObject && !calls) return rule.newObject(args, host, callable);
    if (rule.reduce) return rule.reduce(args, host, callable);
  }
  if (weightsOnly && !(callable instanceof PyGlobal)) {
    throw weightsOnlyError(
      `Can only create new object for nn.Parameter or classes allowlisted via \`add_safe_globals\` but got ${typeText(callable)}`,
    );
  }
  return make(callable, args, kwargs, construction, host);
}

function make(
  callable: PyValue,
  args: Tuple,
  kwargs: Map<PyValue, PyValue> | undefined,
  construction: Construction,
  host: Host,
): PyValue {
  // A class, or the result of a call (a bound method fetched by getattr): kept, never called.
  if (!(callable instanceof PyGlobal || callable instanceof PyObject) || callable instanceof StorageClass) {
    const what = callable instanceof StorageClass ? `the kind of storage ${callable.global}` : kindOf(callable);
    return fail(`${what} is called as if it were a class or function`);
  }
  const object = new PyObject(callable, args, construction);
  if (kwargs) object.kwargs = kwargs;
  const Class = callable instanceof PyGlobal ? host.classes.get(callable.global) : undefined;
  return Class ? instantiate(Class, object) : object;
}

/** BUILD: gives `state` to `target`; what is returned takes its place on the stack. */
export function build(target: PyValue, state: PyValue, host: Host, weightsOnly: boolean): PyValue {
  if (target instanceof PyObject) {
    const rule = target.callable instanceof KnownGlobal ? target.callable.rule : undefined;
    if (rule?.build) return rule.build(target, state, host);
    if (target.construction === 'from_type') spellOut(target);
    target.state = state;
    return target;
  }
  if (target instanceof OrderedDict && !(target instanceof DefaultDict)) {
    if (!(state instanceof Map)) return fail(`the attributes of an OrderedDict are ${kindOf(state)}, not a dict`);
    if (![...state.keys()].every((name) => typeof name === 'string'))
      return fail('an attribute of an OrderedDict has a name that is no string');
    // The dict itself, with the notes of its slots.
    if (!target.attributes) target.attributes = state as Map<string, PyValue>;
    else for (const [name, value] of state as Map<string, PyValue>) target.attributes.set(name, value);
    return target;
  }
  if (target instanceof Tensor) return buildTensor(target, state, weightsOnly);
  if (target instanceof NdArray && target.pickled) {
    const rule = target.pickled.callable;
    // Filled in place: the memo already knows the array by this object.
    if (rule instanceof KnownGlobal && rule.rule.build)
      return Object.assign(target, rule.rule.build(target.pickled, state, host));
  }
  const pickled = typeof target === 'object' && target !== null ? pickledForm(target) : undefined;
  if (pickled) {
    buildInstance(target as object, pickled, state);
    return target;
  }
  const what = `Can only build Tensor, Parameter, OrderedDict or types allowlisted via \`add_safe_globals\`, but got ${typeText(target)}`;
  if (weightsOnly) throw weightsOnlyError(what);
  return fail(`a state is given to ${kindOf(target)}, which takes none`);
}

/** A call of `_rebuild_from_type_v2` with its four arguments as they are: nobody writes a second state, but it is no reason to lose one. */
function spellOut(object: PyObject): void {
  object.args = Tuple.of<PyValue>(object.callable, object.base as PyValue, object.args, object.state ?? null);
  object.callable = new PyGlobal('torch._tensor', '_rebuild_from_type_v2', 'torch._tensor._rebuild_from_type_v2');
  object.construction = 'reduce';
  delete object.base;
}

/** One item of a dict; gives the key as it was filed, or the pair that keeps key and value of an unknown class. */
export function setItem(
  target: PyValue,
  key: PyValue,
  value: PyValue,
  weightsOnly: boolean,
): { readonly key: PyValue } | { readonly pair: [PyValue, PyValue] } {
  if (target instanceof Map) {
    if (weightsOnly) checkItemTarget(target);
    const slot = filedKey(target as Map<PyValue, PyValue>, key);
    target.set(slot, value);
    return { key: slot };
  }
  const object = itemHolder(target);
  if (!object || weightsOnly) return refuseItem(target, weightsOnly);
  const pair: [PyValue, PyValue] = [key, value];
  object.dictItems ??= [];
  object.dictItems.push(pair);
  return { pair };
}

/** Throws for a dict that PyTorch's restricted reader sets no items in, and for everything else. */
export function checkItemTarget(target: PyValue): void {
  const Class = (target as object | null)?.constructor;
  if (Class !== Map && Class !== OrderedDict && Class !== Counter) refuseItem(target);
}

function refuseItem(target: PyValue, weightsOnly = true): never {
  if (weightsOnly)
    throw weightsOnlyError(
      `Can only SETITEM for dict, collections.OrderedDict, collections.Counter, but got ${typeText(target)}`,
    );
  return fail(`an item is set in ${kindOf(target)}, which is no dict`);
}

/** The list that APPEND and APPENDS add to. */
export function appendItems(target: PyValue, weightsOnly: boolean, single: boolean): PyValue[] {
  if (Array.isArray(target) && !(target instanceof Tuple)) return target as PyValue[];
  if (weightsOnly)
    throw weightsOnlyError(`Can only ${single ? 'append to' : 'extend'} lists, but got ${typeText(target)}`);
  const object = itemHolder(target);
  if (!object) return fail(`items are added to ${kindOf(target)}, which is no list`);
  object.listItems ??= [];
  return object.listItems;
}

function itemHolder(target: PyValue): PyObject | undefined {
  if (target instanceof PyObject) return target;
  return typeof target === 'object' && target !== null ? pickledForm(target) : undefined;
}
