/** `torch.optim.NAdam`: Adam with Nesterov's momentum. */
import type { Tensor } from '../tensor/tensor';
import { ElementwiseOptimizer } from './builtin';
import { scalarTensor } from './elements';
import {
  atLeastZero,
  betasBelowOne,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  newStep,
  num,
  type OptimizerSpec,
  oneLearningRate,
} from './hyperparameters';
import { beginMoments, updateMoments } from './moments';
import { tupleOf } from './numbers';
import type { ParamGroup, ParamState } from './optimizer';
import { addQuotient, decoupledOrNot, type Update, type WeightDecay } from './update';

export interface NAdamOptions extends Omit<ImplementationOptions, 'fused'> {
  /** Default 0.002. */
  lr?: LearningRate;
  /** Default [0.9, 0.999]. */
  betas?: readonly [Num, Num];
  /** Default 1e-8. */
  eps?: Num;
  weightDecay?: Num;
  /** Default 0.004. */
  momentumDecay?: Num;
  decoupledWeightDecay?: boolean;
}

const SPEC: OptimizerSpec = {
  name: 'NAdam',
  parameters: [
    ['lr', 2e-3],
    ['betas', tupleOf([0.9, 0.999])],
    ['eps', 1e-8],
    ['weight_decay', 0],
    ['momentum_decay', 4e-3],
    ['decoupled_weight_decay', false],
    ['foreach', null],
    ['maximize', false],
    ['capturable', false],
    ['differentiable', false],
  ],
  order: [
    'lr',
    'betas',
    'eps',
    'weight_decay',
    'momentum_decay',
    'decoupled_weight_decay',
    'maximize',
    'foreach',
    'capturable',
    'differentiable',
  ],
  checks: [
    oneLearningRate,
    atLeastZero('lr', 'Invalid learning rate'),
    atLeastZero('eps', 'Invalid epsilon value'),
    betasBelowOne,
    atLeastZero('weight_decay', 'Invalid weight_decay value'),
    atLeastZero('momentum_decay', 'Invalid momentum_decay value'),
  ],
  scalars: ['step', 'mu_product'],
  added: [
    ['maximize', false],
    ['foreach', null],
    ['capturable', false],
    ['differentiable', false],
    ['decoupled_weight_decay', false],
  ],
};

export class NAdam extends ElementwiseOptimizer<NAdamOptions> {
  static override readonly spec = SPEC;
  static override readonly global = 'torch.optim.nadam.NAdam';

  protected override begin(state: ParamState, param: Tensor, group: ParamGroup): void {
    state.set('step', newStep(param, group));
    state.set('mu_product', scalarTensor(1, group.get('capturable') ? param.storage.location : 'cpu'));
    beginMoments(state, param);
  }

  protected override weightDecayIn(group: ParamGroup): WeightDecay {
    return decoupledOrNot(group);
  }

  protected override update(update: Update, group: ParamGroup, step: number): void {
    const { p, g, r, s } = update;
    const { average, square, beta1, beta2 } = updateMoments(update, group);
    const decay = num(group, 'momentum_decay');
    const mu = beta1 * (1 - 0.5 * 0.96 ** (step * decay));
    const next = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * decay));
    const products = update.state('mu_product');
    products[0] = (products[0] as number) * Math.fround(mu);
    const product = products[0] as number;
    const correction = s(1 - beta2 ** step);
    const eps = s(num(group, 'eps'));
    const denominator = square.map((x) => r(r(Math.sqrt(r(x / correction))) + eps));
    const lr = num(group, 'lr');
    addQuotient(p, g, denominator, (-lr * (1 - mu)) / (1 - product), r, s);
    addQuotient(p, average, denominator, (-lr * next) / (1 - product * next), r, s);
  }
}
