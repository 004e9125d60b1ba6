/** What can be looked at: a checkpoint, arrays of NumPy, or a model in several files by its folder or its index. */
import type { Checkpoint } from '../checkpoint';
import { openArrays } from '../convert/numpy-model';
import { modelFileIn } from '../convert/shards-model';
import { isCheckpointError } from '../errors';
import { type LoadOptions, open } from '../load';
import { isDirectory, isIndexName, pathOf } from '../source/local-path';
import type { CheckpointSource } from '../source/open-source';
import { openShardSet } from './shard-set';

export interface Opened {
  /** To be closed by the caller. */
  readonly checkpoint: Checkpoint;
  /** What the caller should tell: files and arrays that were left out. */
  readonly warnings: readonly string[];
}

/** Opens what is called a model. Throws CheckpointError. */
export async function openAny(source: CheckpointSource, options: LoadOptions): Promise<Opened> {
  const place = placeOf(source);
  const index = indexAt(place);
  return index === undefined
    ? openFile(place, options)
    : // An index that names itself, or a folder, is no shard.
      openShardSet(index, (shard) => openFile(shard, options));
}

/** For a folder the file in it that stands for its model; all else as it is. */
export function placeOf(source: CheckpointSource): CheckpointSource {
  const path = pathOf(source);
  return path !== undefined && isDirectory(path) ? modelFileIn(path) : source;
}

/** The path, where it is called as the index over the shards of a model is. */
export function indexAt(source: CheckpointSource): string | undefined {
  const path = pathOf(source);
  return path !== undefined && isIndexName(path) ? path : undefined;
}

/** One file and nothing else. */
export async function openFile(source: CheckpointSource, options: LoadOptions): Promise<Opened> {
  try {
    return { checkpoint: await open(source, options), warnings: [] };
  } catch (error) {
    if (!isCheckpointError(error) || error.code !== 'NOT_A_CHECKPOINT') throw error;
    // Streams are used up by now.
    const again =
      pathOf(source) ?? (source instanceof Uint8Array || source instanceof ArrayBuffer ? source : undefined);
    const arrays = again === undefined ? undefined : await openArrays(again, options);
    if (!arrays) throw error;
    return {
      checkpoint: arrays.checkpoint,
      warnings: arrays.unread.map(({ path, reason }) => `array "${path}" is left out: ${reason}`),
    };
  }
}

/** In a property that reports have only where there is something to say. */
export function told(...warnings: readonly (readonly string[])[]): { readonly warnings?: readonly string[] } {
  const all = warnings.flat();
  return all.length > 0 ? { warnings: all } : {};
}
