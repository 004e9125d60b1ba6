/** Schedulers made of schedulers: one after the other, or all at once. */
import type { PyValue } from '../pickle/values';
import { repr } from '../repr';
import { type Arguments, bind } from './arguments';
import { demand } from './load-state';
import type { PyNumber } from './numbers';
import { Optimizer } from './optimizer';
import { ReduceLROnPlateau } from './plateau-scheduler';
import { LRScheduler, type SchedulerState, setGroupValue } from './scheduler';

abstract class ComposedScheduler extends LRScheduler {
  readonly schedulers: readonly LRScheduler[];

  constructor(optimizer: Optimizer, schedulers: readonly LRScheduler[]) {
    super(optimizer);
    this.schedulers = schedulers;
  }
  protected override getLr(): PyNumber[] {
    throw new TypeError(`the rates of ${this.constructor.name} come from its schedulers`);
  }
  override stateDict(): SchedulerState {
    return this.copyAttributes().set(
      '_schedulers',
      this.schedulers.map((scheduler) => scheduler.stateDict()),
    );
  }
  override loadStateDict(stateDict: SchedulerState | Record<string, PyValue>): void {
    const states = demand(stateDict, '_schedulers');
    this.takeOver(stateDict, ['_schedulers']);
    for (const [i, state] of (states as SchedulerState[]).entries()) this.schedulers[i]?.loadStateDict(state);
  }
}

function demandSchedulers(name: string, optimizer: Optimizer, schedulers: readonly LRScheduler[]): void {
  for (const [i, scheduler] of schedulers.entries()) {
    if (!(scheduler instanceof LRScheduler))
      throw new TypeError(`${name} at index ${i} should have \`optimizer\` as its attribute.`);
    if (scheduler instanceof ReduceLROnPlateau) {
      throw new RangeError(
        `${name} does not support \`ReduceLROnPlateau\` scheduler as it requires additional kwargs to be specified when calling \`step\`, but got one at index ${i} in the given schedulers sequence.`,
      );
    }
    if (scheduler.optimizer !== optimizer) {
      throw new RangeError(
        `${name} expects all schedulers to belong to the same optimizer, but got scheduler ${scheduler.constructor.name} at index ${i} has ${repr(scheduler.optimizer)}, which is different from ${optimizer.constructor.name}.`,
      );
    }
  }
}

export interface SequentialLROptions {
  schedulers: readonly LRScheduler[];
  /** The epochs at which the next scheduler takes over. */
  milestones: readonly number[];
  lastEpoch?: number;
}

/** One scheduler after the other. */
export class SequentialLR extends ComposedScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<SequentialLROptions>) {
    const values = bind(
      {
        name: 'SequentialLR',
        parameters: [
          ['schedulers', undefined],
          ['milestones', undefined],
          ['last_epoch', -1],
        ],
      },
      args,
    );
    const schedulers = values.get('schedulers') as readonly LRScheduler[];
    const milestones = values.get('milestones') as number[];
    if (schedulers.length < 1)
      throw new RangeError('SequentialLR expects at least one scheduler, but got no scheduler.');
    demandSchedulers('SequentialLR', optimizer, schedulers);
    if (milestones.length !== schedulers.length - 1) {
      throw new RangeError(
        `Sequential Schedulers expects number of schedulers provided to be one more than the number of milestone points, but got number of schedulers ${schedulers.length} and the number of milestones to be equal to ${milestones.length}`,
      );
    }
    super(optimizer, schedulers);
    this.set('_milestones', milestones);
    this.set('last_epoch', Number(values.get('last_epoch')) + 1);
    for (const group of optimizer.paramGroups) setGroupValue(group, 'lr', demand(group, 'initial_lr'));
    undo(this);
    const first = schedulers[this.#index(0)] as LRScheduler;
    first.initialStep();
    this.#shareRates(first);
  }

  /** The scheduler of an epoch: as many milestones have been reached. */
  #index(epoch: number): number {
    return this.list('_milestones').filter((milestone) => Number(milestone) <= epoch).length;
  }

  /** The very list of the scheduler, as in Python. */
  #shareRates(scheduler: LRScheduler): void {
    this.attributes.set('_last_lr', scheduler.attributes.get('_last_lr') as PyValue);
  }

  override step(): void {
    const epoch = this.lastEpoch + 1;
    this.set('last_epoch', epoch);
    const index = this.#index(epoch);
    const scheduler = this.schedulers[index] as LRScheduler;
    if (index > 0 && Number(this.list('_milestones')[index - 1]) === epoch) scheduler.updateLr(0);
    else scheduler.step();
    this.#shareRates(scheduler);
  }
}

/** Takes back the first epoch that each scheduler set when it was made. */
function undo(scheduler: LRScheduler): void {
  if (scheduler instanceof ComposedScheduler) for (const part of scheduler.schedulers) undo(part);
  else scheduler.lastEpoch--;
}

/** All schedulers at each step. */
export class ChainedScheduler extends ComposedScheduler {
  constructor(schedulers: readonly LRScheduler[], optimizer?: Optimizer | { optimizer?: Optimizer } | null) {
    if (schedulers.length < 1)
      throw new RangeError('ChainedScheduler expects at least one scheduler to be chained, but got no scheduler.');
    const given = optimizer instanceof Optimizer ? optimizer : optimizer?.optimizer;
    const chosen = given ?? (schedulers[0] as LRScheduler).optimizer;
    demandSchedulers('ChainedScheduler', chosen, schedulers);
    super(chosen, schedulers);
    this.rememberRates();
  }
  override step(): void {
    for (const scheduler of this.schedulers) scheduler.step();
    this.rememberRates();
  }
}
