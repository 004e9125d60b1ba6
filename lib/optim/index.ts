/** `torch.optim`: optimizers, and learning rate schedulers under `lr_scheduler`. */
import { register } from '../registry';
import { Adadelta } from './adadelta';
import { Adagrad } from './adagrad';
import { Adam, AdamW } from './adam';
import { Adamax } from './adamax';
import { ASGD } from './asgd';
import { NAdam } from './nadam';
import { RAdam } from './radam';
import { RMSprop } from './rmsprop';
import { Rprop } from './rprop';
import { SGD } from './sgd';
import { Adafactor, LBFGS, Muon, SparseAdam } from './without-step';

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

// Optimizers that were pickled whole come back as their classes.
for (const Class of [
  Adadelta,
  Adafactor,
  Adagrad,
  Adam,
  AdamW,
  Adamax,
  ASGD,
  LBFGS,
  Muon,
  NAdam,
  RAdam,
  RMSprop,
  Rprop,
  SGD,
  SparseAdam,
])
  register(Class.global, Class);
