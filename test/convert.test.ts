// Promise: a conversion loses nothing that it does not report, writes tied weights once, and gives the same bytes every time.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compareFile } from '../lib/convert/check';
import { type ConvertOptions, convert } from '../lib/convert/convert';
import { DType } from '../lib/dtype';
import { inspect } from '../lib/inspect/inspect';
import { show } from '../lib/inspect/show';
import { verify } from '../lib/inspect/verify';
import { load, open } from '../lib/load';
import { OrderedDict, type PyValue } from '../lib/pickle/values';
import { save } from '../lib/save';
import { Parameter, Tensor } from '../lib/tensor/tensor';
import { sha256 } from './expected';
import { fixturePath, fixtures } from './fixture-suite';

let folder = '';
const file = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-convert-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function saved(name: string, value: unknown): Promise<string> {
  await save(value, file(name), { fsync: false });
  return file(name);
}

const quick = { fsync: false, verify: true } as const;
const floats = (...values: number[]): Tensor => Tensor.from(Float32Array.from(values));
const dict = (entries: Record<string, unknown>): OrderedDict<unknown> => new OrderedDict(Object.entries(entries));

async function tensorsOf(path: string): Promise<Map<string, Tensor>> {
  return new Map([...(await open(path)).tensors()] as [string, Tensor][]);
}

describe('safetensors', () => {
  // Recorded with safetensors 0.8: save({...}, metadata={'format': 'pt'}) of the contiguous tensors, aliases written out.
  test.each([
    ['zip-float32-state-dict.pt', '6c9f2fe1ddc7cf6c40764efef3cbd4b56c26c39f07d4230e48f1227e7bffefb0', []],
    [
      'zip-mixed-every-dtype.pt',
      '1d588b0049316a213a44f4945463559eb0b6ef7e2db97739710401e16aea69fd',
      ['complex128', 'complex32'],
    ],
    ['zip-float32-views.pt', '4922434ff1e13c4c199f51812767f2560648f85e157a96fcaa367c87cdac9a47', []],
    ['zip-mixed-empty-and-scalar.pt', '3749863b8750119fdb6eaaaabd8ae2b3dba78406b1516b8c28141d7e12450aab', []],
    ['legacy-mixed-dtypes.pt', '3e3b540a179f80394d320f264214595781c59231e783d66446b9bac28319d1e5', ['complex128']],
  ])('%s: the bytes of the reference', async (name, expected, dropped) => {
    const report = await convert(fixturePath(name), file('ref.safetensors'), { ...quick, aliases: 'duplicate' });
    expect(sha256(readFileSync(file('ref.safetensors')))).toBe(expected);
    expect(
      report.dropped.filter(({ reason }) => reason.includes('complex')).map(({ reason }) => reason.split(' ').at(-1)),
    ).toEqual(dropped);
  });

  test('tied weights: written once, recorded, shared again on the way back', async () => {
    const weight = Tensor.from(
      new Float32Array(64 * 32).map((_, i) => i),
      { shape: [64, 32] },
    );
    const path = await saved(
      'tied.pt',
      dict({ emb: weight, head: weight.view(64, 32), rows: weight.narrow(0, 2, 3), turned: weight.t() }),
    );
    const report = await convert(path, file('tied.safetensors'), quick);
    expect({ ...report.aliases }).toEqual({ head: 'emb' });
    expect(report.tensors).toBe(3);
    const checkpoint = await open(file('tied.safetensors'));
    expect(Object.fromEntries(checkpoint.info.metadata)).toEqual({ format: 'pt', head: 'emb' });
    expect((checkpoint.get('rows') as Tensor).toTypedArray()).toEqual(weight.narrow(0, 2, 3).toTypedArray());
    expect((checkpoint.get('turned') as Tensor).equal(weight.t())).toBe(true);
    await convert(file('tied.safetensors'), file('back.pt'), quick);
    const back = await tensorsOf(file('back.pt'));
    expect([...back.keys()].sort()).toEqual(['emb', 'head', 'rows', 'turned']);
    expect(back.get('head')?.storage).toBe(back.get('emb')?.storage);
    // And once more: what is recorded stays recorded.
    expect({ ...(await convert(file('tied.safetensors'), file('again.safetensors'), quick)).aliases }).toEqual({
      head: 'emb',
    });
    expect(readFileSync(file('again.safetensors'))).toEqual(readFileSync(file('tied.safetensors')));
  });

  test('a manifest of tied weights holds for the converted copy', async () => {
    const weight = floats(1, 2, 3);
    const input = await saved('manifest.pt', dict({ head: weight, embed: weight }));
    const writeManifest = file('manifest.json');
    await verify(input, { writeManifest });
    await convert(input, file('manifest.safetensors'), quick);
    expect(await verify(file('manifest.safetensors'), { manifest: writeManifest })).toMatchObject({
      ok: true,
      damaged: [],
      manifestTensors: 2,
    });
  });

  test('policies for aliases', async () => {
    const weight = floats(1, 2, 3);
    const path = await saved('policy.pt', dict({ a: weight, b: weight, format: weight }));
    const names = async (aliases: ConvertOptions['aliases']): Promise<string[]> => {
      await convert(path, file('policy.safetensors'), { ...quick, aliases });
      return [...(await tensorsOf(file('policy.safetensors'))).keys()].sort();
    };
    // "format" is the key of the metadata, and can be no alias.
    expect(await names('keep-first')).toEqual(['format']);
    expect(await names('duplicate')).toEqual(['a', 'b', 'format']);
    await expect(names('error')).rejects.toMatchObject({ code: 'UNSAVABLE' });
    const other = await saved('policy2.pt', dict({ a: weight, 'x.b': weight }));
    expect({
      ...(await convert(other, file('policy.safetensors'), { ...quick, aliases: { prefer: 'x.*' } })).aliases,
    }).toEqual({ a: 'x.b' });
  });

  test('names that a file could play tricks with', async () => {
    const path = await saved(
      'names.pt',
      dict({ ['__proto__']: floats(1), constructor: floats(2), '10': floats(3), '9': floats(4), 'é☃': floats(5) }),
    );
    const tied = floats(7);
    await convert(path, file('names.safetensors'), quick);
    expect([...(await tensorsOf(file('names.safetensors'))).keys()]).toEqual([
      '10',
      '9',
      '__proto__',
      'constructor',
      'é☃',
    ]);
    const aliases = await saved('proto.pt', dict({ a: tied, ['__proto__']: tied }));
    const report = await convert(aliases, file('proto.safetensors'), quick);
    expect(Object.entries(report.aliases)).toEqual([['__proto__', 'a']]);
    const refused = await saved('refused.pt', dict({ __metadata__: floats(1) }));
    await expect(convert(refused, file('no.safetensors'), quick)).rejects.toMatchObject({ code: 'UNSAVABLE' });
  });

  test('shards with their index, and back to one file', async () => {
    const state = dict(Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`layer.${i}`, Tensor.full([100], i)])));
    const path = await saved('five.pt', state);
    const report = await convert(path, file('model.safetensors'), { ...quick, maxShardSize: '1KB' });
    expect(report.files.map(({ path: one }) => one.slice(folder.length + 1))).toEqual([
      'model-00001-of-00003.safetensors',
      'model-00002-of-00003.safetensors',
      'model-00003-of-00003.safetensors',
      'model.safetensors.index.json',
    ]);
    const text = readFileSync(file('model.safetensors.index.json'), 'utf8');
    expect(
      text.startsWith(
        '{\n  "metadata": {\n    "total_size": 2000\n  },\n  "weight_map": {\n    "layer.0": "model-00001-of-00003.safetensors",\n',
      ),
    ).toBe(true);
    await convert(file('model.safetensors.index.json'), file('merged.safetensors'), quick);
    await convert(path, file('whole.safetensors'), quick);
    expect(readFileSync(file('merged.safetensors'))).toEqual(readFileSync(file('whole.safetensors')));
    // A directory is its model: by the index, or by being the only one.
    mkdirSync(file('single'));
    await save(dict({ w: floats(1) }), file('single/pytorch_model.bin'), { fsync: false });
    await convert(file('single'), file('of-folder.safetensors'), quick);
    expect([...(await tensorsOf(file('of-folder.safetensors'))).keys()]).toEqual(['w']);
    await expect(convert(folder, file('x.safetensors'))).resolves.toMatchObject({ tensors: 5 });
    // The index and the files must agree both ways.
    const index = JSON.parse(text) as { weight_map: Record<string, string> };
    const other = { ...index, weight_map: { ...index.weight_map, 'layer.9': 'model-00001-of-00003.safetensors' } };
    writeFileSync(file('more.index.json'), JSON.stringify(other));
    await expect(convert(file('more.index.json'), file('x.safetensors'))).rejects.toThrow(
      '"layer.9" is not in "model-00001-of-00003.safetensors"',
    );
    const { 'layer.0': _gone, ...rest } = index.weight_map;
    writeFileSync(file('less.index.json'), JSON.stringify({ ...index, weight_map: rest }));
    await expect(convert(file('less.index.json'), file('x.safetensors'))).rejects.toThrow('the index has it nowhere');
    writeFileSync(file('out.index.json'), JSON.stringify({ weight_map: { a: '../../etc/passwd' } }));
    await expect(convert(file('out.index.json'), file('x.safetensors'))).rejects.toMatchObject({
      code: 'NOT_A_CHECKPOINT',
    });
  });
});

describe('.pt', () => {
  const training = (): OrderedDict<unknown> =>
    dict({
      epoch: 3,
      state_dict: dict({ 'net.w': new Parameter(floats(1, 2, 3)), 'net.b': floats(0.5) }),
      optimizer: { state: new Map([[0, { step: floats(7), momentum: floats(1, 1, 1) }]]) },
      list: [1, floats(4), 3],
    });

  test('prune keeps all the rest', async () => {
    const path = await saved('train.pt', training());
    const report = await convert(path, file('pruned.pt'), { ...quick, prune: ['optimizer', '*.b'] });
    expect(report.tensors).toBe(2);
    const root = await load<Map<string, PyValue>>(file('pruned.pt'));
    expect([...root.keys()]).toEqual(['epoch', 'state_dict', 'list']);
    expect(root.get('epoch')).toBe(3);
    const state = root.get('state_dict') as Map<string, Tensor>;
    expect([...state.keys()]).toEqual(['net.w']);
    expect(state.get('net.w')).toBeInstanceOf(Parameter);
  });

  test('everything goes over, floats stay floats and shared lists stay shared', async () => {
    for (const name of [
      'zip-python-kitchen-sink.pt',
      'zip-lenet-training.pt',
      'legacy-float32-views.pt',
      'tar-mixed-views.pt',
    ]) {
      const expected = fixtures.find(({ file: one }) => one === name);
      // Nothing matches the glob, so that the graph is copied and nothing is left out of it.
      await convert(fixturePath(name), file('copy.pt'), { ...quick, prune: ['nothing-has-this-name'] });
      await convert(fixturePath(name), file('plain.pt'), quick);
      const [copy, plain] = [await open(file('copy.pt')), await open(file('plain.pt'))];
      expect([...copy.tensors()].length).toBe(expected?.tensors.length);
      const record = (checkpoint: typeof copy, path: string): string => {
        const { byteOffset, byteLength } = checkpoint.info.records.find(({ name: one }) => one === 'data.pkl') as {
          byteOffset: number;
          byteLength: number;
        };
        return readFileSync(path)
          .subarray(byteOffset, byteOffset + byteLength)
          .toString('latin1');
      };
      expect(record(copy, file('copy.pt'))).toBe(record(plain, file('plain.pt')));
    }
  });

  test('a cast keeps views, sharing and everything that is no float', async () => {
    const base = Tensor.from(
      Float32Array.from({ length: 12 }, (_, i) => i / 3),
      { shape: [3, 4] },
    );
    const path = await saved(
      'views.pt',
      dict({ base, row: base.narrow(0, 1, 1), turned: base.t(), ids: Tensor.from([1n, 2n]), n: 1 }),
    );
    await convert(path, file('half.pt'), { ...quick, dtype: 'float16' });
    const half = await tensorsOf(file('half.pt'));
    expect([...half.values()].map(({ dtype }) => dtype.name)).toEqual(['float16', 'float16', 'float16', 'int64']);
    expect(half.get('turned')?.stride).toEqual([1, 4]);
    expect(half.get('row')?.storage).toBe(half.get('base')?.storage);
    expect(half.get('base')?.equal(base.to('float16'))).toBe(true);
    expect(half.get('turned')?.equal(base.to('float16').t())).toBe(true);
  });

  test('a view of a large storage takes only its own bytes', async () => {
    const large = Tensor.zeros([100_000]);
    const path = await saved('large.pt', dict({ part: large.narrow(0, 50, 10) }));
    expect((await convert(path, file('part.pt'), quick)).bytes).toBeLessThan(4000);
    expect((await convert(path, file('part.safetensors'), quick)).bytes).toBeLessThan(400);
    expect((await convert(path, file('part16.pt'), { ...quick, dtype: DType.bfloat16 })).bytes).toBeLessThan(4000);
  });

  test('mapLocation is written', async () => {
    await convert(fixturePath('zip-float32-cuda-tags.pt'), file('cpu.pt'), { fsync: false, mapLocation: 'cpu' });
    const checkpoint = await open(file('cpu.pt'));
    expect(new Set([...checkpoint.tensors()].map(([, tensor]) => (tensor as Tensor).storage.location))).toEqual(
      new Set(['cpu']),
    );
    // Of a device that this machine lacks too: nothing is put there.
    await convert(file('cpu.pt'), file('gpu.pt'), { fsync: false, mapLocation: 'cuda', verify: true });
    const tagged = await open(file('gpu.pt'));
    expect(new Set([...tagged.tensors()].map(([, tensor]) => (tensor as Tensor).storage.location))).toEqual(
      new Set(['cuda:0']),
    );
  });
});

describe('choosing', () => {
  const state = (): OrderedDict<unknown> =>
    dict({ 'module.a.weight': floats(1), 'module.a.bias': floats(2), 'module.b.weight': floats(3) });
  const names = async (path: string, options: ConvertOptions): Promise<string[]> => {
    await convert(path, file('chosen.safetensors'), { ...quick, ...options });
    return [...(await tensorsOf(file('chosen.safetensors'))).keys()].sort();
  };

  test('names, globs and roots', async () => {
    const path = await saved(
      'choose.pt',
      dict({ epoch: 1, state_dict: state(), optimizer: dict({ 'module.a.weight': floats(9) }) }),
    );
    expect(await names(path, { root: 'auto' })).toEqual(['module.a.bias', 'module.a.weight', 'module.b.weight']);
    expect(await names(path, { root: 'state_dict', stripPrefix: 'module.' })).toEqual([
      'a.bias',
      'a.weight',
      'b.weight',
    ]);
    expect(await names(path, { root: 'state_dict', rename: 's/^module\\.(.)\\./\\1_/' })).toEqual([
      'a_bias',
      'a_weight',
      'b_weight',
    ]);
    expect(await names(path, { select: ['*.weight'], exclude: ['optimizer'] })).toEqual([
      'state_dict.module.a.weight',
      'state_dict.module.b.weight',
    ]);
    // A plain path is its sub-tree, and no prefix of other names.
    expect(await names(path, { select: ['state_dict.module.a'] })).toEqual([
      'state_dict.module.a.bias',
      'state_dict.module.a.weight',
    ]);
    await expect(names(path, { select: ['state_dict.module.a.w'] })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(names(path, { root: 'weights' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(names(path, { root: 'state_dict', rename: 's/.*/x/' })).rejects.toMatchObject({ code: 'UNSAVABLE' });
    await expect(names(path, { rename: 's/(/x/' })).rejects.toThrow(TypeError);
    const report = await convert(path, file('chosen.safetensors'), quick);
    expect(report.dropped).toEqual([{ path: 'epoch', reason: 'the target holds tensors only' }]);
  });

  test('prefixes come off before names are changed, each in the order given', async () => {
    const input = await saved('prefixes.pt', dict({ 'module.net.w': floats(1) }));
    const stripPrefix = ['module.', 'net.'];
    await convert(input, file('prefixes.safetensors'), { ...quick, stripPrefix, rename: ['s/^w/net.v/', 's/v$/x/'] });
    expect([...(await tensorsOf(file('prefixes.safetensors'))).keys()]).toEqual(['net.x']);
  });

  test('optimizer means its usual names, and a glob that matches nothing is told', async () => {
    const state = { state: floats(1) };
    const names = ['optimizer', 'optimizer_state_dict', 'optimizer_states'];
    const rest = { lr_schedulers: [1], w: floats(2) };
    const input = await saved('optimizers.pt', { ...Object.fromEntries(names.map((name) => [name, state])), ...rest });
    const report = await convert(input, file('pruned.pt'), { ...quick, prune: ['optimizer', 'lr_schedulers'] });
    expect([...(await load<Map<string, PyValue>>(file('pruned.pt'))).keys(), ...report.warnings]).toEqual(['w']);
    const { warnings } = await convert(input, file('pruned.pt'), {
      ...quick,
      prune: ['optimiser'],
      exclude: ['w', 'x*'],
    });
    expect(warnings).toEqual([
      'nothing in the input matches exclude "x*"',
      'nothing in the input matches prune "optimiser"',
    ]);
  });

  test('a selection that leaves no tensor is an error, and so is an output that is the input', async () => {
    const input = await saved('alone.pt', dict({ w: floats(1) }));
    const before = readFileSync(input);
    await expect(convert(input, file('alone.safetensors'), { ...quick, select: ['v'] })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(readdirSync(folder)).not.toContain('alone.safetensors');
    await expect(convert(input, input, quick)).rejects.toThrow('is the input');
    expect(readFileSync(input).equals(before)).toBe(true);
  });

  test('views that overlap in part are told to be written apart', async () => {
    const whole = floats(1, 2, 3, 4);
    const view = (start: number): Tensor => new Tensor(whole.storage, whole.dtype, [3], [1], start);
    const input = await saved('overlap.pt', dict({ a: view(0), b: view(1) }));
    const { warnings } = await convert(input, file('overlap.safetensors'), quick);
    expect(warnings).toEqual([
      '"a" and "b" overlap in one storage: each is written by itself, and they no longer share elements',
    ]);
  });

  test('averaged weights', async () => {
    const apart = await saved('ema.pt', { state_dict: dict({ w: floats(1) }), ema_state_dict: dict({ w: floats(2) }) });
    await convert(apart, file('ema.safetensors'), { ...quick, useEma: true });
    expect((await tensorsOf(file('ema.safetensors'))).get('w')?.item()).toBe(2);
    const diffusion = await saved('ldm.pt', {
      state_dict: dict({
        'model.x.0.w': floats(1),
        'model_ema.x0w': floats(2),
        'model_ema.decay': floats(0.9),
        other: floats(5),
      }),
    });
    await convert(diffusion, file('ldm.safetensors'), { ...quick, root: 'auto', useEma: true });
    expect([...(await tensorsOf(file('ldm.safetensors')))].map(([name, tensor]) => [name, tensor.item()])).toEqual([
      ['model.x.0.w', 2],
      ['other', 5],
    ]);
    // Lightning's WeightAveraging: the averages are the state dict.
    const lightning = await saved('lightning.ckpt', {
      state_dict: dict({ w: floats(2) }),
      current_model_state: dict({ w: floats(1) }),
      averaging_state: { n_averaged: 3 },
    });
    await convert(lightning, file('lightning.safetensors'), { ...quick, useEma: true });
    expect((await tensorsOf(file('lightning.safetensors'))).get('w')?.item()).toBe(2);
    await expect(
      convert(await saved('none.pt', dict({ w: floats(1) })), file('x.safetensors'), { useEma: true }),
    ).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('what a target cannot hold is reported, with its reason', async () => {
    const reasons = async (name: string): Promise<string[]> =>
      (await convert(fixturePath(name), file('left.safetensors'), quick)).dropped.map(
        ({ path, reason }) => `${path}: ${reason}`,
      );
    expect(
      (await reasons('zip-float32-sparse.pt')).some((text) =>
        text.includes('sparse_csr tensors have no dense elements'),
      ),
    ).toBe(true);
    expect((await reasons('zip-float32-meta.pt')).some((text) => text.includes('meta device'))).toBe(true);
    expect((await reasons('zip-quint8-quantized.pt')).some((text) => text.includes('quint8 needs its scales'))).toBe(
      true,
    );
  });
});

describe('npz and npy', () => {
  // Regression: only checkpoints of PyTorch were compared with their checksums before they were converted.
  test('a damaged array is not converted when the input is to be verified', async () => {
    await convert(await saved('whole.pt', dict({ a: floats(1, 2, 3) })), file('damaged.npz'), quick);
    const bytes = readFileSync(file('damaged.npz'));
    const at = bytes.indexOf(Buffer.from(Float32Array.of(2).buffer));
    bytes.writeUInt8(bytes.readUInt8(at + 3) ^ 1, at + 3);
    writeFileSync(file('damaged.npz'), bytes);
    await expect(convert(file('damaged.npz'), file('not.pt'), quick)).rejects.toMatchObject({
      code: 'CRC_MISMATCH',
      record: 'a.npy',
    });
    await convert(file('damaged.npz'), file('unchecked.pt'), { fsync: false });
  });

  test('there and back, Fortran order and byte order included', async () => {
    const state = dict({
      a: Tensor.from(Float64Array.of(1.5, 2.5)),
      'b.c': Tensor.from([[true, false]]),
      half: floats(1.1, 2).to('bfloat16'),
      turned: Tensor.from(new Int16Array([1, 2, 3, 4, 5, 6]), { shape: [2, 3] }).t(),
    });
    const path = await saved('npz.pt', state);
    const report = await convert(path, file('a.npz'), quick);
    expect([report.tensors, report.dropped]).toEqual([4, []]);
    await convert(file('a.npz'), file('npz-back.pt'), quick);
    const back = await tensorsOf(file('npz-back.pt'));
    expect(back.get('half')?.dtype).toBe(DType.float32);
    for (const [name, tensor] of state) expect(back.get(name as string)?.equal(tensor as Tensor)).toBe(true);
    // Header of numpy.save(np.asfortranarray(np.arange(6, dtype='>i2').reshape(2, 3))).
    const header = `${"{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }".padEnd(117)}\n`;
    writeFileSync(
      file('f.npy'),
      Buffer.concat([
        Buffer.from('\x93NUMPY\x01\x00', 'latin1'),
        Buffer.from([118, 0]),
        Buffer.from(header),
        Buffer.from([0, 0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5]),
      ]),
    );
    await convert(file('f.npy'), file('f.pt'), quick);
    expect([...(await tensorsOf(file('f.pt'))).values()][0]?.toArray()).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
  });

  test('an archive with a long directory, and names that zips cannot hold', async () => {
    // Regression: yazl counts more bytes than it writes when the directory is longer than 65,535 bytes.
    const many = dict(Object.fromEntries(Array.from({ length: 1500 }, (_, i) => [`layers.${i}.weight`, floats(i)])));
    const report = await convert(await saved('many.pt', many), file('many.npz'), quick);
    expect(report.tensors).toBe(1500);
    const odd = await convert(
      await saved('odd.pt', dict({ '../up': floats(1), '/abs': floats(2), ok: floats(3) })),
      file('odd.npz'),
      quick,
    );
    expect([odd.tensors, odd.dropped.map(({ path }) => path)]).toEqual([1, ['../up', '/abs']]);
  });

  test('.npy holds one tensor', async () => {
    const path = await saved('two.pt', dict({ a: floats(1, 2), b: floats(3) }));
    await convert(path, file('one.npy'), { ...quick, select: ['a'] });
    expect(readFileSync(file('one.npy')).subarray(128)).toEqual(Buffer.from(Float32Array.of(1, 2).buffer));
    await expect(convert(path, file('two.npy'), quick)).rejects.toMatchObject({ code: 'UNSAVABLE' });
  });
});

describe('gguf', () => {
  test('header, alignment and types', async () => {
    const path = await saved(
      'gguf.pt',
      dict({
        'w.weight': Tensor.full([4, 64], 0.5),
        norm: floats(1, 2, 3),
        ids: Tensor.from(Uint8Array.of(1, 255)),
        five: Tensor.zeros([1, 1, 1, 1, 1]),
      }),
    );
    writeFileSync(
      file('config.json'),
      JSON.stringify({
        model_type: 'llama',
        text_config: { hidden_size: 64, rms_norm_eps: 1e-5 },
        rope_parameters: { rope_theta: 5e5 },
        num_hidden_layers: -1,
      }),
    );
    const report = await convert(path, file('m.gguf'), { ...quick, dtype: 'q8_0' });
    expect(report.dropped).toEqual([{ path: 'five', reason: 'GGUF has 4 dimensions at most, the tensor 5' }]);
    const bytes = readFileSync(file('m.gguf'));
    expect([bytes.toString('latin1', 0, 4), bytes.readUInt32LE(4), bytes.readUInt32LE(8)]).toEqual(['GGUF', 3, 3]);
    for (const key of ['llama.embedding_length', 'llama.rope.freq_base', 'general.file_type'])
      expect(bytes.includes(key), key).toBe(true);
    expect(bytes.includes('llama.block_count')).toBe(false);
    expect(bytes.length % 32).toBe(0);
    // 4 rows of two blocks of 34 bytes, 12 bytes of float32, two int16; each padded to 32.
    expect(bytes.readUInt8(bytes.length - 32 - 32 - 288 + 2)).toBe(127);
    expect([bytes.readInt16LE(bytes.length - 32), bytes.readInt16LE(bytes.length - 30)]).toEqual([1, 255]);
  });
});

test('a skeleton tells structure, sharing and number types', async () => {
  const tied = floats(1, 2);
  const list = [1, tied];
  const path = await saved('skeleton.pt', dict({ list, again: list, a: tied, big: 2n ** 70n }));
  await convert(path, file('s.json'), quick);
  const json = JSON.parse(readFileSync(file('s.json'), 'utf8')) as {
    root: { id: number; OrderedDict: [string, unknown][] };
    storages: unknown[];
    format: string;
  };
  expect(json.format).toBe('zip');
  expect(json.storages).toEqual([{ number: 0, key: '0', location: 'cpu', dtype: 'float32', nbytes: 8 }]);
  const pairs = new Map(json.root.OrderedDict);
  expect(pairs.get('again')).toEqual({ ref: (pairs.get('list') as { id: number }).id });
  expect(pairs.get('big')).toEqual({ int: String(2n ** 70n) });
  expect(pairs.get('a')).toEqual({ tensor: 'float32', shape: [2], stride: [1], storageOffset: 0, storage: 0 });
});

describe('outputs', () => {
  test('the same input gives the same bytes', async () => {
    for (const to of ['safetensors', 'pt', 'npz', 'gguf', 'skeleton'] as const) {
      const source = fixturePath('zip-mixed-every-dtype.pt');
      await convert(source, file('same'), { fsync: false, to });
      const first = readFileSync(file('same'));
      await convert(source, file('same'), { fsync: false, to });
      expect(readFileSync(file('same')).equals(first), to).toBe(true);
    }
  });

  test('streams, dry runs and open checkpoints', async () => {
    const path = fixturePath('zip-float32-state-dict.pt');
    await convert(path, file('stream.safetensors'), quick);
    const stream = new PassThrough();
    const [bytes] = await Promise.all([buffer(stream), convert(readFileSync(path), stream, { to: 'safetensors' })]);
    expect(bytes.equals(readFileSync(file('stream.safetensors')))).toBe(true);
    const planned = await convert(path, file('never.safetensors'), { dryRun: true });
    expect([planned.bytes, planned.dryRun, readdirSync(folder).includes('never.safetensors')]).toEqual([
      bytes.length,
      true,
      false,
    ]);
    const checkpoint = await open(path);
    await convert(checkpoint, file('opened.safetensors'), quick);
    expect(readFileSync(file('opened.safetensors')).equals(bytes)).toBe(true);
    // It is the caller's, and still open.
    expect([...checkpoint.tensors()].length).toBeGreaterThan(0);
    checkpoint.close();
  });

  test('a folder gets a file of the same name', async () => {
    const path = await saved('pytorch_model.bin', dict({ w: floats(1) }));
    mkdirSync(file('into'));
    expect((await convert(path, file('into'), quick)).files.map((one) => one.path)).toEqual([
      file('into/model.safetensors'),
    ]);
    await convert(path, `${file('made')}/`, { ...quick, to: 'npz' });
    expect(readdirSync(file('made'))).toEqual(['pytorch_model.npz']);
    await expect(convert(readFileSync(path), file('into'), quick)).rejects.toThrow(TypeError);
  });

  test('options that the target cannot follow', async () => {
    const path = await saved('cut.pt', dict({ w: floats(1) }));
    await expect(convert(path, file('cut.npz'), { ...quick, maxShardSize: '1MB' })).rejects.toThrow(TypeError);
    const twice = await saved('twice.pt', { 'a.b': floats(1), a: { b: floats(2) } });
    await expect(convert(twice, file('twice.npz'), quick)).rejects.toThrow('two tensors have the path "a.b"');
  });

  // Regression: the state of an optimizer by its parameters could not be converted at all.
  test('tensors below keys that are objects are numbered, and those of one key stay together', async () => {
    const [first, second, third] = [floats(1), floats(2), floats(3)];
    const state = new Map(
      [first, second, third].map((key, i) => [
        key,
        new Map([
          ['avg', floats(i)],
          ['step', floats(10 * i)],
        ]),
      ]),
    );
    const path = await saved(
      'by-parameter.pt',
      new Map<PyValue, PyValue>([
        ['state', state],
        ['tied', first],
      ]),
    );
    const avg = ['state[<object>].avg', 'state[<object>].avg#2', 'state[<object>].avg#3'];
    const step = avg.map((name) => name.replace('avg', 'step'));
    for (const to of ['safetensors', 'npz'] as const) {
      const output = file(`by-parameter.${to}`);
      await convert(path, output, { ...quick, to, verify: true });
      const shown = await inspect(output);
      expect(shown.tensors.map((one) => one.path).sort()).toEqual([...avg, ...step, 'tied'].sort());
      for (const [i, name] of avg.entries()) {
        expect((await show(output, name)).statistics?.max).toBe(i);
        expect((await show(output, step[i] as string)).statistics?.max).toBe(10 * i);
      }
    }
    // Names that clash by the choice of the user still do.
    await expect(convert(path, file('clash.npz'), { ...quick, rename: 's/avg|step/x/' })).rejects.toThrow(
      'would both be called',
    );
  });

  test('the report says which way all bytes went', async () => {
    const path = await saved('kernel.pt', dict({ w: Tensor.full([1 << 20], 1) }));
    const { kernelBytes, writtenBytes, bytes } = await convert(path, file('kernel.safetensors'), { fsync: false });
    expect(kernelBytes + writtenBytes).toBe(bytes);
  });

  test('a failure leaves the old file and nothing else', async () => {
    const target = await saved('old.safetensors', dict({}));
    const before = readFileSync(target);
    const abort = new AbortController();
    abort.abort(new Error('enough'));
    await expect(convert(fixturePath('zip-lenet-training.pt'), target, { signal: abort.signal })).rejects.toThrow(
      'enough',
    );
    await expect(
      convert(fixturePath('zip-lenet-training.pt'), join(folder, 'no', 'folder.safetensors')),
    ).rejects.toMatchObject({ code: 'WRITE_FAILED' });
    expect(readFileSync(target).equals(before)).toBe(true);
    expect(readdirSync(folder).filter((name) => name.startsWith('.torch-checkpoint'))).toEqual([]);
    await expect(convert(fixturePath('zip-lenet-training.pt'), file('x.unknown'))).rejects.toThrow(TypeError);
    await expect(
      convert(fixturePath('zip-lenet-training.pt'), file('x.safetensors'), { dtype: 'int8' }),
    ).rejects.toThrow(TypeError);
  });

  test('a file cut short under us is an error of every target', async () => {
    for (const to of ['safetensors', 'pt', 'npz', 'gguf'] as const) {
      for (const dtype of [undefined, 'float16']) {
        const path = await saved('short.pt', dict({ w: Tensor.full([1 << 18], 1), v: Tensor.full([1 << 18], 2) }));
        const checkpoint = await open(path);
        truncateSync(path, 1 << 20);
        await expect(convert(checkpoint, file('short.out'), { ...quick, to, dtype })).rejects.toMatchObject({
          code: 'TRUNCATED',
        });
        checkpoint.close();
        await expect(convert(checkpoint, file('short.out'), { ...quick, to, dtype })).rejects.toMatchObject({
          code: 'CLOSED',
        });
      }
    }
    expect(readdirSync(folder)).not.toContain('short.out');
  });

  test('verify finds a byte that is not as written', async () => {
    writeFileSync(file('bytes'), Buffer.from([1, 2, 3]));
    await compareFile(file('bytes'), [{ payload: Uint8Array.of(1, 2, 3), byteLength: 3 }], undefined);
    await expect(
      compareFile(file('bytes'), [{ payload: Uint8Array.of(1, 2, 4), byteLength: 3 }], undefined),
    ).rejects.toMatchObject({ code: 'CRC_MISMATCH' });
    await expect(
      compareFile(file('bytes'), [{ payload: Uint8Array.of(1, 2), byteLength: 2 }], undefined),
    ).rejects.toMatchObject({ code: 'CRC_MISMATCH' });
  });
});
