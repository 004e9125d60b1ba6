// Promise: a folder is converted file by file; failures stay alone, a run that was killed is taken up, indices tell the truth.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { type BatchReport, convertDirectory } from '../lib/convert/directory';
import { open } from '../lib/load';
import { save } from '../lib/save';
import { Tensor } from '../lib/tensor/tensor';
import { packageMain } from './child';
import { fixturePath } from './fixture-suite';
import { makeFolders, quick, state, statuses } from './model-folders';

const { around, input, output } = makeFolders();
beforeEach(() => {
  mkdirSync(input('deep/er'), { recursive: true });
});

const put = (name: string, value: unknown): Promise<unknown> => save(value, input(name), quick);

async function putModel(): Promise<void> {
  const shards = {
    'pytorch_model-00001-of-00002.bin': state('a', 3),
    'pytorch_model-00002-of-00002.bin': state('b', 2),
  };
  const map: Record<string, string> = {};
  for (const [name, tensors] of Object.entries(shards)) {
    await put(name, tensors);
    for (const key of tensors.keys()) map[key as string] = name;
  }
  writeFileSync(
    input('pytorch_model.bin.index.json'),
    JSON.stringify({ metadata: { total_size: 1, note: 'é' }, weight_map: map }),
  );
  writeFileSync(input('config.json'), '{}');
}

describe('a folder', () => {
  test('names, nesting, failures, files without tensors and files beside them', async () => {
    await putModel();
    await put('deep/er/x.ckpt', state('x', 1));
    await put('deep/y.pth.tar', state('y', 1));
    await put('training_args.bin', { lr: 0.1 });
    writeFileSync(input('deep/bad.pt'), 'no checkpoint at all');
    const report = await convertDirectory(input(), output(), quick);
    expect(statuses(report)).toEqual({
      'deep/bad.pt': 'failed',
      'deep/er/x.ckpt': 'converted',
      'deep/y.pth.tar': 'converted',
      'pytorch_model-00001-of-00002.bin': 'converted',
      'pytorch_model-00002-of-00002.bin': 'converted',
      'training_args.bin': 'skipped',
    });
    expect([report.converted, report.skipped, report.failed, report.dryRun]).toEqual([4, 1, 1, false]);
    expect(report.files.find(({ status }) => status === 'failed')?.error?.code).toBe('NOT_A_CHECKPOINT');
    expect(
      readdirSync(output(), { recursive: true })
        .map(String)
        .filter((name) => !name.startsWith('.torch-checkpoint'))
        .sort(),
    ).toEqual([
      'config.json',
      'deep',
      'deep/er',
      'deep/er/x.safetensors',
      'deep/y.safetensors',
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ]);
    const index = readFileSync(output('model.safetensors.index.json'), 'utf8');
    expect(JSON.parse(index)).toEqual({
      metadata: { note: 'é', total_size: 4 * 10 * (1 + 2 + 3 + 1 + 2) },
      weight_map: {
        'a.0': 'model-00001-of-00002.safetensors',
        'a.1': 'model-00001-of-00002.safetensors',
        'a.2': 'model-00001-of-00002.safetensors',
        'b.0': 'model-00002-of-00002.safetensors',
        'b.1': 'model-00002-of-00002.safetensors',
      },
    });
    // Shards of safetensors give the very same index again.
    await convertDirectory(output(), around('again'), quick);
    expect(readFileSync(around('again/model.safetensors.index.json'), 'utf8')).toBe(index);
  });

  test('a dry run writes nothing and forecasts the bytes exactly', async () => {
    await putModel();
    const planned = await convertDirectory(input(), output(), { ...quick, dryRun: true, dtype: 'float16' });
    expect(existsSync(output())).toBe(false);
    expect(planned.files.every(({ status }) => status === 'planned')).toBe(true);
    expect(planned.freeBytes).toBeGreaterThan(0);
    const done = await convertDirectory(input(), output(), { ...quick, dtype: 'float16' });
    expect(planned.files.map(({ bytes }) => bytes)).toEqual(done.files.map(({ bytes }) => bytes));
    expect(planned.copied).toEqual(done.copied);
  });

  test('the same call again does only what is missing or has changed', async () => {
    await putModel();
    await put('deep/x.pt', state('x', 2));
    await put('deep/z.pt', state('z', 2));
    await convertDirectory(input(), output(), quick);
    const second = await convertDirectory(input(), output(), quick);
    expect([second.converted, second.skipped, second.copied.length]).toEqual([0, 4, 0]);
    await put('deep/x.pt', state('changed', 2));
    rmSync(output('deep/z.safetensors'));
    // What was written and then altered is made again, and so is what other options ask for.
    const later = new Date(Date.now() + 5000);
    utimesSync(output('model-00001-of-00002.safetensors'), later, later);
    // A line that a kill cut short.
    writeFileSync(output('.torch-checkpoint-journal.jsonl'), '{"input":"deep/z.p', { flag: 'a' });
    const third = await convertDirectory(input(), output(), quick);
    expect(statuses(third)).toEqual({
      'deep/x.pt': 'converted',
      'deep/z.pt': 'converted',
      'pytorch_model-00001-of-00002.bin': 'converted',
      'pytorch_model-00002-of-00002.bin': 'skipped',
    });
    expect([...(await open(output('deep/x.safetensors'))).tensors()].map(([name]) => name)).toEqual([
      'changed.0',
      'changed.1',
    ]);
    expect((await convertDirectory(input(), output(), { ...quick, dtype: 'float16' })).converted).toBe(4);
    expect((await convertDirectory(input(), output(), { ...quick, dtype: 'float16', resume: false })).converted).toBe(
      4,
    );
  });

  test('an index that does not fit its shards is a failure of its own', async () => {
    await putModel();
    rmSync(input('pytorch_model-00002-of-00002.bin'));
    const report = await convertDirectory(input(), output(), quick);
    expect(statuses(report)).toEqual({
      'pytorch_model-00001-of-00002.bin': 'converted',
      'pytorch_model.bin.index.json': 'failed',
    });
    expect(report.files.at(-1)?.error?.message).toContain(
      'names the file "pytorch_model-00002-of-00002.bin", which is not there',
    );
    expect(existsSync(output('model.safetensors.index.json'))).toBe(false);
  });

  test('the same weights in both forms are converted once; other clashes are told', async () => {
    await put('pytorch_model.bin', state('a', 1));
    await convertDirectory(input(), input(), quick);
    expect(existsSync(input('model.safetensors'))).toBe(true);
    await put('deep/same.pt', state('a', 1));
    await put('deep/same.ckpt', state('a', 1));
    const report = await convertDirectory(input(), output(), quick);
    expect(statuses(report)).toEqual({
      'deep/same.ckpt': 'converted',
      'deep/same.pt': 'failed',
      'model.safetensors': 'converted',
      'pytorch_model.bin': 'skipped',
    });
  });

  test('shards of another size, chosen files, other targets', async () => {
    await putModel();
    await put('deep/x.pt', state('x', 2));
    const report = await convertDirectory(input(), output(), {
      ...quick,
      maxShardSize: 200,
      copyOthers: false,
      files: ['*.bin'],
    });
    expect(statuses(report)).toEqual({ 'pytorch_model.bin.index.json': 'converted' });
    expect(readdirSync(output()).filter((name) => name.endsWith('.safetensors')).length).toBe(3);
    expect(
      (JSON.parse(readFileSync(output('model.safetensors.index.json'), 'utf8')) as { metadata: object }).metadata,
    ).toEqual({ note: 'é', total_size: 360 });
    const npz = await convertDirectory(input(), around('npz'), { ...quick, to: 'npz', files: ['**/*.pt'] });
    expect(npz.files.map(({ output: name }) => name)).toEqual(['deep/x.npz']);
    await expect(convertDirectory(input(), output(), { dtype: 'int8' })).rejects.toThrow(TypeError);
    await expect(convertDirectory(around('none'), output())).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('the compiled package', () => {
  const script = `
    const tc = require(${JSON.stringify(packageMain)});
    tc.convertDirectory(process.argv[1], process.argv[2], { jobs: 2, fsync: false, dtype: 'float16' })
      .then((report) => console.log(JSON.stringify(report)));`;

  test('threads, and a kill in the middle', async () => {
    for (let i = 0; i < 8; i++) await put(`m${i}.pt`, { w: Tensor.full([2_000_000], i), b: Tensor.full([10], i) });
    const child = spawn(process.execPath, ['-e', script, input(), output()], { stdio: 'ignore' });
    while (!existsSync(output('m0.safetensors'))) await setTimeout(2);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.on('close', resolve));
    const before = readdirSync(output()).filter((name) => name.startsWith('m')).length;
    const again = spawn(process.execPath, ['-e', script, input(), output()], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    again.stdout.on('data', (data: Buffer) => (text += data.toString()));
    await new Promise((resolve) => again.on('close', resolve));
    const report = JSON.parse(text) as BatchReport;
    expect(report.converted + report.skipped).toBe(8);
    // What was in place but not taken down yet is made again: one file for each thread at most.
    expect(report.skipped).toBeGreaterThanOrEqual(before - 2);
    expect(readdirSync(output()).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    for (let i = 0; i < 8; i++) {
      const checkpoint = await open(output(`m${i}.safetensors`));
      expect((checkpoint.get('w') as Tensor).toFloat32Array().every((value) => value === i)).toBe(true);
      checkpoint.close();
    }
  });
});

test('the fixtures, all at once', async () => {
  const names = [
    'zip-float32-state-dict.pt',
    'legacy-mixed-dtypes.pt',
    'tar-mixed-views.pt',
    'torchscript-float32-mlp.pt',
  ];
  for (const name of names) writeFileSync(input(name), readFileSync(fixturePath(name)));
  const report = await convertDirectory(input(), output(), { ...quick, verify: true });
  expect([report.converted, report.failed]).toEqual([names.length, 0]);
});
