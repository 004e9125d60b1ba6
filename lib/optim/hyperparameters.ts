/** Hyperparameters: their defaults and checks as each optimizer's `__init__` has them, and reading them in updates. */
import { type PyFloat, type PyInt, type PyValue, Tuple } from '../pickle/values';
import { repr } from '../repr';
import { Tensor } from '../tensor/tensor';
import { bind, type Signature } from './arguments';
import { scalarTensor } from './elements';
import { isNumeric, itemsOf, numberOf, put, take, takeNumber } from './numbers';
import { hyperparameter, type ParamGroup, type ParamState, paramsIn } from './optimizer';

/** A number, or one that says which of Python's it is; learning rates may be tensors of one element. */
export type Num = number | PyFloat | PyInt;
export type LearningRate = Num | Tensor;

/** Options that hardly matter here and are saved all the same. */
export interface ImplementationOptions {
  foreach?: boolean | null;
  maximize?: boolean;
  capturable?: boolean;
  differentiable?: boolean;
  fused?: boolean | null;
}

export interface OptimizerSpec extends Signature {
  /** The keys of a group in the order in which PyTorch 2.13 saves them; those of `parameters` where left out. */
  readonly order?: readonly string[];
  readonly checks: readonly Check[];
  /** What `__setstate__` adds to groups of older files. */
  readonly added?: readonly (readonly [key: string, value: PyValue])[];
  /** Entries of a parameter's state that PyTorch before 1.12 kept as numbers, and now as tensors; default: `step`. */
  readonly scalars?: readonly string[];
  /** Where those tensors are: beside the parameter, on the CPU, or (default) as `capturable` and `fused` have it. */
  readonly scalarsOn?: 'parameter' | 'cpu';
}

/** What most groups of older files lack, in the order in which it is added. */
export const ADDED_IMPLEMENTATION = [
  ['foreach', null],
  ['maximize', false],
  ['differentiable', false],
  ['capturable', false],
] as const;

/** Throws RangeError, for Python's ValueError, with PyTorch's text. */
type Check = (values: ReadonlyMap<string, PyValue>) => void;

/** The hyperparameters that an optimizer is constructed with. */
export function defaultsOf(spec: OptimizerSpec, args: readonly unknown[]): ParamGroup {
  const bound = bind(spec, args);
  const values: ParamGroup = new Map();
  for (const [name, fallback] of spec.parameters) {
    const value = hyperparameter(bound.get(name));
    if (isNumeric(fallback) && !isNumeric(value))
      throw new TypeError(`${spec.name}: ${name} must be a number, not ${repr(value)}`);
    values.set(name, value);
  }
  for (const check of spec.checks) check(values);
  const defaults: ParamGroup = new Map();
  for (const name of spec.order ?? values.keys()) put(defaults, name, values.get(name) as PyValue);
  return defaults;
}

function numeric(values: ReadonlyMap<string, PyValue>, name: string): number {
  return Number(numberOf(values.get(name), name));
}

export function refuse(text: string): never {
  throw new RangeError(text);
}

/** Refuses what is not at least zero, NaN included. */
export function atLeastZero(name: string, text: string): Check {
  return (values) => {
    if (!(numeric(values, name) >= 0)) refuse(`${text}: ${repr(values.get(name))}`);
  };
}

/** Refuses what is below zero, and lets NaN pass. */
export function notBelowZero(name: string, text: string): Check {
  return (values) => {
    if (numeric(values, name) < 0) refuse(`${text}: ${repr(values.get(name))}`);
  };
}

export function aboveZero(name: string, text: string): Check {
  return (values) => {
    if (!(numeric(values, name) > 0)) refuse(`${text}: ${repr(values.get(name))}`);
  };
}

export const oneLearningRate: Check = (values) => {
  const lr = values.get('lr');
  if (lr instanceof Tensor && lr.numel !== 1) refuse('Tensor lr must be 1-element');
};

/** A pair of hyperparameters in one tuple. */
export function pairOf(values: ReadonlyMap<string, PyValue>, name: string): [PyValue, PyValue] {
  const pair = values.get(name);
  if (!(pair instanceof Tuple) || pair.length < 2)
    throw new TypeError(`${name} must be a pair of numbers, not ${repr(pair)}`);
  return itemsOf(pair) as [PyValue, PyValue];
}

export const betasBelowOne: Check = (values) => {
  for (const [i, beta] of pairOf(values, 'betas').slice(0, 2).entries()) {
    const number = Number(numberOf(beta, `betas[${i}]`));
    if (!(number >= 0 && number < 1)) refuse(`Invalid beta parameter at index ${i}: ${repr(beta)}`);
  }
};

export const fusedAlone: Check = (values) => {
  if (!values.get('fused')) return;
  if (values.get('differentiable')) refuse('`fused` does not support `differentiable`');
  if (values.get('foreach')) refuse('`fused` and `foreach` cannot be `True` together.');
};

/** `__setstate__`: what groups of older files lack. */
export function addMissing(group: ParamGroup, { added = [] }: OptimizerSpec): void {
  for (const [key, value] of added) if (!group.has(key)) group.set(key, value);
}

/** Scalars of states that are still numbers become tensors. */
export function tensorsFromNumbers(
  group: ParamGroup,
  states: ReadonlyMap<PyValue, ParamState>,
  { scalars = ['step'], scalarsOn }: OptimizerSpec,
): void {
  for (const param of paramsIn(group)) {
    const state = states.get(param);
    if (!state) continue;
    for (const key of scalars) {
      const value = take(state, key);
      if (value === undefined || value instanceof Tensor) continue;
      const location = scalarsOn === 'parameter' ? param.storage.location : (scalarsOn ?? stepLocation(param, group));
      state.set(key, scalarTensor(Number(numberOf(value, key)), location));
    }
  }
}

function stepLocation(param: Tensor, group: ParamGroup): string {
  return group.get('capturable') || group.get('fused') ? param.storage.location : 'cpu';
}

/** A new count of steps. */
export function newStep(param: Tensor, group: ParamGroup): Tensor {
  return scalarTensor(0, stepLocation(param, group));
}

export function num(group: ParamGroup, name: string): number {
  return Number(takeNumber(group, name));
}

/** Both numbers of a hyperparameter such as `betas`. */
export function numberPair(group: ParamGroup, name: string): [number, number] {
  const [first, second] = pairOf(group, name);
  return [Number(numberOf(first, name)), Number(numberOf(second, name))];
}
