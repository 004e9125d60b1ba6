/**
 * What every container offers to the load pipeline, and what it may ask of it.
 *
 * A container turns bytes into pickles and storages. It does not know what a pickle means: `ReadContext.unpickle` is
 * the stage above. Detection goes by content, never by file name; the rows stand in `detect.ts`.
 */
import type { Limits } from '../limits';
import type { NumberedStorages } from '../pickle/rules';
import type { PyValue } from '../pickle/values';
import type { ByteSource } from '../source/byte-source';
import type { Storage } from '../tensor/storage';
import type { NameDigits } from './serialization-id';

/**
 * The containers that checkpoints come in. Those on the second line are no checkpoints to `open` and `load`: `inspect` and
 * its neighbours read arrays of NumPy, and the shards of one model taken together.
 */
export type Format = ('zip' | 'legacy' | 'tar' | 'torchscript' | 'safetensors' | 'pickle') | ('npz' | 'npy' | 'shards');

/** One named run of bytes of a container. */
export interface RecordInfo {
  /** Without the archive name: `data/7`. */
  readonly name: string;
  /** Where its bytes start in the file; -1 where a server has not been asked yet. */
  readonly byteOffset: number;
  /** Bytes as read, and as stored in the file where that differs (deflated records). */
  readonly byteLength: number;
  readonly storedLength: number;
  /** 0: not recorded. */
  readonly crc32: number;
  readonly compressed: boolean;
}

export interface PickleOptions {
  /** For error messages. */
  record?: string;
  /** Where in `bytes` the pickle starts; default 0. */
  byteOffset?: number;
  /** How many bytes of a file `bytes` come from, where they were inflated. */
  storedLength?: number;
  /** Resolves persistent ids; without it a pickle that has one is corrupt. */
  persistentLoad?: (pid: PyValue) => PyValue;
  /** The same for a storage whose key is a number, given apart: see machine.ts. */
  numberedStorages?: NumberedStorages;
  /** Where `bytes` starts in its record or file: added to the byte offsets of errors. */
  baseOffset?: number;
  /** Tensors by number: `torch.jit._pickle.build_tensor_from_id` of TorchScript archives before PyTorch 1.2. */
  tensorFromId?: (id: number) => PyValue;
  /** True for the pickles of the container itself (magic number, key lists): plain data, no globals but storage classes. */
  plain?: boolean;
}

export interface ReadContext {
  readonly limits: Limits;
  /** Runs one pickle; `byteEnd` is where it stopped in `bytes`. */
  unpickle(bytes: Uint8Array, options?: PickleOptions): { value: PyValue; byteEnd: number };
  /** Applies mapLocation: called once for each storage key, in order of first use. Empty storages at each mention. */
  place(storage: Storage): Storage;
  /** The location that `place` leaves or gives to every storage at this one; undefined where each must be asked. */
  plainPlacement(location: string): string | undefined;
  /** A warning that PyTorch would print, through process.emitWarning. */
  warn(message: string): void;
  readonly weightsOnly: boolean;
}

/** What a container gives: the root value and the facts for `CheckpointInfo`. */
export interface ContainerContents {
  readonly root: PyValue;
  /** Other pickles of the archive, by the prefix of their paths: TorchScript's `constants` and `bytecode`. */
  readonly extraRoots?: readonly (readonly [prefix: string, value: PyValue])[];
  readonly byteOrder: 'little' | 'big';
  /** `version` record of a zip, protocol version of a legacy stream, else undefined. */
  readonly formatVersion?: string | undefined;
  readonly storageAlignment?: number | undefined;
  /** Of a zip with a serialization id: its platform's digits for the names of the records. */
  readonly nameDigits?: NameDigits | undefined;
  /** False when a zip was written without checksums. */
  readonly checksums?: boolean | undefined;
  /** First path component of the records of a zip. */
  readonly archiveName?: string | undefined;
  readonly records: readonly RecordInfo[];
  /** How many `records` there are, where listing them takes long. */
  readonly recordCount?: number;
  /** Legacy files carry the Python source of module classes; shown, never run. */
  readonly moduleSources?: readonly { className: string; file: string; source: string }[];
  /** Which PyTorch wrote it, as far as the records tell: '<=0.1', '1.4-1.5', '1.6-2.0', '2.1-2.6', '2.7+'. */
  readonly writer?: string | undefined;
  /** Where the bytes of this checkpoint end: legacy streams may follow one another in a file, and the first is read. */
  readonly byteEnd?: number | undefined;
  /** Reads the Python sources of a TorchScript archive, by record name: `code/__torch__.py`. */
  readonly readCode?: (() => ReadonlyMap<string, string>) | undefined;
  /** The `__metadata__` of safetensors. */
  readonly metadata?: ReadonlyMap<string, string> | undefined;
}

/** One row of the table in `detect.ts`. */
export interface ContainerKind {
  readonly format: Format;
  read(source: ByteSource, context: ReadContext): ContainerContents;
}
