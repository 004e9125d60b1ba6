// Promise: of a folder, diagnose tells what keeps the model in it from loading, and nothing that does not.
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { convert } from '../lib/convert/convert';
import { diagnose } from '../lib/inspect/diagnose';
import { inspect } from '../lib/inspect/inspect';
import { save } from '../lib/save';
import { makeFolders, quick, shardNames, state } from './model-folders';

const { input, putShards } = makeFolders();
const SAFETENSORS = shardNames('model', '.safetensors', 3);
const BINS = shardNames('pytorch_model', '.bin', 2);
const INDEX = 'model.safetensors.index.json';

/** Path and kind of every problem. */
async function problems(): Promise<readonly (readonly [string, string])[]> {
  const { ok, kind, problems: found = [] } = await diagnose(input());
  expect([ok, kind]).toEqual([found.length === 0, 'folder']);
  return found.map((problem) => [problem.path, problem.kind]);
}

test('a whole model is healthy', async () => {
  await putShards(SAFETENSORS, INDEX);
  writeFileSync(input('config.json'), '{}');
  expect(await diagnose(input())).toEqual({
    ok: true,
    kind: 'folder',
    message: 'a folder of 3 checkpoints, all healthy, with an index that fits',
  });
});

test('shards that are missing, cut, left over, or of another version', async () => {
  await putShards(SAFETENSORS, INDEX);
  rmSync(input(SAFETENSORS[0]));
  truncateSync(input(SAFETENSORS[1]), 200);
  await save(state('x', 1), input('shard.pt'), quick);
  writeFileSync(input('model-00004-of-00004.safetensors'), readFileSync(input(SAFETENSORS[2])));
  const index = JSON.parse(readFileSync(input(INDEX), 'utf8')) as { weight_map: Record<string, string> };
  delete index.weight_map['c.1'];
  writeFileSync(input(INDEX), JSON.stringify(index));
  expect(await problems()).toEqual([
    [SAFETENSORS[1], 'truncated'],
    [INDEX, 'missing-shard'],
    [INDEX, 'stray-shard'],
    [INDEX, 'index'],
  ]);
});

test('a folder of torch.distributed.checkpoint', async () => {
  await save(state('x', 1), input('__0_0.distcp'), quick);
  writeFileSync(input('.metadata'), 'pickled');
  expect(await problems()).toEqual([['__0_0.distcp', 'distributed-checkpoint']]);
  expect(await diagnose(input('__0_0.distcp'))).toMatchObject({ ok: false, kind: 'distributed-checkpoint' });
  await expect(inspect(input())).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    hint: expect.stringContaining('dcp_to_torch'),
  });
});

test('arrays of NumPy are opened, too', async () => {
  const [whole, cut] = [input('whole.npz'), input('cut.npz')];
  await save(state('x', 1), input('x.pt'), quick);
  await convert(input('x.pt'), whole, quick);
  const bytes = readFileSync(whole);
  const at = bytes.indexOf('NUMPY');
  bytes.writeUInt8(bytes.readUInt8(bytes.indexOf('\n', at) + 1) ^ 1, bytes.indexOf('\n', at) + 1);
  writeFileSync(cut, bytes);
  writeFileSync(input('array.npy'), bytes.subarray(at - 1, at + 20));
  expect(await problems()).toEqual([
    ['array.npy', 'corrupt'],
    ['cut.npz', 'corrupt'],
  ]);
});

test('shards without an index', async () => {
  await putShards(BINS, 'index.json');
  expect(await problems()).toEqual([['pytorch_model.bin', 'missing-index']]);
  rmSync(input(BINS[0]));
  expect(await problems()).toEqual([['pytorch_model.bin', 'missing-shard']]);
});

test('an index over files of several formats, and one that is none', async () => {
  await putShards([BINS[0] as string, SAFETENSORS[1] as string], INDEX);
  writeFileSync(input('pytorch_model.bin.index.json'), '<html>');
  expect(await problems()).toEqual([
    [INDEX, 'mixed-formats'],
    ['pytorch_model.bin.index.json', 'index'],
  ]);
});

test('a model in both forms is a note; so is an index whose shards nobody downloaded', async () => {
  await putShards(BINS, 'pytorch_model.bin.index.json');
  await putShards(SAFETENSORS, INDEX);
  expect((await diagnose(input())).notes).toEqual([
    '"model" is there as .bin and .safetensors: loaders take one of them, mostly .safetensors',
  ]);
  for (const name of BINS) rmSync(input(name));
  expect(await diagnose(input())).toMatchObject({
    ok: true,
    notes: ['the shards of "pytorch_model.bin.index.json" are not there; the model is, as .safetensors'],
  });
});

test('downloads under way, pages in place of files, links to nothing, folders below', async () => {
  mkdirSync(input('vae'));
  await save(state('x', 1), input('vae/model.pt'), quick);
  renameSync(input('vae/model.pt'), input('vae/model.pt.part'));
  writeFileSync(input('vae/page.bin'), '<!DOCTYPE html><html><title>Log in</title>');
  symlinkSync(input('nowhere'), input('model.safetensors'));
  expect(await problems()).toEqual([
    ['model.safetensors', 'missing'],
    ['vae/model.pt.part', 'partial'],
    ['vae/page.bin', 'html'],
  ]);
});

test('a folder without checkpoints', async () => {
  writeFileSync(input('config.json'), '{}');
  expect(await diagnose(input())).toMatchObject({
    ok: false,
    message: expect.stringMatching(/no checkpoint/) as string,
  });
});
