/** `torch.optim.Adamax`: Adam with the largest gradient in place of the root of their squares. */
import type { Tensor } from '../tensor/tensor';
import type { Arguments } from './arguments';
import { fullLike } from './elements';
import {
  addMissing,
  atLeastZero,
  betasBelowOne,
  defaultsOf,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  newStep,
  num,
  numberPair,
  type OptimizerSpec,
  oneLearningRate,
  tensorsFromNumbers,
} from './hyperparameters';
import { tupleOf } from './numbers';
import { Optimizer, type OptimizerParams, type ParamGroup } from './optimizer';
import { addQuotient, advance, beginUpdate, lerp, scale } from './update';

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
  added: [
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
    ['capturable', false],
  ],
};

export class Adamax extends Optimizer {
  static override readonly global = 'torch.optim.adamax.Adamax';

  constructor(params: OptimizerParams, ...args: Arguments<AdamaxOptions>) {
    super(params, defaultsOf(SPEC, args));
  }

  protected override updateParam(param: Tensor, grad: Tensor, group: ParamGroup): void {
    const state = this.stateOf(param);
    if (state.size === 0) {
      state.set('step', newStep(param, group));
      state.set('exp_avg', fullLike(param, 0));
      state.set('exp_inf', fullLike(param, 0));
    }
    const update = beginUpdate(param, grad, state, group);
    const { p, g, r, s } = update;
    const step = advance(state);
    const [beta1, beta2] = numberPair(group, 'betas');
    const average = update.state('exp_avg');
    const largest = update.state('exp_inf');
    lerp(average, g, 1 - beta1, r, s);
    scale(largest, beta2, r, s);
    const eps = s(num(group, 'eps'));
    for (let i = 0; i < largest.length; i++)
      largest[i] = Math.max(largest[i] as number, r(Math.abs(g[i] as number) + eps));
    addQuotient(p, average, largest, -num(group, 'lr') / (1 - beta1 ** step), r, s);
    update.commit();
  }

  protected override completeGroup(group: ParamGroup): void {
    addMissing(group, SPEC);
    tensorsFromNumbers(group, this.state, ['step']);
  }
}
