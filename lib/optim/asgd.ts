/** `torch.optim.ASGD`: gradient descent that also keeps the average of its parameters. */

import { pyFloat } from '../pickle/values';
import type { Tensor } from '../tensor/tensor';
import type { Arguments } from './arguments';
import { fullLike, scalarTensor } from './elements';
import {
  addMissing,
  atLeastZero,
  defaultsOf,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  num,
  type OptimizerSpec,
  oneLearningRate,
  tensorsFromNumbers,
} from './hyperparameters';
import { Optimizer, type OptimizerParams, type ParamGroup } from './optimizer';
import { addScaled, advance, beginUpdate, scale } from './update';

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
  added: [
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
    ['capturable', false],
  ],
};

export class ASGD extends Optimizer {
  static override readonly global = 'torch.optim.asgd.ASGD';

  constructor(params: OptimizerParams, ...args: Arguments<ASGDOptions>) {
    super(params, defaultsOf(SPEC, args));
  }

  protected override updateParam(param: Tensor, grad: Tensor, group: ParamGroup): void {
    const state = this.stateOf(param);
    const lr = num(group, 'lr');
    if (state.size === 0) {
      const { location } = param.storage;
      state.set('step', scalarTensor(0, location));
      state.set('eta', scalarTensor(lr, location));
      state.set('mu', scalarTensor(1, location));
      state.set('ax', fullLike(param, 0));
    }
    const update = beginUpdate(param, grad, state, group);
    const { p, g, r, s } = update;
    const step = advance(state);
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
    update.commit();
  }

  protected override completeGroup(group: ParamGroup): void {
    addMissing(group, SPEC);
    tensorsFromNumbers(group, this.state, ['step', 'eta', 'mu'], true);
  }
}
