/** Schedulers that follow a cosine. */

import { pythonTypeText } from '../nn/python-names';
import type { PyValue } from '../pickle/values';
import { pyFloat } from '../pickle/values';
import { repr } from '../repr';
import { type Arguments, bind, demandInt } from './arguments';
import type { LastEpoch } from './decay-schedulers';
import type { Num } from './hyperparameters';
import { cos } from './libm';
import { float, isNumeric, type PyNumber } from './numbers';
import type { Optimizer } from './optimizer';
import { LRScheduler } from './scheduler';

export interface CosineAnnealingLROptions extends LastEpoch {
  /** Epochs from the highest rate to the lowest. */
  tMax: number;
  /** Default 0.0. */
  etaMin?: Num;
}

/** Goes down to `etaMin` along half a cosine in `tMax` epochs, and up again. */
export class CosineAnnealingLR extends LRScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<CosineAnnealingLROptions>) {
    super(optimizer);
    const values = bind(
      {
        name: 'CosineAnnealingLR',
        parameters: [
          ['T_max', undefined],
          ['eta_min', pyFloat(0)],
          ['last_epoch', -1],
        ],
        spellings: { tMax: 'T_max' },
      },
      args,
    );
    this.set('T_max', values.get('T_max') as PyValue);
    this.set('eta_min', values.get('eta_min') as PyValue);
    this.start(Number(values.get('last_epoch')));
  }
  protected override getLr(): PyNumber[] {
    if (this.isInitial) return this.lrs();
    const [epoch, half, low] = [this.lastEpoch, this.number('T_max'), this.number('eta_min')];
    const base = this.list('base_lrs').map(Number);
    if (this.number('_step_count') === 1 && epoch > 0) {
      return base.map((lr) => float(low + ((lr - low) * (1 + cos((epoch * Math.PI) / half))) / 2));
    }
    if ((epoch - 1 - half) % (2 * half) === 0) {
      return this.lrs().map((lr, i) =>
        float(Number(lr) + (((base[i] as number) - low) * (1 - cos(Math.PI / half))) / 2),
      );
    }
    const ratio = (1 + cos((Math.PI * epoch) / half)) / (1 + cos((Math.PI * (epoch - 1)) / half));
    return this.lrs().map((lr) => float(ratio * (Number(lr) - low) + low));
  }
  protected override closedFormLr(): PyNumber[] {
    const low = this.number('eta_min');
    const height = 1 + cos((Math.PI * this.lastEpoch) / this.number('T_max'));
    return this.list('base_lrs').map((lr) => float(low + ((Number(lr) - low) * height) / 2));
  }
}

export interface CosineAnnealingWarmRestartsOptions extends LastEpoch {
  /** Epochs to the first restart. */
  t0: number;
  /** By what the time between restarts grows; default 1. */
  tMult?: number;
  /** Default 0.0. */
  etaMin?: Num;
}

/** Goes down along half a cosine again and again, starting anew from the highest rate. */
export class CosineAnnealingWarmRestarts extends LRScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<CosineAnnealingWarmRestartsOptions>) {
    super(optimizer);
    const values = bind(
      {
        name: 'CosineAnnealingWarmRestarts',
        parameters: [
          ['T_0', undefined],
          ['T_mult', 1],
          ['eta_min', pyFloat(0)],
          ['last_epoch', -1],
        ],
        spellings: { t0: 'T_0', tMult: 'T_mult' },
      },
      args,
    );
    const first = demandInt(
      values.get('T_0'),
      (value) => value > 0,
      `Expected positive integer T_0, but got ${repr(values.get('T_0'))}`,
    );
    const factor = demandInt(
      values.get('T_mult'),
      (value) => value >= 1,
      `Expected integer T_mult >= 1, but got ${repr(values.get('T_mult'))}`,
    );
    const low = values.get('eta_min');
    if (!isNumeric(low))
      throw new RangeError(`Expected float or int eta_min, but got ${repr(low)} of type ${pythonTypeText(low)}`);
    const lastEpoch = Number(values.get('last_epoch'));
    this.set('T_0', first);
    this.set('T_i', first);
    this.set('T_mult', factor);
    this.set('eta_min', low as PyValue);
    this.set('T_cur', lastEpoch);
    this.start(lastEpoch);
  }
  protected override getLr(): PyNumber[] {
    const low = this.number('eta_min');
    const height = 1 + cos((Math.PI * this.number('T_cur')) / this.number('T_i'));
    return this.list('base_lrs').map((lr) => float(low + ((Number(lr) - low) * height) / 2));
  }
  /** Goes to the next epoch; `epoch` may be a fraction, for steps within an epoch. */
  override step(epoch?: number): void {
    const first = this.number('T_0');
    const factor = this.number('T_mult');
    let target = epoch ?? (this.lastEpoch < 0 ? 0 : undefined);
    if (target === undefined) {
      target = this.lastEpoch + 1;
      const current = this.number('T_cur') + 1;
      const length = this.number('T_i');
      this.#place(
        current >= length ? current % length : current,
        current >= length ? length * factor : length,
        this.typed('T_cur'),
      );
    } else {
      if (target < 0) throw new RangeError(`Expected non-negative epoch, but got ${target}`);
      if (target < first) this.#place(target, first);
      else if (factor === 1) this.#place(target % first, this.number('T_i'));
      else {
        const n = Math.trunc(Math.log((target / first) * (factor - 1) + 1) / Math.log(factor));
        this.#place(target - (first * (factor ** n - 1)) / (factor - 1), first * factor ** n, pyFloat(0));
      }
    }
    this.set('last_epoch', Math.floor(target));
    let rates: PyNumber[];
    this.set('_get_lr_called_within_step', true);
    try {
      rates = this.getLr();
    } finally {
      this.set('_get_lr_called_within_step', false);
    }
    this.setRates(rates);
  }
  /** `like` is a number of the type that Python's result would have. */
  #place(current: number, length: number, like: PyNumber = current): void {
    this.set('T_cur', typeof like === 'number' && Number.isInteger(like) ? current : float(current));
    this.set('T_i', length);
  }
}
