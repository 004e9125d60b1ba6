/** `torch.optim`: optimizers, and learning rate schedulers under `lr_scheduler`. */
import { registerFamily } from '../registry';
import { registerOptimizers } from './register';

export { Adadelta, type AdadeltaOptions } from './adadelta';
export { Adagrad, type AdagradOptions } from './adagrad';
export { Adam, type AdamOptions, AdamW, type AdamWOptions } from './adam';
export { Adamax, type AdamaxOptions } from './adamax';
export { ASGD, type ASGDOptions } from './asgd';
export type { GradientSource } from './elements';
export * as lr_scheduler from './lr-scheduler';
export { NAdam, type NAdamOptions } from './nadam';
export {
  type GroupOptions,
  type NamedTensor,
  Optimizer,
  type OptimizerParams,
  type ParamGroup,
  type ParamState,
} from './optimizer';
export { RAdam, type RAdamOptions } from './radam';
export { RMSprop, type RMSpropOptions } from './rmsprop';
export { Rprop, type RpropOptions } from './rprop';
export { SGD, type SGDOptions } from './sgd';
export {
  Adafactor,
  type AdafactorOptions,
  LBFGS,
  type LBFGSOptions,
  Muon,
  type MuonOptions,
  SparseAdam,
  type SparseAdamOptions,
} from './without-step';

registerFamily('torch.optim.', () => registerOptimizers());
