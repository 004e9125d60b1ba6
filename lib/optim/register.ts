/** Makes optimizers that were pickled whole come back as their classes. */
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

export function registerOptimizers(): void {
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
}
