/** `torch.nn.modules.activation`, without attention, which is in `attention.ts`. */
import type { Parameter } from '../tensor/tensor';
import { builtin } from './builtin';
import type { ShownAttributes } from './extra-repr';
import { constant } from './init';
import type { FactoryOptions } from './linear';

const MODULE = 'torch.nn.modules.activation';

interface Inplace {
  inplace?: boolean;
}

/** `inplace=True` where it is; nothing else is said of it. */
function inplaceOnly(shown: ShownAttributes): string {
  return isInplace(shown) ? 'inplace=True' : '';
}

function isInplace(shown: ShownAttributes): boolean {
  return shown.value('inplace') === true;
}

/** A template, and `inplace=True` after it. */
function thenInplace(template: string) {
  return (shown: ShownAttributes): string => shown.format(template) + (isInplace(shown) ? ', inplace=True' : '');
}

/** No arguments that would count. */
function plain(name: string) {
  return builtin({ python: `${MODULE}.${name}` });
}

/** `silent`: PyTorch gives no `extra_repr` to these two. */
function inplace(name: string, silent = false) {
  return builtin<[], Inplace>({
    python: `${MODULE}.${name}`,
    signature: 'inplace=False',
    ...(silent ? {} : { extra: inplaceOnly }),
  });
}

function alongDim(name: string) {
  return builtin<[], { dim?: number | null }>({
    python: `${MODULE}.${name}`,
    signature: 'dim=None',
    extra: 'dim={dim}',
  });
}

export class Threshold extends builtin<[threshold: number, value: number], Inplace>({
  python: `${MODULE}.Threshold`,
  signature: 'threshold, value, inplace=False',
  extra: thenInplace('threshold={threshold}, value={value}'),
}) {}
export class ReLU extends inplace('ReLU') {}
export class RReLU extends builtin<[], { lower?: number; upper?: number } & Inplace>({
  python: `${MODULE}.RReLU`,
  signature: 'lower=0.125, upper=0.3333333333333333, inplace=False',
  extra: thenInplace('lower={lower}, upper={upper}'),
}) {}
export class Hardtanh extends builtin<[], { minVal?: number; maxVal?: number } & Inplace>({
  python: `${MODULE}.Hardtanh`,
  signature: 'min_val=-1.0, max_val=1.0, inplace=False',
  build(module, call) {
    const [low, high] = [call.number('min_val'), call.number('max_val')];
    if (high <= low) throw new RangeError(`max_val (${high}) must be greater than min_val (${low})`);
    module.keep('min_val', 'max_val', 'inplace');
  },
  extra: thenInplace('min_val={min_val}, max_val={max_val}'),
}) {}
export class ReLU6 extends builtin<[], Inplace>({
  python: `${MODULE}.ReLU6`,
  signature: 'inplace=False',
  build(module) {
    module.float('min_val', 0);
    module.float('max_val', 6);
    module.keep('inplace');
  },
  extra: inplaceOnly,
}) {}
export class Sigmoid extends plain('Sigmoid') {}
export class Hardsigmoid extends inplace('Hardsigmoid', true) {}
export class Tanh extends plain('Tanh') {}
export class SiLU extends inplace('SiLU') {}
export class Mish extends inplace('Mish') {}
export class Hardswish extends inplace('Hardswish', true) {}
export class ELU extends builtin<[], { alpha?: number } & Inplace>({
  python: `${MODULE}.ELU`,
  signature: 'alpha=1.0, inplace=False',
  extra: thenInplace('alpha={alpha}'),
}) {}
export class CELU extends builtin<[], { alpha?: number } & Inplace>({
  python: `${MODULE}.CELU`,
  signature: 'alpha=1.0, inplace=False',
  extra: thenInplace('alpha={alpha}'),
}) {}
export class SELU extends inplace('SELU') {}
export class GLU extends builtin<[], { dim?: number }>({
  python: `${MODULE}.GLU`,
  signature: 'dim=-1',
  extra: 'dim={dim}',
}) {}
export class GELU extends builtin<[], { approximate?: 'none' | 'tanh' }>({
  python: `${MODULE}.GELU`,
  signature: "approximate='none'",
  extra: 'approximate={approximate!r}',
}) {}
export class Hardshrink extends builtin<[], { lambd?: number }>({
  python: `${MODULE}.Hardshrink`,
  signature: 'lambd=0.5',
  extra: '{lambd}',
}) {}
export class LeakyReLU extends builtin<[], { negativeSlope?: number } & Inplace>({
  python: `${MODULE}.LeakyReLU`,
  signature: 'negative_slope=0.01, inplace=False',
  extra: thenInplace('negative_slope={negative_slope}'),
}) {}
export class LogSigmoid extends plain('LogSigmoid') {}
export class Softplus extends builtin<[], { beta?: number; threshold?: number }>({
  python: `${MODULE}.Softplus`,
  signature: 'beta=1.0, threshold=20.0',
  extra: 'beta={beta}, threshold={threshold}',
}) {}
export class Softshrink extends builtin<[], { lambd?: number }>({
  python: `${MODULE}.Softshrink`,
  signature: 'lambd=0.5',
  extra: '{lambd}',
}) {}
export class PReLU extends builtin<
  [],
  { numParameters?: number; init?: number } & FactoryOptions,
  { weight: Parameter }
>({
  python: `${MODULE}.PReLU`,
  signature: 'num_parameters=1, init=0.25, device=None, dtype=None',
  build(module, call) {
    module.keep('num_parameters', 'init');
    module.parameter('weight', [call.size('num_parameters')], constant(call.number('init')));
  },
  first: ['num_parameters'],
  extra: 'num_parameters={num_parameters}',
}) {}
export class Softsign extends plain('Softsign') {}
export class Tanhshrink extends plain('Tanhshrink') {}
export class Softmin extends alongDim('Softmin') {}
export class Softmax extends alongDim('Softmax') {}
export class Softmax2d extends plain('Softmax2d') {}
export class LogSoftmax extends alongDim('LogSoftmax') {}
