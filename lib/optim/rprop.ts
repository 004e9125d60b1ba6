/** `torch.optim.Rprop`: step sizes that grow while the sign of the gradient stays and shrink where it turns. */

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
  numberPair,
  type OptimizerSpec,
  oneLearningRate,
  pairOf,
  refuse,
} from './hyperparameters';
import { tupleOf } from './numbers';
import type { ParamGroup, ParamState } from './optimizer';
import { addProduct, type Update, type WeightDecay } from './update';

export interface RpropOptions extends Omit<ImplementationOptions, 'fused'> {
  /** Default 0.01. */
  lr?: LearningRate;
  /** By what a step shrinks and grows; default [0.5, 1.2]. */
  etas?: readonly [Num, Num];
  /** Smallest and largest step; default [1e-6, 50]. */
  stepSizes?: readonly [Num, Num];
}

const SPEC: OptimizerSpec = {
  name: 'Rprop',
  parameters: [
    ['lr', 1e-2],
    ['etas', tupleOf([0.5, 1.2])],
    ['step_sizes', tupleOf([1e-6, 50])],
    ['capturable', false],
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
  ],
  order: ['lr', 'etas', 'step_sizes', 'foreach', 'maximize', 'differentiable', 'capturable'],
  checks: [
    oneLearningRate,
    atLeastZero('lr', 'Invalid learning rate'),
    (values) => {
      const [minus, plus] = numberPair(values as ParamGroup, 'etas');
      if (!(0 < minus && minus < 1 && 1 < plus))
        refuse(`Invalid eta values: ${pairOf(values, 'etas').map(repr).join(', ')}`);
    },
  ],
  added: ADDED_IMPLEMENTATION,
};

export class Rprop extends ElementwiseOptimizer<RpropOptions> {
  static override readonly spec = SPEC;
  static override readonly global = 'torch.optim.rprop.Rprop';

  protected override begin(state: ParamState, param: Tensor, group: ParamGroup, grad: Tensor): void {
    state.set('step', newStep(param, group));
    state.set('prev', fullLike(param, 0));
    state.set('step_size', fullLike(grad.to(param.dtype), num(group, 'lr')));
  }

  protected override weightDecayIn(): WeightDecay {
    return 'none';
  }

  protected override update(update: Update, group: ParamGroup): void {
    const { p, r, s } = update;
    const [minus, plus] = numberPair(group, 'etas').map(s) as [number, number];
    const [smallest, largest] = numberPair(group, 'step_sizes').map(s) as [number, number];
    const previous = update.state('prev');
    const sizes = update.state('step_size');
    const g = update.g.slice();
    for (let i = 0; i < g.length; i++) {
      const sign = Math.sign(r((g[i] as number) * (previous[i] as number)));
      const factor = sign > 0 ? plus : sign < 0 ? minus : 1;
      sizes[i] = Math.min(Math.max(r((sizes[i] as number) * factor), smallest), largest);
      if (sign < 0) g[i] = 0;
    }
    addProduct(p, g.map(Math.sign), sizes, -1, r, s);
    previous.set(g);
  }
}
