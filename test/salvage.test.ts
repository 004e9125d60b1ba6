/** Promise: what is whole of a damaged checkpoint comes back, bit for bit, and what is lost is named. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openModel } from '../lib/convert/open-model';
import { diagnose } from '../lib/inspect/diagnose';
import { type SalvageReport, salvage } from '../lib/inspect/salvage';
import { openSync } from '../lib/load';
import { OrderedDict, type PyValue } from '../lib/pickle/values';
import { toBytes } from '../lib/save';
import { Tensor } from '../lib/tensor/tensor';
import {
  bytesOf,
  dict,
  floats,
  legacyCheckpoint,
  py,
  storageId,
  tensor,
  zip,
  zipCheckpoint,
} from './container-samples';
import { fixturePath } from './fixture-suite';

const folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-salvage-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const output = join(folder, 'out.pt');

/** Tensor bytes by path. */
function tensorsOf(source: string | Uint8Array): Map<string, string> {
  using checkpoint = openSync(source);
  const tensors = new Map<string, string>();
  for (const [path, value] of checkpoint.tensors())
    if (value instanceof Tensor && !value.isMeta) tensors.set(path, Buffer.from(value.toBytes()).toString('hex'));
  return tensors;
}

async function rescue(bytes: Uint8Array): Promise<{ report: SalvageReport; tensors: Map<string, string> }> {
  rmSync(output, { force: true });
  const report = await salvage(bytes, output);
  expect(existsSync(output)).toBe(report.kind !== 'nothing');
  return { report, tensors: report.kind === 'nothing' ? new Map<string, string>() : tensorsOf(output) };
}

/** What was saved must be the same, and what was not must be told. */
function expectHonest(all: ReadonlyMap<string, string>, { report, tensors }: Awaited<ReturnType<typeof rescue>>): void {
  for (const [path, bytes] of tensors) expect(bytes, path).toBe(all.get(path));
  const lost = report.lost.map(({ path }) => path);
  expect([...tensors.keys(), ...lost].sort()).toEqual([...all.keys()].sort());
}

describe.each([
  'zip-lenet-training.pt',
  'zip-float32-deflated.pt',
  'zip-float32-module-sequential.pt',
  'zip-mixed-big-endian.pt',
  'legacy-float32-views.pt',
  'legacy-float32-tied.pt',
  'safetensors-mixed-dtypes.safetensors',
  'tar-mixed-views.pt',
])('%s', (name) => {
  const bytes = readFileSync(fixturePath(name));
  const all = tensorsOf(bytes);

  test('cut anywhere, all whole storages are found', async () => {
    let most = 0;
    let checkpoints = 0;
    for (let i = 1; i <= 24; i++) {
      const rescued = await rescue(bytes.subarray(0, Math.floor((bytes.length * i) / 24)));
      if (rescued.report.kind !== 'checkpoint') continue;
      checkpoints++;
      expectHonest(all, rescued);
      expect(rescued.tensors.size).toBeGreaterThanOrEqual(most);
      most = rescued.tensors.size;
    }
    expect(checkpoints).toBeGreaterThan(2);
    expect(most).toBe(all.size);
  });
});

describe('zip', () => {
  const model = new Map<PyValue, PyValue>([
    ['epoch', 3],
    [
      'state',
      new OrderedDict<PyValue>([
        ['w', Tensor.from([1, 2, 3, 4])],
        ['b', Tensor.from([5, 6])],
      ]),
    ],
    ['history', [Tensor.from([7]), 'x', Tensor.from([8])]],
  ]);
  const flipped = (bytes: Uint8Array, of: Uint8Array): Buffer => {
    const copy = Buffer.from(bytes);
    const at = copy.indexOf(of);
    copy[at] = (copy[at] as number) ^ 1;
    return copy;
  };

  test('a damaged storage costs its own tensors and no other', async () => {
    const bytes = await toBytes(model);
    const { report, tensors } = await rescue(flipped(bytes, floats(1, 2, 3, 4)));
    expect(report.lost).toEqual([
      {
        path: 'state.w',
        record: 'data/0',
        reason: 'damaged: its checksum does not fit its bytes',
        bytes: 16,
        missingBytes: 16,
      },
    ]);
    expect([...tensors.keys()]).toEqual(['state.b', 'history[0]', 'history[2]']);
    using again = openSync(output);
    expect(again.get('epoch')).toBe(3);
  });

  test('in a list None takes the place of what is lost', async () => {
    const { report } = await rescue(flipped(await toBytes(model), floats(7)));
    expect(report.lost).toMatchObject([{ path: 'history[0]' }]);
    using again = openSync(output);
    expect(again.get('history[0]')).toBeNull();
    expect(again.get('history[1]')).toBe('x');
  });

  test('without its beginning and its directory', async () => {
    const bytes = Buffer.from(await toBytes(model));
    const end = bytes.indexOf('PK\x01\x02', undefined, 'latin1');
    const report = (await rescue(bytesOf('HTTP/1.1 200 OK\r\n\r\n', bytes.subarray(0, end)))).report;
    expect(report).toMatchObject({ kind: 'checkpoint', tensors: 4, lost: [] });
  });

  test('a checkpoint inside a storage is not taken for the outer one', async () => {
    // Regression: records of the inner zip have the same names, and stand before the end of the outer record.
    const inner = await toBytes(new Map([['w', Tensor.from([9, 9])]]));
    const bytes = Buffer.from(
      await toBytes(
        new Map<string, Tensor>([
          ['blob', Tensor.from(inner)],
          ['w', Tensor.from([1, 2])],
        ]),
      ),
    );
    const cut = bytes.subarray(0, bytes.lastIndexOf('PK\x01\x02', undefined, 'latin1'));
    const { report, tensors } = await rescue(cut);
    expect(report.lost).toEqual([]);
    expect(tensors.get('w')).toBe(Buffer.from(floats(1, 2)).toString('hex'));
    expect(tensors.get('blob')).toBe(Buffer.from(inner).toString('hex'));
  });

  test('a bare storage that is lost costs its own value and no other', async () => {
    // Regression: it stayed in the list without bytes, which ended the writing of everything else.
    const storage = (tensor: Tensor): PyValue => tensor.storage;
    const list = [storage(Tensor.from([1, 2, 3])), 'x', storage(Tensor.from([4, 5, 6])), Tensor.from([7])];
    const { report, tensors } = await rescue(flipped(await toBytes(list), floats(4, 5, 6)));
    expect(report).toMatchObject({ kind: 'checkpoint', lost: [{ path: '[2]', missingBytes: 12 }] });
    expect([...tensors.keys()]).toEqual(['[3]']);
    using again = openSync(output);
    expect([again.get('[1]'), again.get('[2]')]).toEqual(['x', null]);
    expect(again.get('[0]')).toMatchObject({ nbytes: 12 });
  });

  describe('a storage that is cut', () => {
    const all = Tensor.from(Float32Array.from({ length: 1000 }, (_, i) => i + 1));
    const views = new Map<PyValue, PyValue>([
      ['first', all.narrow(0, 0, 100)],
      ['middle', all.narrow(0, 450, 100)],
      ['last', all.narrow(0, 900, 100)],
    ]);
    const cut = async (): Promise<Uint8Array> => {
      const bytes = Buffer.from(await toBytes(views));
      return bytes.subarray(0, bytes.indexOf(floats(1, 2, 3)) + 2000);
    };

    test('keeps the tensors whose own bytes are here, and tells of the others what is missing', async () => {
      const { report, tensors } = await rescue(await cut());
      expect([...tensors]).toEqual([['first', Buffer.from(all.narrow(0, 0, 100).toBytes()).toString('hex')]]);
      expect(report.lost).toEqual([
        {
          path: 'middle',
          record: 'data/0',
          reason: 'cut short: 2000 of 4000 bytes are here',
          bytes: 400,
          missingBytes: 200,
        },
        {
          path: 'last',
          record: 'data/0',
          reason: 'cut short: 2000 of 4000 bytes are here',
          bytes: 400,
          missingBytes: 400,
        },
      ]);
    });

    test.each(['out.pt', 'out.safetensors', 'out.npz'])(
      'has zeros in place of what is lost if asked: %s',
      async (name) => {
        const path = join(folder, name);
        const report = await salvage(await cut(), path, { zeroFill: true });
        expect(report).toMatchObject({ kind: 'checkpoint', tensors: 3 });
        expect(report.lost.map(({ path: lost, zeroFilled }) => [lost, zeroFilled])).toEqual([
          ['middle', true],
          ['last', true],
        ]);
        const model = await openModel(path);
        const floatsAt = (key: string): Float32Array => (model.get(key) as Tensor).toFloat32Array();
        expect(floatsAt('first')).toEqual(all.narrow(0, 0, 100).toFloat32Array());
        expect([...floatsAt('middle')]).toEqual(Array.from({ length: 100 }, (_, i) => (i < 50 ? 451 + i : 0)));
        expect(floatsAt('last').every((value) => value === 0)).toBe(true);
        model.close();
      },
    );
  });

  test('storages come raw when their names are lost', async () => {
    const bytes = zipCheckpoint({ 'data.pkl': bytesOf('\x80\x02}garbage') });
    const { report, tensors } = await rescue(bytes);
    expect(report).toMatchObject({
      kind: 'storages',
      tensors: 1,
      reason: expect.stringMatching(/data\.pkl/) as string,
    });
    expect([...tensors]).toEqual([['data/0', Buffer.from(floats(1, 2, 3, 4)).toString('hex')]]);
  });

  test('what would run in Python is not written again', async () => {
    const evil = dict({
      w: tensor({ key: '0', numel: 4 }),
      run: bytesOf(py.global('os', 'system'), py.tuple(py.text('true')), 'R'),
    });
    const { report } = await rescue(zipCheckpoint({ 'data.pkl': py.pickle(evil) }).subarray(0, -30));
    expect(report).toMatchObject({ kind: 'storages', reason: expect.stringContaining('os.system') as string });
    expect(readFileSync(output).includes('system')).toBe(false);
  });

  test('a file of nothing gives nothing', async () => {
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(9000), Buffer.from('<html>'), zip([])])
      expect((await rescue(bytes)).report).toMatchObject({ kind: 'nothing', tensors: 0 });
  });

  test('the damaged file itself is never written over', async () => {
    const path = join(folder, 'cut.pt');
    writeFileSync(path, (await toBytes(model)).subarray(0, 900));
    await expect(salvage(path, join(folder, '.', 'cut.pt'))).rejects.toThrow(TypeError);
  });

  test('an abort leaves no file', async () => {
    const abort = new AbortController();
    const options = { signal: abort.signal, onProgress: () => abort.abort(new Error('stop')) };
    rmSync(output, { force: true });
    await expect(salvage(await toBytes(model), output, options)).rejects.toThrow('stop');
    expect(existsSync(output)).toBe(false);
  });

  test('the size that a cut file had at least is told', async () => {
    const bytes = readFileSync(fixturePath('zip-lenet-training.pt'));
    for (const part of [0.3, 0.6, 0.999]) {
      const cut = bytes.subarray(0, Math.floor(bytes.length * part));
      const { kind, expectedSize = 0 } = await diagnose(cut);
      expect(kind).toBe('truncated');
      // Padding and end records are not known; storages are.
      expect(expectedSize).toBeGreaterThan(Math.max(cut.length, bytes.length * 0.8));
      expect(expectedSize).toBeLessThanOrEqual(bytes.length);
    }
  });
});

describe('a pickle that torch.save did not write', () => {
  const blob = (...values: number[]): Buffer =>
    legacyCheckpoint(storageId({ key: 'a', numel: values.length }), [
      { key: 'a', numel: values.length, bytes: floats(...values) },
    ]);
  const pickled = (...blobs: Buffer[]): Buffer =>
    py.pickle(
      py.list(
        ...blobs.map((bytes) =>
          bytesOf(py.global('torch.storage', '_load_from_bytes'), py.tuple(py.bytes(bytes)), 'R'),
        ),
      ),
    );

  test('cut short, gives the storages before the cut', async () => {
    const bytes = pickled(blob(1, 2), blob(3, 4, 5), blob(6));
    const { report, tensors } = await rescue(bytes.subarray(0, bytes.length - 60));
    expect(report).toMatchObject({ kind: 'storages', tensors: 2 });
    expect([...tensors.values()]).toEqual(
      [floats(1, 2), floats(3, 4, 5)].map((one) => Buffer.from(one).toString('hex')),
    );
    expect(await diagnose(bytes.subarray(0, bytes.length - 60))).toMatchObject({
      kind: 'truncated',
      salvageable: true,
    });
  });

  test('gives nothing where it names what would run', async () => {
    const evil = bytesOf(py.proto, py.global('os', 'system'), pickled(blob(1, 2)).subarray(2, -40));
    expect((await rescue(evil)).report).toMatchObject({
      kind: 'nothing',
      reason: expect.stringContaining('os.system') as string,
    });
  });
});

test('a tar that is cut is told as such, with its storages counted', async () => {
  const bytes = readFileSync(fixturePath('tar-mixed-views.pt'));
  const cut = bytes.subarray(0, bytes.lastIndexOf('storages') + 512 + 130);
  expect(await diagnose(cut)).toMatchObject({ ok: false, kind: 'truncated', salvageable: true });
  const { report } = await rescue(cut);
  expect(report.kind).toBe('checkpoint');
  expect(report.lost.length).toBeGreaterThan(0);
});
