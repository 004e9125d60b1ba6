/** `torch.optim.Adam`, and `AdamW`, whose weight decay acts on the parameters and not through the gradient. */
import { PyInt, type PyValue } from '../pickle/values';
import { Tensor } from '../tensor/tensor';
import { type Arguments, bind } from './arguments';
import { ElementwiseOptimizer } from './builtin';
import { fullLike } from './elements';
import {
  atLeastZero,
  betasBelowOne,
  defaultsOf,
  fusedAlone,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  newStep,
  num,
  type OptimizerSpec,
  oneLearningRate,
  pairOf,
  refuse,
} from './hyperparameters';
import { beginMoments, updateMoments } from './moments';
import { float, tupleOf } from './numbers';
import type { OptimizerParams, ParamGroup, ParamState } from './optimizer';
import { addQuotient, decoupledOrNot, type Update, type WeightDecay } from './update';

export interface AdamWOptions extends ImplementationOptions {
  /** Default 0.001. */
  lr?: LearningRate;
  /** Default [0.9, 0.999]. */
  betas?: readonly [LearningRate, LearningRate];
  /** Default 1e-8. */
  eps?: Num;
  /** Default 0, of AdamW 0.01. */
  weightDecay?: Num;
  amsgrad?: boolean;
}

export interface AdamOptions extends AdamWOptions {
  decoupledWeightDecay?: boolean;
}

/** Betas must be floats in Python; here 0 and 0.0 are one number, which is taken as the float. */
function floatBetas(values: Map<string, PyValue>): void {
  const betas = pairOf(values, 'betas');
  const tensors = betas.filter((beta) => beta instanceof Tensor).length;
  if (tensors === 1 || betas.some((beta) => beta instanceof PyInt))
    refuse('betas must be either both floats or both Tensors');
  for (const [i, beta] of betas.entries()) {
    if (!(beta instanceof Tensor)) continue;
    if (!values.get('capturable') && values.get('foreach'))
      refuse(`betas[${i}] as a Tensor is not supported for capturable=False and foreach=True`);
    if (beta.numel !== 1) refuse(`Tensor betas[${i}] must be 1-element`);
  }
  values.set(
    'betas',
    tupleOf(
      betas.map((beta) => (beta instanceof Tensor ? beta.squeeze() : typeof beta === 'number' ? float(beta) : beta)),
    ),
  );
}

function spec(name: string, weightDecay: number, rest: OptimizerSpec['parameters']): OptimizerSpec {
  return {
    name,
    parameters: [
      ['lr', 1e-3],
      ['betas', tupleOf([0.9, 0.999])],
      ['eps', 1e-8],
      ['weight_decay', weightDecay],
      ['amsgrad', false],
      ...rest,
    ],
    order: [
      'lr',
      'betas',
      'eps',
      'weight_decay',
      'amsgrad',
      'maximize',
      'foreach',
      'capturable',
      'differentiable',
      'fused',
    ],
    checks: [
      (values) => {
        if (values.get('lr') instanceof Tensor && values.get('foreach') && !values.get('capturable'))
          refuse('lr as a Tensor is not supported for capturable=False and foreach=True');
      },
      oneLearningRate,
      atLeastZero('lr', 'Invalid learning rate'),
      atLeastZero('eps', 'Invalid epsilon value'),
      betasBelowOne,
      atLeastZero('weight_decay', 'Invalid weight_decay value'),
      floatBetas as OptimizerSpec['checks'][number],
      fusedAlone,
    ],
    added: [
      ['amsgrad', false],
      ['maximize', false],
      ['foreach', null],
      ['capturable', false],
      ['differentiable', false],
      ['decoupled_weight_decay', false],
      ['fused', null],
    ],
  };
}

const IMPLEMENTATION: OptimizerSpec['parameters'] = [
  ['maximize', false],
  ['foreach', null],
  ['capturable', false],
  ['differentiable', false],
  ['fused', null],
];
const ADAM = spec('Adam', 0, [
  ['foreach', null],
  ['maximize', false],
  ['capturable', false],
  ['differentiable', false],
  ['fused', null],
  ['decoupled_weight_decay', false],
]);
const ADAM_W = spec('AdamW', 1e-2, IMPLEMENTATION);

export class Adam extends ElementwiseOptimizer<AdamOptions> {
  static override readonly spec = ADAM;
  static override readonly global: string = 'torch.optim.adam.Adam';

  protected static override defaultsFor(args: readonly unknown[]): ParamGroup {
    const defaults = super.defaultsFor(args);
    return defaults.set('decoupled_weight_decay', bind(ADAM, args).get('decoupled_weight_decay') as PyValue);
  }

  protected override begin(state: ParamState, param: Tensor, group: ParamGroup): void {
    state.set('step', newStep(param, group));
    beginMoments(state, param);
    if (group.get('amsgrad')) state.set('max_exp_avg_sq', fullLike(param, 0));
  }

  protected override weightDecayIn(group: ParamGroup): WeightDecay {
    return decoupledOrNot(group);
  }

  protected override update(update: Update, group: ParamGroup, step: number): void {
    const { p, r, s } = update;
    const { average, square, beta1, beta2 } = updateMoments(update, group);
    let largest = square;
    if (group.get('amsgrad')) {
      largest = update.state('max_exp_avg_sq');
      for (let i = 0; i < largest.length; i++) largest[i] = Math.max(largest[i] as number, square[i] as number);
    }
    const root = s(Math.sqrt(1 - beta2 ** step));
    const eps = s(num(group, 'eps'));
    const denominator = largest.map((x) => r(r(r(Math.sqrt(x)) / root) + eps));
    addQuotient(p, average, denominator, -num(group, 'lr') / (1 - beta1 ** step), r, s);
  }
}

export class AdamW extends Adam {
  static override readonly global: string = 'torch.optim.adamw.AdamW';

  constructor(params: OptimizerParams, ...args: Arguments<AdamWOptions>) {
    super(params, ...args);
  }

  protected static override defaultsFor(args: readonly unknown[]): ParamGroup {
    return defaultsOf(ADAM_W, args).set('decoupled_weight_decay', true);
  }

  protected override completeGroup(group: ParamGroup): void {
    super.completeGroup(group);
    group.set('decoupled_weight_decay', true);
  }
}
