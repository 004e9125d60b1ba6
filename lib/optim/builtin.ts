/**
 * What PyTorch's own optimizers have in common: they are made from a spec, and most update each parameter by itself,
 * element by element. A class says what its state begins with and what one update does.
 */
import type { Tensor } from '../tensor/tensor';
import type { Arguments } from './arguments';
import { addMissing, defaultsOf, type OptimizerSpec, tensorsFromNumbers } from './hyperparameters';
import { Optimizer, type OptimizerParams, type ParamGroup, type ParamState } from './optimizer';
import { advance, beginUpdate, type Update, type WeightDecay } from './update';

/** An optimizer whose constructor takes what its spec says. */
export abstract class BuiltinOptimizer<Options extends object> extends Optimizer {
  /** @internal */
  static readonly spec: OptimizerSpec;

  constructor(params: OptimizerParams, ...args: Arguments<Options>) {
    super(params, new.target.defaultsFor(args));
  }

  /** @internal */
  protected static defaultsFor(args: readonly unknown[]): ParamGroup {
    return defaultsOf(this.spec, args);
  }

  protected override completeGroup(group: ParamGroup): void {
    const { spec } = this.constructor as typeof BuiltinOptimizer;
    addMissing(group, spec);
    tensorsFromNumbers(group, this.state, spec);
  }
}

/** An optimizer that counts its steps and updates the elements of one parameter after those of another. */
export abstract class ElementwiseOptimizer<Options extends object> extends BuiltinOptimizer<Options> {
  /** Fills the empty state of a parameter that is updated for the first time. @internal */
  protected abstract begin(state: ParamState, param: Tensor, group: ParamGroup, grad: Tensor): void;

  /** One update, the `step`th. @internal */
  protected abstract update(update: Update, group: ParamGroup, step: number): void;

  /** How weight decay acts. @internal */
  protected weightDecayIn(_group: ParamGroup): WeightDecay {
    return 'gradient';
  }

  protected override updateParam(param: Tensor, grad: Tensor, group: ParamGroup): void {
    const state = this.stateOf(param);
    if (state.size === 0) this.begin(state, param, group, grad);
    const update = beginUpdate(param, grad, state, group, this.weightDecayIn(group));
    this.update(update, group, advance(state));
    update.commit();
  }
}
