// Promise: whole models and state dicts go both ways between here and the installed PyTorch: they load, print the same,
// and are written byte for byte alike. Runs where TORCH_PYTHON names a Python with torch 2.13.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadSync } from '../../lib/load';
import * as nn from '../../lib/nn/index';
import { stateDict } from '../../lib/nn/state-dict';
import { repr } from '../../lib/repr';
import { toBytes } from '../../lib/save';
import { Tensor } from '../../lib/tensor/tensor';
import { build, fill, type Recorded } from './nn-case';

const python = process.env.TORCH_PYTHON;
const { cases } = JSON.parse(readFileSync(join(__dirname, '../fixtures/nn.json'), 'utf8')) as Recorded;

interface Checked {
  name: string;
  text?: string;
  error?: string;
  state: Record<string, number[]>;
  attributes: string[];
}

describe.skipIf(!python)(python ? `against ${python}` : 'SKIPPED: set TORCH_PYTHON to a Python with torch', () => {
  let folder = '';
  const run = (...args: string[]): string =>
    execFileSync(python as string, [join(__dirname, 'nn.py'), ...args], { encoding: 'utf8', maxBuffer: 2 ** 28 });

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nn-oracle-'));
    run('files', folder);
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const saved = (): [index: string, text: string][] =>
    Object.entries(JSON.parse(readFileSync(join(folder, 'texts.json'), 'utf8')) as Record<string, string>);
  const bytesOf = (name: string): Buffer => readFileSync(join(folder, name));

  test('whole models load, print the same and are saved back byte for byte', async () => {
    const wrong: string[] = [];
    for (const [i, text] of saved()) {
      const bytes = bytesOf(`model-${i}.pt`);
      const model = loadSync(bytes) as nn.Module;
      if (!(model instanceof nn.Module)) wrong.push(`${i}: no Module`);
      if (String(model) !== text) wrong.push(`${i}: ${String(model)}\n${text}`);
      const options = { recordPrefix: `model-${i}` };
      if (Buffer.compare(await toBytes(model, options), bytes) !== 0) wrong.push(`${i}: other bytes of ${text}`);
      const inert = loadSync(bytes, { classes: new Map() });
      if (repr(inert) !== text) wrong.push(`${i}: inert ${repr(inert)}\n${text}`);
      if (Buffer.compare(await toBytes(inert, options), bytes) !== 0) wrong.push(`${i}: other bytes of inert ${text}`);
    }
    expect(wrong).toEqual([]);
  }, 300_000);

  test('state dicts, of new modules and of loaded ones, are written byte for byte as torch.save writes them', async () => {
    const wrong: string[] = [];
    for (const [i] of saved()) {
      const model = fill(build(cases[Number(i)]!.module));
      const options = { recordPrefix: `state-${i}` };
      const bytes = bytesOf(`state-${i}.pt`);
      if (Buffer.compare(await toBytes(model.stateDict(), options), bytes) !== 0)
        wrong.push(`${i}: state of ${String(model)}`);
      if (
        Buffer.compare(
          await toBytes({ first: model.stateDict(), second: model.stateDict() }, { recordPrefix: `twice-${i}` }),
          bytesOf(`twice-${i}.pt`),
        ) !== 0
      ) {
        wrong.push(`${i}: two state dicts of ${String(model)}`);
      }
      const inert = loadSync(bytesOf(`model-${i}.pt`), { classes: new Map() }) as object;
      if (Buffer.compare(await toBytes(stateDict(inert), options), bytes) !== 0)
        wrong.push(`${i}: state of inert ${String(model)}`);
    }
    expect(wrong).toEqual([]);
  }, 300_000);

  test('new modules are written byte for byte as torch.save writes them', async () => {
    const wrong: string[] = [];
    for (const [i, text] of saved()) {
      const model = fill(build(cases[Number(i)]!.module));
      if (Buffer.compare(await toBytes(model, { recordPrefix: `model-${i}` }), bytesOf(`model-${i}.pt`)) !== 0)
        wrong.push(`${i}: ${text}`);
    }
    expect(wrong).toEqual([]);
  }, 300_000);

  test('modules made here load in PyTorch as whole modules', async () => {
    const ours = new Map<string, nn.Module>();
    for (const [i] of saved()) {
      const model = build(cases[Number(i)]!.module);
      ours.set(`ours-${i}.pt`, model);
      writeFileSync(join(folder, `ours-${i}.pt`), await toBytes(model));
    }
    const lines = run('check', folder)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Checked);
    expect(lines).toHaveLength(ours.size);
    expect(lines.filter(({ error }) => error)).toEqual([]);
    for (const { name, text, state } of lines) {
      const model = ours.get(name)!;
      expect(text).toBe(String(model));
      for (const [key, tensor] of model.stateDict()) {
        if (tensor instanceof Tensor && !tensor.isMeta)
          expect([key, state[key]]).toEqual([
            key,
            Array.from(tensor.to('torch.float64').toTypedArray() as Float64Array),
          ]);
      }
    }
  }, 300_000);
});
