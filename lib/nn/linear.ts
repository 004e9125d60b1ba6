/** `torch.nn.modules.linear`. */
import type { DType } from '../dtype';
import type { Device } from '../pickle/values';
import type { Parameter } from '../tensor/tensor';
import type { Call } from './arguments';
import { type Builder, builtin } from './builtin';
import { fanIn, kaimingUniform, uniform } from './init';

/** Where and as what the parameters are made. */
export interface FactoryOptions {
  device?: Device | string;
  dtype?: DType | string;
}

export interface LinearOptions extends FactoryOptions {
  bias?: boolean;
}

/** The parameters of linear and convolution layers. */
export interface WeightAndBias {
  weight: Parameter;
  bias: Parameter | null;
}

/** A weight, and a bias within its fan-in, as linear and convolution layers have them. */
export function weightAndBias(module: Builder, call: Call, shape: readonly number[], features: number): void {
  module.parameter('weight', shape, kaimingUniform);
  if (!call.flag('bias')) module.noParameter('bias');
  else module.parameter('bias', [features], uniform(fanIn(shape) > 0 ? 1 / Math.sqrt(fanIn(shape)) : 0));
}

function linear(module: Builder, call: Call): void {
  module.keep('in_features', 'out_features');
  weightAndBias(module, call, [call.size('out_features'), call.size('in_features')], call.size('out_features'));
}

const LINEAR = 'in_features, out_features, bias=True, device=None, dtype=None';
const LINEAR_EXTRA = 'in_features={in_features}, out_features={out_features}, bias={bias?}';

export class Identity extends builtin<[], Record<string, unknown>>({
  python: 'torch.nn.modules.linear.Identity',
  signature: 'args=None',
  build: () => undefined,
}) {}

export class Linear extends builtin<[inFeatures: number, outFeatures: number], LinearOptions, WeightAndBias>({
  python: 'torch.nn.modules.linear.Linear',
  signature: LINEAR,
  build: linear,
  extra: LINEAR_EXTRA,
}) {}

/** What `MultiheadAttention` has as its `out_proj`. */
export class NonDynamicallyQuantizableLinear extends builtin<
  [inFeatures: number, outFeatures: number],
  LinearOptions,
  WeightAndBias
>({
  python: 'torch.nn.modules.linear.NonDynamicallyQuantizableLinear',
  signature: LINEAR,
  build: linear,
  extra: LINEAR_EXTRA,
}) {}

export class Bilinear extends builtin<
  [in1Features: number, in2Features: number, outFeatures: number],
  LinearOptions,
  WeightAndBias
>({
  python: 'torch.nn.modules.linear.Bilinear',
  signature: 'in1_features, in2_features, out_features, bias=True, device=None, dtype=None',
  build(module, call) {
    const [first, second, out] = [call.size('in1_features'), call.size('in2_features'), call.size('out_features')];
    if (first <= 0) throw new RangeError(`in1_features must be > 0, but got (in1_features=${first})`);
    module.keep('in1_features', 'in2_features', 'out_features');
    const init = uniform(1 / Math.sqrt(first));
    module.parameter('weight', [out, first, second], init);
    if (call.flag('bias')) module.parameter('bias', [out], init);
    else module.noParameter('bias');
  },
  extra: 'in1_features={in1_features}, in2_features={in2_features}, out_features={out_features}, bias={bias?}',
}) {}

/** Takes its input size from the state dict that it is given first. */
export class LazyLinear extends builtin<[outFeatures: number], LinearOptions>({
  python: 'torch.nn.modules.linear.LazyLinear',
  signature: 'out_features, bias=True, device=None, dtype=None',
  build(module, call) {
    module.set('in_features', 0);
    module.keep('out_features');
    module.lazyParameter('weight');
    if (call.flag('bias')) module.lazyParameter('bias');
    else module.noParameter('bias');
  },
  extra: LINEAR_EXTRA,
}) {}
