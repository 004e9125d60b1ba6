/** `torch.optim.ASGD`: gradient descent that also keeps the average of its parameters. */

import { pyFloat } from '../pickle/values';
import type { Tensor } from '../tensor/tensor';
import { ElementwiseOptimizer } from './builtin';
import { fullLike, scalarTensor } from './elements';
import {
  ADDED_IMPLEMENTATION,
  atLeastZero,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  num,
  type OptimizerSpec,
  oneLearningRate,
} from './hyperparameters';
import type { ParamGroup, ParamState } from './optimizer';
import { addScaled, scale, type Update } from './update';

export interface ASGDOptions extends Omit<ImplementationOptions, 'fused'> {
  /** Default 0.01. */
  lr?: LearningRate;
  /** Default 0.0001. */
  lambd?: Num;
  /** Default 0.75. */
  alpha?: Num;
  /** The step from which on averages are taken; default 1e6. */
  t0?: Num;
  weightDecay?: Num;
}

const SPEC: OptimizerSpec = {
  name: 'ASGD',
  parameters: [
    ['lr', 1e-2],
    ['lambd', 1e-4],
    ['alpha', 0.75],
    ['t0', pyFloat(1e6)],
    ['weight_decay', 0],
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
    ['capturable', false],
  ],
  checks: [
    oneLearningRate,
    atLeastZero('lr', 'Invalid learning rate'),
    atLeastZero('weight_decay', 'Invalid weight_decay value'),
  ],
  scalars: ['step', 'eta', 'mu'],
  scalarsOn: 'parameter',
  added: ADDED_IMPLEMENTATION,
};

export class ASGD extends ElementwiseOptimizer<ASGDOptions> {
  static override readonly spec = SPEC;
  static override readonly global = 'torch.optim.asgd.ASGD';

  protected override begin(state: ParamState, param: Tensor, group: ParamGroup): void {
    const { location } = param.storage;
    state.set('step', scalarTensor(0, location));
    state.set('eta', scalarTensor(num(group, 'lr'), location));
    state.set('mu', scalarTensor(1, location));
    state.set('ax', fullLike(param, 0));
  }

  protected override update(update: Update, group: ParamGroup, step: number): void {
    const lr = num(group, 'lr');
    const { p, g, r, s } = update;
    const lambd = num(group, 'lambd');
    const etas = update.state('eta');
    const mus = update.state('mu');
    const average = update.state('ax');
    const eta = etas[0] as number;
    const mu = mus[0] as number;
    scale(p, 1 - lambd * eta, r, s);
    addScaled(p, g, -eta, r, s);
    if (mu === 1) average.set(p);
    else
      for (let i = 0; i < average.length; i++)
        average[i] = r((average[i] as number) + r(r((p[i] as number) - (average[i] as number)) * mu));
    etas[0] = lr / (1 + lambd * lr * step) ** num(group, 'alpha');
    mus[0] = 1 / Math.max(1, step - num(group, 't0'));
  }
}
