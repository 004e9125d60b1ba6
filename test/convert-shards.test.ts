// Promise: in a folder the index says what is one model; nothing of it is lost, mixed up or taken twice, and no bad file stops the rest.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { describe, expect, test } from 'vitest';
import { convert } from '../lib/convert/convert';
import { type BatchProgress, convertDirectory } from '../lib/convert/directory';
import { DType } from '../lib/dtype';
import { open } from '../lib/load';
import { save } from '../lib/save';
import { Tensor } from '../lib/tensor/tensor';
import { makeFolders, quick, shardNames, state, statuses } from './model-folders';

const { around, input, output, putShards } = makeFolders();

const indexAt = (path: string): { metadata: Record<string, unknown>; weight_map: Record<string, string> } =>
  JSON.parse(readFileSync(path, 'utf8')) as never;
const visible = (path: string): string[] =>
  readdirSync(path)
    .filter((name) => !name.startsWith('.'))
    .sort();

const SAFETENSORS = shardNames('model', '.safetensors', 2);
const BINS = shardNames('pytorch_model', '.bin', 3);

describe('one model', () => {
  // Regression: both forms were put into one index, which then named shards of both.
  test('in both forms, cut differently, is taken once', async () => {
    await putShards(SAFETENSORS, 'model.safetensors.index.json');
    await putShards(BINS, 'pytorch_model.bin.index.json');
    const report = await convertDirectory(input(), output(), quick);
    expect([report.converted, report.skipped, report.failed]).toEqual([2, 3, 0]);
    expect(visible(output())).toEqual([...SAFETENSORS, 'model.safetensors.index.json']);
    expect([...new Set(Object.values(indexAt(output('model.safetensors.index.json')).weight_map))]).toEqual(
      SAFETENSORS,
    );
  });

  // Regression: without `-00001-of-` in the names, the index was neither checked nor written.
  test('of shards with names of their own', async () => {
    await putShards(['left.bin', 'right.bin'], 'pytorch_model.bin.index.json');
    const report = await convertDirectory(input(), output(), quick);
    expect([report.converted, report.failed]).toEqual([2, 0]);
    expect(indexAt(output('model.safetensors.index.json'))).toEqual({
      metadata: { total_size: 240 },
      weight_map: {
        'a.0': 'left.safetensors',
        'a.1': 'left.safetensors',
        'b.0': 'right.safetensors',
        'b.1': 'right.safetensors',
      },
    });
  });

  test('as a variant beside the other', async () => {
    await putShards(shardNames('pytorch_model.fp16', '.bin', 2), 'pytorch_model.bin.index.fp16.json');
    await putShards(BINS, 'pytorch_model.bin.index.json');
    const report = await convertDirectory(input(), output(), quick);
    expect([report.converted, report.failed]).toEqual([5, 0]);
    const files = (name: string): number => new Set(Object.values(indexAt(output(name)).weight_map)).size;
    expect([files('model.safetensors.index.fp16.json'), files('model.safetensors.index.json')]).toEqual([2, 3]);
  });

  test('is one file where the target has no shards', async () => {
    await putShards(BINS, 'pytorch_model.bin.index.json');
    const report = await convertDirectory(input(), output(), { ...quick, to: 'gguf' });
    expect(statuses(report)).toEqual({ 'pytorch_model.bin.index.json': 'converted' });
    expect(visible(output())).toEqual(['pytorch_model.gguf']);
    expect((await convertDirectory(input(), output(), { ...quick, to: 'gguf' })).skipped).toBe(1);
  });

  // Regression: an index whose shards all were missing was not mentioned at all.
  test('with a shard that its index does not name is converted without it, and that is told', async () => {
    await putShards(BINS, 'pytorch_model.bin.index.json');
    await save(state('old', 1), input('pytorch_model-00004-of-00004.bin'), quick);
    const told = [
      '"pytorch_model-00004-of-00004.bin" lies beside the shards, and the index does not name it: it is left out',
    ];
    const report = await convert(input(), around('one.safetensors'), quick);
    expect([report.tensors, report.warnings]).toEqual([6, told]);
    const batch = await convertDirectory(input(), output(), { ...quick, to: 'gguf' });
    expect(batch.files.map(({ status, warnings }) => [status, warnings])).toEqual([['converted', told]]);
    expect((await convert(input(BINS[0]), around('part.safetensors'), quick)).warnings).toEqual([]);
  });

  test('that is not there is a failure', async () => {
    writeFileSync(input('model.safetensors.index.json'), JSON.stringify({ weight_map: { a: 'x.safetensors' } }));
    const report = await convertDirectory(input(), output(), quick);
    expect(statuses(report)).toEqual({ 'model.safetensors.index.json': 'failed' });
    expect(report.files[0]?.error?.code).toBe('NOT_FOUND');
  });

  test('cannot have one name in two shards', async () => {
    await putShards(SAFETENSORS, 'model.safetensors.index.json');
    const report = await convertDirectory(input(), output(), { ...quick, rename: 's/^[ab]/x/' });
    expect(report.files.at(-1)?.error?.code).toBe('UNSAVABLE');
    expect(existsSync(output('model.safetensors.index.json'))).toBe(false);
  });

  test('keeps what its index says, as long as that is true', async () => {
    await putShards(BINS, 'pytorch_model.bin.index.json', { total_parameters: 90, note: 'x' });
    const metadata = async (options: object): Promise<unknown> => {
      await convertDirectory(input(), output(), { ...quick, ...options });
      return indexAt(output('model.safetensors.index.json')).metadata;
    };
    expect(await metadata({})).toEqual({ note: 'x', total_parameters: 90, total_size: 360 });
    expect(await metadata({ maxShardSize: 100 })).toEqual({ note: 'x', total_parameters: 90, total_size: 360 });
    expect(await metadata({ exclude: ['a'] })).toEqual({ note: 'x', total_size: 240 });
  });
});

describe('the folder as its own output', () => {
  test('outputs are no inputs of the next run, nor of one after a kill', async () => {
    await putShards(BINS, 'pytorch_model.bin.index.json');
    expect((await convertDirectory(input(), input(), quick)).converted).toBe(3);
    const again = await convertDirectory(input(), input(), quick);
    expect([again.converted, again.skipped, again.failed]).toEqual([0, 3, 0]);
    // As a kill leaves it: one shard in place that the journal does not know, no index.
    for (const name of ['.torch-checkpoint-journal.jsonl', 'model.safetensors.index.json'])
      rmSync(input(name), { force: true });
    rmSync(input('model-00002-of-00003.safetensors'));
    const after = await convertDirectory(input(), input(), quick);
    expect([after.converted, after.failed]).toEqual([3, 0]);
    expect(Object.keys(indexAt(input('model.safetensors.index.json')).weight_map).length).toBe(6);
  });

  test('files that replace themselves are done once', async () => {
    await putShards(SAFETENSORS, 'model.safetensors.index.json');
    const options = { ...quick, dtype: 'float16' };
    expect((await convertDirectory(input(), input(), options)).converted).toBe(2);
    const again = await convertDirectory(input(), input(), options);
    expect([again.converted, again.skipped]).toEqual([0, 2]);
  });
});

describe('links to folders', () => {
  test('are followed, each folder once, under its own name where it has one', async () => {
    mkdirSync(input('run'));
    mkdirSync(around('disk'));
    await save({ w: Tensor.ones([4]) }, input('run/model.pt'), quick);
    await save({ w: Tensor.ones([5]) }, around('disk/model.pt'), quick);
    symlinkSync(input('run'), input('latest'));
    symlinkSync(around('disk'), input('elsewhere'));
    symlinkSync(input(), input('run/circle'));
    symlinkSync('itself', input('itself'));
    mkdirSync(output());
    symlinkSync(output(), input('made'));
    const report = await convertDirectory(input(), output(), quick);
    expect(statuses(report)).toEqual({
      'elsewhere/model.pt': 'converted',
      itself: 'failed',
      'run/model.pt': 'converted',
    });
    expect(statuses(await convertDirectory(input(), output(), quick))).toMatchObject({ 'run/model.pt': 'skipped' });
  });
});

describe('one bad file', () => {
  test('links to nothing are told, and the rest is done', async () => {
    await save(state('a', 1), input('a.pt'), quick);
    symlinkSync(around('nothing'), input('b.pt'));
    symlinkSync(around('nothing'), input('config.json'));
    const report = await convertDirectory(input(), output(), quick);
    expect(statuses(report)).toEqual({ 'a.pt': 'converted', 'b.pt': 'failed', 'config.json': 'failed' });
  });

  test('outputs that cannot be', async () => {
    await save(state('a', 1), input('a.pt'), quick);
    writeFileSync(output(), '');
    await expect(convertDirectory(input(), output(), quick)).rejects.toMatchObject({ code: 'WRITE_FAILED' });
    // Regression: this never ended.
    if (existsSync('/proc/self'))
      await expect(convertDirectory(input(), '/proc/none', quick)).rejects.toMatchObject({ code: 'WRITE_FAILED' });
  });

  // Regression: weights that were not asked for went over as they were, like configurations.
  test('what was not asked for is left alone', async () => {
    await save(state('a', 1), input('a.pt'), quick);
    await save(state('b', 1), input('b.pt'), quick);
    writeFileSync(input('config.json'), '{}');
    await convertDirectory(input(), output(), { ...quick, files: ['a.*'] });
    expect(visible(output())).toEqual(['a.safetensors', 'config.json']);
    await expect(convertDirectory(input(), output(), { ...quick, files: ['*.ckpt'] })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });
});

describe('the same call again', () => {
  /** Writes zeros into an output, as a disk that lost its power leaves it: the size and the time are what they were. */
  function spoil(input: string, path: string, at: number, count: number): void {
    const before = statSync(path);
    const file = openSync(path, 'r+');
    writeSync(file, Buffer.alloc(Math.min(count, before.size - at)), 0, undefined, at);
    closeSync(file);
    utimesSync(path, before.atime, before.mtime);
    // Times in whole milliseconds are all that can be put back; the journal has the finer ones.
    const journal = output('.torch-checkpoint-journal.jsonl');
    const exact = String(statSync(path, { bigint: true }).mtimeNs);
    const lines = readFileSync(journal, 'utf8').split('\n').filter(Boolean);
    writeFileSync(
      journal,
      lines
        .map((line) => JSON.parse(line) as { input: string; outputs: { mtimeNs: string }[] })
        .map((entry) => {
          if (entry.input === input) for (const one of entry.outputs) one.mtimeNs = exact;
          return JSON.stringify(entry);
        })
        .join('\n'),
    );
  }
  const putLarge = (name: string): Promise<unknown> => save({ w: Tensor.ones([1_500_000]) }, input(name), quick);

  test.each([0, 3_000_000, 5_999_999])('makes an output anew that has other bytes, at byte %i', async (at) => {
    await putLarge('w.pt');
    await convertDirectory(input(), output(), quick);
    const path = output('w.safetensors');
    const bytes = readFileSync(path);
    spoil('w.pt', path, at, 200_000);
    expect(statuses(await convertDirectory(input(), output(), quick))).toEqual({ 'w.pt': 'converted' });
    expect(readFileSync(path).equals(bytes)).toBe(true);
    expect(statuses(await convertDirectory(input(), output(), quick))).toEqual({ 'w.pt': 'skipped' });
  });

  test('with verify compares every byte of what is there, and makes anew what is wrong', async () => {
    await putLarge('a.pt');
    await save(state('b', 2), input('b.pt'), quick);
    await convertDirectory(input(), output(), quick);
    const path = output('a.safetensors');
    // Between two of the pages that every run looks at.
    spoil('a.pt', path, (1 << 20) + 30_000, 1000);
    expect((await convertDirectory(input(), output(), quick)).skipped).toBe(2);
    expect(statuses(await convertDirectory(input(), output(), { ...quick, verify: true }))).toEqual({
      'a.pt': 'converted',
      'b.pt': 'skipped',
    });
    expect(((await open(path)).get('w') as Tensor).toFloat32Array().every((value) => value === 1)).toBe(true);
  });

  test('tells dtypes apart, given as constants or by name', async () => {
    await save(state('a', 1), input('a.pt'), quick);
    const converted = async (dtype: DType | string): Promise<number> =>
      (await convertDirectory(input(), output(), { ...quick, dtype })).converted;
    expect(await converted(DType.float16)).toBe(1);
    expect(await converted('float16')).toBe(0);
    expect(await converted(DType.bfloat16)).toBe(1);
  });
});

test('progress never goes back, and ends at the whole', async () => {
  for (const name of ['a', 'b', 'c']) await save({ w: Tensor.ones([300_000]) }, input(`${name}.pt`), quick);
  const told: BatchProgress[] = [];
  await convertDirectory(input(), output(), { ...quick, onProgress: (progress) => told.push(progress) });
  const bytes = told.map((progress) => progress.bytes);
  expect(bytes).toEqual([...bytes].sort((a, b) => a - b));
  expect(told.at(-1)).toMatchObject({ bytes: told.at(-1)?.totalBytes, filesDone: 3, files: 3 });
  expect(told.some(({ file, fileBytes, fileTotalBytes }) => file && fileBytes === fileTotalBytes)).toBe(true);
});
