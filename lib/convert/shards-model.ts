/** The shards of one model, as Hugging Face splits it: an index says which tensor is in which file. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { DISTRIBUTED_CHECKPOINT, DISTRIBUTED_NAME } from '../container/distributed';
import { CheckpointError } from '../errors';
import type { PyValue } from '../pickle/values';
import { type Model, namedModel } from './model';

/** An index of a million names takes about 100 MB; real ones stay below one. */
const MAX_INDEX_BYTES = 256 << 20;

/** An index: the model without its shards in two parts, and the word of a variant, `.fp16`. */
export const INDEX_NAME = /^(.*)(\.(?:bin|pt|pth|ckpt|safetensors))\.index(\.[\w-]+)?\.json$/i;

/** `model-00001-of-00002.bin`: the model, and the extension. */
export const SHARD_NAME = /^(.*)-\d{5}-of-\d{5}(\.[^/]*)$/;

export interface ShardIndex {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, unknown>;
  /** Name of a tensor to name of a file beside the index. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** The files in the order of their names. */
  readonly files: readonly string[];
}

/**
 * The model in a directory: the index of its shards, else the file that Hugging Face calls so, else the only one there is.
 * Throws NOT_FOUND where that is not one file.
 */
export function modelFileIn(directory: string): string {
  const found = readdirSync(directory)
    .filter((name) => name.endsWith('.index.json'))
    .sort();
  // The same model in both forms: the newer one.
  const names = found.some((name) => name.endsWith('.safetensors.index.json'))
    ? found.filter((name) => name.endsWith('.safetensors.index.json'))
    : found;
  if (names.length > 1)
    throw new CheckpointError('NOT_FOUND', `${names.length} models are in the directory: ${names.join(', ')}`, {
      path: directory,
      hint: 'name one of the .index.json files',
    });
  const files = readdirSync(directory).filter((name) => /\.(?:safetensors|bin|pt|pth|ckpt)$/i.test(name));
  if (names[0]?.startsWith('pytorch_model.bin.') && files.includes('model.safetensors'))
    return join(directory, 'model.safetensors');
  if (names[0] !== undefined) return join(directory, names[0]);
  const file =
    ['model.safetensors', 'pytorch_model.bin'].find((name) => files.includes(name)) ??
    (files.length === 1 ? files[0] : undefined);
  if (file !== undefined) return join(directory, file);
  if (files.length === 0 && readdirSync(directory).some((name) => DISTRIBUTED_NAME.test(name)))
    throw new CheckpointError(
      DISTRIBUTED_CHECKPOINT.code,
      'the directory is a checkpoint by torch.distributed.checkpoint',
      { path: directory, hint: DISTRIBUTED_CHECKPOINT.hint },
    );
  if (files.length === 0)
    throw new CheckpointError('NOT_FOUND', 'no checkpoint is in the directory', {
      path: directory,
      hint: 'name one below it; convert takes all that are there where its output is a folder too',
    });
  throw new CheckpointError(
    'NOT_FOUND',
    `${files.length} checkpoints are in the directory, and no index that makes them one model`,
    {
      path: directory,
      hint: 'name one of them; convert takes all where its output is a folder too',
    },
  );
}

/** Throws NOT_A_CHECKPOINT for something else than an index, and for one that leads out of its directory. */
export function readShardIndex(path: string): ShardIndex {
  const bad = (what: string, cause?: unknown): CheckpointError =>
    new CheckpointError('NOT_A_CHECKPOINT', `the index of the shards ${what}`, { path, cause });
  let value: unknown;
  try {
    if (statSync(path).size > MAX_INDEX_BYTES) throw bad(`is longer than ${MAX_INDEX_BYTES} bytes`);
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new CheckpointError('NOT_FOUND', 'no such file', { path, cause: error });
    throw bad(`cannot be read: ${(error as Error).message}`, error);
  }
  const { weight_map: map, metadata } = (value ?? {}) as Record<string, unknown>;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) throw bad('has no "weight_map"');
  const weightMap = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string' || file === '' || file !== basename(file) || file === '..' || file.includes('\\'))
      throw bad(`names no file beside it for "${name.slice(0, 200)}"`);
    weightMap.set(name, file);
  }
  const facts =
    typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata) ? Object.entries(metadata) : [];
  return { path, metadata: new Map(facts), weightMap, files: [...new Set(weightMap.values())].sort() };
}

/** Opens all shards as one model, the index checked both ways. Throws NOT_FOUND for a shard or tensor that one side lacks. */
export async function openShards(path: string, openShard: (path: string) => Promise<Model>): Promise<Model> {
  const index = readShardIndex(path);
  const shards: Model[] = [];
  const close = (): void => {
    for (const shard of shards) shard.close();
  };
  try {
    const root = new Map<PyValue, PyValue>();
    const metadata = new Map<string, string>();
    const restored = new Set<string>();
    for (const file of index.files) {
      const shard = await openShard(join(dirname(path), file));
      shards.push(shard);
      for (const [name, tensor] of shard.tensors()) root.set(name, tensor);
      checkShard(index, file, storedNames(shard));
      for (const name of shard.restored) restored.add(name);
      for (const [key, value] of shard.metadata) metadata.set(key, value);
    }
    const warnings = strayShards(index).map(
      (file) => `"${file}" lies beside the shards, and the index does not name it: it is left out`,
    );
    return namedModel(path, root, { metadata, restored, indexFacts: index.metadata, warnings, parts: shards, close });
  } catch (error) {
    close();
    throw error;
  }
}

/** Files that are called like shards of the model, and that its index does not name: of another version, mostly. */
export function strayShards({ path, files }: ShardIndex): string[] {
  const [, stem = '', extension = '', variant = ''] = INDEX_NAME.exec(basename(path)) ?? [];
  const known = new Set(files);
  return readdirSync(dirname(path))
    .filter((name) => {
      const [, of, ending] = SHARD_NAME.exec(name) ?? [];
      return of === `${stem}${variant}` && ending === extension && !known.has(name);
    })
    .sort();
}

/** The names that a file really holds. */
export function storedNames(model: Model): string[] {
  return [...model.tensors()].map(([name]) => name).filter((name) => !model.restored.has(name));
}

/** Every tensor that the index promises is in the file, and the file has no other. */
export function checkShard(index: ShardIndex, file: string, names: readonly string[]): void {
  const present = new Set(names);
  for (const [name, place] of index.weightMap) {
    if (place === file && !present.has(name))
      throw new CheckpointError('NOT_FOUND', `"${name}" is not in "${file}", where the index has it`, {
        path: index.path,
        hint: 'download the shards again',
      });
  }
  for (const name of present) {
    const place = index.weightMap.get(name);
    if (place !== file)
      throw new CheckpointError(
        'NOT_FOUND',
        `"${name}" is in "${file}", and the index has it ${place === undefined ? 'nowhere' : `in "${place}"`}`,
        { path: index.path, hint: 'download the index again' },
      );
  }
}
