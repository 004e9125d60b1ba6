/** `torch.optim.Adadelta`: steps as long as the running root of earlier ones, over that of the gradients. */

import { pyFloat } from '../pickle/values';
import { repr } from '../repr';
import type { Tensor } from '../tensor/tensor';
import { ElementwiseOptimizer } from './builtin';
import { fullLike } from './elements';
import {
  ADDED_IMPLEMENTATION,
  atLeastZero,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  newStep,
  num,
  type OptimizerSpec,
  oneLearningRate,
  refuse,
} from './hyperparameters';
import type { ParamGroup, ParamState } from './optimizer';
import { addProduct, addScaled, scale, type Update } from './update';

export interface AdadeltaOptions extends Omit<ImplementationOptions, 'fused'> {
  /** Default 1.0. */
  lr?: LearningRate;
  /** Default 0.9. */
  rho?: Num;
  /** Default 1e-6. */
  eps?: Num;
  weightDecay?: Num;
}

const SPEC: OptimizerSpec = {
  name: 'Adadelta',
  parameters: [
    ['lr', pyFloat(1)],
    ['rho', 0.9],
    ['eps', 1e-6],
    ['weight_decay', 0],
    ['foreach', null],
    ['capturable', false],
    ['maximize', false],
    ['differentiable', false],
  ],
  order: ['lr', 'rho', 'eps', 'weight_decay', 'maximize', 'capturable', 'foreach', 'differentiable'],
  checks: [
    oneLearningRate,
    atLeastZero('lr', 'Invalid learning rate'),
    (values) => {
      const rho = num(values as ParamGroup, 'rho');
      if (!(rho >= 0 && rho <= 1)) refuse(`Invalid rho value: ${repr(values.get('rho'))}`);
    },
    atLeastZero('eps', 'Invalid epsilon value'),
    atLeastZero('weight_decay', 'Invalid weight_decay value'),
  ],
  added: ADDED_IMPLEMENTATION,
};

export class Adadelta extends ElementwiseOptimizer<AdadeltaOptions> {
  static override readonly spec = SPEC;
  static override readonly global = 'torch.optim.adadelta.Adadelta';

  protected override begin(state: ParamState, param: Tensor, group: ParamGroup): void {
    state.set('step', newStep(param, group));
    state.set('square_avg', fullLike(param, 0));
    state.set('acc_delta', fullLike(param, 0));
  }

  protected override update(update: Update, group: ParamGroup): void {
    const { p, g, r, s } = update;
    const rho = num(group, 'rho');
    const eps = s(num(group, 'eps'));
    const square = update.state('square_avg');
    const accumulated = update.state('acc_delta');
    scale(square, rho, r, s);
    addProduct(square, g, g, 1 - rho, r, s);
    const root = (x: number): number => r(Math.sqrt(r(x + eps)));
    const delta = accumulated.map((x, i) => r(r(root(x) / root(square[i] as number)) * (g[i] as number)));
    scale(accumulated, rho, r, s);
    addProduct(accumulated, delta, delta, 1 - rho, r, s);
    addScaled(p, delta, -num(group, 'lr'), r, s);
  }
}
