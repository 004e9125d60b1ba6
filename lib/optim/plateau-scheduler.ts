/** `torch.optim.lr_scheduler.ReduceLROnPlateau`: lowers the rate when a metric stops getting better. */

import { CheckpointError } from '../errors';
import type { PyValue } from '../pickle/values';
import { type Arguments, bind } from './arguments';
import type { Num } from './hyperparameters';
import { float, itemsOf, listOf, type PyNumber, product } from './numbers';
import type { Optimizer } from './optimizer';
import { LRScheduler, type SchedulerState, setGroupValue } from './scheduler';

export interface ReduceLROnPlateauOptions {
  /** Whether better is less; default 'min'. */
  mode?: 'min' | 'max';
  /** Default 0.1. */
  factor?: Num;
  /** Epochs to wait; default 10. */
  patience?: number;
  /** Smaller changes do not count; default 1e-4. */
  threshold?: Num;
  /** Default 'rel'. */
  thresholdMode?: 'rel' | 'abs';
  /** Epochs to wait after a change; default 0. */
  cooldown?: number;
  /** Default 0. */
  minLr?: Num | readonly Num[];
  /** Smaller changes of the rate are not made; default 1e-8. */
  eps?: Num;
}

export class ReduceLROnPlateau extends LRScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<ReduceLROnPlateauOptions>) {
    const values = bind(
      {
        name: 'ReduceLROnPlateau',
        parameters: [
          ['mode', 'min'],
          ['factor', 0.1],
          ['patience', 10],
          ['threshold', 1e-4],
          ['threshold_mode', 'rel'],
          ['cooldown', 0],
          ['min_lr', 0],
          ['eps', 1e-8],
        ],
      },
      args,
    ) as Map<string, PyValue>;
    const given = (name: string): PyValue => values.get(name) as PyValue;
    if (Number(given('factor')) >= 1) throw new RangeError('Factor should be < 1.0.');
    super(optimizer);
    this.set('factor', given('factor'));
    const lowest = given('min_lr');
    const count = optimizer.paramGroups.length;
    if (Array.isArray(lowest) && lowest.length !== count)
      throw new RangeError(`expected ${count} min_lrs, got ${lowest.length}`);
    this.set('default_min_lr', Array.isArray(lowest) ? null : lowest);
    this.set(
      'min_lrs',
      listOf(Array.isArray(lowest) ? itemsOf(lowest as PyValue[]) : Array.from({ length: count }, () => lowest)),
    );
    for (const name of ['patience', 'cooldown', 'eps']) this.set(name, given(name));
    this.set('last_epoch', 0);
    this.rememberRates();
    this.#begin(given('mode'), given('threshold'), given('threshold_mode'));
    this.set('best', this.typed('mode_worse'));
    this.set('cooldown_counter', 0);
    this.set('num_bad_epochs', 0);
  }

  #begin(mode: PyValue, threshold: PyValue, thresholdMode: PyValue): void {
    if (mode !== 'min' && mode !== 'max') throw new RangeError(`mode ${String(mode)} is unknown!`);
    if (thresholdMode !== 'rel' && thresholdMode !== 'abs')
      throw new RangeError(`threshold mode ${String(thresholdMode)} is unknown!`);
    this.set('mode_worse', mode === 'min' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY);
    this.set('mode', mode);
    this.set('threshold', threshold);
    this.set('threshold_mode', thresholdMode);
  }

  /** The best metric so far. */
  get best(): number {
    return this.number('best');
  }

  /** Epochs since the metric was better. */
  get numBadEpochs(): number {
    return this.number('num_bad_epochs');
  }

  /** @internal */
  protected override getLr(): PyNumber[] {
    throw new TypeError('the rates of ReduceLROnPlateau come from a metric');
  }

  /** Takes the metric of an epoch. */
  override step(metric?: number, epoch?: number): void {
    if (typeof metric !== 'number')
      throw new TypeError("ReduceLROnPlateau.step() missing 1 required positional argument: 'metrics'");
    this.set('last_epoch', epoch ?? this.lastEpoch + 1);
    let bad = this.numBadEpochs + 1;
    if (this.#isBetter(metric)) {
      this.set('best', float(metric));
      bad = 0;
    }
    const cooldown = this.number('cooldown_counter');
    if (cooldown > 0) {
      this.set('cooldown_counter', cooldown - 1);
      bad = 0;
    }
    if (bad > this.number('patience')) {
      this.#reduce();
      this.set('cooldown_counter', this.typed('cooldown'));
      bad = 0;
    }
    this.set('num_bad_epochs', bad);
    this.rememberRates();
  }

  #isBetter(metric: number): boolean {
    const threshold = this.number('threshold');
    const { best } = this;
    if (this.get('mode') === 'min')
      return this.get('threshold_mode') === 'rel' ? metric < best * (1 - threshold) : metric < best - threshold;
    return this.get('threshold_mode') === 'rel' ? metric > best * (threshold + 1) : metric > best + threshold;
  }

  #reduce(): void {
    const groups = this.optimizer.paramGroups;
    if (groups.length !== this.list('min_lrs').length) {
      const lowest = this.get('default_min_lr');
      if (lowest === null || lowest === undefined) {
        throw new RangeError(
          `The number of param groups in the \`optimizer\` (${groups.length}) differs from when \`ReduceLROnPlateau\` was initialized (${this.list('min_lrs').length}), usually due to a new param group being added to the optimizer. Please modify the \`min_lrs\` field to match the length of the \`optimizer\` param groups.`,
        );
      }
      this.set('min_lrs', listOf(groups.map(() => lowest)));
    }
    const lowest = this.list('min_lrs');
    const eps = this.number('eps');
    const rates = this.lrs();
    for (const [i, group] of groups.entries()) {
      const reduced = product(float(rates[i] as PyNumber), this.typed('factor'));
      // Python's max keeps the first of equals, and with it its type.
      const next = Number(lowest[i]) > Number(reduced) ? (lowest[i] as PyNumber) : reduced;
      if (Number(rates[i]) - Number(next) > eps) setGroupValue(group, 'lr', next);
    }
  }

  override loadStateDict(stateDict: SchedulerState | Record<string, PyValue>): void {
    super.loadStateDict(stateDict);
    const get = (name: string): PyValue => {
      const value = this.get(name);
      if (value === undefined) throw new CheckpointError('STATE_DICT', `'${name}'`);
      return value;
    };
    this.#begin(get('mode'), get('threshold'), get('threshold_mode'));
  }
}
