/** `torch.nn.modules.padding` and `dropout`. */
import { builtin } from './builtin';
import type { Sizes } from './conv';

type Dims = 1 | 2 | 3;

function pad(kind: 'Circular' | 'Reflection' | 'Replication', dims: Dims) {
  return builtin<[padding: Sizes]>({
    python: `torch.nn.modules.padding.${kind}Pad${dims}d`,
    signature: 'padding',
    build: (module, call) => module.set('padding', call.tuple('padding', 2 * dims)),
    extra: '{padding}',
  });
}
export class CircularPad1d extends pad('Circular', 1) {}
export class CircularPad2d extends pad('Circular', 2) {}
export class CircularPad3d extends pad('Circular', 3) {}
export class ReflectionPad1d extends pad('Reflection', 1) {}
export class ReflectionPad2d extends pad('Reflection', 2) {}
export class ReflectionPad3d extends pad('Reflection', 3) {}
export class ReplicationPad1d extends pad('Replication', 1) {}
export class ReplicationPad2d extends pad('Replication', 2) {}
export class ReplicationPad3d extends pad('Replication', 3) {}

function constantPad(dims: Dims) {
  return builtin<[padding: Sizes, value: number]>({
    python: `torch.nn.modules.padding.ConstantPad${dims}d`,
    signature: 'padding, value',
    build(module, call) {
      module.keep('value');
      module.set('padding', call.tuple('padding', 2 * dims));
    },
    extra: 'padding={padding}, value={value}',
  });
}
export class ConstantPad1d extends constantPad(1) {}
export class ConstantPad2d extends constantPad(2) {}
export class ConstantPad3d extends constantPad(3) {}

function zeroPad(dims: Dims) {
  return builtin<[padding: Sizes]>({
    python: `torch.nn.modules.padding.ZeroPad${dims}d`,
    signature: 'padding',
    build(module, call) {
      module.float('value', 0);
      module.set('padding', call.tuple('padding', 2 * dims));
    },
    extra: '{padding}',
  });
}
export class ZeroPad1d extends zeroPad(1) {}
export class ZeroPad2d extends zeroPad(2) {}
export class ZeroPad3d extends zeroPad(3) {}

function dropout(name: string) {
  return builtin<[], { p?: number; inplace?: boolean }>({
    python: `torch.nn.modules.dropout.${name}`,
    signature: 'p=0.5, inplace=False',
    build(module, call) {
      const p = call.number('p');
      if (!(p >= 0 && p <= 1)) throw new RangeError(`dropout probability has to be between 0 and 1, but got ${p}`);
      module.keep('p', 'inplace');
    },
    extra: 'p={p}, inplace={inplace}',
  });
}
export class Dropout extends dropout('Dropout') {}
export class Dropout1d extends dropout('Dropout1d') {}
export class Dropout2d extends dropout('Dropout2d') {}
export class Dropout3d extends dropout('Dropout3d') {}
export class AlphaDropout extends dropout('AlphaDropout') {}
export class FeatureAlphaDropout extends dropout('FeatureAlphaDropout') {}
