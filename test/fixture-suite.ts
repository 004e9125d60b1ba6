/** One test per valid fixture, for any way of opening it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Checkpoint } from '../lib/checkpoint';
import { Storage } from '../lib/tensor/storage';
import {
  arraysOf,
  type ExpectedArray,
  type ExpectedTensor,
  nodes,
  scalarOf,
  sha256,
  TensorComparison,
} from './expected';

export interface Fixture {
  readonly file: string;
  readonly size: number;
  readonly sha256: string;
  readonly tensors: ExpectedTensor[];
  readonly numpy_arrays?: ExpectedArray[];
  /** Plain values: path, Python type, text; of lists, tuples and dicts of plain values the repr. */
  readonly scalars?: [path: string, type: string, text: string][];
  readonly bare_storages?: { path: string; storage_nbytes: number; sha256: string }[];
  readonly metadata?: Record<string, string>;
}

const folder = join(__dirname, 'fixtures');
export const fixtures = (JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as { files: Fixture[] }).files;
export const fixturePath = (file: string): string => join(folder, 'valid', file);
export const formatOf = (file: string): string => file.split('-')[0] as string;

export function fixtureSuite(name: string, open: (path: string) => Checkpoint | Promise<Checkpoint>): void {
  describe(name, () => {
    test.each(fixtures)('$file', async (fixture) => {
      const checkpoint = await open(fixturePath(fixture.file));
      try {
        check(checkpoint, fixture);
      } finally {
        checkpoint.close();
      }
    });
  });
}

function check(checkpoint: Checkpoint, fixture: Fixture): void {
  expect(checkpoint.format).toBe(formatOf(fixture.file));
  expect(checkpoint.info.fileBytes).toBe(fixture.size);
  checkValues(checkpoint, fixture);
}

/** Everything that a manifest entry says of the contents. */
export function checkValues(checkpoint: Checkpoint, fixture: Fixture): void {
  const torchscript = checkpoint.format === 'torchscript';
  const comparison = new TensorComparison({ parameters: !torchscript });
  const byPath = (a: { path: string }, b: { path: string }): number => (a.path < b.path ? -1 : 1);
  // The manifest lists those of TorchScript by kind, the archive in the order of the class.
  const tensors = [...checkpoint.tensors()].filter(([path]) => !torchscript || !path.startsWith('constants['));
  comparison.tensors(
    torchscript ? tensors.sort(([a], [b]) => (a < b ? -1 : 1)) : tensors,
    torchscript ? [...fixture.tensors].sort(byPath) : fixture.tensors,
  );
  expect(comparison.wrong).toEqual([]);
  expect(arraysOf(checkpoint)).toEqual((fixture.numpy_arrays ?? []).map((array) => ({ sha256: null, ...array })));
  const storages = nodes(checkpoint).flatMap(([path, value]) =>
    value instanceof Storage ? [{ path, storage_nbytes: value.nbytes, sha256: sha256(value.bytes()) }] : [],
  );
  expect(storages).toEqual(fixture.bare_storages ?? []);
  expect(checkpoint.info.metadata).toEqual(new Map(Object.entries(fixture.metadata ?? {})));
  const values = new Map(nodes(checkpoint));
  for (const [path, type, text] of fixture.scalars ?? []) {
    const value = values.has(path) ? values.get(path) : checkpoint.get(path);
    expect([path, scalarOf(value, type)]).toEqual([path, text]);
  }
}

export { sha256 };
