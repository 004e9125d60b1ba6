/** Normalisation: `torch.nn.modules.batchnorm`, `instancenorm` and `normalization`. */
import { DType } from '../dtype';
import { type PyValue, Tuple } from '../pickle/values';
import type { Parameter, Tensor } from '../tensor/tensor';
import type { Call } from './arguments';
import { type Builder, builtin } from './builtin';
import { newTensor, ones, zeros } from './init';
import type { FactoryOptions } from './linear';

export interface BatchNormOptions extends FactoryOptions {
  eps?: number;
  momentum?: number | null;
  affine?: boolean;
  trackRunningStats?: boolean;
  bias?: boolean;
}

function affine(module: Builder, call: Call, flag: string, shape: readonly number[]): void {
  const isAffine = call.flag(flag);
  if (isAffine) module.parameter('weight', shape, ones);
  else module.noParameter('weight');
  if (isAffine && call.flag('bias')) module.parameter('bias', shape, zeros);
  else module.noParameter('bias');
}

function withStatistics(module: Builder, call: Call): void {
  module.keep('num_features', 'eps', 'momentum', 'affine', 'track_running_stats');
  const features = call.size('num_features');
  affine(module, call, 'affine', [features]);
  const tracks = call.flag('track_running_stats');
  module.buffer('running_mean', tracks ? newTensor(call, [features], zeros) : null);
  module.buffer('running_var', tracks ? newTensor(call, [features], ones) : null);
  module.buffer('num_batches_tracked', tracks ? newTensor(call, [], zeros, DType.int64) : null);
}

interface Affine {
  weight: Parameter | null;
  bias: Parameter | null;
}
interface Statistics extends Affine {
  runningMean: Tensor | null;
  runningVar: Tensor | null;
}

const STATISTICS_EXTRA =
  '{num_features}, eps={eps}, momentum={momentum}, affine={affine}, bias={bias?}, track_running_stats={track_running_stats}';

function statistics(python: string, on: 'True' | 'False', between = '') {
  return builtin<[numFeatures: number], BatchNormOptions, Statistics>({
    python: `torch.nn.modules.${python}`,
    signature: `num_features, eps=1e-05, momentum=0.1, affine=${on}, track_running_stats=${on}, ${between}device=None, dtype=None, *, bias=True`,
    build(module, call) {
      withStatistics(module, call);
      if (between) module.keep('process_group');
    },
    extra: STATISTICS_EXTRA,
    version: 2,
  });
}

export class BatchNorm1d extends statistics('batchnorm.BatchNorm1d', 'True') {}
export class BatchNorm2d extends statistics('batchnorm.BatchNorm2d', 'True') {}
export class BatchNorm3d extends statistics('batchnorm.BatchNorm3d', 'True') {}
export class SyncBatchNorm extends statistics('batchnorm.SyncBatchNorm', 'True', 'process_group=None, ') {}
export class InstanceNorm1d extends statistics('instancenorm.InstanceNorm1d', 'False') {}
export class InstanceNorm2d extends statistics('instancenorm.InstanceNorm2d', 'False') {}
export class InstanceNorm3d extends statistics('instancenorm.InstanceNorm3d', 'False') {}

export interface LayerNormOptions extends FactoryOptions {
  eps?: number;
  elementwiseAffine?: boolean;
  bias?: boolean;
}

/** A number stands for a tuple of it. */
function normalizedShape(call: Call): Tuple {
  const shape = call.value('normalized_shape');
  return shape instanceof Tuple
    ? Tuple.from(shape as unknown as PyValue[])
    : Tuple.of<PyValue>(call.size('normalized_shape'));
}

export class LayerNorm extends builtin<[normalizedShape: number | readonly number[]], LayerNormOptions, Affine>({
  python: 'torch.nn.modules.normalization.LayerNorm',
  signature: 'normalized_shape, eps=1e-05, elementwise_affine=True, bias=True, device=None, dtype=None',
  build(module, call) {
    const shape = normalizedShape(call);
    module.set('normalized_shape', shape);
    module.keep('eps', 'elementwise_affine');
    affine(module, call, 'elementwise_affine', shape as Tuple<number>);
  },
  extra: '{normalized_shape}, eps={eps}, elementwise_affine={elementwise_affine}, bias={bias?}',
}) {}

export interface GroupNormOptions extends FactoryOptions {
  eps?: number;
  affine?: boolean;
  bias?: boolean;
}

export class GroupNorm extends builtin<[numGroups: number, numChannels: number], GroupNormOptions, Affine>({
  python: 'torch.nn.modules.normalization.GroupNorm',
  signature: 'num_groups, num_channels, eps=1e-05, affine=True, device=None, dtype=None, *, bias=True',
  build(module, call) {
    const [groups, channels] = [call.int('num_groups'), call.size('num_channels')];
    if (channels % groups !== 0)
      throw new RangeError(`num_channels (${channels}) must be divisible by num_groups (${groups})`);
    module.keep('num_groups', 'num_channels', 'eps', 'affine');
    affine(module, call, 'affine', [channels]);
  },
  extra: '{num_groups}, {num_channels}, eps={eps}, affine={affine}, bias={bias?}',
}) {}

export interface RMSNormOptions extends FactoryOptions {
  eps?: number | null;
  elementwiseAffine?: boolean;
}

export class RMSNorm extends builtin<
  [normalizedShape: number | readonly number[]],
  RMSNormOptions,
  { weight: Parameter | null }
>({
  python: 'torch.nn.modules.normalization.RMSNorm',
  signature: 'normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None',
  build(module, call) {
    const shape = normalizedShape(call);
    module.set('normalized_shape', shape);
    module.keep('eps', 'elementwise_affine');
    if (call.flag('elementwise_affine')) module.parameter('weight', shape as Tuple<number>, ones);
    else module.noParameter('weight');
  },
  extra: '{normalized_shape}, eps={eps}, elementwise_affine={elementwise_affine}',
}) {}

interface ResponseNormOptions {
  alpha?: number;
  beta?: number;
  k?: number;
}

export class LocalResponseNorm extends builtin<[size: number], ResponseNormOptions>({
  python: 'torch.nn.modules.normalization.LocalResponseNorm',
  signature: 'size, alpha=0.0001, beta=0.75, k=1.0',
  extra: '{size}, alpha={alpha}, beta={beta}, k={k}',
}) {}

export class CrossMapLRN2d extends builtin<[size: number], ResponseNormOptions>({
  python: 'torch.nn.modules.normalization.CrossMapLRN2d',
  signature: 'size, alpha=0.0001, beta=0.75, k=1',
  extra: '{size}, alpha={alpha}, beta={beta}, k={k}',
}) {}
