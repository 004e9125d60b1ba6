/**
 * What a rule is: the way from a global that a pickle calls to the JavaScript value it stands for. The rules themselves
 * stand in `python.ts`, `numpy.ts` and `rebuild.ts`; `globals.ts` gathers them.
 */
import type { DType } from '../dtype';
import { CheckpointError } from '../errors';
import type { Storage, StorageShelf } from '../tensor/storage';
import type { TensorForm } from '../tensor/tensor';
import type { ClassLookup } from './classes';
import { python3Name } from './names';
import { PyGlobal, type PyObject, type PyValue, type Tuple } from './values';

/** What rules may ask of the load that they are part of. */
export interface Host {
  readonly classes: ClassLookup;
  /** Reads a checkpoint inside the checkpoint: the argument of `torch.storage._load_from_bytes`. */
  loadNested(bytes: Uint8Array): PyValue;
  /** mapLocation for a tensor that carries a device name instead of a storage; its location is that name. */
  placeDevice(storage: Storage): Storage;
  /** A tensor of the table that TorchScript archives before PyTorch 1.2 keep beside their pickles. */
  tensorFromId(id: number): PyValue;
  /** The same storage with its element bytes in little-endian order, for an untyped storage of a big-endian file. */
  swapped(storage: Storage, width: number): Storage;
}

/** The arguments of `_rebuild_tensor_v2` behind the storage, as the fast path reads them. */
export interface PlainWindow {
  /** Most often the very array of an equal shape and stride before it. */
  readonly shape: readonly number[];
  readonly stride: readonly number[];
  /** Equal ones have equal numbers. */
  readonly dimsHash: number;
  readonly storageOffset: number;
  readonly requiresGrad: boolean;
}

/** Storages whose keys are numbers, found without making an object for each. */
export interface NumberedStorages extends StorageShelf {
  /** The place of a storage in a persistent id; -1 where it is none of these, or must be placed by itself. */
  find(storageClass: StorageClass, key: number, location: string, numel: number): number;
  /** The form of a tensor on the storage at a place: one object for tensors that are alike. */
  formAt(place: number, window: PlainWindow): TensorForm;
  nbytesAt(place: number): number;
}

export function fail(what: string): never {
  throw new CheckpointError('PICKLE_CORRUPT', what);
}

/** What to do where a known global is called. */
export interface GlobalRule {
  /** Of what is no class: it can be called, but has no objects. */
  readonly isFunction?: boolean;
  /** Called with REDUCE, INST and OBJ, or with NEWOBJ where `newObject` is absent. */
  reduce?(args: Tuple, host: Host, callable: PyGlobal): PyValue;
  newObject?(args: Tuple, host: Host, callable: PyGlobal): PyValue;
  /** BUILD on a `PyObject` that came from this global; the result takes the object's place. */
  build?(object: PyObject, state: PyValue, host: Host): PyValue;
}

/** A global with a row in the table. */
export class KnownGlobal extends PyGlobal {
  readonly rule: GlobalRule;
  constructor(module: string, name: string, global: string, rule: GlobalRule) {
    super(module, name, global);
    this.rule = rule;
  }
}

/** A storage class in a persistent id: `torch.FloatStorage`, `torch.storage.UntypedStorage`. */
export class StorageClass extends PyGlobal {
  readonly dtype: DType;
  /** True when a length beside it counts bytes. */
  readonly untyped: boolean;
  constructor(module: string, name: string, dtype: DType, untyped: boolean) {
    super(module, name, python3Name(module, name));
    this.dtype = dtype;
    this.untyped = untyped;
  }

  /** False of a class that only TorchScript names: `torch.UInt16Storage`. */
  get isOfPython(): boolean {
    return this.untyped || this.dtype.storageClass !== undefined;
  }
}
