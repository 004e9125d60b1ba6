// Promise: `convert` and `edit` end with the exit codes of the contract, and `edit` changes what it was told and nothing else.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { progressText } from '../lib/cli/convert-progress';
import { edit } from '../lib/convert/edit';
import { DType } from '../lib/dtype';
import { load, open } from '../lib/load';
import type { PyValue } from '../lib/pickle/values';
import { repr } from '../lib/repr';
import { save } from '../lib/save';
import { Tensor } from '../lib/tensor/tensor';
import { fixturePath } from './fixture-suite';

const main = join(__dirname, '..', 'dist', 'cli', 'main.js');
let folder = '';
const file = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-convert-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })));
}

describe('convert', () => {
  const good = fixturePath('zip-float32-state-dict.pt');
  const target = (): string => file('a.safetensors');
  const cases: readonly (readonly [what: string, code: number, args: () => string[]])[] = [
    ['a file', 0, () => [good, target(), '--verify']],
    ['an extension that says nothing', 2, () => [good, file('a.unknown')]],
    ['a dtype by its short name', 0, () => [good, target(), '--dtype', 'bf16']],
    ['a dtype that is none', 2, () => [good, target(), '--dtype', 'int3']],
    ['a format that is none', 2, () => [good, target(), '--to', 'tar']],
    ['a missing file', 3, () => [file('none.pt'), target()]],
    ['a missing file or folder', 3, () => [file('none'), file('nothing')]],
    ['a glob without files', 3, () => [`${folder}/*.none`, file('nothing')]],
    ['a device', 0, () => [good, file('a.pt'), '--map-location', 'cuda:1']],
    ['a device that is none', 2, () => [good, file('a.pt'), '--map-location', 'foo']],
    ['names that clash', 2, () => [good, target(), '--rename', 's/.*/x/']],
    ['a missing root', 3, () => [good, target(), '--root', 'nope']],
  ];
  test.each(cases)('%s: exit %i', async (_what, code, args) => {
    expect((await run('convert', ...args())).code).toBe(code);
  });

  test('an output that cannot be written', async () => {
    const [{ code, stderr }, json] = await Promise.all([
      run('convert', good, file('no/a.safetensors')),
      run('convert', good, file('no/a.safetensors'), '--json'),
    ]);
    expect([code, stderr.includes('    at '), stderr.includes('make it first')]).toEqual([4, false, true]);
    expect((JSON.parse(json.stdout) as { error: { code: string } }).error.code).toBe('WRITE_FAILED');
  });

  test('a device that is none is told by the name of the option', async () => {
    const { stderr } = await run('convert', good, file('a.pt'), '--map-location', 'foo');
    expect(stderr).toContain('--map-location "foo" is no device');
  });

  test('--verify of a damaged input: exit 3, the record named, the rest of a folder done', async () => {
    mkdirSync(file('rot'));
    for (const name of ['a', 'b']) await save({ w: Tensor.ones([64]) }, file(`rot/${name}.pt`), { fsync: false });
    const record = (await open(file('rot/a.pt'))).info.records.find(({ name }) => name === 'data/0');
    const bytes = readFileSync(file('rot/a.pt'));
    bytes.writeUInt8(1, record?.byteOffset as number);
    writeFileSync(file('rot/a.pt'), bytes);
    const [one, other, all] = await Promise.all([
      run('convert', file('rot/a.pt'), file('rot-a.safetensors'), '--verify', '--json'),
      run('convert', file('rot/b.pt'), file('rot-b.safetensors'), '--verify'),
      run('convert', file('rot'), file('rot-out'), '--verify', '--json'),
    ]);
    const { error } = JSON.parse(one.stdout) as { error: { code: string; message: string } };
    expect([one.code, error.code, error.message.includes('data/0')]).toEqual([3, 'CRC_MISMATCH', true]);
    expect([existsSync(file('rot-a.safetensors')), other.code]).toEqual([false, 0]);
    const { files } = JSON.parse(all.stdout) as { files: { status: string; error?: { code: string } }[] };
    expect([all.code, files.map(({ status, error }) => error?.code ?? status)]).toEqual([
      3,
      ['CRC_MISMATCH', 'converted'],
    ]);
    // Without --verify nothing is read twice, and nothing is checked.
    expect((await run('convert', file('rot/a.pt'), file('rot-a.safetensors'))).code).toBe(0);
  });

  test('to standard output', async () => {
    const { code, stdout } = await run('convert', good, '-', '--to', 'safetensors');
    expect([code, stdout.length > 100, stdout.includes('"__metadata__"')]).toEqual([0, true, true]);
  });

  test('a folder, and a folder as one model', async () => {
    mkdirSync(file('in'));
    await save({ w: Tensor.ones([4]) }, file('in/x.pt'), { fsync: false });
    writeFileSync(file('in/broken.pt'), 'x');
    const { code, stdout } = await run('convert', file('in'), file('out'), '--json');
    const report = JSON.parse(stdout) as { converted: number; failed: number };
    expect([code, report.converted, report.failed]).toEqual([3, 1, 1]);
    // Where nothing can be written, the output is to blame, not the inputs.
    rmSync(file('in/broken.pt'));
    expect((await run('convert', `${file('in')}/x*.pt`, file('in/x.pt'))).code).toBe(4);
    expect((await run('convert', `${file('in')}/x*.pt`, file('glob'))).code).toBe(0);
    expect((await open(file('glob/x.safetensors'))).get('w')).toBeInstanceOf(Tensor);
    expect(
      (await run('convert', file('in/x.pt'), file('shards.safetensors'), '--max-shard-size', '1GB', '--dry-run'))
        .stdout,
    ).toContain('nothing written');
  });
});

test('a line of progress', () => {
  const told = {
    bytes: 3 << 20,
    totalBytes: 4 << 20,
    file: 'deep/model-00001-of-00002.safetensors',
    fileBytes: 1,
    fileTotalBytes: 2,
    filesDone: 1,
    files: 9,
  };
  expect(progressText(told, 3, 200)).toBe(
    '3.00 MiB of 4.00 MiB (75 %), 1.00 MiB/s, 1 s left, file 2 of 9: deep/model-00001-of-00002.safetensors 50 %',
  );
  for (const columns of [20, 60, 79]) expect(progressText(told, 3, columns).length).toBeLessThanOrEqual(columns);
  expect(progressText({ ...told, totalBytes: 900 << 20 }, 3, 79)).toContain('14 min 57 s left');
  // Regression: what was left was forecast from the first kilobyte, and the numbers were cut in the middle.
  expect(progressText(told, 0.4, 200)).not.toContain('left');
  expect(progressText(told, 3, 50)).toBe('3.00 MiB of 4.00 MiB (75 %), 1 s left, file 2 of 9');
});

describe('edit', () => {
  const training = (): PyValue => ({
    epoch: 3,
    lr: 0.5,
    list: [1, 2, 3],
    state_dict: new Map<PyValue, PyValue>([
      ['fc.weight', Tensor.ones([2])],
      ['fc.bias', Tensor.zeros([1])],
      ['out', Tensor.ones([1])],
    ]),
  });

  test('the command', async () => {
    await save(training(), file('e.pt'), { fsync: false });
    expect(
      (
        await run(
          'edit',
          file('e.pt'),
          file('f.pt'),
          '--set',
          'epoch=4',
          '--set',
          'lr=1.0',
          '--delete',
          'list',
          '--rename',
          'state_dict.fc=state_dict.head',
        )
      ).code,
    ).toBe(0);
    const root = await load<Map<string, PyValue>>(file('f.pt'));
    expect(repr(root)).toBe(
      "{'epoch': 4, 'lr': 1.0, 'state_dict': {'head.weight': tensor([1., 1.]), 'head.bias': tensor([0.]), 'out': tensor([1.])}}",
    );
    expect((await run('edit', file('e.pt'), file('f.pt'), '--delete', 'nope')).code).toBe(3);
    expect((await run('edit', file('e.pt'), file('f.pt'), '--set', 'epoch=four')).code).toBe(2);
    expect((await run('edit', file('e.pt'), '--set', 'epoch=4')).code).toBe(2);
    expect((await run('edit', file('e.pt'), file('f.pt'))).code).toBe(2);
    expect((await run('edit', file('e.pt'), '--in-place', '--set', 'epoch={"a": [1, 2.5, null, "x"]}')).code).toBe(0);
    expect(repr((await load<Map<string, PyValue>>(file('e.pt'))).get('epoch') as PyValue)).toBe(
      "{'a': [1, 2.5, None, 'x']}",
    );
  });

  test('all the rest is saved byte for byte', async () => {
    for (const name of ['zip-python-kitchen-sink.pt', 'zip-lenet-training.pt', 'legacy-float32-tied.pt']) {
      await edit(fixturePath(name), file(name), { fsync: false });
      const [before, after] = [await open(fixturePath(name)), await open(file(name))];
      expect(after.format).toBe(before.format);
      expect([...after.tensors()].length).toBe([...before.tensors()].length);
      if (before.format === 'zip') expect(readFileSync(file(name)).length).toBe(readFileSync(fixturePath(name)).length);
      expect(repr(after.root)).toBe(repr(before.root));
    }
  });

  test('numbers keep their type when items move up', async () => {
    await save({ list: [1, 2, 3], floats: [0.5, 7] }, file('n.pt'), { fsync: false });
    await edit(file('n.pt'), file('n.pt'), { set: ['floats[1]=7.0'], fsync: false });
    await edit(file('n.pt'), file('n.pt'), { delete: ['floats[0]', 'list[1]'], fsync: false });
    expect(repr(await load(file('n.pt')))).toBe("{'list': [1, 3], 'floats': [7.0]}");
    // Regression: an int in the place of an equal float was saved as that float.
    await edit(file('n.pt'), file('n.pt'), { set: ['floats[0]=7'], fsync: false });
    expect(repr(await load(file('n.pt')))).toBe("{'list': [1, 3], 'floats': [7]}");
  });

  test('mistakes are told before anything is written', async () => {
    await save(training(), file('m.pt'), { fsync: false });
    const before = readFileSync(file('m.pt'));
    const attempt = (options: Parameters<typeof edit>[2]): Promise<unknown> =>
      edit(file('m.pt'), file('m.pt'), options);
    await expect(attempt({ set: ['nothing'] })).rejects.toThrow(TypeError);
    await expect(attempt({ set: ['state_dict.fc=1'] })).rejects.toThrow('the beginning of 2 names');
    await expect(attempt({ rename: ['epoch=lr'] })).rejects.toThrow('is there already');
    await expect(attempt({ rename: ['state_dict.out=elsewhere'] })).rejects.toThrow('stays in its container');
    await expect(attempt({ rename: ['list[0]=list[1]'] })).rejects.toThrow(TypeError);
    await expect(
      edit(fixturePath('safetensors-mixed-dtypes.safetensors'), file('x.safetensors'), { delete: ['a'] }),
    ).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(readFileSync(file('m.pt')).equals(before)).toBe(true);
    // What the legacy stream cannot hold goes into a zip.
    await save({ epoch: 1 }, file('l.pt'), { format: 'legacy', fsync: false });
    await expect(
      edit(file('l.pt'), file('l2.pt'), { set: [['epoch', Tensor.zeros([1], { dtype: DType.float8_e5m2 })]] }),
    ).rejects.toMatchObject({ code: 'UNSAVABLE', hint: expect.stringContaining('torch-checkpoint convert') as string });
  });
});
