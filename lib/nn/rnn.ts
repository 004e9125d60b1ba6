/** `torch.nn.modules.rnn`: recurrent layers and their cells. */
import { PyFloat, type PyValue } from '../pickle/values';
import type { Parameter } from '../tensor/tensor';
import type { Call } from './arguments';
import { parametersOf } from './attributes';
import { type Builder, builtin } from './builtin';
import type { ShownAttributes } from './extra-repr';
import { uniform } from './init';
import type { FactoryOptions } from './linear';

const MODULE = 'torch.nn.modules.rnn';

const GATES: Readonly<Record<string, number>> = { LSTM: 4, GRU: 3, RNN_TANH: 1, RNN_RELU: 1 };

export interface RecurrentOptions extends FactoryOptions {
  numLayers?: number;
  bias?: boolean;
  batchFirst?: boolean;
  dropout?: number;
  bidirectional?: boolean;
}

function check(call: Call): void {
  const dropout = call.value('dropout');
  const p = dropout instanceof PyFloat ? dropout.value : dropout;
  if (typeof p !== 'number' || p < 0 || p > 1) {
    throw new RangeError(
      'dropout should be a number in range [0, 1] representing the probability of an element being zeroed',
    );
  }
  if (p > 0 && call.int('num_layers') === 1) {
    process.emitWarning(
      `dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers greater than 1, but got dropout=${p} and num_layers=1`,
    );
  }
  for (const name of ['bias', 'batch_first'])
    if (typeof call.value(name) !== 'boolean') throw new TypeError(`${name} should be of type bool`);
  if (call.int('input_size') <= 0) throw new RangeError('input_size must be greater than zero');
  if (call.int('hidden_size') <= 0) throw new RangeError('hidden_size must be greater than zero');
  if (call.int('num_layers') <= 0) throw new RangeError('num_layers must be greater than zero');
  if (call.int('proj_size') < 0)
    throw new RangeError('proj_size should be a positive integer or zero to disable projections');
  if (call.int('proj_size') >= call.int('hidden_size'))
    throw new RangeError('proj_size has to be smaller than hidden_size');
}

function recurrent(module: Builder, call: Call, mode: string): void {
  check(call);
  module.set('mode', mode);
  module.keep('input_size', 'hidden_size', 'num_layers', 'bias', 'batch_first');
  module.float('dropout');
  module.keep('bidirectional', 'proj_size');
  const [hidden, projection] = [call.size('hidden_size'), call.size('proj_size')];
  const gates = (GATES[mode] as number) * hidden;
  const output = projection > 0 ? projection : hidden;
  const directions = call.flag('bidirectional') ? 2 : 1;
  const init = uniform(1 / Math.sqrt(hidden));
  const names: string[] = [];
  const layers: string[][] = [];
  for (let layer = 0; layer < call.int('num_layers'); layer++) {
    for (let direction = 0; direction < directions; direction++) {
      const suffix = `l${layer}${direction === 1 ? '_reverse' : ''}`;
      const input = layer === 0 ? call.size('input_size') : output * directions;
      const shapes: [name: string, shape: number[]][] = [
        [`weight_ih_${suffix}`, [gates, input]],
        [`weight_hh_${suffix}`, [gates, output]],
      ];
      if (call.flag('bias')) shapes.push([`bias_ih_${suffix}`, [gates]], [`bias_hh_${suffix}`, [gates]]);
      if (projection > 0) shapes.push([`weight_hr_${suffix}`, [projection, hidden]]);
      for (const [name, shape] of shapes) module.parameter(name, shape, init);
      layers.push(shapes.map(([name]) => name));
      names.push(...shapes.map(([name]) => name));
    }
  }
  module.set('_flat_weights_names', names);
  module.set('_all_weights', layers);
  const parameters = parametersOf(module.module);
  module.set(
    '_flat_weights',
    names.map((name) => parameters.get(name) as PyValue),
  );
}

function extra(shown: ShownAttributes): string {
  let template = '{input_size}, {hidden_size}';
  if ((shown.value('proj_size') ?? 0) !== 0) template += ', proj_size={proj_size}';
  if (shown.value('num_layers') !== 1) template += ', num_layers={num_layers}';
  if (shown.value('bias') !== true) template += ', bias={bias}';
  if (shown.value('batch_first') !== false) template += ', batch_first={batch_first}';
  if (shown.value('dropout') !== 0) template += ', dropout={dropout}';
  if (shown.value('bidirectional') !== false) template += ', bidirectional={bidirectional}';
  return shown.format(template);
}

const LAYERS =
  'num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False, proj_size=0, device=None, dtype=None';

export class RNNBase extends builtin<
  [mode: string, inputSize: number, hiddenSize: number],
  RecurrentOptions & { projSize?: number }
>({
  python: `${MODULE}.RNNBase`,
  signature: `mode, input_size, hidden_size, ${LAYERS}`,
  build(module, call) {
    if (!Object.hasOwn(GATES, call.text('mode'))) throw new RangeError(`Unrecognized RNN mode: ${call.text('mode')}`);
    recurrent(module, call, call.text('mode'));
  },
  extra,
}) {}

export class LSTM extends builtin<[inputSize: number, hiddenSize: number], RecurrentOptions & { projSize?: number }>({
  python: `${MODULE}.LSTM`,
  signature: `input_size, hidden_size, ${LAYERS}`,
  build: (module, call) => recurrent(module, call, 'LSTM'),
  extra,
}) {}

function demandNoProjection(call: Call): void {
  if (call.int('proj_size') !== 0)
    throw new RangeError('proj_size argument is only supported for LSTM, not RNN or GRU');
}

export class GRU extends builtin<[inputSize: number, hiddenSize: number], RecurrentOptions>({
  python: `${MODULE}.GRU`,
  signature: `input_size, hidden_size, ${LAYERS}`,
  build(module, call) {
    demandNoProjection(call);
    recurrent(module, call, 'GRU');
  },
  extra,
}) {}

export class RNN extends builtin<
  [inputSize: number, hiddenSize: number],
  RecurrentOptions & { nonlinearity?: 'tanh' | 'relu' }
>({
  python: `${MODULE}.RNN`,
  // PyTorch takes the nonlinearity as the fourth argument by position.
  signature: `input_size, hidden_size, num_layers=1, nonlinearity='tanh', ${LAYERS.slice(LAYERS.indexOf('bias'))}`,
  build(module, call) {
    demandNoProjection(call);
    const kind = call.text('nonlinearity');
    if (kind !== 'tanh' && kind !== 'relu')
      throw new RangeError(`Unknown nonlinearity '${kind}'. Select from 'tanh' or 'relu'.`);
    module.keep('nonlinearity');
    recurrent(module, call, kind === 'tanh' ? 'RNN_TANH' : 'RNN_RELU');
  },
  first: ['nonlinearity'],
  extra,
}) {}

interface CellOptions extends FactoryOptions {
  bias?: boolean;
}

interface CellParameters {
  weightIh: Parameter;
  weightHh: Parameter;
  biasIh: Parameter | null;
  biasHh: Parameter | null;
}

function cell(module: Builder, call: Call, gates: number): void {
  module.keep('input_size', 'hidden_size', 'bias');
  const [input, hidden] = [call.size('input_size'), call.size('hidden_size')];
  const init = uniform(hidden > 0 ? 1 / Math.sqrt(hidden) : 0);
  module.parameter('weight_ih', [gates * hidden, input], init);
  module.parameter('weight_hh', [gates * hidden, hidden], init);
  for (const name of ['bias_ih', 'bias_hh']) {
    if (call.flag('bias')) module.parameter(name, [gates * hidden], init);
    else module.noParameter(name);
  }
}

function cellExtra(shown: ShownAttributes): string {
  let template = '{input_size}, {hidden_size}';
  if ((shown.value('bias') ?? true) !== true) template += ', bias={bias}';
  if ((shown.value('nonlinearity') ?? 'tanh') !== 'tanh') template += ', nonlinearity={nonlinearity}';
  return shown.format(template);
}

function cellClass(name: 'LSTMCell' | 'GRUCell', gates: number) {
  return builtin<[inputSize: number, hiddenSize: number], CellOptions, CellParameters>({
    python: `${MODULE}.${name}`,
    signature: 'input_size, hidden_size, bias=True, device=None, dtype=None',
    build: (module, call) => cell(module, call, gates),
    extra: cellExtra,
  });
}

export class LSTMCell extends cellClass('LSTMCell', 4) {}
export class GRUCell extends cellClass('GRUCell', 3) {}
export class RNNCell extends builtin<
  [inputSize: number, hiddenSize: number],
  CellOptions & { nonlinearity?: 'tanh' | 'relu' },
  CellParameters
>({
  python: `${MODULE}.RNNCell`,
  signature: "input_size, hidden_size, bias=True, nonlinearity='tanh', device=None, dtype=None",
  build(module, call) {
    cell(module, call, 1);
    module.keep('nonlinearity');
  },
  extra: cellExtra,
}) {}
