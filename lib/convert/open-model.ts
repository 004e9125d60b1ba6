/** From whatever the user calls a model to one: a checkpoint, the shards of a model taken together, or arrays of NumPy. */
import { Checkpoint } from '../checkpoint';
import { CheckpointError } from '../errors';
import { open } from '../load';
import type { PyValue } from '../pickle/values';
import { isDirectory, isIndexName, pathOf } from '../source/local-path';
import type { CheckpointSource } from '../source/open-source';
import { valueAt, walkTensors } from '../walk';
import { type Model, type ModelOptions, withAliases } from './model';
import { openNumpy } from './numpy-model';
import { modelFileIn, openShards } from './shards-model';

/**
 * Opens what there is to convert. A directory or an `.index.json` stands for its shards. Objects stay inert, whatever
 * classes are registered. Throws CheckpointError.
 */
export async function openModel(input: CheckpointSource | Checkpoint, options: ModelOptions = {}): Promise<Model> {
  if (input instanceof Checkpoint) return checkpointModel(input, undefined, false);
  const path = pathOf(input);
  if (path !== undefined && isDirectory(path)) return openModel(modelFileIn(path), options);
  if (path !== undefined && isIndexName(path)) return openShards(path, (shard) => openFile(shard, shard, options));
  return openFile(input, path, options);
}

/** One file: an index that names itself, or a folder, is no shard. */
async function openFile(input: CheckpointSource, path: string | undefined, options: ModelOptions): Promise<Model> {
  try {
    return checkpointModel(await open(input, { ...options, classes: new Map() }), path ?? nameOf(input), true);
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.code !== 'NOT_A_CHECKPOINT') throw error;
    const arrays =
      path !== undefined || input instanceof Uint8Array || input instanceof ArrayBuffer
        ? await openNumpy(path ?? (input as Uint8Array), options)
        : undefined;
    if (arrays) return arrays;
    throw error;
  }
}

function nameOf(input: unknown): string | undefined {
  return typeof input === 'string' || input instanceof URL ? String(input) : undefined;
}

function checkpointModel(checkpoint: Checkpoint, name: string | undefined, owned: boolean): Model {
  const isSafetensors = checkpoint.format === 'safetensors';
  const named = isSafetensors
    ? withAliases(checkpoint.root as Map<PyValue, PyValue>, checkpoint.info.metadata)
    : undefined;
  const root = named?.root ?? checkpoint.root;
  return {
    name,
    root,
    // The objects of TorchScript are of classes that no other program has.
    isGraph: !isSafetensors && checkpoint.format !== 'torchscript',
    checkpoint,
    parts: [],
    metadata: named?.metadata ?? checkpoint.info.metadata,
    restored: named?.restored ?? new Set(),
    indexFacts: new Map(),
    unread: [],
    warnings: [],
    tensors: () => (isSafetensors ? walkTensors(root) : checkpoint.tensors()),
    get: (path) => (isSafetensors ? valueAt(root, path) : checkpoint.get(path)),
    close: () => {
      if (owned) checkpoint.close();
    },
  };
}
