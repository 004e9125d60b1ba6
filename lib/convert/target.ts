/** What a target is: it looks at the tensors that were chosen, decides everything about its files, and then writes them. */

import type { MapLocation } from '../location';
import type { SaveTarget } from '../save';
import type { SinkCounts } from '../sink/record-sink';
import type { OnProgress } from '../source/progress';
import type { AliasPolicy } from './aliases';
import type { Choice } from './choose';
import type { Encoding } from './elements';

/** The formats that `convert` writes. */
export type TargetName = 'safetensors' | 'pt' | 'npz' | 'npy' | 'gguf' | 'skeleton';

/** Something of the input that the output does not hold. */
export interface Dropped {
  /** Where it stands in the input. */
  readonly path: string;
  readonly reason: string;
}

export interface TargetOptions {
  /** What floating tensors are cast to. */
  readonly dtype: Encoding | undefined;
  /** What is done with names of the same elements; undefined: what suits the target. */
  readonly aliases: AliasPolicy | undefined;
  /** For the `__metadata__` of safetensors, or the key-value pairs of GGUF. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Bytes of tensors that one file holds at most. */
  readonly maxShardBytes: number | undefined;
  /** `config.json` of the model, parsed. */
  readonly config: ReadonlyMap<string, unknown> | undefined;
  /** Where storages go, for targets that say where they are. */
  readonly mapLocation: MapLocation | undefined;
  /** First part of the names of files: `model` of `model.safetensors`. */
  readonly stem: string;
}

export interface WriteOptions {
  readonly fsync: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: OnProgress | undefined;
}

export interface PlannedFile {
  /** Beside the output; undefined for the output itself. */
  readonly name: string | undefined;
  /** Exact, but of .pt an estimate until it is written. */
  readonly bytes: number;
  write(output: SaveTarget, options: WriteOptions): Promise<SinkCounts & { bytes: number }>;
  /** Reads the written file again and compares it with what it was made from. Throws CRC_MISMATCH. */
  verify(path: string, signal: AbortSignal | undefined): Promise<void>;
}

export interface Plan {
  /** Tensors that are stored. */
  readonly tensors: number;
  readonly aliases: ReadonlyMap<string, string>;
  readonly dropped: readonly Dropped[];
  /** What the output does not keep besides. */
  readonly warnings?: readonly string[];
  /** In the order they are written. */
  readonly files: readonly PlannedFile[];
  /** Stored names with their bytes, for indices over several files. */
  readonly stored: readonly { readonly name: string; readonly bytes: number; readonly file: string | undefined }[];
}

export interface Target {
  readonly name: TargetName;
  /** Extensions of file names, the first is the usual one. */
  readonly extensions: readonly string[];
  /** Whether such a file can be converted again. */
  readonly readable: boolean;
  plan(choice: Choice, options: TargetOptions): Plan | Promise<Plan>;
}
