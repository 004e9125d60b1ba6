/** The index over the shards of one model: the old one checked against them, the new one made from them. */
import { basename, dirname, join } from 'node:path';
import { CheckpointError } from '../errors';
import type { ChoiceOptions } from './choose';
import type { Group } from './directory-scan';
import { indexFile } from './safetensors-target';
import { factsFor } from './shards';
import { checkShard, readShardIndex } from './shards-model';

/** Throws where the shards and their index do not agree, or a shard is missing. */
export function checkIndex(inputDir: string, group: Group, namesOf: (input: string) => readonly string[]): void {
  if (group.index !== undefined) {
    const index = readShardIndex(join(inputDir, group.index));
    const inputs = new Map(group.jobs.map(({ input }) => [basename(input), input]));
    for (const file of index.files) {
      const input = inputs.get(file);
      if (input === undefined)
        throw new CheckpointError('NOT_FOUND', `the index names the file "${file}", which is not there`, {
          path: index.path,
          hint: 'download the shards again',
        });
      checkShard(index, file, namesOf(input));
    }
    const stray = [...inputs.keys()].find((file) => !index.files.includes(file));
    if (stray !== undefined)
      throw new CheckpointError('NOT_FOUND', `the file "${stray}" is not in the index`, {
        path: index.path,
        hint: 'download the index again',
      });
  }
  const expected = Number(/-of-(\d{5})\.[^/]*$/.exec(group.jobs[0]?.output ?? '')?.[1] ?? 0);
  if (group.jobs.length < expected)
    throw new CheckpointError('NOT_FOUND', `${group.jobs.length} of ${expected} shards are there`, {
      path: join(inputDir, group.jobs[0]?.input ?? ''),
      hint: 'download the others',
    });
}

export interface StoredShard {
  /** Relative to the output folder. */
  readonly output: string;
  readonly stored: readonly { readonly name: string; readonly bytes: number }[];
}

/** Writes the index; what the old one said besides sizes is kept. */
export async function writeGroupIndex(
  inputDir: string,
  outputDir: string,
  group: Group,
  shards: readonly StoredShard[],
  options: ChoiceOptions & { readonly fsync?: boolean | undefined; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const facts =
    group.index === undefined
      ? new Map<string, unknown>()
      : factsFor(readShardIndex(join(inputDir, group.index)).metadata, options);
  const stored = shards.flatMap(({ output, stored: tensors }) =>
    tensors.map(({ name, bytes }) => ({ name, bytes, file: basename(output) })),
  );
  const places = new Map(stored.map(({ name }, i) => [name, i]));
  const twice = stored.find(({ name }, i) => places.get(name) !== i);
  if (twice)
    throw new CheckpointError('UNSAVABLE', `"${twice.name}" would be in several shards`, {
      path: group.output,
      hint: 'exclude or rename one of them',
    });
  const path = join(outputDir, group.output);
  await indexFile(basename(group.output), stored, facts).write(join(dirname(path), basename(path)), {
    fsync: options.fsync ?? true,
    signal: options.signal,
    onProgress: undefined,
  });
}
