/** Folders to convert: an input and an output folder, made anew for every test of a file, and what is put into them. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { convert } from '../lib/convert/convert';
import type { BatchReport } from '../lib/convert/directory';
import { OrderedDict } from '../lib/pickle/values';
import { save } from '../lib/save';
import { Tensor } from '../lib/tensor/tensor';

export interface Folders {
  /** The folder around both. */
  around(name?: string): string;
  input(name?: string): string;
  output(name?: string): string;
  /** Puts shards of these names into the input folder, two tensors in each, and an index over them. */
  putShards(names: readonly string[], index: string, facts?: object): Promise<void>;
}

/** To be called at the head of a test file. The output folder is not there yet; the input folder is empty. */
export function makeFolders(): Folders {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-folders-'));
    mkdirSync(join(folder, 'in'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const input = (name = ''): string => join(folder, 'in', name);
  return {
    around: (name = '') => join(folder, name),
    input,
    output: (name = '') => join(folder, 'out', name),
    putShards: async (names, index, facts = {}) => {
      const map: Record<string, string> = {};
      for (const [i, name] of names.entries()) {
        const tensors = state(String.fromCharCode(97 + i), 2);
        const pickled = join(folder, 'shard.pt');
        await save(tensors, pickled, quick);
        if (name.endsWith('.safetensors')) await convert(pickled, input(name), quick);
        else renameSync(pickled, input(name));
        for (const key of tensors.keys()) map[key as string] = name;
      }
      writeFileSync(input(index), JSON.stringify({ metadata: { total_size: 1, ...facts }, weight_map: map }));
    },
  };
}

/** `model-00001-of-00002.bin` and so on. */
export const shardNames = (stem: string, extension: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${stem}-0000${i + 1}-of-0000${count}${extension}`);

/** Tests need not wait for the disk. */
export const quick = { fsync: false } as const;

/** `count` tensors called `prefix.0` and so on, each of another size. */
export const state = (prefix: string, count: number): OrderedDict<Tensor> =>
  new OrderedDict(Array.from({ length: count }, (_, i) => [`${prefix}.${i}`, Tensor.full([10, i + 1], i)]));

export const statuses = (report: BatchReport): Record<string, string> =>
  Object.fromEntries(report.files.map(({ input, status }) => [input, status]));
