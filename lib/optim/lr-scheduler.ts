/** `torch.optim.lr_scheduler`. */
export { ChainedScheduler, SequentialLR, type SequentialLROptions } from './composed-schedulers';
export {
  CosineAnnealingLR,
  type CosineAnnealingLROptions,
  CosineAnnealingWarmRestarts,
  type CosineAnnealingWarmRestartsOptions,
} from './cosine-schedulers';
export { CyclicLR, type CyclicLROptions, OneCycleLR, type OneCycleLROptions } from './cyclic-schedulers';
export {
  ConstantLR,
  type ConstantLROptions,
  ExponentialLR,
  type ExponentialLROptions,
  LambdaLR,
  type LambdaLROptions,
  LinearLR,
  type LinearLROptions,
  type LrLambda,
  MultiplicativeLR,
  MultiStepLR,
  type MultiStepLROptions,
  PolynomialLR,
  type PolynomialLROptions,
  StepLR,
  type StepLROptions,
} from './decay-schedulers';
export { ReduceLROnPlateau, type ReduceLROnPlateauOptions } from './plateau-scheduler';
export { LRScheduler, type SchedulerState } from './scheduler';
