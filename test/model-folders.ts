/** Folders to convert: an input and an output folder, made anew for every test of a file, and what is put into them. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import type { BatchReport } from '../lib/convert/directory';
import { OrderedDict } from '../lib/pickle/values';
import { Tensor } from '../lib/tensor/tensor';

export interface Folders {
  /** The folder around both. */
  around(name?: string): string;
  input(name?: string): string;
  output(name?: string): string;
}

/** To be called at the head of a test file. The output folder is not there yet; the input folder is empty. */
export function makeFolders(): Folders {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-folders-'));
    mkdirSync(join(folder, 'in'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  return {
    around: (name = '') => join(folder, name),
    input: (name = '') => join(folder, 'in', name),
    output: (name = '') => join(folder, 'out', name),
  };
}

/** Tests need not wait for the disk. */
export const quick = { fsync: false } as const;

/** `count` tensors called `prefix.0` and so on, each of another size. */
export const state = (prefix: string, count: number): OrderedDict<Tensor> =>
  new OrderedDict(Array.from({ length: count }, (_, i) => [`${prefix}.${i}`, Tensor.full([10, i + 1], i)]));

export const statuses = (report: BatchReport): Record<string, string> =>
  Object.fromEntries(report.files.map(({ input, status }) => [input, status]));
