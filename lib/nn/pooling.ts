/** `torch.nn.modules.pooling`. */

import type { Tensor } from '../tensor/tensor';
import { builtin } from './builtin';
import type { Sizes } from './conv';

const MODULE = 'torch.nn.modules.pooling';

type Dims = 1 | 2 | 3;

interface MaxPoolOptions {
  stride?: Sizes | null;
  padding?: Sizes;
  dilation?: Sizes;
  returnIndices?: boolean;
  ceilMode?: boolean;
}

function maxPool(dims: Dims) {
  return builtin<[kernelSize: Sizes], MaxPoolOptions>({
    python: `${MODULE}.MaxPool${dims}d`,
    signature: 'kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False',
    build(module, call) {
      module.keep('kernel_size');
      module.set('stride', call.value('stride') ?? call.value('kernel_size'));
      module.keep('padding', 'dilation', 'return_indices', 'ceil_mode');
    },
    extra: 'kernel_size={kernel_size}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={ceil_mode}',
  });
}
export class MaxPool1d extends maxPool(1) {}
export class MaxPool2d extends maxPool(2) {}
export class MaxPool3d extends maxPool(3) {}

function maxUnpool(dims: Dims) {
  return builtin<[kernelSize: Sizes], { stride?: Sizes | null; padding?: Sizes }>({
    python: `${MODULE}.MaxUnpool${dims}d`,
    signature: 'kernel_size, stride=None, padding=0',
    build(module, call) {
      module.set('kernel_size', call.tuple('kernel_size', dims));
      module.set('stride', call.tuple(call.isNone('stride') ? 'kernel_size' : 'stride', dims));
      module.set('padding', call.tuple('padding', dims));
    },
    extra: 'kernel_size={kernel_size}, stride={stride}, padding={padding}',
  });
}
export class MaxUnpool1d extends maxUnpool(1) {}
export class MaxUnpool2d extends maxUnpool(2) {}
export class MaxUnpool3d extends maxUnpool(3) {}

interface AvgPoolOptions {
  stride?: Sizes | null;
  padding?: Sizes;
  ceilMode?: boolean;
  countIncludePad?: boolean;
}

/** Only the one-dimensional kind makes tuples of its sizes, and has no divisor. */
export class AvgPool1d extends builtin<[kernelSize: Sizes], AvgPoolOptions>({
  python: `${MODULE}.AvgPool1d`,
  signature: 'kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True',
  build(module, call) {
    module.set('kernel_size', call.tuple('kernel_size', 1));
    module.set('stride', call.tuple(call.isNone('stride') ? 'kernel_size' : 'stride', 1));
    module.set('padding', call.tuple('padding', 1));
    module.keep('ceil_mode', 'count_include_pad');
  },
  extra: 'kernel_size={kernel_size}, stride={stride}, padding={padding}',
}) {}

function avgPool(dims: Dims) {
  return builtin<[kernelSize: Sizes], AvgPoolOptions & { divisorOverride?: number | null }>({
    python: `${MODULE}.AvgPool${dims}d`,
    signature: 'kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None',
    build(module, call) {
      module.keep('kernel_size');
      module.set('stride', call.value('stride') ?? call.value('kernel_size'));
      module.keep('padding', 'ceil_mode', 'count_include_pad', 'divisor_override');
    },
    extra: 'kernel_size={kernel_size}, stride={stride}, padding={padding}',
  });
}
export class AvgPool2d extends avgPool(2) {}
export class AvgPool3d extends avgPool(3) {}

interface FractionalOptions {
  outputSize?: Sizes | null;
  outputRatio?: Sizes | null;
  returnIndices?: boolean;
  randomSamples?: Tensor | null;
}

function fractionalMaxPool(dims: 2 | 3) {
  return builtin<[kernelSize: Sizes], FractionalOptions>({
    python: `${MODULE}.FractionalMaxPool${dims}d`,
    signature: 'kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None',
    build(module, call) {
      const [bySize, byRatio] = [!call.isNone('output_size'), !call.isNone('output_ratio')];
      if (!bySize && !byRatio)
        throw new RangeError(`${call.className} requires specifying either an output size, or a pooling ratio`);
      if (bySize && byRatio) throw new RangeError('only one of output_size and output_ratio may be specified');
      module.set('kernel_size', call.tuple('kernel_size', dims));
      module.keep('return_indices');
      module.buffer('_random_samples', call.value('_random_samples'));
      module.set('output_size', bySize ? call.tuple('output_size', dims) : null);
      module.set('output_ratio', byRatio ? call.tuple('output_ratio', dims) : null);
    },
  });
}
export class FractionalMaxPool2d extends fractionalMaxPool(2) {}
export class FractionalMaxPool3d extends fractionalMaxPool(3) {}

function lpPool(dims: Dims) {
  return builtin<[normType: number, kernelSize: Sizes], { stride?: Sizes | null; ceilMode?: boolean }>({
    python: `${MODULE}.LPPool${dims}d`,
    signature: 'norm_type, kernel_size, stride=None, ceil_mode=False',
    extra: 'norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, ceil_mode={ceil_mode}',
  });
}
export class LPPool1d extends lpPool(1) {}
export class LPPool2d extends lpPool(2) {}
export class LPPool3d extends lpPool(3) {}

/** null keeps the size of the input. */
type OutputSize = number | null | readonly (number | null)[];

function adaptiveMaxPool(dims: Dims) {
  return builtin<[outputSize: OutputSize], { returnIndices?: boolean }>({
    python: `${MODULE}.AdaptiveMaxPool${dims}d`,
    signature: 'output_size, return_indices=False',
    extra: 'output_size={output_size}',
  });
}
export class AdaptiveMaxPool1d extends adaptiveMaxPool(1) {}
export class AdaptiveMaxPool2d extends adaptiveMaxPool(2) {}
export class AdaptiveMaxPool3d extends adaptiveMaxPool(3) {}

function adaptiveAvgPool(dims: Dims) {
  return builtin<[outputSize: OutputSize]>({
    python: `${MODULE}.AdaptiveAvgPool${dims}d`,
    signature: 'output_size',
    extra: 'output_size={output_size}',
  });
}
export class AdaptiveAvgPool1d extends adaptiveAvgPool(1) {}
export class AdaptiveAvgPool2d extends adaptiveAvgPool(2) {}
export class AdaptiveAvgPool3d extends adaptiveAvgPool(3) {}
