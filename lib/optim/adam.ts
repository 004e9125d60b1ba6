/** `torch.optim.Adam`, and `AdamW`, whose weight decay acts on the parameters and not through the gradient. */
import { PyInt, type PyValue } from '../pickle/values';
import { Tensor } from '../tensor/tensor';
import { type Arguments, bind } from './arguments';
import { fullLike } from './elements';
import {
  addMissing,
  atLeastZero,
  betasBelowOne,
  defaultsOf,
  fusedAlone,
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
  tensorsFromNumbers,
} from './hyperparameters';
import { float, tupleOf } from './numbers';
import { Optimizer, type OptimizerParams, type ParamGroup, type ParamState } from './optimizer';
import { addProduct, addQuotient, advance, beginUpdate, lerp, scale } from './update';

export interface AdamWOptions extends ImplementationOptions {
  /** Default 0.001. */
  lr?: LearningRate;
  /** Default [0.9, 0.999]. */
  betas?: readonly [LearningRate, LearningRate];
  /** Default 1e-8. */
  eps?: Num;
  /** Default 0, of AdamW 0.01. */
  weightDecay?: Num;
  amsgrad?: boolean;
}

export interface AdamOptions extends AdamWOptions {
  decoupledWeightDecay?: boolean;
}

/** Betas must be floats in Python; here 0 and 0.0 are one number, which is taken as the float. */
function floatBetas(values: Map<string, PyValue>): void {
  const betas = pairOf(values, 'betas');
  const tensors = betas.filter((beta) => beta instanceof Tensor).length;
  if (tensors === 1 || betas.some((beta) => beta instanceof PyInt))
    refuse('betas must be either both floats or both Tensors');
  for (const [i, beta] of betas.entries()) {
    if (!(beta instanceof Tensor)) continue;
    if (!values.get('capturable') && values.get('foreach'))
      refuse(`betas[${i}] as a Tensor is not supported for capturable=False and foreach=True`);
    if (beta.numel !== 1) refuse(`Tensor betas[${i}] must be 1-element`);
  }
  values.set(
    'betas',
    tupleOf(
      betas.map((beta) => (beta instanceof Tensor ? beta.squeeze() : typeof beta === 'number' ? float(beta) : beta)),
    ),
  );
}

function spec(name: string, weightDecay: number, rest: OptimizerSpec['parameters']): OptimizerSpec {
  return {
    name,
    parameters: [
      ['lr', 1e-3],
      ['betas', tupleOf([0.9, 0.999])],
      ['eps', 1e-8],
      ['weight_decay', weightDecay],
      ['amsgrad', false],
      ...rest,
    ],
    order: [
      'lr',
      'betas',
      'eps',
      'weight_decay',
      'amsgrad',
      'maximize',
      'foreach',
      'capturable',
      'differentiable',
      'fused',
    ],
    checks: [
      (values) => {
        if (values.get('lr') instanceof Tensor && values.get('foreach') && !values.get('capturable'))
          refuse('lr as a Tensor is not supported for capturable=False and foreach=True');
      },
      oneLearningRate,
      atLeastZero('lr', 'Invalid learning rate'),
      atLeastZero('eps', 'Invalid epsilon value'),
      betasBelowOne,
      atLeastZero('weight_decay', 'Invalid weight_decay value'),
      floatBetas as OptimizerSpec['checks'][number],
      fusedAlone,
    ],
    added: [
      ['amsgrad', false],
      ['maximize', false],
      ['foreach', null],
      ['capturable', false],
      ['differentiable', false],
      ['decoupled_weight_decay', false],
      ['fused', null],
    ],
  };
}

const IMPLEMENTATION: OptimizerSpec['parameters'] = [
  ['maximize', false],
  ['foreach', null],
  ['capturable', false],
  ['differentiable', false],
  ['fused', null],
];
const ADAM = spec('Adam', 0, [
  ['foreach', null],
  ['maximize', false],
  ['capturable', false],
  ['differentiable', false],
  ['fused', null],
  ['decoupled_weight_decay', false],
]);
const ADAM_W = spec('AdamW', 1e-2, IMPLEMENTATION);

/** A parameter's state, begun where there is none. */
function ready(state: ParamState, param: Tensor, group: ParamGroup): ParamState {
  if (state.size > 0) return state;
  state.set('step', newStep(param, group));
  state.set('exp_avg', fullLike(param, 0));
  state.set('exp_avg_sq', fullLike(param, 0));
  if (group.get('amsgrad')) state.set('max_exp_avg_sq', fullLike(param, 0));
  return state;
}

export class Adam extends Optimizer {
  static override readonly global: string = 'torch.optim.adam.Adam';

  constructor(params: OptimizerParams, ...args: Arguments<AdamOptions>) {
    super(params, new.target.defaults(args));
  }

  /** @internal */
  protected static defaults(args: readonly unknown[]): ParamGroup {
    const defaults = defaultsOf(ADAM, args);
    return defaults.set('decoupled_weight_decay', bind(ADAM, args).get('decoupled_weight_decay') as PyValue);
  }

  protected override updateParam(param: Tensor, grad: Tensor, group: ParamGroup): void {
    const state = ready(this.stateOf(param), param, group);
    const [beta1, beta2] = numberPair(group, 'betas');
    const update = beginUpdate(
      param,
      grad,
      state,
      group,
      group.get('decoupled_weight_decay') ? 'parameter' : 'gradient',
    );
    const { p, g, r, s } = update;
    const step = advance(state);
    const average = update.state('exp_avg');
    const square = update.state('exp_avg_sq');
    lerp(average, g, 1 - beta1, r, s);
    scale(square, beta2, r, s);
    addProduct(square, g, g, 1 - beta2, r, s);
    let largest = square;
    if (group.get('amsgrad')) {
      largest = update.state('max_exp_avg_sq');
      for (let i = 0; i < largest.length; i++) largest[i] = Math.max(largest[i] as number, square[i] as number);
    }
    const root = s(Math.sqrt(1 - beta2 ** step));
    const eps = s(num(group, 'eps'));
    const denominator = largest.map((x) => r(r(r(Math.sqrt(x)) / root) + eps));
    addQuotient(p, average, denominator, -num(group, 'lr') / (1 - beta1 ** step), r, s);
    update.commit();
  }

  protected override completeGroup(group: ParamGroup): void {
    addMissing(group, ADAM);
    tensorsFromNumbers(group, this.state, ['step']);
  }
}

export class AdamW extends Adam {
  static override readonly global: string = 'torch.optim.adamw.AdamW';

  constructor(params: OptimizerParams, ...args: Arguments<AdamWOptions>) {
    super(params, ...args);
  }

  /** @internal */
  protected static override defaults(args: readonly unknown[]): ParamGroup {
    return defaultsOf(ADAM_W, args).set('decoupled_weight_decay', true);
  }

  protected override completeGroup(group: ParamGroup): void {
    super.completeGroup(group);
    group.set('decoupled_weight_decay', true);
  }
}
