/** `torch.nn.modules.transformer`. */
import { PyGlobal, type PyValue } from '../pickle/values';
import { GELU, ReLU } from './activation';
import type { Call } from './arguments';
import { MultiheadAttention } from './attention';
import { type Attributes, attributesOf } from './attributes';
import { type Builder, builtin } from './builtin';
import { cloneModule } from './clone-module';
import { ModuleList } from './container';
import { xavierUniform } from './init';
import { type FactoryOptions, Linear } from './linear';
import { Module } from './module';
import { fill } from './module-fill';
import { LayerNorm } from './norm';
import { Dropout } from './padding';

const MODULE = 'torch.nn.modules.transformer';

/** The functions that PyTorch keeps as the attribute `activation`. */
const RELU = new PyGlobal('torch.nn.functional', 'relu');
const GELU_FUNCTION = new PyGlobal('torch._C._nn', 'gelu');

export interface LayerOptions extends FactoryOptions {
  dimFeedforward?: number;
  dropout?: number;
  activation?: 'relu' | 'gelu' | Module;
  layerNormEps?: number;
  batchFirst?: boolean;
  normFirst?: boolean;
  bias?: boolean;
}

const LAYER =
  "d_model, nhead, dim_feedforward=2048, dropout=0.1, activation='relu', layer_norm_eps=1e-05, batch_first=False, norm_first=False, bias=True, device=None, dtype=None";

function factory(call: Call): { device: string; dtype: NonNullable<FactoryOptions['dtype']> } {
  return { device: call.device, dtype: call.dtype };
}

function activationOf(call: Call): PyValue {
  const given = call.value('activation');
  if (given === 'relu') return RELU;
  if (given === 'gelu') return GELU_FUNCTION;
  if (given instanceof Module || given instanceof PyGlobal) return given;
  throw new RangeError(`activation should be relu/gelu, not ${String(given)}`);
}

/** PyTorch's fast path asks for this: 1 for relu, 2 for gelu. */
function activationKind(activation: PyValue): number {
  if (activation instanceof PyGlobal)
    return activation.global === RELU.global ? 1 : activation.global === GELU_FUNCTION.global ? 2 : 0;
  return activation instanceof ReLU ? 1 : activation instanceof GELU ? 2 : 0;
}

/** Children and attributes in the order of PyTorch's constructors; decoders attend twice. */
function layer(module: Builder, call: Call, attentions: readonly string[]): void {
  const [model, heads, inner] = [call.size('d_model'), call.size('nhead'), call.size('dim_feedforward')];
  const made = factory(call);
  const bias = call.flag('bias');
  const dropout = call.value('dropout');
  const numbers = attentions.length + 1;
  for (const name of attentions)
    module.child(
      name,
      new MultiheadAttention(model, heads, {
        dropout: dropout as number,
        bias,
        batchFirst: call.flag('batch_first'),
        ...made,
      }),
    );
  module.child('linear1', new Linear(model, inner, { bias, ...made }));
  module.child('dropout', new Dropout({ p: dropout as number }));
  module.child('linear2', new Linear(inner, model, { bias, ...made }));
  module.keep('norm_first');
  for (let i = 1; i <= numbers; i++)
    module.child(`norm${i}`, new LayerNorm(model, { eps: call.value('layer_norm_eps') as number, bias, ...made }));
  for (let i = 1; i <= numbers; i++) module.child(`dropout${i}`, new Dropout({ p: dropout as number }));
  const activation = activationOf(call);
  if (attentions.length === 1) module.set('activation_relu_or_gelu', activationKind(activation));
  if (activation instanceof Module) module.child('activation', activation);
  else module.set('activation', activation);
}

export class TransformerEncoderLayer extends builtin<[dModel: number, nhead: number], LayerOptions>({
  python: `${MODULE}.TransformerEncoderLayer`,
  signature: LAYER,
  build: (module, call) => layer(module, call, ['self_attn']),
}) {}

export class TransformerDecoderLayer extends builtin<[dModel: number, nhead: number], LayerOptions>({
  python: `${MODULE}.TransformerDecoderLayer`,
  signature: LAYER,
  build: (module, call) => layer(module, call, ['self_attn', 'multihead_attn']),
}) {}

function stack(module: Builder, call: Call, name: string): Module {
  const one = call.value(name);
  if (!(one instanceof Module)) throw new TypeError(`${call.className}: ${name} must be a Module`);
  module.child('layers', new ModuleList(Array.from({ length: call.size('num_layers') }, () => cloneModule(one))));
  module.keep('num_layers');
  const norm = call.value('norm');
  if (norm instanceof Module) module.child('norm', norm);
  else module.set('norm', null);
  return one;
}

/** Why PyTorch's fast path for padded batches cannot serve the layer; empty when it can. */
function noFastPath(one: Module): string {
  const name = 'encoder_layer';
  if (!(one instanceof TransformerEncoderLayer)) return `${name} was not TransformerEncoderLayer`;
  const of = (module: unknown): Attributes => attributesOf(module as object);
  const attention = one.get('self_attn') as Module;
  if (one.get('norm_first') === true) return `${name}.norm_first was True`;
  if (attention.get('batch_first') !== true)
    return `${name}.self_attn.batch_first was not True(use batch_first for better inference performance)`;
  if (attention.get('_qkv_same_embed_dim') !== true) return `${name}.self_attn._qkv_same_embed_dim was not True`;
  if ((attention.get('in_proj_bias') ?? null) === null) return `${name}.self_attn was passed bias=False`;
  if (one.get('activation_relu_or_gelu') === 0) return `${name}.activation_relu_or_gelu was not True`;
  if (of(one.get('norm1')).get('eps') !== of(one.get('norm2')).get('eps'))
    return `${name}.norm1.eps was not equal to ${name}.norm2.eps`;
  return (attention.get('num_heads') as number) % 2 === 1 ? `${name}.self_attn.num_heads is odd` : '';
}

interface EncoderOptions {
  norm?: Module | null;
  enableNestedTensor?: boolean;
  maskCheck?: boolean;
}

export class TransformerEncoder extends builtin<[encoderLayer: Module, numLayers: number], EncoderOptions>({
  python: `${MODULE}.TransformerEncoder`,
  signature: 'encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True',
  build(module, call) {
    const one = stack(module, call, 'encoder_layer');
    module.keep('enable_nested_tensor');
    // PyTorch warns here; what it warns of is the speed of a forward pass, which we do not have.
    module.set('use_nested_tensor', call.flag('enable_nested_tensor') && noFastPath(one) === '');
    module.keep('mask_check');
  },
}) {}

export class TransformerDecoder extends builtin<[decoderLayer: Module, numLayers: number], { norm?: Module | null }>({
  python: `${MODULE}.TransformerDecoder`,
  signature: 'decoder_layer, num_layers, norm=None',
  build: (module, call) => void stack(module, call, 'decoder_layer'),
}) {}

export interface TransformerOptions extends LayerOptions {
  dModel?: number;
  nhead?: number;
  numEncoderLayers?: number;
  numDecoderLayers?: number;
  customEncoder?: Module | null;
  customDecoder?: Module | null;
}

export class Transformer extends builtin<[], TransformerOptions>({
  python: `${MODULE}.Transformer`,
  signature:
    "d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048, dropout=0.1, activation='relu', custom_encoder=None, custom_decoder=None, layer_norm_eps=1e-05, batch_first=False, norm_first=False, bias=True, device=None, dtype=None",
  build(module, call) {
    const [model, heads] = [call.size('d_model'), call.size('nhead')];
    const made = factory(call);
    const bias = call.flag('bias');
    const layerNormEps = call.value('layer_norm_eps') as number;
    const options: LayerOptions = {
      dimFeedforward: call.size('dim_feedforward'),
      dropout: call.value('dropout') as number,
      activation: call.value('activation') as 'relu',
      layerNormEps,
      batchFirst: call.flag('batch_first'),
      normFirst: call.flag('norm_first'),
      bias,
      ...made,
    };
    const norm = (): Module => new LayerNorm(model, { eps: layerNormEps, bias, ...made });
    const encoder =
      call.value('custom_encoder') ??
      new TransformerEncoder(new TransformerEncoderLayer(model, heads, options), call.size('num_encoder_layers'), {
        norm: norm(),
      });
    const decoder =
      call.value('custom_decoder') ??
      new TransformerDecoder(new TransformerDecoderLayer(model, heads, options), call.size('num_decoder_layers'), {
        norm: norm(),
      });
    for (const [name, part] of [
      ['encoder', encoder],
      ['decoder', decoder],
    ] as const) {
      if (!(part instanceof Module)) throw new TypeError(`Transformer: custom_${name} must be a Module`);
      module.child(name, part);
    }
    for (const parameter of (module.module as unknown as Module).parameters())
      if (parameter.ndim > 1) fill(parameter, xavierUniform);
    module.keep('d_model', 'nhead', 'batch_first');
  },
}) {}
