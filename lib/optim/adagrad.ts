/** `torch.optim.Adagrad`: gradients divided by the root of the sum of all their squares. */
import type { Tensor } from '../tensor/tensor';
import type { Arguments } from './arguments';
import { ElementwiseOptimizer } from './builtin';
import { fullLike } from './elements';
import {
  atLeastZero,
  fusedAlone,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  newStep,
  num,
  type OptimizerSpec,
  oneLearningRate,
} from './hyperparameters';
import { type OptimizerParams, type ParamGroup, type ParamState, paramsIn } from './optimizer';
import { addProduct, addQuotient, type Update } from './update';

export interface AdagradOptions extends Omit<ImplementationOptions, 'capturable'> {
  /** Default 0.01. */
  lr?: LearningRate;
  lrDecay?: Num;
  weightDecay?: Num;
  initialAccumulatorValue?: Num;
  /** Default 1e-10. */
  eps?: Num;
}

const SPEC: OptimizerSpec = {
  name: 'Adagrad',
  parameters: [
    ['lr', 1e-2],
    ['lr_decay', 0],
    ['weight_decay', 0],
    ['initial_accumulator_value', 0],
    ['eps', 1e-10],
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
    ['fused', null],
  ],
  order: [
    'lr',
    'lr_decay',
    'eps',
    'weight_decay',
    'initial_accumulator_value',
    'foreach',
    'maximize',
    'differentiable',
    'fused',
  ],
  checks: [
    oneLearningRate,
    atLeastZero('lr', 'Invalid learning rate'),
    atLeastZero('lr_decay', 'Invalid lr_decay value'),
    atLeastZero('weight_decay', 'Invalid weight_decay value'),
    atLeastZero('initial_accumulator_value', 'Invalid initial_accumulator_value value'),
    atLeastZero('eps', 'Invalid epsilon value'),
    fusedAlone,
  ],
  added: [
    ['foreach', null],
    ['maximize', false],
    ['differentiable', false],
    ['fused', null],
  ],
};

export class Adagrad extends ElementwiseOptimizer<AdagradOptions> {
  static override readonly spec = SPEC;
  static override readonly global = 'torch.optim.adagrad.Adagrad';

  constructor(params: OptimizerParams, ...args: Arguments<AdagradOptions>) {
    super(params, ...args);
    // Alone among the optimizers it has a state before the first step.
    for (const group of this.paramGroups)
      for (const param of paramsIn(group)) this.begin(this.stateOf(param), param, group);
  }

  protected override begin(state: ParamState, param: Tensor, group: ParamGroup): void {
    state.set('step', newStep(param, group));
    state.set('sum', fullLike(param, num(this.defaults, 'initial_accumulator_value')));
  }

  protected override update(update: Update, group: ParamGroup, step: number): void {
    const { p, g, r, s } = update;
    const sum = update.state('sum');
    addProduct(sum, g, g, 1, r, s);
    const eps = s(num(group, 'eps'));
    const root = sum.map((x) => r(r(Math.sqrt(x)) + eps));
    addQuotient(p, g, root, -num(group, 'lr') / (1 + (step - 1) * num(group, 'lr_decay')), r, s);
  }
}
