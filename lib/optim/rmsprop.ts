/** `torch.optim.RMSprop`: gradients divided by a running root of their squares. */
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
} from './hyperparameters';
import type { ParamGroup, ParamState } from './optimizer';
import { addProduct, addQuotient, addScaled, lerp, scale, type Update } from './update';

export interface RMSpropOptions extends Omit<ImplementationOptions, 'fused'> {
  /** Default 0.01. */
  lr?: LearningRate;
  /** Default 0.99. */
  alpha?: Num;
  /** Default 1e-8. */
  eps?: Num;
  weightDecay?: Num;
  momentum?: Num;
  centered?: boolean;
}

const SPEC: OptimizerSpec = {
  name: 'RMSprop',
  parameters: [
    ['lr', 1e-2],
    ['alpha', 0.99],
    ['eps', 1e-8],
    ['weight_decay', 0],
    ['momentum', 0],
    ['centered', false],
    ['capturable', false],
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
  ],
  order: [
    'lr',
    'momentum',
    'alpha',
    'eps',
    'centered',
    'weight_decay',
    'capturable',
    'foreach',
    'maximize',
    'differentiable',
  ],
  checks: [
    oneLearningRate,
    atLeastZero('lr', 'Invalid learning rate'),
    atLeastZero('eps', 'Invalid epsilon value'),
    atLeastZero('momentum', 'Invalid momentum value'),
    atLeastZero('weight_decay', 'Invalid weight_decay value'),
    atLeastZero('alpha', 'Invalid alpha value'),
  ],
  added: [['momentum', 0], ['centered', false], ...ADDED_IMPLEMENTATION],
};

export class RMSprop extends ElementwiseOptimizer<RMSpropOptions> {
  static override readonly spec = SPEC;
  static override readonly global = 'torch.optim.rmsprop.RMSprop';

  protected override begin(state: ParamState, param: Tensor, group: ParamGroup): void {
    state.set('step', newStep(param, group));
    state.set('square_avg', fullLike(param, 0));
    if (num(group, 'momentum') > 0) state.set('momentum_buffer', fullLike(param, 0));
    if (group.get('centered')) state.set('grad_avg', fullLike(param, 0));
  }

  protected override update(update: Update, group: ParamGroup): void {
    const momentum = num(group, 'momentum');
    const { p, g, r, s } = update;
    const alpha = num(group, 'alpha');
    const square = update.state('square_avg');
    scale(square, alpha, r, s);
    addProduct(square, g, g, 1 - alpha, r, s);
    const average = square.slice();
    if (group.get('centered')) {
      const mean = update.state('grad_avg');
      lerp(mean, g, 1 - alpha, r, s);
      addProduct(average, mean, mean, -1, r, s);
    }
    const eps = s(num(group, 'eps'));
    for (let i = 0; i < average.length; i++) average[i] = r(r(Math.sqrt(average[i] as number)) + eps);
    const lr = num(group, 'lr');
    if (momentum > 0) {
      const buffer = update.state('momentum_buffer');
      scale(buffer, momentum, r, s);
      addQuotient(buffer, g, average, 1, r, s);
      addScaled(p, buffer, -lr, r, s);
    } else addQuotient(p, g, average, -lr, r, s);
  }
}
