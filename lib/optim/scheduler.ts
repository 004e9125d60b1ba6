/**
 * `torch.optim.lr_scheduler.LRScheduler`: sets the learning rates of an optimizer's groups, epoch by epoch.
 *
 * A scheduler's attributes live in one Map under Python's names, in the order in which Python sets them: a state dict is
 * a copy of it, and what an older PyTorch saved beside (`verbose`) stays.
 */
import { pythonClassName, pythonTypeText } from '../nn/python-names';
import type { PyValue } from '../pickle/values';
import { Tensor } from '../tensor/tensor';
import { fillTensor } from './elements';
import { demand } from './load-state';
import { copyEntry, isMapping, itemsOf, listOf, numberOf, type PyNumber, put, take, takeNumber } from './numbers';
import { Optimizer, type ParamGroup } from './optimizer';

export type SchedulerState = Map<string, PyValue>;

export abstract class LRScheduler {
  readonly optimizer: Optimizer;
  /** Python's `__dict__`, without the optimizer. */
  readonly attributes: SchedulerState = new Map();

  /** A subclass sets its attributes and then calls `start`. */
  constructor(optimizer: Optimizer) {
    if (!(optimizer instanceof Optimizer))
      throw new TypeError(`${pythonClassName(optimizer).replace(/.*\./, '')} is not an Optimizer`);
    this.optimizer = optimizer;
  }

  /** Learning rates of the epoch `lastEpoch`, by group. */
  protected abstract getLr(): PyNumber[];
  /** The same without looking at the rates of the epoch before. */
  protected closedFormLr?(): PyNumber[];

  /** The epoch whose rates are set; settable, for resuming without a state dict. */
  get lastEpoch(): number {
    return this.number('last_epoch');
  }
  set lastEpoch(epoch: number) {
    this.set('last_epoch', epoch);
  }

  /** The rates that the schedule starts from, by group. */
  get baseLrs(): number[] {
    return this.list('base_lrs').map(Number);
  }
  set baseLrs(rates: readonly (number | PyNumber)[]) {
    this.set('base_lrs', listOf(rates));
  }

  /** The rates that were set last, by group. */
  getLastLr(): number[] {
    return this.list('_last_lr').map(Number);
  }

  /** Goes to the next epoch; to `epoch` where it is given, which PyTorch deprecates. */
  step(epoch?: number): void {
    this.set('_step_count', this.number('_step_count') + 1);
    this.updateLr(epoch);
  }

  /** Every attribute but the optimizer: values are the live ones. */
  stateDict(): SchedulerState {
    return this.copyAttributes();
  }

  /** Takes over every entry of the state dict as it is. */
  loadStateDict(stateDict: SchedulerState | Record<string, PyValue>): void {
    if (!isMapping(stateDict))
      throw new TypeError(`Expected state_dict to be dict-like, got ${pythonTypeText(stateDict)}.`);
    this.takeOver(stateDict);
  }

  // What subclasses are written with.

  /** Notes each group's rate as its `initial_lr` and sets the rates of the first epoch. @internal */
  protected start(lastEpoch: number): void {
    for (const [i, group] of this.optimizer.paramGroups.entries()) {
      if (group.has('initial_lr')) continue;
      if (lastEpoch !== -1) {
        throw new RangeError(
          `param 'initial_lr' is not specified in param_groups[${i}] when resuming scheduler with last_epoch >= 0.\nThis typically happens when:\n1. You're trying to resume training from a checkpoint but haven't properly loaded the optimizer state\n2. You're using last_epoch >= 0 for a fresh training run (not recommended)`,
        );
      }
      put(group, 'initial_lr', cloned(demand(group, 'lr')));
    }
    this.set('base_lrs', this.groupValues('initial_lr'));
    this.set('last_epoch', lastEpoch);
    this.initialStep();
  }

  /** @internal */
  initialStep(): void {
    this.set('_step_count', 0);
    this.set('_is_initial', true);
    try {
      this.step();
    } finally {
      this.set('_is_initial', false);
    }
  }

  /** @internal */
  updateLr(epoch?: number): void {
    let rates: PyNumber[];
    this.set('_get_lr_called_within_step', true);
    try {
      this.set('last_epoch', epoch ?? this.lastEpoch + 1);
      rates = epoch !== undefined && this.closedFormLr ? this.closedFormLr() : this.getLr();
    } finally {
      this.set('_get_lr_called_within_step', false);
    }
    this.setRates(rates);
  }

  /** @internal */
  protected setRates(rates: readonly PyNumber[]): void {
    const groups = this.optimizer.paramGroups;
    if (groups.length !== rates.length)
      throw new RangeError(`the scheduler has rates for ${rates.length} groups, the optimizer ${groups.length} groups`);
    for (const [i, group] of groups.entries()) setGroupValue(group, 'lr', rates[i] as PyNumber);
    this.rememberRates();
  }

  /** @internal */
  protected rememberRates(): void {
    this.set('_last_lr', this.groupValues('lr'));
  }

  /** The values of a hyperparameter by group; tensors are copied. @internal */
  protected groupValues(key: string): PyValue[] {
    return listOf(this.optimizer.paramGroups.map((group) => cloned(demand(group, key))));
  }

  /** The current rates, by group. @internal */
  protected lrs(): PyNumber[] {
    return this.optimizer.paramGroups.map((group) => takeNumber(group, 'lr'));
  }

  /** @internal */
  protected set(name: string, value: PyValue): void {
    put(this.attributes, name, value);
  }

  /** @internal */
  protected get(name: string): PyValue | undefined {
    return take(this.attributes, name);
  }

  /** An attribute for arithmetic that keeps Python's types. @internal */
  protected typed(name: string): PyNumber {
    return takeNumber(this.attributes, name);
  }

  /** @internal */
  protected number(name: string): number {
    return Number(this.typed(name));
  }

  /** @internal */
  protected list(name: string): PyNumber[] {
    const list = this.get(name);
    if (!Array.isArray(list)) throw new TypeError(`'${name}' of the scheduler is not a list`);
    return itemsOf(list as PyValue[]).map((item) => numberOf(item, `'${name}'`));
  }

  /** @internal */
  protected get isInitial(): boolean {
    return this.attributes.get('_is_initial') === true;
  }

  /** @internal */
  protected copyAttributes(): SchedulerState {
    const copy: SchedulerState = new Map();
    for (const key of this.attributes.keys()) copyEntry(this.attributes, copy as Map<PyValue, PyValue>, key);
    return copy;
  }

  /** `self.__dict__.update(...)`. @internal */
  protected takeOver(stateDict: object, except: readonly string[] = []): void {
    for (const key of stateDict instanceof Map ? stateDict.keys() : Object.keys(stateDict)) {
      if (key !== 'optimizer' && !except.includes(key as string))
        copyEntry(stateDict, this.attributes as Map<PyValue, PyValue>, key as PyValue);
    }
  }
}

function cloned(value: PyValue): PyValue {
  return value instanceof Tensor ? value.clone() : value;
}

/** Sets a hyperparameter; a tensor takes the number in its place. */
export function setGroupValue(group: ParamGroup, key: string, value: PyValue): void {
  const old = group.get(key);
  if (old instanceof Tensor) fillTensor(old, Number(numberOf(value, key)));
  else put(group, key, value);
}

/** One value for each group, from a list or from one number. */
export function perGroup(name: string, optimizer: Optimizer, value: PyValue): PyValue[] {
  const count = optimizer.paramGroups.length;
  if (!Array.isArray(value)) return listOf(Array.from({ length: count }, () => cloned(value)));
  if (value.length !== count) {
    throw new RangeError(
      `${name} must have the same length as optimizer.param_groups. ${name} has ${value.length} values, param_groups has ${count}.`,
    );
  }
  return listOf(itemsOf(value as PyValue[]).map(cloned));
}
