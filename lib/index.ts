/** The public names of the package, and nothing else. */
export { type Capabilities, capabilities } from './capabilities';
export { Checkpoint, type CheckpointInfo, type NamedGlobal, type VerifyOptions, type VerifyReport } from './checkpoint';
export type { Format, RecordInfo } from './container/container';
export { convert, type ConvertOptions, type ConvertReport } from './convert/convert';
export { type BatchFile, type BatchProgress, type BatchReport, convertDirectory, type DirectoryOptions } from './convert/directory';
export { edit, type EditOptions, type EditReport } from './convert/edit';
export type { AliasPolicy } from './convert/aliases';
export type { Dropped, TargetName } from './convert/target';
export { DType, type TypedArray } from './dtype';
export { CheckpointError, ERROR_CODES, type ErrorCode, isCheckpointError } from './errors';
export { diagnose, type DiagnoseOptions, type Diagnosis } from './inspect/diagnose';
export { type Change, diff, type DiffOptions, type DiffReport } from './inspect/diff';
export { extract, type ExtractOptions, type ExtractReport } from './inspect/extract';
export { inspect, type InspectOptions, type Inspection, type TensorFacts, type ValueFacts } from './inspect/inspect';
export { type FileReport, type Finding, scan, type ScanOptions, type ScanReport, type ScannedGlobal } from './inspect/scan';
export { show, type Shown, type ShowOptions } from './inspect/show';
export type { Statistics } from './inspect/statistics';
export { verify, type FileVerifyOptions, type FileVerifyReport } from './inspect/verify';
export { DEFAULT_LIMITS, type Limits } from './limits';
export { load, type LoadOptions, loadSync, open, openSync } from './load';
export { type DeviceBackend, type MapLocation, registerDevice } from './location';
export { CheckpointManager, type CheckpointManagerOptions, loadModel, type LoadedModel, type LoadLatestOptions, type LoadModelParts, saveModel, type SaveModelParts } from './models';
export * as optim from './optim';
export { type ClassRegistry, type Picklable, type PickleClass, getPickled, setState } from './pickle/classes';
export * as nn from './nn/index';
export { type IncompatibleKeys, loadStateDict } from './nn/load-state-dict';
export { stateDict } from './nn/state-dict';
export { consumePrefix, filterKeys, mergeStateDicts, renameKeys } from './nn/state-dict-keys';
export {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  Layout,
  NdArray,
  NumpyScalar,
  OrderedDict,
  PyFloat,
  PyGlobal,
  PyInt,
  PyObject,
  type PyValue,
  QScheme,
  Size,
  Tuple,
  pyFloat,
  pyInt,
} from './pickle/values';
export type { Verdict } from './pickle/verdicts';
export { register, registry } from './registry';
export { repr } from './repr';
export { save, type SaveOptions, type SaveReport, saveSync, type SaveTarget, toBytes } from './save';
export type { CheckpointSource } from './source/open-source';
export type { OnProgress, Progress } from './source/progress';
export { NestedTensor } from './tensor/nested';
export { QuantizedTensor } from './tensor/quantized';
export { SparseTensor } from './tensor/sparse';
export { Storage } from './tensor/storage';
export { type NestedArray, Parameter, Tensor } from './tensor/tensor';
