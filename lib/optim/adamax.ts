/** `torch.optim.Adamax`: Adam with the largest gradient in place of the root of their squares. */
import type { Tensor } from '../tensor/tensor';
import { ElementwiseOptimizer } from './builtin';
import { fullLike } from './elements';
import {
  ADDED_IMPLEMENTATION,
  atLeastZero,
  betasBelowOne,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  newStep,
  num,
  numberPair,
  type OptimizerSpec,
  oneLearningRate,
} from './hyperparameters';
import { tupleOf } from './numbers';
import type { ParamGroup, ParamState } from './optimizer';
import { addQuotient, lerp, scale, type Update } from './update';

export interface AdamaxOptions extends Omit<ImplementationOptions, 'fused'> {
  /** Default 0.002. */
  lr?: LearningRate;
  /** Default [0.9, 0.999]. */
  betas?: readonly [Num, Num];
  /** Default 1e-8. */
  eps?: Num;
  weightDecay?: Num;
}

const SPEC: OptimizerSpec = {
  name: 'Adamax',
  parameters: [
    ['lr', 2e-3],
    ['betas', tupleOf([0.9, 0.999])],
    ['eps', 1e-8],
    ['weight_decay', 0],
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
    ['capturable', false],
  ],
  checks: [
    oneLearningRate,
    atLeastZero('lr', 'Invalid learning rate'),
    atLeastZero('eps', 'Invalid epsilon value'),
    betasBelowOne,
    atLeastZero('weight_decay', 'Invalid weight_decay value'),
  ],
  added: ADDED_IMPLEMENTATION,
};

export class Adamax extends ElementwiseOptimizer<AdamaxOptions> {
  static override readonly spec = SPEC;
  static override readonly global = 'torch.optim.adamax.Adamax';

  protected override begin(state: ParamState, param: Tensor, group: ParamGroup): void {
    state.set('step', newStep(param, group));
    state.set('exp_avg', fullLike(param, 0));
    state.set('exp_inf', fullLike(param, 0));
  }

  protected override update(update: Update, group: ParamGroup, step: number): void {
    const { p, g, r, s } = update;
    const [beta1, beta2] = numberPair(group, 'betas');
    const average = update.state('exp_avg');
    const largest = update.state('exp_inf');
    lerp(average, g, 1 - beta1, r, s);
    scale(largest, beta2, r, s);
    const eps = s(num(group, 'eps'));
    for (let i = 0; i < largest.length; i++)
      largest[i] = Math.max(largest[i] as number, r(Math.abs(g[i] as number) + eps));
    addQuotient(p, average, largest, -num(group, 'lr') / (1 - beta1 ** step), r, s);
  }
}
