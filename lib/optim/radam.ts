/** `torch.optim.RAdam`: Adam that waits with its adaptive rate until the variance of it is tractable. */
import type { Tensor } from '../tensor/tensor';
import { ElementwiseOptimizer } from './builtin';
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
import { addScaled, decoupledOrNot, type Update, type WeightDecay } from './update';

export interface RAdamOptions extends Omit<ImplementationOptions, 'fused'> {
  /** Default 0.001. */
  lr?: LearningRate;
  /** Default [0.9, 0.999]. */
  betas?: readonly [Num, Num];
  /** Default 1e-8. */
  eps?: Num;
  weightDecay?: Num;
  decoupledWeightDecay?: boolean;
}

const SPEC: OptimizerSpec = {
  name: 'RAdam',
  parameters: [
    ['lr', 1e-3],
    ['betas', tupleOf([0.9, 0.999])],
    ['eps', 1e-8],
    ['weight_decay', 0],
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
    'maximize',
    'foreach',
    'capturable',
    'decoupled_weight_decay',
    'differentiable',
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
    ['decoupled_weight_decay', false],
    ['capturable', false],
  ],
};

/** Below this length of the approximated average the variance is not tractable. */
const SHORTEST_AVERAGE = 5;

export class RAdam extends ElementwiseOptimizer<RAdamOptions> {
  static override readonly spec = SPEC;
  static override readonly global = 'torch.optim.radam.RAdam';

  protected override begin(state: ParamState, param: Tensor, group: ParamGroup): void {
    state.set('step', newStep(param, group));
    beginMoments(state, param);
  }

  protected override weightDecayIn(group: ParamGroup): WeightDecay {
    return decoupledOrNot(group);
  }

  protected override update(update: Update, group: ParamGroup, step: number): void {
    const { p, r, s } = update;
    const { average, square, beta1, beta2 } = updateMoments(update, group);
    const correction1 = s(1 - beta1 ** step);
    const correction2 = 1 - beta2 ** step;
    const lr = s(num(group, 'lr'));
    const longest = 2 / (1 - beta2) - 1;
    const length = longest - (2 * step * beta2 ** step) / correction2;
    const change = average.map((x) => r(r(x / correction1) * lr));
    if (length > SHORTEST_AVERAGE) {
      const rectification = s(
        Math.sqrt(((length - 4) * (length - 2) * longest) / ((longest - 4) * (longest - 2) * length)),
      );
      const root = s(Math.sqrt(correction2));
      const eps = s(num(group, 'eps'));
      for (let i = 0; i < change.length; i++) {
        // PyTorch divides a number by a tensor as a product with the reciprocal.
        const adaptive = r(r(1 / r(r(Math.sqrt(square[i] as number)) + eps)) * root);
        change[i] = r(r((change[i] as number) * adaptive) * rectification);
      }
    }
    addScaled(p, change, -1, r, s);
  }
}
