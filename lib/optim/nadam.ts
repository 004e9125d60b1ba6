/** `torch.optim.NAdam`: Adam with Nesterov's momentum. */
import type { Tensor } from '../tensor/tensor';
import type { Arguments } from './arguments';
import { fullLike, scalarTensor } from './elements';
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
import { addProduct, addQuotient, advance, beginUpdate, lerp, scale } from './update';

export interface NAdamOptions extends Omit<ImplementationOptions, 'fused'> {
  /** Default 0.002. */
  lr?: LearningRate;
  /** Default [0.9, 0.999]. */
  betas?: readonly [Num, Num];
  /** Default 1e-8. */
  eps?: Num;
  weightDecay?: Num;
  /** Default 0.004. */
  momentumDecay?: Num;
  decoupledWeightDecay?: boolean;
}

const SPEC: OptimizerSpec = {
  name: 'NAdam',
  parameters: [
    ['lr', 2e-3],
    ['betas', tupleOf([0.9, 0.999])],
    ['eps', 1e-8],
    ['weight_decay', 0],
    ['momentum_decay', 4e-3],
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
    'momentum_decay',
    'decoupled_weight_decay',
    'maximize',
    'foreach',
    'capturable',
    'differentiable',
  ],
  checks: [
    oneLearningRate,
    atLeastZero('lr', 'Invalid learning rate'),
    atLeastZero('eps', 'Invalid epsilon value'),
    betasBelowOne,
    atLeastZero('weight_decay', 'Invalid weight_decay value'),
    atLeastZero('momentum_decay', 'Invalid momentum_decay value'),
  ],
  added: [
    ['maximize', false],
    ['foreach', null],
    ['capturable', false],
    ['differentiable', false],
    ['decoupled_weight_decay', false],
  ],
};

export class NAdam extends Optimizer {
  static override readonly global = 'torch.optim.nadam.NAdam';

  constructor(params: OptimizerParams, ...args: Arguments<NAdamOptions>) {
    super(params, defaultsOf(SPEC, args));
  }

  protected override updateParam(param: Tensor, grad: Tensor, group: ParamGroup): void {
    const state = this.stateOf(param);
    if (state.size === 0) {
      state.set('step', newStep(param, group));
      state.set('mu_product', scalarTensor(1, group.get('capturable') ? param.storage.location : 'cpu'));
      state.set('exp_avg', fullLike(param, 0));
      state.set('exp_avg_sq', fullLike(param, 0));
    }
    const step = advance(state);
    const update = beginUpdate(
      param,
      grad,
      state,
      group,
      group.get('decoupled_weight_decay') ? 'parameter' : 'gradient',
    );
    const { p, g, r, s } = update;
    const [beta1, beta2] = numberPair(group, 'betas');
    const decay = num(group, 'momentum_decay');
    const mu = beta1 * (1 - 0.5 * 0.96 ** (step * decay));
    const next = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * decay));
    const products = update.state('mu_product');
    products[0] = (products[0] as number) * Math.fround(mu);
    const product = products[0] as number;
    const average = update.state('exp_avg');
    const square = update.state('exp_avg_sq');
    lerp(average, g, 1 - beta1, r, s);
    scale(square, beta2, r, s);
    addProduct(square, g, g, 1 - beta2, r, s);
    const correction = s(1 - beta2 ** step);
    const eps = s(num(group, 'eps'));
    const denominator = square.map((x) => r(r(Math.sqrt(r(x / correction))) + eps));
    const lr = num(group, 'lr');
    addQuotient(p, g, denominator, (-lr * (1 - mu)) / (1 - product), r, s);
    addQuotient(p, average, denominator, (-lr * next) / (1 - product * next), r, s);
    update.commit();
  }

  protected override completeGroup(group: ParamGroup): void {
    addMissing(group, SPEC);
    tensorsFromNumbers(group, this.state, ['step', 'mu_product']);
  }
}
