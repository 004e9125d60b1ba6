/** `torch.optim.Adadelta`: steps as long as the running root of earlier ones, over that of the gradients. */

import { pyFloat } from '../pickle/values';
import { repr } from '../repr';
import type { Tensor } from '../tensor/tensor';
import type { Arguments } from './arguments';
import { fullLike } from './elements';
import {
  addMissing,
  atLeastZero,
  defaultsOf,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  newStep,
  num,
  type OptimizerSpec,
  oneLearningRate,
  refuse,
  tensorsFromNumbers,
} from './hyperparameters';
import { Optimizer, type OptimizerParams, type ParamGroup } from './optimizer';
import { addProduct, addScaled, advance, beginUpdate, scale } from './update';

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
  added: [
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
    ['capturable', false],
  ],
};

export class Adadelta extends Optimizer {
  static override readonly global = 'torch.optim.adadelta.Adadelta';

  constructor(params: OptimizerParams, ...args: Arguments<AdadeltaOptions>) {
    super(params, defaultsOf(SPEC, args));
  }

  protected override updateParam(param: Tensor, grad: Tensor, group: ParamGroup): void {
    const state = this.stateOf(param);
    if (state.size === 0) {
      state.set('step', newStep(param, group));
      state.set('square_avg', fullLike(param, 0));
      state.set('acc_delta', fullLike(param, 0));
    }
    const update = beginUpdate(param, grad, state, group);
    const { p, g, r, s } = update;
    advance(state);
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
    update.commit();
  }

  protected override completeGroup(group: ParamGroup): void {
    addMissing(group, SPEC);
    tensorsFromNumbers(group, this.state, ['step']);
  }
}
