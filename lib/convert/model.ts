/** What is converted: one checkpoint, the shards of a model taken together, or arrays of NumPy. */
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Checkpoint } from '../checkpoint';
import { CheckpointError } from '../errors';
import { type LoadOptions, open } from '../load';
import type { PyValue } from '../pickle/values';
import type { CheckpointSource } from '../source/open-source';
import { Tensor } from '../tensor/tensor';
import { type AnyTensor, valueAt, walkTensors } from '../walk';
import { openNumpy } from './numpy-model';
import { openShards, shardIndexIn } from './shards-model';
import type { Dropped } from './target';

export interface Model {
  /** The path or URL as the caller wrote it. */
  readonly name: string | undefined;
  readonly root: PyValue;
  /** True where the root is a graph of Python objects that another pickle can hold as it is. */
  readonly isGraph: boolean;
  /** The checkpoint behind it, where there is exactly one. */
  readonly checkpoint: Checkpoint | undefined;
  /** `__metadata__` without the aliases. */
  readonly metadata: ReadonlyMap<string, string>;
  /** What the input holds and nothing here can read. */
  readonly unread: readonly Dropped[];
  /** Every tensor with its path, those of further roots included. */
  tensors(): Iterable<[path: string, tensor: AnyTensor]>;
  get(path: string): PyValue | undefined;
  close(): void;
}

export type ModelOptions = Pick<LoadOptions, 'io' | 'limits' | 'signal' | 'onProgress' | 'safeGlobals' | 'weightsOnly'>;

/**
 * Opens what there is to convert. A directory or an `.index.json` stands for its shards. Objects stay inert, whatever
 * classes are registered. Throws CheckpointError.
 */
export async function openModel(input: CheckpointSource | Checkpoint, options: ModelOptions = {}): Promise<Model> {
  if (input instanceof Checkpoint) return checkpointModel(input, undefined, false);
  const path = pathOf(input);
  if (path !== undefined) {
    const index = path.endsWith('.index.json') ? path : isDirectory(path) ? shardIndexIn(path) : undefined;
    if (index !== undefined) return openShards(index, (shard) => openModel(shard, options));
  }
  try {
    return checkpointModel(await open(input, { ...options, classes: new Map() }), path ?? nameOf(input), true);
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.code !== 'NOT_A_CHECKPOINT') throw error;
    const arrays = path !== undefined || input instanceof Uint8Array || input instanceof ArrayBuffer ? await openNumpy(path ?? (input as Uint8Array), options) : undefined;
    if (arrays) return arrays;
    throw error;
  }
}

export function pathOf(input: unknown): string | undefined {
  if (typeof input === 'string') return /^(?:https?|s3):\/\//i.test(input) ? undefined : input.startsWith('file:') ? fileURLToPath(input) : input;
  return input instanceof URL && input.protocol === 'file:' ? fileURLToPath(input) : undefined;
}

function nameOf(input: unknown): string | undefined {
  return typeof input === 'string' || input instanceof URL ? String(input) : undefined;
}

export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function checkpointModel(checkpoint: Checkpoint, name: string | undefined, owned: boolean): Model {
  const isSafetensors = checkpoint.format === 'safetensors';
  const { root, metadata } = isSafetensors ? withAliases(checkpoint.root as Map<PyValue, PyValue>, checkpoint.info.metadata) : { root: checkpoint.root, metadata: checkpoint.info.metadata };
  return {
    name,
    root,
    // The objects of TorchScript are of classes that no other program has.
    isGraph: !isSafetensors && checkpoint.format !== 'torchscript',
    checkpoint,
    metadata,
    unread: [],
    tensors: () => (isSafetensors ? walkTensors(root) : checkpoint.tensors()),
    get: (path) => (isSafetensors ? valueAt(root, path) : checkpoint.get(path)),
    close: () => {
      if (owned) checkpoint.close();
    },
  };
}

/**
 * The names that a writer left out because another has the same elements, as `save_model` of safetensors records them in
 * the metadata: they share the storage again.
 */
export function withAliases(tensors: ReadonlyMap<PyValue, PyValue>, metadata: ReadonlyMap<string, string>): { root: Map<PyValue, PyValue>; metadata: Map<string, string> } {
  const root = new Map(tensors);
  const rest = new Map<string, string>();
  for (const [key, value] of metadata) {
    const kept = tensors.get(value);
    if (key === 'format' || tensors.has(key) || !(kept instanceof Tensor)) rest.set(key, value);
    else root.set(key, new Tensor(kept.storage, kept.dtype, kept.shape, kept.stride, kept.storageOffset));
  }
  return { root, metadata: rest };
}

/** A model of named tensors only. */
export function namedModel(name: string | undefined, root: Map<PyValue, PyValue>, rest: { metadata: ReadonlyMap<string, string>; unread?: readonly Dropped[]; close(): void }): Model {
  return {
    name,
    root,
    isGraph: false,
    checkpoint: undefined,
    metadata: rest.metadata,
    unread: rest.unread ?? [],
    tensors: () => walkTensors(root),
    get: (path) => valueAt(root, path),
    close: rest.close,
  };
}
