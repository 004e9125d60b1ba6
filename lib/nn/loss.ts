/** `torch.nn.modules.loss`. */
import type { Tensor } from '../tensor/tensor';
import type { Call } from './arguments';
import { type Builder, builtin } from './builtin';
import { PairwiseDistance } from './distance';
import { Module } from './module';

const MODULE = 'torch.nn.modules.loss';

export type Reduction = 'none' | 'mean' | 'sum';

export interface LossOptions {
  reduction?: Reduction;
  /** Deprecated in PyTorch; both together choose the reduction. */
  sizeAverage?: boolean | null;
  reduce?: boolean | null;
}

export interface WeightedOptions extends LossOptions {
  weight?: Tensor | null;
}

/** The arguments that losses had before `reduction`, and it. */
const OLD = "size_average=None, reduce=None, reduction='mean'";

function reduction(module: Builder, call: Call, old = true): void {
  const [average, reduce] = old ? [call.value('size_average'), call.value('reduce')] : [null, null];
  if (average === null && reduce === null) {
    module.keep('reduction');
    return;
  }
  const chosen = (reduce ?? true) ? ((average ?? true) ? 'mean' : 'sum') : 'none';
  process.emitWarning(`size_average and reduce args will be deprecated, please use reduction='${chosen}' instead.`);
  module.set('reduction', chosen);
}

interface LossRow {
  /** Other arguments, with what stands of the common ones between them. */
  signature?: string;
  /** Attributes after the reduction, by the names of arguments. */
  keep?: readonly string[];
  weighted?: boolean;
  /** False for those that came after `size_average`. */
  old?: boolean;
  check?: (call: Call) => void;
}

function loss<Options extends object = LossOptions>(name: string, row: LossRow = {}) {
  const { weighted = false, old = true, keep = [] } = row;
  return builtin<[], Options>({
    python: `${MODULE}.${name}`,
    signature: row.signature ?? (weighted ? `weight=None, ${OLD}` : OLD),
    build(module, call) {
      row.check?.(call);
      reduction(module, call, old);
      if (weighted) module.buffer('weight', call.value('weight'));
      if (name === 'BCEWithLogitsLoss') module.buffer('pos_weight', call.value('pos_weight'));
      module.keep(...keep);
    },
  });
}

export class L1Loss extends loss('L1Loss') {}
export class MSELoss extends loss('MSELoss') {}
export class SoftMarginLoss extends loss('SoftMarginLoss') {}
export class MultiLabelMarginLoss extends loss('MultiLabelMarginLoss') {}
export class BCELoss extends loss<WeightedOptions>('BCELoss', { weighted: true }) {}
export class MultiLabelSoftMarginLoss extends loss<WeightedOptions>('MultiLabelSoftMarginLoss', { weighted: true }) {}
export class BCEWithLogitsLoss extends loss<WeightedOptions & { posWeight?: Tensor | null }>('BCEWithLogitsLoss', {
  signature: `weight=None, ${OLD}, pos_weight=None`,
  weighted: true,
}) {}

const NLL = {
  signature: "weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean'",
  weighted: true,
  keep: ['ignore_index'],
};
export class NLLLoss extends loss<WeightedOptions & { ignoreIndex?: number }>('NLLLoss', NLL) {}
export class NLLLoss2d extends loss<WeightedOptions & { ignoreIndex?: number }>('NLLLoss2d', NLL) {}
export class CrossEntropyLoss extends loss<WeightedOptions & { ignoreIndex?: number; labelSmoothing?: number }>(
  'CrossEntropyLoss',
  {
    signature: `${NLL.signature}, label_smoothing=0.0`,
    weighted: true,
    keep: ['ignore_index', 'label_smoothing'],
  },
) {}
export class PoissonNLLLoss extends loss<LossOptions & { logInput?: boolean; full?: boolean; eps?: number }>(
  'PoissonNLLLoss',
  {
    signature: "log_input=True, full=False, size_average=None, eps=1e-08, reduce=None, reduction='mean'",
    keep: ['log_input', 'full', 'eps'],
  },
) {}
export class GaussianNLLLoss extends loss<{ full?: boolean; eps?: number; reduction?: Reduction }>('GaussianNLLLoss', {
  signature: "*, full=False, eps=1e-06, reduction='mean'",
  old: false,
  keep: ['full', 'eps'],
}) {}
export class KLDivLoss extends loss<LossOptions & { logTarget?: boolean }>('KLDivLoss', {
  signature: `${OLD}, log_target=False`,
  keep: ['log_target'],
}) {}
export class HingeEmbeddingLoss extends loss<LossOptions & { margin?: number }>('HingeEmbeddingLoss', {
  signature: `margin=1.0, ${OLD}`,
  keep: ['margin'],
}) {}
export class SmoothL1Loss extends loss<LossOptions & { beta?: number }>('SmoothL1Loss', {
  signature: `${OLD}, beta=1.0`,
  keep: ['beta'],
}) {}
export class HuberLoss extends loss<{ reduction?: Reduction; delta?: number }>('HuberLoss', {
  signature: "reduction='mean', delta=1.0",
  old: false,
  keep: ['delta'],
}) {}
export class CosineEmbeddingLoss extends loss<LossOptions & { margin?: number }>('CosineEmbeddingLoss', {
  signature: `margin=0.0, ${OLD}`,
  keep: ['margin'],
}) {}
export class MarginRankingLoss extends loss<LossOptions & { margin?: number }>('MarginRankingLoss', {
  signature: `margin=0.0, ${OLD}`,
  keep: ['margin'],
}) {}
export class MultiMarginLoss extends loss<WeightedOptions & { p?: 1 | 2; margin?: number }>('MultiMarginLoss', {
  signature: `p=1, margin=1.0, weight=None, ${OLD}`,
  weighted: true,
  keep: ['p', 'margin'],
  check(call) {
    if (call.number('p') !== 1 && call.number('p') !== 2) throw new RangeError('only p == 1 and p == 2 supported');
  },
}) {}

function demandMargin(call: Call): void {
  const margin = call.number('margin');
  if (margin <= 0)
    throw new RangeError(`${call.className}: expected margin to be greater than 0, got ${margin} instead`);
}

export class TripletMarginLoss extends loss<
  LossOptions & { margin?: number; p?: number; eps?: number; swap?: boolean }
>('TripletMarginLoss', {
  signature: `margin=1.0, p=2.0, eps=1e-06, swap=False, ${OLD}`,
  keep: ['margin', 'p', 'eps', 'swap'],
  check: demandMargin,
}) {}

export class TripletMarginWithDistanceLoss extends builtin<
  [],
  { distanceFunction?: Module; margin?: number; swap?: boolean; reduction?: Reduction }
>({
  python: `${MODULE}.TripletMarginWithDistanceLoss`,
  signature: "*, distance_function=None, margin=1.0, swap=False, reduction='mean'",
  build(module, call) {
    demandMargin(call);
    const distance = call.value('distance_function') ?? new PairwiseDistance();
    if (!(distance instanceof Module)) throw new TypeError(`${call.className}: distanceFunction must be a Module`);
    reduction(module, call, false);
    module.child('distance_function', distance);
    module.keep('margin', 'swap');
  },
}) {}

export class CTCLoss extends loss<{ blank?: number; reduction?: Reduction; zeroInfinity?: boolean }>('CTCLoss', {
  signature: "blank=0, reduction='mean', zero_infinity=False",
  old: false,
  keep: ['blank', 'zero_infinity'],
}) {}
