/** `torch.nn.modules.sparse`: tables of vectors. */
import { Parameter, Tensor } from '../tensor/tensor';
import type { Call } from './arguments';
import { setParameter } from './attributes';
import { type Builder, builtin } from './builtin';
import type { ShownAttributes } from './extra-repr';
import { normal } from './init';
import type { FactoryOptions } from './linear';
import { constantFill } from './module-fill';

interface TableOptions extends FactoryOptions {
  paddingIdx?: number | null;
  maxNorm?: number | null;
  normType?: number;
  scaleGradByFreq?: boolean;
  sparse?: boolean;
}

/** The row of padding, counted from the start; its place in the message is PyTorch's. */
function paddingIndex(call: Call, name: string): number | null {
  if (call.isNone('padding_idx')) return null;
  const [index, rows] = [call.int('padding_idx'), call.size('num_embeddings')];
  if (index >= rows && index > 0 ? true : index < -rows) throw new RangeError(`${name} must be within num_embeddings`);
  return index < 0 ? rows + index : index;
}

function table(module: Builder, call: Call, padding: number | null): void {
  const shape = [call.size('num_embeddings'), call.size('embedding_dim')];
  const given = call.value('_weight');
  if (given !== null) {
    if (!(given instanceof Tensor)) throw new TypeError(`${call.className}: weight must be a Tensor`);
    if (String(given.shape) !== String(shape))
      throw new RangeError('Shape of weight does not match num_embeddings and embedding_dim');
    setParameter(module.attributes, 'weight', given instanceof Parameter ? given : new Parameter(given));
    return;
  }
  module.parameter('weight', shape, normal);
  const weight = module.attributes.get('_parameters') as Map<string, Tensor>;
  if (padding !== null) constantFill((weight.get('weight') as Tensor).select(0, padding), 0);
}

function limits(shown: ShownAttributes, show: 'str' | 'repr'): string {
  const of = (name: string): string => shown[show](name);
  let text = '';
  if (!shown.isNone('max_norm')) text += `, max_norm=${of('max_norm')}`;
  if (shown.value('norm_type') !== 2) text += `, norm_type=${of('norm_type')}`;
  if (shown.value('scale_grad_by_freq') !== false) text += `, scale_grad_by_freq=${of('scale_grad_by_freq')}`;
  return text;
}

export class Embedding extends builtin<
  [numEmbeddings: number, embeddingDim: number],
  TableOptions & { weight?: Tensor; freeze?: boolean },
  { weight: Parameter }
>({
  python: 'torch.nn.modules.sparse.Embedding',
  signature:
    'num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False, _weight=None, _freeze=False, device=None, dtype=None',
  build(module, call) {
    const padding = paddingIndex(call, 'Padding_idx');
    module.keep('num_embeddings', 'embedding_dim');
    module.set('padding_idx', padding);
    module.keep('max_norm', 'norm_type', 'scale_grad_by_freq');
    table(module, call, padding);
    if (call.flag('_freeze'))
      (module.attributes.get('_parameters') as Map<string, Parameter>).get('weight')?.requiresGrad_(false);
    module.keep('sparse');
  },
  extra(shown) {
    const padding = shown.isNone('padding_idx') ? '' : ', padding_idx={padding_idx}';
    const sparse = shown.value('sparse') === false ? '' : ', sparse=True';
    return `${shown.format(`{num_embeddings}, {embedding_dim}${padding}`)}${limits(shown, 'str')}${sparse}`;
  },
}) {}

export class EmbeddingBag extends builtin<
  [numEmbeddings: number, embeddingDim: number],
  TableOptions & { mode?: 'sum' | 'mean' | 'max'; weight?: Tensor; includeLastOffset?: boolean },
  { weight: Parameter }
>({
  python: 'torch.nn.modules.sparse.EmbeddingBag',
  signature:
    "num_embeddings, embedding_dim, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode='mean', sparse=False, _weight=None, include_last_offset=False, padding_idx=None, device=None, dtype=None",
  build(module, call) {
    const padding = paddingIndex(call, 'padding_idx');
    module.keep('num_embeddings', 'embedding_dim', 'max_norm', 'norm_type', 'scale_grad_by_freq');
    module.set('padding_idx', padding);
    table(module, call, padding);
    module.keep('mode', 'sparse', 'include_last_offset');
  },
  extra(shown) {
    const padding = shown.isNone('padding_idx') ? '' : ', padding_idx={padding_idx!r}';
    return `${shown.format('{num_embeddings!r}, {embedding_dim!r}')}${limits(shown, 'repr')}${shown.format(`, mode={mode!r}${padding}`)}`;
  },
}) {}
