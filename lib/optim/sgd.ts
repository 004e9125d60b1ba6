/** `torch.optim.SGD`: stochastic gradient descent, with momentum. */
import type { Tensor } from '../tensor/tensor';
import { BuiltinOptimizer } from './builtin';
import { tensorLike } from './elements';
import {
  fusedAlone,
  type ImplementationOptions,
  type LearningRate,
  type Num,
  notBelowZero,
  num,
  type OptimizerSpec,
  oneLearningRate,
  refuse,
} from './hyperparameters';
import type { ParamGroup } from './optimizer';
import { addScaled, beginUpdate, scale } from './update';

export interface SGDOptions extends Omit<ImplementationOptions, 'capturable'> {
  /** Default 0.001. */
  lr?: LearningRate;
  momentum?: Num;
  dampening?: Num;
  weightDecay?: LearningRate;
  nesterov?: boolean;
}

const SPEC: OptimizerSpec = {
  name: 'SGD',
  parameters: [
    ['lr', 1e-3],
    ['momentum', 0],
    ['dampening', 0],
    ['weight_decay', 0],
    ['nesterov', false],
    ['maximize', false],
    ['foreach', null],
    ['differentiable', false],
    ['fused', null],
  ],
  checks: [
    oneLearningRate,
    notBelowZero('lr', 'Invalid learning rate'),
    notBelowZero('momentum', 'Invalid momentum value'),
    notBelowZero('weight_decay', 'Invalid weight_decay value'),
    (values) => {
      if (
        values.get('nesterov') &&
        (num(values as ParamGroup, 'momentum') <= 0 || num(values as ParamGroup, 'dampening') !== 0)
      ) {
        refuse('Nesterov momentum requires a momentum and zero dampening');
      }
    },
    fusedAlone,
  ],
  scalars: [],
  added: [
    ['nesterov', false],
    ['maximize', false],
    ['foreach', null],
    ['differentiable', false],
    ['fused', false],
  ],
};

export class SGD extends BuiltinOptimizer<SGDOptions> {
  static override readonly spec = SPEC;
  static override readonly global = 'torch.optim.sgd.SGD';

  protected override updateParam(param: Tensor, grad: Tensor, group: ParamGroup): void {
    const momentum = num(group, 'momentum');
    const state = momentum === 0 ? new Map() : this.stateOf(param);
    const update = beginUpdate(param, grad, state, group);
    const { p, r, s } = update;
    let { g } = update;
    if (momentum !== 0) {
      // None where PyTorch 1.13 saved a parameter that had no momentum yet.
      if (state.get('momentum_buffer') == null) state.set('momentum_buffer', tensorLike(grad.to(param.dtype), g));
      else {
        const buffer = update.state('momentum_buffer');
        scale(buffer, momentum, r, s);
        addScaled(buffer, g, 1 - num(group, 'dampening'), r, s);
      }
      const buffer = update.state('momentum_buffer');
      if (group.get('nesterov')) {
        g = g.slice();
        addScaled(g, buffer, momentum, r, s);
      } else g = buffer;
    }
    addScaled(p, g, -num(group, 'lr'), r, s);
    update.commit();
  }
}
