/** The public names of the package, and nothing else. */
export { type Capabilities, capabilities } from './capabilities';
export { Checkpoint, type CheckpointInfo, type NamedGlobal, type VerifyOptions, type VerifyReport } from './checkpoint';
export type { Format, RecordInfo } from './container/container';
export { DType, type TypedArray } from './dtype';
export { CheckpointError, ERROR_CODES, type ErrorCode, isCheckpointError } from './errors';
export { DEFAULT_LIMITS, type Limits } from './limits';
export { load, type LoadOptions, loadSync, open, openSync } from './load';
export { type DeviceBackend, type MapLocation, registerDevice } from './location';
export { type ClassRegistry, type Picklable, type PickleClass, getPickled, setState } from './pickle/classes';
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
