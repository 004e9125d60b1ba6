/**
 * What the updates of single parameters have in common: PyTorch's operations on one element, with its roundings.
 *
 * `r` rounds the result of an operation to the tensor's dtype; `s` rounds scalar operands and what is in between, of half
 * types to float32. Where PyTorch's kernels use a fused multiply-add the product is not rounded: that of two float32
 * values is exact in JavaScript's doubles. On processors without the instruction PyTorch rounds it too.
 */
import { Tensor } from '../tensor/tensor';
import { Elements, type Floats, rounding, scalarRounding } from './elements';
import { num } from './hyperparameters';
import type { ParamGroup, ParamState } from './optimizer';

export type Round = (value: number) => number;

/** The arrays that one update works on. */
export interface Update {
  readonly p: Floats;
  /** The gradient, turned round for `maximize`, with weight decay added; not the caller's array where it differs. */
  readonly g: Floats;
  readonly r: Round;
  readonly s: Round;
  /** The elements of a tensor of the parameter's state. */
  state(key: string): Floats;
  /** Puts everything that changed back where it came from. */
  commit(): void;
}

/** The tensor under `key` of a state. Throws TypeError where a file has something else there. */
export function tensorAt(state: ParamState, key: string): Tensor {
  const tensor = state.get(key);
  if (!(tensor instanceof Tensor)) throw new TypeError(`the optimizer's state has no tensor '${key}'`);
  return tensor;
}

/** Counts a step and returns their number. */
export function advance(state: ParamState): number {
  const step = new Elements(tensorAt(state, 'step'));
  step.values[0] = (step.values[0] as number) + 1;
  step.commit();
  return step.values[0] as number;
}

/** How weight decay acts: on the gradient, on the parameter itself, or not at all. */
export type WeightDecay = 'gradient' | 'parameter' | 'none';

/** Where the hyperparameter says so, weight decay acts on the parameter. */
export function decoupledOrNot(group: ParamGroup): WeightDecay {
  return group.get('decoupled_weight_decay') ? 'parameter' : 'gradient';
}

export function beginUpdate(
  param: Tensor,
  grad: Tensor,
  state: ParamState,
  group: ParamGroup,
  decay: WeightDecay = 'gradient',
): Update {
  const { dtype } = param;
  const [r, s] = [rounding(dtype), scalarRounding(dtype)];
  const parameter = new Elements(param);
  const changed = new Map<string, Elements>();
  const p = parameter.values;
  let g = new Elements(grad.to(dtype)).values;
  if (group.get('maximize')) g = g.map((x) => -x);
  const weightDecay = decay === 'none' ? 0 : num(group, 'weight_decay');
  if (weightDecay !== 0 && decay === 'gradient') {
    const factor = s(weightDecay);
    g = g.map((x, i) => r(x + factor * (p[i] as number)));
  } else if (weightDecay !== 0) {
    scale(p, 1 - num(group, 'lr') * weightDecay, r, s);
  }
  return {
    p,
    g,
    r,
    s,
    state(key) {
      let elements = changed.get(key);
      if (!elements) changed.set(key, (elements = new Elements(tensorAt(state, key))));
      return elements.values;
    },
    commit() {
      parameter.commit();
      for (const elements of changed.values()) elements.commit();
    },
  };
}

/** `x.mul_(factor)`. */
export function scale(x: Floats, factor: number, r: Round, s: Round): void {
  const f = s(factor);
  for (let i = 0; i < x.length; i++) x[i] = r((x[i] as number) * f);
}

/** `x.add_(y, alpha=alpha)`. */
export function addScaled(x: Floats, y: Floats, alpha: number, r: Round, s: Round): void {
  const a = s(alpha);
  for (let i = 0; i < x.length; i++) x[i] = r((x[i] as number) + a * (y[i] as number));
}

/** `x.lerp_(end, weight)`. */
export function lerp(x: Floats, end: Floats, weight: number, r: Round, s: Round): void {
  const w = s(weight);
  const small = Math.abs(w) < 0.5;
  const coefficient = small ? w : s(w - 1);
  for (let i = 0; i < x.length; i++) {
    const difference = s((end[i] as number) - (x[i] as number));
    x[i] = r((small ? (x[i] as number) : (end[i] as number)) + coefficient * difference);
  }
}

/** `x.addcmul_(a, b, value=value)`. */
export function addProduct(x: Floats, a: Floats, b: Floats, value: number, r: Round, s: Round): void {
  const v = s(value);
  for (let i = 0; i < x.length; i++) x[i] = r((x[i] as number) + s(v * (a[i] as number)) * (b[i] as number));
}

/** `x.addcdiv_(a, b, value=value)`. */
export function addQuotient(x: Floats, a: Floats, b: Floats, value: number, r: Round, s: Round): void {
  const v = s(value);
  for (let i = 0; i < x.length; i++) x[i] = r((x[i] as number) + s(s(v * (a[i] as number)) / (b[i] as number)));
}
