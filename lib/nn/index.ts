/** `nn`: PyTorch's modules. Importing this makes modules in files come back as these classes. */
import { registerFamily } from '../registry';
import { registerModules } from './register';

export { Parameter } from '../tensor/tensor';
export * from './activation';
export * from './attention';
export { ModuleDict, ModuleList, type Named, Sequential } from './container';
export * from './conv';
export * from './distance';
export * from './embedding';
export type { HookHandle, LoadPostHook, LoadPreHook, StateDictHook, StateDictPreHook } from './hooks';
export type { IncompatibleKeys } from './incompatible-keys';
export { manualSeed } from './init';
export {
  Bilinear,
  type FactoryOptions,
  Identity,
  LazyLinear,
  Linear,
  type LinearOptions,
  NonDynamicallyQuantizableLinear,
} from './linear';
export type { LoadStateDictOptions, LoadStep } from './load-state-dict';
export * from './loss';
export { Module } from './module';
export * from './norm';
export * from './padding';
export * from './parallel';
export { ParameterDict, ParameterList } from './parameter-container';
export * from './pooling';
export * from './reshape';
export * from './rnn';
export type { StateDict, StateDictOptions } from './state-dict';
export * from './transformer';

registerFamily('torch.nn.', () => registerModules());
