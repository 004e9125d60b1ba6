/** `torch.nn.modules.conv`. */
import { type PyValue, Tuple } from '../pickle/values';
import type { Call } from './arguments';
import { type Builder, builtin } from './builtin';
import type { ShownAttributes } from './extra-repr';
import { type FactoryOptions, type WeightAndBias, weightAndBias } from './linear';

/** One number for all dimensions, or one for each. */
export type Sizes = number | readonly number[];

export interface ConvOptions extends FactoryOptions {
  stride?: Sizes;
  padding?: Sizes | 'same' | 'valid';
  dilation?: Sizes;
  groups?: number;
  bias?: boolean;
  paddingMode?: 'zeros' | 'reflect' | 'replicate' | 'circular';
}

export interface ConvTransposeOptions extends FactoryOptions {
  stride?: Sizes;
  padding?: Sizes;
  outputPadding?: Sizes;
  groups?: number;
  bias?: boolean;
  dilation?: Sizes;
  paddingMode?: 'zeros';
}

const PADDING_MODES = ['zeros', 'reflect', 'replicate', 'circular'];

function check(call: Call, stride: Tuple, transposed: boolean): void {
  const groups = call.int('groups');
  if (groups <= 0) throw new RangeError('groups must be a positive integer');
  if (call.size('in_channels') % groups !== 0) throw new RangeError('in_channels must be divisible by groups');
  if (call.size('out_channels') % groups !== 0) throw new RangeError('out_channels must be divisible by groups');
  const padding = call.value('padding');
  if (typeof padding === 'string') {
    if (padding !== 'same' && padding !== 'valid')
      throw new RangeError(`Invalid padding string '${padding}', should be one of {'valid', 'same'}`);
    if (padding === 'same' && stride.some((step) => step !== 1))
      throw new RangeError("padding='same' is not supported for strided convolutions");
  }
  const mode = call.text('padding_mode');
  if (transposed && mode !== 'zeros')
    throw new RangeError(`Only "zeros" padding mode is supported for ${call.className}`);
  if (!PADDING_MODES.includes(mode))
    throw new RangeError(
      `padding_mode must be one of {'zeros', 'reflect', 'replicate', 'circular'}, but got padding_mode='${mode}'`,
    );
}

/** What `F.pad` wants of the padding: last dimension first, each number twice; a list where the padding has a name. */
function reversedPadding(padding: PyValue, kernel: Tuple, dilation: Tuple): PyValue {
  if (padding instanceof Tuple) return Tuple.from([...padding].reverse().flatMap((size) => [size, size]));
  const list = new Array<PyValue>(kernel.length * 2).fill(0);
  if (padding !== 'same') return list;
  for (const [d, size] of kernel.entries()) {
    const total = (dilation[d] as number) * ((size as number) - 1);
    const at = 2 * (kernel.length - 1 - d);
    list[at] = Math.floor(total / 2);
    list[at + 1] = total - Math.floor(total / 2);
  }
  return list;
}

function convolution(dims: number, transposed: boolean) {
  return (module: Builder, call: Call): void => {
    const kernel = call.tuple('kernel_size', dims);
    const stride = call.tuple('stride', dims);
    const dilation = call.tuple('dilation', dims);
    check(call, stride, transposed);
    const padding = typeof call.value('padding') === 'string' ? call.value('padding') : call.tuple('padding', dims);
    module.keep('in_channels', 'out_channels');
    module.set('kernel_size', kernel);
    module.set('stride', stride);
    module.set('padding', padding);
    module.set('dilation', dilation);
    module.set('transposed', transposed);
    module.set(
      'output_padding',
      transposed ? call.tuple('output_padding', dims) : Tuple.from(new Array<PyValue>(dims).fill(0)),
    );
    module.keep('groups', 'padding_mode');
    module.set('_reversed_padding_repeated_twice', reversedPadding(padding, kernel, dilation));
    const [inputs, outputs, groups] = [call.int('in_channels'), call.int('out_channels'), call.int('groups')];
    const channels = transposed ? [inputs, outputs / groups] : [outputs, inputs / groups];
    weightAndBias(module, call, [...channels, ...(kernel as Tuple<number>)], outputs);
  };
}

function extra(shown: ShownAttributes): string {
  let template = '{in_channels}, {out_channels}, kernel_size={kernel_size}, stride={stride}';
  if (!shown.isAll('padding', 0)) template += ', padding={padding}';
  if (!shown.isAll('dilation', 1)) template += ', dilation={dilation}';
  if (!shown.isAll('output_padding', 0)) template += ', output_padding={output_padding}';
  if (shown.value('groups') !== 1) template += ', groups={groups}';
  if (!shown.hasParameter('bias')) template += ', bias=False';
  // Files of PyTorch 1.0 have no padding mode.
  if ((shown.value('padding_mode') ?? 'zeros') !== 'zeros') template += ', padding_mode={padding_mode}';
  return shown.format(template);
}

type ConvArguments = [inChannels: number, outChannels: number, kernelSize: Sizes];

function conv(dims: 1 | 2 | 3) {
  return builtin<ConvArguments, ConvOptions, WeightAndBias>({
    python: `torch.nn.modules.conv.Conv${dims}d`,
    signature:
      "in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, padding_mode='zeros', device=None, dtype=None",
    build: convolution(dims, false),
    extra,
  });
}

function convTranspose(dims: 1 | 2 | 3) {
  return builtin<ConvArguments, ConvTransposeOptions, WeightAndBias>({
    python: `torch.nn.modules.conv.ConvTranspose${dims}d`,
    signature:
      "in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1, padding_mode='zeros', device=None, dtype=None",
    build: convolution(dims, true),
    extra,
  });
}

export class Conv1d extends conv(1) {}
export class Conv2d extends conv(2) {}
export class Conv3d extends conv(3) {}
export class ConvTranspose1d extends convTranspose(1) {}
export class ConvTranspose2d extends convTranspose(2) {}
export class ConvTranspose3d extends convTranspose(3) {}
