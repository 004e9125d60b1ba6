/** `torch.optim.RAdam`: Adam that waits with its adaptive rate until the variance of it is tractable. */
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
import { addProduct, addScaled, advance, beginUpdate, lerp, scale } from './update';

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

export class RAdam extends Optimizer {
  static override readonly global = 'torch.optim.radam.RAdam';

  constructor(params: OptimizerParams, ...args: Arguments<RAdamOptions>) {
    super(params, defaultsOf(SPEC, args));
  }

  protected override updateParam(param: Tensor, grad: Tensor, group: ParamGroup): void {
    const state = this.stateOf(param);
    if (state.size === 0) {
      state.set('step', newStep(param, group));
      state.set('exp_avg', fullLike(param, 0));
      state.set('exp_avg_sq', fullLike(param, 0));
    }
    const update = beginUpdate(
      param,
      grad,
      state,
      group,
      group.get('decoupled_weight_decay') ? 'parameter' : 'gradient',
    );
    const { p, g, r, s } = update;
    const step = advance(state);
    const [beta1, beta2] = numberPair(group, 'betas');
    const average = update.state('exp_avg');
    const square = update.state('exp_avg_sq');
    lerp(average, g, 1 - beta1, r, s);
    scale(square, beta2, r, s);
    addProduct(square, g, g, 1 - beta2, r, s);
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
    update.commit();
  }

  protected override completeGroup(group: ParamGroup): void {
    addMissing(group, SPEC);
    tensorsFromNumbers(group, this.state, ['step']);
  }
}
