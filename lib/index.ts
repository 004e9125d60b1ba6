/** The public names of the package, and nothing else. */
export { type Capabilities, capabilities } from './capabilities';
export { Checkpoint, type CheckpointInfo, type NamedGlobal, type VerifyOptions, type VerifyReport } from './checkpoint';
export type { Format, RecordInfo } from './container/container';
export type { AliasPolicy } from './convert/aliases';
export { type ConvertOptions, type ConvertReport, convert } from './convert/convert';
export {
  type BatchFile,
  type BatchProgress,
  type BatchReport,
  convertDirectory,
  type DirectoryOptions,
} from './convert/directory';
export { type EditOptions, type EditReport, edit } from './convert/edit';
export type { Dropped, TargetName } from './convert/target';
export { DType, type TypedArray } from './dtype';
export { CheckpointError, ERROR_CODES, type ErrorCode, isCheckpointError } from './errors';
export { type DiagnoseOptions, type Diagnosis, diagnose } from './inspect/diagnose';
export type { FolderProblem } from './inspect/diagnose-folder';
export { type Change, type DiffOptions, type DiffReport, diff } from './inspect/diff';
export { type ExtractOptions, type ExtractReport, extract } from './inspect/extract';
export { type Inspection, type InspectOptions, inspect, type TensorFacts, type ValueFacts } from './inspect/inspect';
export { type LostTensor, type SalvageOptions, type SalvageReport, salvage } from './inspect/salvage';
export { sarif } from './inspect/sarif';
export {
  type FileReport,
  type Finding,
  type ScannedGlobal,
  type ScanOptions,
  type ScanReport,
  scan,
} from './inspect/scan';
export { type Shown, type ShowOptions, show } from './inspect/show';
export type { Statistics } from './inspect/statistics';
export { type FileVerifyOptions, type FileVerifyReport, verify } from './inspect/verify';
export { DEFAULT_LIMITS, type Limits } from './limits';
export { type LoadOptions, load, loadSync, open, openSync } from './load';
export { type DeviceBackend, type MapLocation, registerDevice } from './location';
export {
  CheckpointManager,
  type CheckpointManagerOptions,
  type LoadedModel,
  type LoadLatestOptions,
  type LoadModelParts,
  loadModel,
  type SaveModelParts,
  saveModel,
} from './models/index';
export { IncompatibleKeys } from './nn/incompatible-keys';
export * as nn from './nn/index';
export { loadStateDict } from './nn/load-state-dict';
export { stateDict } from './nn/state-dict';
export { consumePrefix, filterKeys, mergeStateDicts, renameKeys } from './nn/state-dict-keys';
export * as optim from './optim/index';
export { type ClassRegistry, getPickled, type Picklable, type PickleClass, setState } from './pickle/classes';
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
  pyFloat,
  pyInt,
  QScheme,
  Size,
  Tuple,
} from './pickle/values';
export type { Verdict } from './pickle/verdicts';
export { register, registry } from './registry';
export { repr } from './repr';
export { type SaveOptions, type SaveReport, type SaveTarget, save, saveSync, toBytes } from './save';
export type { CheckpointSource } from './source/open-source';
export type { OnProgress, Progress } from './source/progress';
export { NestedTensor } from './tensor/nested';
export { QuantizedTensor } from './tensor/quantized';
export { SparseTensor } from './tensor/sparse';
export { Storage } from './tensor/storage';
export { type NestedArray, Parameter, Tensor } from './tensor/tensor';
export type { AnyTensor } from './walk';
