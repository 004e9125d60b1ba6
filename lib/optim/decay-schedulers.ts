/** Schedulers that multiply the learning rate by a factor: fixed, by step, by milestone, linear, polynomial, or given. */
import { Counter, type PyFloat, type PyValue, pyFloat } from '../pickle/values';
import { type Arguments, bind, type Signature } from './arguments';
import type { Num } from './hyperparameters';
import { pow } from './libm';
import { demand } from './load-state';
import { float, isNumeric, isPyFloat, itemsOf, listOf, numberOf, type PyNumber, product } from './numbers';
import type { Optimizer } from './optimizer';
import { LRScheduler, type SchedulerState } from './scheduler';

export interface LastEpoch {
  /** The epoch to resume at; default -1, a new schedule. */
  lastEpoch?: number;
}

/** A scheduler whose arguments are attributes as they are. */
abstract class PlainScheduler extends LRScheduler {
  constructor(
    optimizer: Optimizer,
    signature: Signature,
    args: readonly unknown[],
    check?: (values: Map<string, unknown>) => void,
  ) {
    super(optimizer);
    const values = bind(signature, args);
    for (const [name, value] of values)
      if (!isNumeric(value)) throw new TypeError(`${signature.name}: ${name} must be a number`);
    check?.(values);
    for (const [name, value] of values) if (name !== 'last_epoch') this.set(name, value as PyValue);
    this.start(Number(values.get('last_epoch')));
  }
}

const LAST_EPOCH = ['last_epoch', -1] as const;

export interface StepLROptions extends LastEpoch {
  stepSize: number;
  /** Default 0.1. */
  gamma?: Num;
}

/** Decays the rate by `gamma` every `stepSize` epochs. */
export class StepLR extends PlainScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<StepLROptions>) {
    super(optimizer, { name: 'StepLR', parameters: [['step_size', undefined], ['gamma', 0.1], LAST_EPOCH] }, args);
  }
  protected override getLr(): PyNumber[] {
    if (this.lastEpoch === 0 || this.lastEpoch % this.number('step_size') !== 0) return this.lrs();
    return this.lrs().map((lr) => product(lr, this.typed('gamma')));
  }
  protected override closedFormLr(): PyNumber[] {
    const factor = power(this.typed('gamma'), Math.floor(this.lastEpoch / this.number('step_size')));
    return this.list('base_lrs').map((lr) => product(lr, factor));
  }
}

export interface MultiStepLROptions extends LastEpoch {
  /** The epochs after which the rate decays; one that is listed twice counts twice. */
  milestones: Iterable<number>;
  /** Default 0.1. */
  gamma?: Num;
}

/** Decays the rate by `gamma` at each milestone. */
export class MultiStepLR extends LRScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<MultiStepLROptions>) {
    super(optimizer);
    const values = bind(
      { name: 'MultiStepLR', parameters: [['milestones', undefined], ['gamma', 0.1], LAST_EPOCH] },
      args,
    );
    const counter = new Counter<number>();
    for (const milestone of values.get('milestones') as Iterable<number>)
      counter.set(milestone, (counter.get(milestone) ?? 0) + 1);
    this.set('milestones', counter);
    this.set('gamma', values.get('gamma') as PyValue);
    this.start(Number(values.get('last_epoch')));
  }
  protected override getLr(): PyNumber[] {
    const count = this.#milestones().get(this.lastEpoch);
    if (count === undefined) return this.lrs();
    return this.lrs().map((lr) => product(lr, power(this.typed('gamma'), count)));
  }
  protected override closedFormLr(): PyNumber[] {
    let passed = 0;
    for (const [milestone, count] of this.#milestones()) if (milestone <= this.lastEpoch) passed += count;
    return this.list('base_lrs').map((lr) => product(lr, power(this.typed('gamma'), passed)));
  }
  #milestones(): Map<number, number> {
    const milestones = this.get('milestones');
    if (!(milestones instanceof Map)) throw new TypeError("'milestones' of the scheduler is not a Counter");
    return milestones as Map<number, number>;
  }
}

export interface ConstantLROptions extends LastEpoch {
  /** Default 1/3. */
  factor?: Num;
  /** Default 5. */
  totalIters?: number;
}

/** Multiplies the rate by `factor` during the first `totalIters` epochs. */
export class ConstantLR extends PlainScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<ConstantLROptions>) {
    super(
      optimizer,
      { name: 'ConstantLR', parameters: [['factor', 1 / 3], ['total_iters', 5], LAST_EPOCH] },
      args,
      (values) => {
        if (!within(values.get('factor'), 0, 1))
          throw new RangeError('Constant multiplicative factor expected to be between 0 and 1.');
      },
    );
  }
  protected override getLr(): PyNumber[] {
    if (this.lastEpoch === 0) return this.lrs().map((lr) => product(lr, this.typed('factor')));
    if (this.lastEpoch !== this.number('total_iters')) return this.lrs();
    return this.lrs().map((lr) => float(Number(lr) * (1 / this.number('factor'))));
  }
  protected override closedFormLr(): PyNumber[] {
    const factor = this.typed('factor');
    const done = this.lastEpoch >= this.number('total_iters') ? 1 : 0;
    const value = Number(factor) + done * (1 - Number(factor));
    return this.list('base_lrs').map((lr) => product(lr, isPyFloat(factor) ? float(value) : value));
  }
}

export interface LinearLROptions extends LastEpoch {
  /** Default 1/3. */
  startFactor?: Num;
  /** Default 1.0. */
  endFactor?: Num;
  /** Default 5. */
  totalIters?: number;
}

/** Goes from `startFactor` to `endFactor` times the rate in `totalIters` epochs. */
export class LinearLR extends PlainScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<LinearLROptions>) {
    const signature: Signature = {
      name: 'LinearLR',
      parameters: [['start_factor', 1 / 3], ['end_factor', pyFloat(1)], ['total_iters', 5], LAST_EPOCH],
    };
    super(optimizer, signature, args, (values) => {
      if (!within(values.get('start_factor'), 0, 1) || Number(values.get('start_factor')) === 0) {
        throw new RangeError('Starting multiplicative factor expected to be greater than 0 and less or equal to 1.');
      }
      if (!within(values.get('end_factor'), 0, 1))
        throw new RangeError('Ending multiplicative factor expected to be between 0 and 1.');
    });
  }
  protected override getLr(): PyNumber[] {
    const [start, end, total] = [this.number('start_factor'), this.number('end_factor'), this.number('total_iters')];
    if (this.lastEpoch === 0) return this.lrs().map((lr) => product(lr, this.typed('start_factor')));
    if (this.isInitial || this.lastEpoch > total) return this.lrs();
    const factor = 1 + (end - start) / (total * start + (this.lastEpoch - 1) * (end - start));
    return this.lrs().map((lr) => float(Number(lr) * factor));
  }
  protected override closedFormLr(): PyNumber[] {
    const [start, end, total] = [this.number('start_factor'), this.number('end_factor'), this.number('total_iters')];
    return this.list('base_lrs').map((lr) =>
      float(Number(lr) * (start + ((end - start) * Math.min(total, this.lastEpoch)) / total)),
    );
  }
}

export interface ExponentialLROptions extends LastEpoch {
  gamma: Num;
}

/** Decays the rate by `gamma` every epoch. */
export class ExponentialLR extends PlainScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<ExponentialLROptions>) {
    super(optimizer, { name: 'ExponentialLR', parameters: [['gamma', undefined], LAST_EPOCH] }, args);
  }
  protected override getLr(): PyNumber[] {
    return this.isInitial ? this.lrs() : this.lrs().map((lr) => product(lr, this.typed('gamma')));
  }
  protected override closedFormLr(): PyNumber[] {
    return this.list('base_lrs').map((lr) => product(lr, power(this.typed('gamma'), this.lastEpoch)));
  }
}

export interface PolynomialLROptions extends LastEpoch {
  /** Default 5. */
  totalIters?: number;
  /** Default 1.0. */
  power?: Num;
}

/** Lets the rate fall to zero in `totalIters` epochs, along a polynomial of degree `power`. */
export class PolynomialLR extends PlainScheduler {
  constructor(optimizer: Optimizer, ...args: Arguments<PolynomialLROptions>) {
    super(
      optimizer,
      { name: 'PolynomialLR', parameters: [['total_iters', 5], ['power', pyFloat(1)], LAST_EPOCH] },
      args,
    );
  }
  protected override getLr(): PyNumber[] {
    const total = this.number('total_iters');
    if (this.isInitial || this.lastEpoch > total) return this.lrs();
    const factor = pow((1 - this.lastEpoch / total) / (1 - (this.lastEpoch - 1) / total), this.number('power'));
    return this.lrs().map((lr) => float(Number(lr) * factor));
  }
  protected override closedFormLr(): PyNumber[] {
    const total = this.number('total_iters');
    const factor = 1 - Math.min(total, this.lastEpoch) / total;
    return this.list('base_lrs').map((lr) => float(Number(lr) * pow(factor, this.number('power'))));
  }
}

/** Gives a factor for an epoch. */
export type LrLambda = (epoch: number) => number | PyFloat;

export interface LambdaLROptions extends LastEpoch {
  lrLambda: LrLambda | readonly LrLambda[];
}

/** Schedulers whose factors come from functions, which are not saved. */
abstract class FunctionScheduler extends LRScheduler {
  protected readonly lambdas: readonly LrLambda[];
  /** What a file kept of callable objects: nothing here can use it, and it is saved again. */
  #saved: PyValue[];

  constructor(optimizer: Optimizer, name: string, args: readonly unknown[]) {
    super(optimizer);
    const values = bind({ name, parameters: [['lr_lambda', undefined], LAST_EPOCH] }, args);
    const given = values.get('lr_lambda');
    const count = optimizer.paramGroups.length;
    if (Array.isArray(given) && given.length !== count)
      throw new RangeError(`Expected ${count} lr_lambdas, but got ${given.length}`);
    this.lambdas = Array.isArray(given)
      ? ([...given] as LrLambda[])
      : Array.from({ length: count }, () => given as LrLambda);
    for (const lambda of this.lambdas)
      if (typeof lambda !== 'function') throw new TypeError(`lr_lambda should be a function, but got ${typeof lambda}`);
    this.#saved = this.lambdas.map(() => null);
    this.start(Number(values.get('last_epoch')));
  }
  protected factor(group: number): PyNumber {
    const lambda = this.lambdas[group];
    return lambda ? numberOf(lambda(this.lastEpoch), 'the result of lr_lambda') : 1;
  }
  override stateDict(): SchedulerState {
    return this.copyAttributes().set('lr_lambdas', listOf(this.#saved));
  }
  override loadStateDict(stateDict: SchedulerState | Record<string, PyValue>): void {
    const saved = demand(stateDict, 'lr_lambdas');
    this.takeOver(stateDict, ['lr_lambdas']);
    if (Array.isArray(saved)) this.#saved = itemsOf(saved as PyValue[]);
  }
}

/** The rate at the start times the factor that a function gives for the epoch. */
export class LambdaLR extends FunctionScheduler {
  constructor(
    optimizer: Optimizer,
    ...args: Arguments<LambdaLROptions> | [lrLambda: LrLambda | readonly LrLambda[], lastEpoch?: number]
  ) {
    super(optimizer, 'LambdaLR', args);
  }
  protected override getLr(): PyNumber[] {
    return this.list('base_lrs').map((lr, i) => product(lr, this.factor(i)));
  }
}

/** The rate of the epoch before times the factor that a function gives. */
export class MultiplicativeLR extends FunctionScheduler {
  constructor(
    optimizer: Optimizer,
    ...args: Arguments<LambdaLROptions> | [lrLambda: LrLambda | readonly LrLambda[], lastEpoch?: number]
  ) {
    super(optimizer, 'MultiplicativeLR', args);
  }
  protected override getLr(): PyNumber[] {
    return this.isInitial ? this.lrs() : this.lrs().map((lr, i) => product(lr, this.factor(i)));
  }
}

/** Python's base ** exponent for an integral exponent: an int where both are ints and it is no fraction. */
function power(base: PyNumber, exponent: number): PyNumber {
  const value = pow(Number(base), exponent);
  return isPyFloat(base) || exponent < 0 ? float(value) : value;
}

function within(value: unknown, low: number, high: number): boolean {
  const number = Number(value);
  return !(number < low || number > high);
}
