/** Schedulers that go up and down again, and move momentum the opposite way: CyclicLR and OneCycleLR. */
import { type PyFloat, type PyValue, pyFloat, Tuple } from '../pickle/values';
import { repr } from '../repr';
import { type Arguments, bind, demandInt } from './arguments';
import type { LastEpoch } from './decay-schedulers';
import type { Num } from './hyperparameters';
import { cos, pow } from './libm';
import { demand } from './load-state';
import { copyMapping, float, itemsOf, numberOf, type PyNumber, put, take, tupleOf } from './numbers';
import type { Optimizer, ParamGroup } from './optimizer';
import { LRScheduler, perGroup, type SchedulerState, setGroupValue } from './scheduler';

/** What both have in common: the momentum of the optimizer, or its first beta, moves with the rate. */
abstract class MomentumScheduler extends LRScheduler {
  /** Notes whether momentum moves, and how the optimizer calls it. */
  protected demandMomentum(cycles: boolean): void {
    this.set('cycle_momentum', cycles);
    if (!cycles) return;
    const { defaults } = this.optimizer;
    if (!defaults.has('momentum') && !defaults.has('betas'))
      throw new RangeError('optimizer must support momentum or beta1 with `cycle_momentum` option enabled');
    this.set('use_beta1', defaults.has('betas'));
  }
  protected setMomentum(group: ParamGroup, momentum: PyValue): void {
    if (this.get('use_beta1') !== true) return put(group, 'momentum', momentum);
    const betas = group.get('betas');
    group.set('betas', tupleOf([momentum, ...(betas instanceof Tuple ? itemsOf(betas).slice(1) : [])]));
  }
  protected beginMomentum(bases: readonly PyValue[], largest: readonly PyValue[]): void {
    for (const [i, group] of this.optimizer.paramGroups.entries()) {
      this.setMomentum(group, take(largest, i) as PyValue);
      put(group, 'max_momentum', take(largest, i) as PyValue);
      put(group, 'base_momentum', take(bases, i) as PyValue);
    }
  }
}

export interface CyclicLROptions extends LastEpoch {
  baseLr: Num | readonly Num[];
  maxLr: Num | readonly Num[];
  /** Steps of the rising half; default 2000. */
  stepSizeUp?: Num;
  /** Default: as many as up. */
  stepSizeDown?: Num | null;
  /** Default 'triangular'. */
  mode?: 'triangular' | 'triangular2' | 'exp_range';
  /** Default 1.0. */
  gamma?: Num;
  /** A scale of your own, in place of the mode's; it is not saved. */
  scaleFn?: ((x: number) => number) | null;
  scaleMode?: 'cycle' | 'iterations';
  /** Default true. */
  cycleMomentum?: boolean;
  /** Default 0.8. */
  baseMomentum?: Num | readonly Num[];
  /** Default 0.9. */
  maxMomentum?: Num | readonly Num[];
}

/** Moves the rate between two bounds, step by step. */
export class CyclicLR extends MomentumScheduler {
  readonly #scaleFn: ((x: number) => number) | null;
  /** What a file kept of a scale that was a callable object. */
  #savedScale: PyValue = null;

  constructor(optimizer: Optimizer, ...args: Arguments<CyclicLROptions>) {
    super(optimizer);
    const values = bind(
      {
        name: 'CyclicLR',
        parameters: [
          ['base_lr', undefined],
          ['max_lr', undefined],
          ['step_size_up', 2000],
          ['step_size_down', null],
          ['mode', 'triangular'],
          ['gamma', pyFloat(1)],
          ['scale_fn', null],
          ['scale_mode', 'cycle'],
          ['cycle_momentum', true],
          ['base_momentum', 0.8],
          ['max_momentum', 0.9],
          ['last_epoch', -1],
        ],
      },
      args,
    ) as Map<string, PyValue>;
    const lastEpoch = Number(values.get('last_epoch'));
    const bases = perGroup('base_lr', optimizer, demand(values, 'base_lr'));
    if (lastEpoch === -1)
      for (const [i, group] of optimizer.paramGroups.entries()) setGroupValue(group, 'lr', take(bases, i) as PyValue);
    this.set('max_lrs', perGroup('max_lr', optimizer, demand(values, 'max_lr')));
    const up = Number(values.get('step_size_up'));
    const down = values.get('step_size_down') === null ? up : Number(values.get('step_size_down'));
    this.set('total_size', float(up + down));
    this.set('step_ratio', float(up / (up + down)));
    const mode = values.get('mode') as string;
    this.#scaleFn = values.get('scale_fn') as ((x: number) => number) | null;
    if (!['triangular', 'triangular2', 'exp_range'].includes(mode) && !this.#scaleFn)
      throw new RangeError('mode is invalid and scale_fn is None');
    this.set('mode', mode);
    this.set('gamma', demand(values, 'gamma'));
    this.set(
      'scale_mode',
      this.#scaleFn ? demand(values, 'scale_mode') : mode === 'exp_range' ? 'iterations' : 'cycle',
    );
    this.demandMomentum(Boolean(values.get('cycle_momentum')));
    if (this.get('cycle_momentum')) {
      const low = perGroup('base_momentum', optimizer, demand(values, 'base_momentum'));
      const high = perGroup('max_momentum', optimizer, demand(values, 'max_momentum'));
      this.set('base_momentums', low);
      this.set('max_momentums', high);
      if (lastEpoch === -1) this.beginMomentum(low, high);
    }
    this.start(lastEpoch);
    this.set('base_lrs', bases);
  }

  #scale(cycle: number): number {
    const x = this.get('scale_mode') === 'cycle' ? cycle : this.lastEpoch;
    if (this.#scaleFn) return Number(this.#scaleFn(x));
    switch (this.get('mode')) {
      case 'triangular2':
        return 1 / 2 ** (x - 1);
      case 'exp_range':
        return pow(this.number('gamma'), x);
      default:
        return 1;
    }
  }

  protected override getLr(): PyNumber[] {
    const total = this.number('total_size');
    const ratio = this.number('step_ratio');
    const cycle = Math.floor(1 + this.lastEpoch / total);
    const x = 1 + this.lastEpoch / total - cycle;
    const height = x <= ratio ? x / ratio : (x - 1) / (ratio - 1);
    const scale = this.#scale(cycle);
    const largest = this.list('max_lrs').map(Number);
    const rates = this.list('base_lrs').map((base, i) =>
      float(Number(base) + ((largest[i] as number) - Number(base)) * height * scale),
    );
    if (this.get('cycle_momentum')) {
      const high = this.list('max_momentums').map(Number);
      const momentums = this.list('base_momentums').map((low, i) =>
        float((high[i] as number) - ((high[i] as number) - Number(low)) * height * scale),
      );
      for (const [i, group] of this.optimizer.paramGroups.entries()) this.setMomentum(group, momentums[i] as PyNumber);
    }
    return rates;
  }

  override stateDict(): SchedulerState {
    const state = this.copyAttributes();
    state.delete('_scale_fn_ref');
    return state.set('_scale_fn_custom', this.#savedScale);
  }

  override loadStateDict(stateDict: SchedulerState | Record<string, PyValue>): void {
    const saved = demand(stateDict, '_scale_fn_custom');
    this.takeOver(stateDict, ['_scale_fn_custom']);
    this.#savedScale = saved;
    if (!this.#scaleFn) this.set('scale_mode', this.get('mode') === 'exp_range' ? 'iterations' : 'cycle');
  }
}

export interface OneCycleLROptions extends LastEpoch {
  maxLr: Num | readonly Num[];
  /** Steps in all, or `epochs` times `stepsPerEpoch`. */
  totalSteps?: number | null;
  epochs?: number | null;
  stepsPerEpoch?: number | null;
  /** The part of the steps in which the rate rises; default 0.3. */
  pctStart?: Num;
  /** Default 'cos'. */
  annealStrategy?: 'cos' | 'linear';
  /** Default true. */
  cycleMomentum?: boolean;
  /** Default 0.85. */
  baseMomentum?: Num | readonly Num[];
  /** Default 0.95. */
  maxMomentum?: Num | readonly Num[];
  /** The first rate is maxLr divided by this; default 25. */
  divFactor?: Num;
  /** The last rate is the first divided by this; default 1e4. */
  finalDivFactor?: Num;
  threePhase?: boolean;
}

/** Names of the group's entries between which a phase goes. */
type Phase = readonly [startLr: string, endLr: string, startMomentum: string, endMomentum: string];
const RISE: Phase = ['initial_lr', 'max_lr', 'max_momentum', 'base_momentum'];
const FALL: Phase = ['max_lr', 'initial_lr', 'base_momentum', 'max_momentum'];
const FALL_TO_END: Phase = ['max_lr', 'min_lr', 'base_momentum', 'max_momentum'];
const FADE: Phase = ['initial_lr', 'min_lr', 'max_momentum', 'max_momentum'];

/** One rise and one fall of the rate over the whole training. */
export class OneCycleLR extends MomentumScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<OneCycleLROptions>) {
    super(optimizer);
    const values = bind(
      {
        name: 'OneCycleLR',
        parameters: [
          ['max_lr', undefined],
          ['total_steps', null],
          ['epochs', null],
          ['steps_per_epoch', null],
          ['pct_start', 0.3],
          ['anneal_strategy', 'cos'],
          ['cycle_momentum', true],
          ['base_momentum', 0.85],
          ['max_momentum', 0.95],
          ['div_factor', pyFloat(25)],
          ['final_div_factor', pyFloat(1e4)],
          ['three_phase', false],
          ['last_epoch', -1],
        ],
      },
      args,
    ) as Map<string, PyValue>;
    const total = totalSteps(values);
    this.set('total_steps', total);
    const part = Number(numberOf(values.get('pct_start'), 'pct_start'));
    this.set('_schedule_phases', phases(total, part, Boolean(values.get('three_phase'))));
    if (part < 0 || part > 1)
      throw new RangeError(`Expected float between 0 and 1 pct_start, but got ${repr(values.get('pct_start'))}`);
    const strategy = values.get('anneal_strategy');
    if (strategy !== 'cos' && strategy !== 'linear')
      throw new RangeError(`anneal_strategy must be one of 'cos' or 'linear', instead got ${String(strategy)}`);
    this.set('_anneal_func_type', strategy);
    const lastEpoch = Number(values.get('last_epoch'));
    const largest = perGroup('max_lr', optimizer, demand(values, 'max_lr'));
    if (lastEpoch === -1) {
      for (const [i, group] of optimizer.paramGroups.entries()) {
        const max = take(largest, i) as PyValue;
        const initial = Number(numberOf(max, 'max_lr')) / Number(values.get('div_factor'));
        put(group, 'initial_lr', float(initial));
        put(group, 'max_lr', max);
        put(group, 'min_lr', float(initial / Number(values.get('final_div_factor'))));
      }
    }
    this.demandMomentum(Boolean(values.get('cycle_momentum')));
    if (this.get('cycle_momentum')) {
      const high = perGroup('max_momentum', optimizer, demand(values, 'max_momentum'));
      const low = perGroup('base_momentum', optimizer, demand(values, 'base_momentum'));
      if (lastEpoch === -1) this.beginMomentum(low, high);
    }
    this.start(lastEpoch);
  }

  protected override getLr(): PyNumber[] {
    const step = this.lastEpoch;
    const total = this.number('total_steps');
    if (step > total)
      throw new RangeError(`Tried to step ${step} times. The specified number of total steps is ${total}`);
    const all = this.get('_schedule_phases');
    if (!Array.isArray(all) || all.length === 0)
      throw new TypeError("'_schedule_phases' of the scheduler is not a list");
    let start = 0;
    let i = 0;
    for (; i < all.length - 1 && step > Number(demand(all[i] as object, 'end_step')); i++)
      start = Number(demand(all[i] as object, 'end_step'));
    const phase = copyMapping(all[i] as object);
    const part = (step - start) / (Number(demand(phase, 'end_step')) - start);
    return this.optimizer.paramGroups.map((group) => {
      if (this.get('cycle_momentum')) this.setMomentum(group, this.#between(group, phase, 'momentum', part));
      return this.#between(group, phase, 'lr', part);
    });
  }

  #between(group: ParamGroup, phase: ReadonlyMap<PyValue, PyValue>, what: 'lr' | 'momentum', part: number): PyNumber {
    const at = (side: 'start' | 'end'): number =>
      Number(numberOf(demand(group, String(phase.get(`${side}_${what}`))), what));
    const [start, end] = [at('start'), at('end')];
    if (this.get('_anneal_func_type') === 'linear') return float((end - start) * part + start);
    return float(end + ((start - end) / 2) * (cos(Math.PI * part) + 1));
  }
}

function totalSteps(values: ReadonlyMap<string, PyValue>): number {
  const positive = (name: string): number =>
    demandInt(
      values.get(name),
      (value) => value > 0,
      `Expected positive integer ${name}, but got ${repr(values.get(name))}`,
    );
  if (values.get('total_steps') !== null) return positive('total_steps');
  if (values.get('epochs') !== null && values.get('steps_per_epoch') !== null)
    return positive('epochs') * positive('steps_per_epoch');
  throw new RangeError('You must define either total_steps OR (epochs AND steps_per_epoch)');
}

function phases(total: number, part: number, three: boolean): PyValue[] {
  const list: [end: number | PyFloat, phase: Phase][] = three
    ? [
        [float(part * total - 1), RISE],
        [float(2 * part * total - 2), FALL],
        [total - 1, FADE],
      ]
    : [
        [float(part * total - 1), RISE],
        [total - 1, FALL_TO_END],
      ];
  return list.map(([end, [startLr, endLr, startMomentum, endMomentum]]) => {
    const phase = new Map<string, PyValue>();
    put(phase, 'end_step', end);
    return phase
      .set('start_lr', startLr)
      .set('end_lr', endLr)
      .set('start_momentum', startMomentum)
      .set('end_momentum', endMomentum);
  });
}
