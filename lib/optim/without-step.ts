/** Optimizers whose state dicts are kept here and whose updates are not: they need a closure, sparse or matrix algebra. */
import { type PyValue, pyFloat } from '../pickle/values';
import { repr } from '../repr';
import type { Arguments } from './arguments';
import { BuiltinOptimizer } from './builtin';
import {
  aboveZero,
  atLeastZero,
  betasBelowOne,
  type LearningRate,
  type Num,
  num,
  type OptimizerSpec,
  oneLearningRate,
  pairOf,
  refuse,
} from './hyperparameters';
import { numberOf, put, tupleOf } from './numbers';
import { type OptimizerParams, type ParamGroup, paramsIn } from './optimizer';

export interface LBFGSOptions {
  /** Default 1. */
  lr?: LearningRate;
  /** Default 20. */
  maxIter?: number;
  /** Default maxIter * 5 // 4. */
  maxEval?: number | null;
  /** Default 1e-7. */
  toleranceGrad?: Num;
  /** Default 1e-9. */
  toleranceChange?: Num;
  /** Default 100. */
  historySize?: number;
  lineSearchFn?: 'strong_wolfe' | null;
}

const LBFGS_SPEC: OptimizerSpec = {
  name: 'LBFGS',
  parameters: [
    ['lr', 1],
    ['max_iter', 20],
    ['max_eval', null],
    ['tolerance_grad', 1e-7],
    ['tolerance_change', 1e-9],
    ['history_size', 100],
    ['line_search_fn', null],
  ],
  checks: [oneLearningRate, atLeastZero('lr', 'Invalid learning rate')],
  scalars: [],
};

/** `torch.optim.LBFGS`. Its state belongs to the first parameter. */
export class LBFGS extends BuiltinOptimizer<LBFGSOptions> {
  static override readonly spec = LBFGS_SPEC;
  static override readonly global = 'torch.optim.lbfgs.LBFGS';

  protected static override defaultsFor(args: readonly unknown[]): ParamGroup {
    const defaults = super.defaultsFor(args);
    if (defaults.get('max_eval') === null) put(defaults, 'max_eval', Math.floor((num(defaults, 'max_iter') * 5) / 4));
    return defaults;
  }

  constructor(params: OptimizerParams, ...args: Arguments<LBFGSOptions>) {
    super(params, ...args);
    if (this.paramGroups.length !== 1) refuse("LBFGS doesn't support per-parameter options (parameter groups)");
  }
}

export interface SparseAdamOptions {
  /** Default 0.001. */
  lr?: LearningRate;
  /** Default [0.9, 0.999]. */
  betas?: readonly [Num, Num];
  /** Default 1e-8. */
  eps?: Num;
  maximize?: boolean;
}

const SPARSE_ADAM_SPEC: OptimizerSpec = {
  name: 'SparseAdam',
  parameters: [
    ['lr', 1e-3],
    ['betas', tupleOf([0.9, 0.999])],
    ['eps', 1e-8],
    ['maximize', false],
  ],
  checks: [
    oneLearningRate,
    aboveZero('lr', 'Invalid learning rate'),
    aboveZero('eps', 'Invalid epsilon value'),
    betasBelowOne,
  ],
  scalars: [],
};

/** `torch.optim.SparseAdam`. */
export class SparseAdam extends BuiltinOptimizer<SparseAdamOptions> {
  static override readonly spec = SPARSE_ADAM_SPEC;
  static override readonly global = 'torch.optim.sparse_adam.SparseAdam';

  constructor(params: OptimizerParams, ...args: Arguments<SparseAdamOptions>) {
    super(params, ...args);
    const complex = this.paramGroups.flatMap((group, i) =>
      paramsIn(group).flatMap((param, j) => (param.dtype.isComplex ? [[i, j]] : [])),
    );
    if (complex.length > 0)
      refuse(`Complex params at indices ${repr(complex)}: SparseAdam does not support complex parameters`);
  }
}

export interface AdafactorOptions {
  /** Default 0.01. */
  lr?: LearningRate;
  /** Default -0.8. */
  beta2Decay?: Num;
  /** Default [null, 0.001]. */
  eps?: readonly [Num | null, Num];
  /** Default 1.0. */
  d?: Num;
  weightDecay?: Num;
  foreach?: boolean | null;
  maximize?: boolean;
}

function checkAdafactor(values: ReadonlyMap<string, PyValue>): void {
  const group = values as ParamGroup;
  const [first, second] = pairOf(values, 'eps');
  if (!(num(group, 'lr') >= 0)) refuse(`Learning rate should be >= 0 but is: ${repr(values.get('lr'))}`);
  if (!(num(group, 'beta2_decay') <= 0))
    refuse(`beta2_decay should be <= 0 but is: ${repr(values.get('beta2_decay'))}`);
  if (first !== null && !(Number(numberOf(first, 'eps')) >= 0))
    refuse(`epsilon1 should be >= 0 but is: ${repr(first)}`);
  if (!(Number(numberOf(second, 'eps')) >= 0)) refuse(`epsilon2 should be >= 0 but is: ${repr(second)}`);
  if (!(num(group, 'd') >= 1)) refuse(`Clipping threshold d should be >= 1 but is: ${repr(values.get('d'))}`);
  if (!(num(group, 'weight_decay') >= 0))
    refuse(`weight_decay should be >= 0 but is: ${repr(values.get('weight_decay'))}`);
}

const ADAFACTOR_SPEC: OptimizerSpec = {
  name: 'Adafactor',
  parameters: [
    ['lr', 1e-2],
    ['beta2_decay', -0.8],
    ['eps', tupleOf([null, 1e-3])],
    ['d', pyFloat(1)],
    ['weight_decay', pyFloat(0)],
    ['foreach', null],
    ['maximize', false],
  ],
  checks: [oneLearningRate, checkAdafactor],
  added: [['foreach', null]],
  scalarsOn: 'cpu',
};

/** `torch.optim.Adafactor`. */
export class Adafactor extends BuiltinOptimizer<AdafactorOptions> {
  static override readonly spec = ADAFACTOR_SPEC;
  static override readonly global = 'torch.optim.Adafactor';
}

export interface MuonOptions {
  /** Default 0.001. */
  lr?: LearningRate;
  /** Default 0.1. */
  weightDecay?: Num;
  /** Default 0.95. */
  momentum?: Num;
  /** Default true. */
  nesterov?: boolean;
  /** Default [3.4445, -4.775, 2.0315]. */
  nsCoefficients?: readonly [Num, Num, Num];
  /** Default 1e-7. */
  eps?: Num;
  /** Default 5. */
  nsSteps?: number;
  adjustLrFn?: 'original' | 'match_rms_adamw' | null;
}

const MUON_SPEC: OptimizerSpec = {
  name: 'Muon',
  parameters: [
    ['lr', 1e-3],
    ['weight_decay', 0.1],
    ['momentum', 0.95],
    ['nesterov', true],
    ['ns_coefficients', tupleOf([3.4445, -4.775, 2.0315])],
    ['eps', 1e-7],
    ['ns_steps', 5],
    ['adjust_lr_fn', null],
  ],
  checks: [
    oneLearningRate,
    atLeastZero('lr', 'Learning rate should be >= 0 but is'),
    atLeastZero('momentum', 'momentum should be >= 0 but is'),
    atLeastZero('weight_decay', 'weight decay should be >= 0 but is'),
    (values) => {
      const name = values.get('adjust_lr_fn');
      if (name !== null && name !== 'original' && name !== 'match_rms_adamw')
        refuse(`Adjust learning rate function ${String(name)} is not supported`);
    },
  ],
  scalars: [],
};

/** `torch.optim.Muon`, for matrices only. */
export class Muon extends BuiltinOptimizer<MuonOptions> {
  static override readonly spec = MUON_SPEC;
  static override readonly global = 'torch.optim.Muon';

  constructor(params: OptimizerParams, ...args: Arguments<MuonOptions>) {
    super(params, ...args);
    for (const param of this.paramGroups.flatMap(paramsIn)) {
      if (param.ndim !== 2)
        refuse(
          `Muon only supports 2D parameters whereas we found a parameter with size: torch.Size([${param.shape.join(', ')}])`,
        );
    }
  }
}
