/**
 * `torch.optim.Optimizer`: parameter groups, state per parameter, and state dicts as PyTorch makes and takes them.
 *
 * Groups and states are Maps under Python's names, in Python's order: what is in them is what is saved. An optimizer that
 * was pickled whole comes back as its class here with the very Maps of the file, and is saved with them.
 */

import { inspect } from 'node:util';
import { pythonTypeName, pythonTypeText } from '../nn/python-names';
import { getPickled, type Picklable, setState } from '../pickle/classes';
import { DefaultDict, PyGlobal, PyObject, type PyValue, printer, Tuple } from '../pickle/values';
import { repr, reprText } from '../repr';
import { Tensor } from '../tensor/tensor';
import { pythonName } from './arguments';
import { type GradientSource, gradientOf, zero } from './elements';
import { loadOptimizerState } from './load-state';
import { copyEntry, isMapping, put, take, tupleOf } from './numbers';

/** Hyperparameters by PyTorch's names, and under `params` the parameters. */
export type ParamGroup = Map<string, PyValue>;
/** What an optimizer keeps for one parameter. */
export type ParamState = Map<PyValue, PyValue>;

export type NamedTensor = readonly [name: string, tensor: Tensor];

/** Parameters with hyperparameters of their own, in camelCase; what is not given comes from the optimizer. */
export interface GroupOptions {
  params: Tensor | Iterable<Tensor | NamedTensor>;
  [hyperparameter: string]: unknown;
}

/** Parameters, named parameters, or groups of them. */
export type OptimizerParams = Iterable<Tensor | NamedTensor | GroupOptions | ParamGroup>;

const PICKLED_ATTRIBUTES = [
  ['defaults', 'defaults'],
  ['state', 'state'],
  ['param_groups', 'paramGroups'],
] as const;

export class Optimizer implements Picklable {
  /** The class as PyTorch pickles it. */
  static readonly global: string = 'torch.optim.optimizer.Optimizer';

  /** Hyperparameters of groups that do not give their own. */
  declare defaults: ParamGroup;
  /** State by parameter. */
  declare state: Map<PyValue, ParamState>;
  declare paramGroups: ParamGroup[];

  /** `defaults` has every hyperparameter, under PyTorch's names. Throws TypeError and RangeError with PyTorch's texts. */
  constructor(params: OptimizerParams, defaults: Map<string, PyValue>) {
    if (params instanceof Tensor) {
      throw new TypeError(
        `params argument given to the optimizer should be an iterable of Tensors or dicts, but got ${pythonTypeName(params)}`,
      );
    }
    if (typeof (params as Partial<Iterable<unknown>> | undefined)?.[Symbol.iterator] !== 'function')
      throw new TypeError(`'${pythonTypeName(params)}' object is not iterable`);
    this.defaults = defaults;
    const state = new DefaultDict<ParamState>();
    state.factory = new PyGlobal('builtins', 'dict');
    this.state = state;
    this.paramGroups = [];
    const entries = [...params];
    if (entries.length === 0) throw new RangeError('optimizer got an empty parameter list');
    const groups = isMapping(entries[0]) ? (entries as GroupOptions[]) : [{ params: entries as Tensor[] }];
    for (const group of groups) this.addParamGroup(group);
  }

  /** Adds parameters with hyperparameters of their own, as for layers that become trainable later. */
  addParamGroup(given: GroupOptions | ParamGroup): void {
    if (!isMapping(given)) throw new TypeError(`param_group must be a dict, but got ${pythonTypeText(given)}`);
    const group = given instanceof Map ? (given as ParamGroup) : groupOf(given as GroupOptions);
    const { tensors, names } = paramsOf(group.get('params'));
    group.set('params', tensors);
    if (names) group.set('param_names', names);
    for (const key of this.defaults.keys())
      if (!group.has(key)) copyEntry(this.defaults, group as Map<PyValue, PyValue>, key);
    if (new Set(tensors).size !== tensors.length) {
      process.emitWarning(
        'optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; see github.com/pytorch/pytorch/issues/40967 for more information',
      );
    }
    const known = new Set<Tensor>();
    for (const other of this.paramGroups) {
      for (const param of paramsIn(other)) known.add(param);
      if (group.has('param_names') === other.has('param_names')) continue;
      const which = group.has('param_names') ? 'with names' : 'without names';
      throw new RangeError(
        `all optimizer param groups should be with/without names. cannot add param group ${which} to the optimizer`,
      );
    }
    if (tensors.some((param) => known.has(param)))
      throw new RangeError('some parameters appear in more than one parameter group');
    this.paramGroups.push(group);
  }

  /**
   * State and groups as PyTorch saves them: parameters are numbered over the groups, tensors and states are the live
   * ones, groups are copies.
   */
  stateDict(): Map<string, PyValue> {
    const indices = new Map<PyValue, number>();
    let start = 0;
    const groups = this.paramGroups.map((group) => {
      const packed = new Map<PyValue, PyValue>();
      for (const key of group.keys()) if (key !== 'params') copyEntry(group, packed, key);
      const params = paramsIn(group);
      for (const [i, param] of params.entries()) if (!indices.has(param)) indices.set(param, start + i);
      start += params.length;
      packed.set(
        'params',
        params.map((param) => indices.get(param) as number),
      );
      return packed;
    });
    const state = new Map<PyValue, PyValue>();
    for (const [key, value] of this.state) state.set(key instanceof Tensor ? (indices.get(key) ?? key) : key, value);
    return new Map<string, PyValue>([
      ['state', state],
      ['param_groups', groups],
    ]);
  }

  /**
   * Takes over state and hyperparameters, paired with the parameters by position; tensors are cast to each parameter's
   * dtype and device. Throws CheckpointError STATE_DICT with PyTorch's texts where the groups do not match; nothing has
   * changed then.
   */
  loadStateDict(stateDict: Map<string, PyValue> | Record<string, PyValue>): void {
    const { state, groups } = loadOptimizerState(this.paramGroups, stateDict);
    this.state.clear();
    for (const [key, value] of state) this.state.set(key, value);
    this.paramGroups = groups;
    if (!this.defaults.has('differentiable')) this.defaults.set('differentiable', false);
    for (const group of groups) this.completeGroup(group);
  }

  /** Forgets the gradients, or fills them with zeros. */
  zeroGrad(setToNone = true): void {
    for (const group of this.paramGroups) {
      for (const param of paramsIn(group)) {
        if (!param.grad) continue;
        if (setToNone) param.grad = undefined;
        else zero(param.grad.requiresGrad_(false));
      }
    }
  }

  /**
   * One update of every parameter that has a gradient: those of `gradients`, by parameter or in the order of the groups,
   * else each parameter's own `grad`. Parameters and state change in place, in their own memory; of a checkpoint's
   * tensors that is a private copy of the file's pages.
   */
  step(gradients?: GradientSource): void {
    const gradient = gradientOf(this.paramGroups.flatMap(paramsIn), gradients);
    for (const group of this.paramGroups) {
      for (const param of paramsIn(group)) {
        const grad = gradient(param);
        if (grad) this.updateParam(param, grad, group);
      }
    }
  }

  /** One parameter's part of `step`. @internal */
  protected updateParam(_param: Tensor, _grad: Tensor, _group: ParamGroup): void {
    throw new TypeError(`${this.constructor.name}.step() is not implemented here; its state dicts are`);
  }

  /** Gives a group and the states of its parameters what an older PyTorch saved without. @internal */
  protected completeGroup(_group: ParamGroup): void {}

  /** The state of a parameter, made empty where it has none. @internal */
  protected stateOf(param: Tensor): ParamState {
    let state = this.state.get(param);
    if (!state) this.state.set(param, (state = new Map()));
    return state;
  }

  [setState](state: PyValue): void {
    const from = state instanceof Map ? (state as ParamGroup) : new Map<string, PyValue>();
    this.defaults = mapOr(from.get('defaults'), new Map());
    const states = from.get('state');
    this.state = states instanceof Map ? (states as Map<PyValue, ParamState>) : new Map();
    const groups = from.get('param_groups');
    this.paramGroups = Array.isArray(groups) ? (groups as ParamGroup[]) : [];
  }

  [getPickled](pickled: PyObject | undefined): PyObject {
    if (pickled && !(pickled.state instanceof Map)) return pickled;
    const [module, name] = splitGlobal((this.constructor as typeof Optimizer).global);
    const object = pickled ?? new PyObject(new PyGlobal(module, name), new Tuple(), 'newobj', new Map());
    // The file's own Map, so that what else is in it stays.
    const state = object.state as Map<string, PyValue>;
    for (const [key, property] of PICKLED_ATTRIBUTES) if (!pickled || state.has(key)) state.set(key, this[property]);
    return object;
  }

  [reprText](): string {
    let text = `${this.constructor.name} (`;
    for (const [i, group] of this.paramGroups.entries()) {
      text += `\nParameter Group ${i}\n`;
      for (const key of [...group.keys()].filter((key) => key !== 'params').sort()) {
        const value = take(group, key);
        text += `    ${key}: ${typeof value === 'string' ? value : repr(value)}\n`;
      }
    }
    return `${text})`;
  }

  /** What Python prints. */
  toString(): string {
    return printer.repr(this);
  }

  [inspect.custom](): string {
    return printer.repr(this);
  }
}

/** The parameters of a group. */
export function paramsIn(group: ParamGroup): Tensor[] {
  const params = group.get('params');
  return Array.isArray(params) ? (params as Tensor[]) : [];
}

function mapOr(value: PyValue | undefined, fallback: ParamGroup): ParamGroup {
  return value instanceof Map ? (value as ParamGroup) : fallback;
}

function splitGlobal(global: string): [module: string, name: string] {
  const dot = global.lastIndexOf('.');
  return [global.slice(0, dot), global.slice(dot + 1)];
}

/** Hyperparameters as they are kept: arrays are Python's tuples. */
export function hyperparameter(value: unknown): PyValue {
  return Array.isArray(value) && !(value instanceof Tuple) ? tupleOf(value as PyValue[]) : (value as PyValue);
}

function groupOf(options: GroupOptions): ParamGroup {
  const group: ParamGroup = new Map();
  for (const [option, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (option === 'params') group.set(option, value as PyValue);
    else put(group, pythonName(option), option === 'paramNames' ? (value as PyValue) : hyperparameter(value));
  }
  return group;
}

function isNamed(value: unknown): value is NamedTensor {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === 'string';
}

/** The tensors of a group, and their names where they come with them. */
function paramsOf(given: PyValue | undefined): { tensors: Tensor[]; names: string[] | undefined } {
  if (given === undefined) throw new TypeError("'params'");
  if (given instanceof Set) {
    throw new TypeError(
      'optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets will change between runs. Please use a list instead.',
    );
  }
  const items: unknown[] = given instanceof Tensor ? [given] : [...(given as Iterable<unknown>)];
  const names = items.filter(isNamed).map(([name]) => name);
  if (names.length !== 0 && names.length !== items.length)
    throw new RangeError('all optimizer params should be with/without names. Some param names are missing');
  const tensors = items.map((item) => (isNamed(item) ? item[1] : item));
  for (const tensor of tensors) {
    if (!(tensor instanceof Tensor))
      throw new TypeError(`optimizer can only optimize Tensors, but one of the params is ${pythonTypeName(tensor)}`);
  }
  return { tensors: tensors as Tensor[], names: names.length > 0 ? names : undefined };
}
