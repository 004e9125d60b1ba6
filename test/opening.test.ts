// Promise: what looks at a checkpoint looks alike at a model in several files, by folder or index, and at arrays of NumPy.
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, test } from 'vitest';
import { convert } from '../lib/convert/convert';
import { convertDirectory } from '../lib/convert/directory';
import { diagnose } from '../lib/inspect/diagnose';
import { diff } from '../lib/inspect/diff';
import { extract } from '../lib/inspect/extract';
import { inspect } from '../lib/inspect/inspect';
import { sarif } from '../lib/inspect/sarif';
import { scan } from '../lib/inspect/scan';
import { show } from '../lib/inspect/show';
import { verify } from '../lib/inspect/verify';
import { load, open } from '../lib/load';
import { OrderedDict } from '../lib/pickle/values';
import { save } from '../lib/save';
import { Tensor } from '../lib/tensor/tensor';
import { bytesOf, py, zip } from './container-samples';
import { makeFolders, quick, shardNames, state } from './model-folders';

const { input, around, putShards } = makeFolders();
const NAMES = ['a.0', 'a.1', 'b.0', 'b.1'];
const FORMS = [
  ['model', '.safetensors', 'model.safetensors.index.json'],
  ['pytorch_model', '.bin', 'pytorch_model.bin.index.json'],
] as const;

/** The tensors of the two shards, in one file. */
async function whole(name: string): Promise<string> {
  const path = around(name);
  await save(new OrderedDict([...state('a', 2), ...state('b', 2)]), around('whole.pt'), quick);
  if (name !== 'whole.pt') await convert(around('whole.pt'), path, quick);
  return path;
}

describe.each(FORMS)('shards of %s%s', (stem, extension, index) => {
  const shards = shardNames(stem, extension, 2);
  const change = (edit: (map: Record<string, string>) => void): void => {
    const value = JSON.parse(readFileSync(input(index), 'utf8')) as { weight_map: Record<string, string> };
    edit(value.weight_map);
    writeFileSync(input(index), JSON.stringify(value));
  };

  test('are one model, by their folder and by their index', async () => {
    await putShards(shards, index);
    for (const place of [input(), input(index)]) {
      const { format, tensors, records, parameters, warnings } = await inspect(place);
      expect([format, records, parameters, warnings]).toEqual(['shards', 2, 60, []]);
      expect(tensors.map(({ path }) => path)).toEqual(NAMES);
      expect(await show(place, 'b.1')).toMatchObject({ kind: 'tensor', statistics: { numel: 20 } });
      expect(await diff(place, await whole('whole.pt'))).toMatchObject({ equal: true });
      expect(await verify(place)).toMatchObject({ ok: true, damaged: [] });
      expect(await extract(place, 'b', around('b.safetensors'), quick)).toMatchObject({ tensors: 2 });
      expect((await inspect(around('b.safetensors'))).tensors.map(({ path }) => path)).toEqual(['0', '1']);
      expect(await extract(place, 'a.1', around('a.pt'), quick)).toMatchObject({ tensors: 1 });
      expect((await load<Tensor>(around('a.pt'))).shape).toEqual([10, 2]);
    }
    expect(await diagnose(input(index))).toMatchObject({ ok: true, kind: 'folder' });
  });

  test('a manifest holds for the whole model', async () => {
    await putShards(shards, index);
    const manifest = around('manifest.json');
    expect((await verify(input(), { writeManifest: manifest })).ok).toBe(true);
    expect(await verify(await whole('whole.safetensors'), { manifest })).toMatchObject({
      ok: true,
      manifestTensors: 4,
    });
    await save(new OrderedDict([...state('a', 2), ['b.0', Tensor.ones([10, 1])]]), around('other.pt'), quick);
    expect((await verify(around('other.pt'), { manifest })).damaged.map(({ record }) => record)).toEqual([
      'b.0',
      'b.1',
    ]);
  });

  test('every shard that is cut or missing is told, and what only one side names', async () => {
    await putShards(shards, index);
    change((map) => {
      delete map['a.1'];
    });
    rmSync(input(shards[1]));
    const found = await verify(input(index));
    expect([found.ok, found.damaged.map(({ record }) => record)]).toEqual([false, shards]);
    expect(found.damaged[0]?.reason).toContain('"a.1" is in "');
    expect(found.damaged[1]?.reason).toContain('no such file');

    await putShards(shards, index);
    change((map) => {
      map['b.9'] = shards[1] as string;
    });
    truncateSync(input(shards[0]), 300);
    const { damaged } = await verify(input());
    expect(damaged.map(({ record }) => record)).toEqual(shards);
    expect(damaged[1]?.reason).toContain('"b.9" is not in "');
    await expect(inspect(input())).rejects.toMatchObject({ name: 'CheckpointError' });
    expect(await diagnose(input(index))).toMatchObject({ ok: false, kind: 'folder' });
  });

  test('what lies beside them is left out, and told', async () => {
    await putShards(shards, index);
    const stray = shardNames(stem, extension, 3)[2] as string;
    writeFileSync(input(stray), readFileSync(input(shards[0])));
    for (const { warnings } of [await inspect(input()), await show(input(), 'a.0'), await diff(input(), input(index))])
      expect(warnings?.[0]).toContain(`"${stray}" lies beside the shards`);
  });

  // Regression: an index among its own shards was opened again and again, for ever.
  test('an index that names itself ends', async () => {
    writeFileSync(input(index), JSON.stringify({ weight_map: { w: index } }));
    for (const look of [inspect, verify, (path: string) => convert(path, around('out.pt'), quick)])
      await look(input(index)).then(
        (report) => expect(report).toMatchObject({ ok: false }),
        (error: unknown) => expect(error).toMatchObject({ code: 'NOT_A_CHECKPOINT' }),
      );
  });

  test('open and load take one file, and say what the index is', async () => {
    await putShards(shards, index);
    for (const opening of [open, load])
      await expect(opening(input(index))).rejects.toMatchObject({
        code: 'NOT_A_CHECKPOINT',
        message: expect.stringContaining('the index of a model in several files') as string,
        hint: expect.not.stringContaining('taken for it') as string,
      });
  });
});

test('a folder with a single checkpoint is that one; with several and no index it is none', async () => {
  await save(state('x', 1), input('x.pt'), quick);
  expect((await inspect(input())).format).toBe('zip');
  expect(await diff(input(), input('x.pt'))).toMatchObject({ equal: true });
  await save(state('y', 1), input('y.pt'), quick);
  for (const look of [inspect, verify]) await expect(look(input())).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

describe('arrays of NumPy', () => {
  test('.npz', async () => {
    const path = await whole('whole.npz');
    expect(await inspect(path)).toMatchObject({ format: 'npz', records: 4, parameters: 60 });
    expect(await inspect(readFileSync(path))).toMatchObject({ format: 'npz', parameters: 60 });
    expect(await diff(around('whole.pt'), path)).toMatchObject({ equal: true });
    expect(await show(path, 'b.1')).toMatchObject({ kind: 'tensor' });
    expect(await extract(path, 'a', around('a.pt'), quick)).toMatchObject({ tensors: 2 });
    expect(await diagnose(path)).toEqual({
      ok: true,
      kind: 'npz',
      message: 'a healthy NumPy archive (.npz) of 4 tensors',
    });
    expect((await verify(path)).records).toEqual(NAMES.map((name) => ({ name: `${name}.npy`, status: 'ok' })));
    const bytes = readFileSync(path);
    bytes[bytes.lastIndexOf('NUMPY', bytes.indexOf('PK\x01\x02')) + 123]! ^= 1;
    expect(await verify(bytes)).toMatchObject({ ok: false });
    expect(await diagnose(bytes)).toMatchObject({ ok: false, kind: 'corrupt' });
  });

  test('.npy is one tensor, named after its file', async () => {
    const path = input('bias.npy');
    await extract(await whole('whole.pt'), 'b.1', path, quick);
    expect((await inspect(path)).tensors.map(({ path: one }) => one)).toEqual(['bias']);
    expect((await inspect(readFileSync(path))).tensors.map(({ path: one }) => one)).toEqual(['arr_0']);
    expect(await show(path, 'bias')).toMatchObject({ tensor: { shape: [10, 2] } });
    expect(await diagnose(path)).toEqual({
      ok: true,
      kind: 'npy',
      message: 'a healthy NumPy array (.npy) of 1 tensor',
    });
    expect(await verify(path)).toMatchObject({ ok: true });
    await convert(path, around('bias.pt'), quick);
    expect([...(await load<Map<string, Tensor>>(around('bias.pt'))).keys()]).toEqual(['bias']);
    // Like every other file of tensors in a folder.
    const { files } = await convertDirectory(input(), around('out'), quick);
    expect(files.map((one) => [basename(one.output ?? ''), one.status])).toEqual([['bias.safetensors', 'converted']]);
    truncateSync(path, 150);
    expect(await verify(path)).toMatchObject({ ok: false });
    expect(await diagnose(path)).toMatchObject({ ok: false });
  });

  test('an array of objects is left out, and may be dangerous', async () => {
    const header = "\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".padEnd(80);
    const archive = (pickle: Uint8Array): Uint8Array => zip([{ name: 'o.npy', bytes: bytesOf(header, pickle) }]);
    const harmless = archive(py.pickle('N'));
    expect((await inspect(harmless)).warnings).toEqual([expect.stringContaining('array "o" is left out')]);
    expect(await diagnose(harmless)).toMatchObject({ ok: true, notes: [expect.stringContaining('"o"')] });
    const evil = archive(py.pickle(bytesOf(py.global('os', 'system'), py.tuple(py.text('true')), 'R')));
    expect(await diagnose(evil)).toMatchObject({ ok: false, kind: 'unsafe' });
  });
});

test('what scan found is SARIF for programs, too', async () => {
  const path = around('evil.pkl');
  writeFileSync(path, py.pickle(bytesOf(py.global('os', 'system'), py.tuple(py.text('true')), 'R')));
  const location = {
    physicalLocation: { artifactLocation: { uri: expect.stringMatching(/^file:.*evil\.pkl$/) as string } },
  };
  const result = { ruleId: 'dangerous-global', level: 'error' };
  const report = await scan(path);
  expect(sarif(report, path)).toMatchObject({
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { semanticVersion: expect.any(String) as string } },
        results: [{ ...result, locations: [location] }],
      },
    ],
  });
  // Of bytes nobody knows where they were.
  const [run] = (sarif(report) as { runs: { results: object[] }[] }).runs;
  expect(run?.results[0]).toMatchObject(result);
  expect(JSON.stringify(run)).not.toContain('physicalLocation');
});

test('a GGUF model is no problem, only not read', async () => {
  expect(await diagnose(await whole('whole.gguf'))).toEqual({
    ok: true,
    kind: 'gguf',
    message: 'a GGUF model: convert writes such files, nothing here reads them',
  });
});
