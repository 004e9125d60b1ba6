/** `torch.optim.RMSprop`: gradients divided by a running root of their squares. */
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
  tensorsFromNumbers,
} from './hyperparameters';
import { Optimizer, type OptimizerParams, type ParamGroup } from './optimizer';
import { addProduct, addQuotient, addScaled, advance, beginUpdate, lerp, scale } from './update';

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
  added: [
    ['momentum', 0],
    ['centered', false],
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
    ['capturable', false],
  ],
};

export class RMSprop extends Optimizer {
  static override readonly global = 'torch.optim.rmsprop.RMSprop';

  constructor(params: OptimizerParams, ...args: Arguments<RMSpropOptions>) {
    super(params, defaultsOf(SPEC, args));
  }

  protected override updateParam(param: Tensor, grad: Tensor, group: ParamGroup): void {
    const momentum = num(group, 'momentum');
    const state = this.stateOf(param);
    if (state.size === 0) {
      state.set('step', newStep(param, group));
      state.set('square_avg', fullLike(param, 0));
      if (momentum > 0) state.set('momentum_buffer', fullLike(param, 0));
      if (group.get('centered')) state.set('grad_avg', fullLike(param, 0));
    }
    const update = beginUpdate(param, grad, state, group);
    const { p, g, r, s } = update;
    advance(state);
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
    update.commit();
  }

  protected override completeGroup(group: ParamGroup): void {
    addMissing(group, SPEC);
    tensorsFromNumbers(group, this.state, ['step']);
  }
}
