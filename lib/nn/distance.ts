/** `torch.nn.modules.distance`. */
import { builtin } from './builtin';

export class PairwiseDistance extends builtin<[], { p?: number; eps?: number; keepdim?: boolean }>({
  python: 'torch.nn.modules.distance.PairwiseDistance',
  signature: 'p=2.0, eps=1e-06, keepdim=False',
  build(module, call) {
    module.set('norm', call.value('p'));
    module.keep('eps', 'keepdim');
  },
}) {}

export class CosineSimilarity extends builtin<[], { dim?: number; eps?: number }>({
  python: 'torch.nn.modules.distance.CosineSimilarity',
  signature: 'dim=1, eps=1e-08',
}) {}
