/** Layers that only move elements: flatten, fold, shuffle and resample. */
import { PyFloat, type PyValue, Tuple } from '../pickle/values';
import type { Call } from './arguments';
import { type Builder, builtin } from './builtin';
import type { Sizes } from './conv';
import type { ShownAttributes } from './extra-repr';

export class Flatten extends builtin<[], { startDim?: number; endDim?: number }>({
  python: 'torch.nn.modules.flatten.Flatten',
  signature: 'start_dim=1, end_dim=-1',
  extra: 'start_dim={start_dim}, end_dim={end_dim}',
}) {}

export class Unflatten extends builtin<[dim: number, unflattenedSize: readonly number[]]>({
  python: 'torch.nn.modules.flatten.Unflatten',
  signature: 'dim, unflattened_size',
  extra: 'dim={dim}, unflattened_size={unflattened_size}',
}) {}

interface FoldOptions {
  dilation?: Sizes;
  padding?: Sizes;
  stride?: Sizes;
}

export class Fold extends builtin<[outputSize: Sizes, kernelSize: Sizes], FoldOptions>({
  python: 'torch.nn.modules.fold.Fold',
  signature: 'output_size, kernel_size, dilation=1, padding=0, stride=1',
  extra:
    'output_size={output_size}, kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}',
}) {}

export class Unfold extends builtin<[kernelSize: Sizes], FoldOptions>({
  python: 'torch.nn.modules.fold.Unfold',
  signature: 'kernel_size, dilation=1, padding=0, stride=1',
  extra: 'kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}',
}) {}

export class PixelShuffle extends builtin<[upscaleFactor: number]>({
  python: 'torch.nn.modules.pixelshuffle.PixelShuffle',
  signature: 'upscale_factor',
  extra: 'upscale_factor={upscale_factor}',
}) {}

export class PixelUnshuffle extends builtin<[downscaleFactor: number]>({
  python: 'torch.nn.modules.pixelshuffle.PixelUnshuffle',
  signature: 'downscale_factor',
  extra: 'downscale_factor={downscale_factor}',
}) {}

export class ChannelShuffle extends builtin<[groups: number]>({
  python: 'torch.nn.modules.channelshuffle.ChannelShuffle',
  signature: 'groups',
  extra: 'groups={groups}',
}) {}

interface ResampleOptions {
  size?: Sizes | null;
  scaleFactor?: Sizes | null;
}

/** Factors become floats, as in PyTorch; a factor of 0 is none. */
function scaleFactor(call: Call): PyValue {
  const factor = call.value('scale_factor');
  const asFloat = (value: PyValue): PyValue => (value instanceof PyFloat ? value : new PyFloat(Number(value)));
  if (factor instanceof Tuple) return Tuple.from([...factor].map((each) => asFloat(each as PyValue)));
  return call.flag('scale_factor') ? asFloat(factor) : null;
}

function resample(module: Builder, call: Call, mode: PyValue, alignCorners: PyValue, recompute: PyValue): void {
  module.set('name', call.className);
  module.keep('size');
  module.set('scale_factor', scaleFactor(call));
  module.set('mode', mode);
  module.set('align_corners', alignCorners);
  module.set('recompute_scale_factor', recompute);
}

function resampleExtra(shown: ShownAttributes): string {
  return shown.format(
    `${shown.isNone('scale_factor') ? 'size={size!r}' : 'scale_factor={scale_factor!r}'}, mode={mode!r}`,
  );
}

export class Upsample extends builtin<
  [],
  ResampleOptions & {
    mode?: 'nearest' | 'linear' | 'bilinear' | 'bicubic' | 'trilinear';
    alignCorners?: boolean | null;
    recomputeScaleFactor?: boolean | null;
  }
>({
  python: 'torch.nn.modules.upsampling.Upsample',
  signature: "size=None, scale_factor=None, mode='nearest', align_corners=None, recompute_scale_factor=None",
  build: (module, call) =>
    resample(module, call, call.value('mode'), call.value('align_corners'), call.value('recompute_scale_factor')),
  extra: resampleExtra,
}) {}

export class UpsamplingNearest2d extends builtin<[], ResampleOptions>({
  python: 'torch.nn.modules.upsampling.UpsamplingNearest2d',
  signature: 'size=None, scale_factor=None',
  build: (module, call) => resample(module, call, 'nearest', null, null),
  extra: resampleExtra,
}) {}

export class UpsamplingBilinear2d extends builtin<[], ResampleOptions>({
  python: 'torch.nn.modules.upsampling.UpsamplingBilinear2d',
  signature: 'size=None, scale_factor=None',
  build: (module, call) => resample(module, call, 'bilinear', true, null),
  extra: resampleExtra,
}) {}
