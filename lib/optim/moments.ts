/** The running averages of gradients and of their squares that the kin of Adam keep. */
import type { Tensor } from '../tensor/tensor';
import { type Floats, fullLike } from './elements';
import { numberPair } from './hyperparameters';
import type { ParamGroup, ParamState } from './optimizer';
import { addProduct, lerp, scale, type Update } from './update';

export interface Moments {
  readonly average: Floats;
  readonly square: Floats;
  readonly beta1: number;
  readonly beta2: number;
}

export function beginMoments(state: ParamState, param: Tensor): void {
  state.set('exp_avg', fullLike(param, 0));
  state.set('exp_avg_sq', fullLike(param, 0));
}

/** Both averages with the gradient of this update in them. */
export function updateMoments({ g, r, s, state }: Update, group: ParamGroup): Moments {
  const [beta1, beta2] = numberPair(group, 'betas');
  const average = state('exp_avg');
  const square = state('exp_avg_sq');
  lerp(average, g, 1 - beta1, r, s);
  scale(square, beta2, r, s);
  addProduct(square, g, g, 1 - beta2, r, s);
  return { average, square, beta1, beta2 };
}
