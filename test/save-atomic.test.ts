// Promise: a path holds the old file or the new one, whole, whatever happens while it is replaced, and nothing is left beside it.
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { load, loadSync, type OrderedDict, save, saveSync, Tensor } from '../lib/index';
import { packageMain } from './child';

let top: string;
let dir: string;
let path: string;
beforeAll(() => {
  top = mkdtempSync(join(tmpdir(), 'save-atomic-'));
});
afterAll(() => rmSync(top, { recursive: true, force: true }));
beforeEach(() => {
  dir = mkdtempSync(join(top, 'd'));
  path = join(dir, 'model.pt');
});

const leftovers = (where = dir): string[] => readdirSync(where).filter((name) => name.startsWith('.torch-checkpoint'));
const filled = (value: number, count = 1000): Map<string, Tensor> =>
  new Map([['x', Tensor.from(new Float32Array(count).fill(value))]]);

/** The number that fills the file's tensor; fails when the file is not whole. */
function valueIn(file: string): number {
  const values = (loadSync<Map<string, Tensor>>(file).get('x') as Tensor).asTypedArray() as Float32Array;
  const first = values[0] as number;
  expect(values.every((value) => value === first)).toBe(true);
  return first;
}

/** A process that overwrites `path` for ever with files of 1, 2, 3, ... */
function overwriter(file: string, count: number): ReturnType<typeof spawn> {
  const script = `
    const tc = require(${JSON.stringify(packageMain)});
    (async () => {
      for (let i = 1; ; i++) {
        const value = new Map([['x', tc.Tensor.from(new Float32Array(${count}).fill(i))]]);
        if (i % 3) await tc.save(value, ${JSON.stringify(file)}, { fsync: i % 2 === 0 });
        else tc.saveSync(value, ${JSON.stringify(file)}, { fsync: false });
        // Told when all code is loaded: from here on it does nothing but save.
        if (i === 3) console.log('ready');
      }
    })();`;
  return spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
}

const KILLS = Number(process.env['SAVE_KILLS'] ?? 15);

test(`${KILLS} processes killed at random moments of overwriting`, { timeout: 30_000 + KILLS * 3000 }, async () => {
  await save(filled(0, 200_000), path);
  let survivors = 0;
  for (let round = 0; round < KILLS; round++) {
    const child = overwriter(path, 200_000);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 40));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    survivors += leftovers().length;
    valueIn(path);
    // The next save takes away what the killed one left.
    if (round % 5 === 4) {
      await save(filled(-1, 200_000), path);
      expect(leftovers()).toEqual([]);
    }
  }
  await save(filled(-1), path);
  expect(leftovers()).toEqual([]);
  expect(valueIn(path)).toBe(-1);
  // Some were killed in the middle of writing, or nothing was tested.
  expect(survivors).toBeGreaterThan(0);
});

/** A file system of this size, where we may make one. */
function smallDisk(megabytes: number): string | undefined {
  const mountPoint = join(dir, 'disk');
  mkdirSync(mountPoint);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', mountPoint], { stdio: 'ignore' });
    return mountPoint;
  } catch {
    return undefined;
  }
}

test('a full disk', async ({ skip }) => {
  const disk = smallDisk(8);
  if (!disk) return skip('SKIPPED: needs the right to mount a tmpfs');
  try {
    const target = join(disk, 'model.pt');
    await save(filled(1), target);
    const value = filled(2, 4_000_000);
    await expect(save(value, target)).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(() => saveSync(value, target)).toThrow(expect.objectContaining({ code: 'DISK_FULL' }));
    expect(valueIn(target)).toBe(1);
    expect(leftovers(disk)).toEqual([]);
    // Its size is known beforehand only for what is not a stream of unknown pace: this one runs into the end.
    const stream = Tensor.fromStream(
      { dtype: value.get('x')?.dtype as Tensor['dtype'], shape: [4_000_000] },
      async function* () {
        for (let i = 0; i < 16; i++) yield new Uint8Array(1_000_000);
      },
    );
    await expect(save([stream], target)).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(valueIn(target)).toBe(1);
    expect(leftovers(disk)).toEqual([]);
    await save(filled(3), target);
    expect(valueIn(target)).toBe(3);
  } finally {
    // Lazily: the files that were loaded from it are still mapped.
    execFileSync('umount', ['-l', disk]);
  }
});

describe('targets that cannot be written', () => {
  test('a directory that does not exist', async () => {
    const target = join(dir, 'none', 'model.pt');
    await expect(save(filled(1), target)).rejects.toMatchObject({ name: 'CheckpointError', path: target });
    expect(() => saveSync(filled(1), target)).toThrow(
      expect.objectContaining({ name: 'CheckpointError', path: target }),
    );
  });
  test('a directory', async () => {
    mkdirSync(path);
    await expect(save(filled(1), path)).rejects.toMatchObject({ name: 'CheckpointError' });
    await expect(save(filled(1), `${path}/`, { recordPrefix: 'x' })).rejects.toMatchObject({ name: 'CheckpointError' });
    expect(statSync(path).isDirectory()).toBe(true);
    expect(leftovers()).toEqual([]);
  });
  test('a directory that may not be written to', async ({ skip }) => {
    if (process.getuid?.() === 0) {
      // The superuser may: a process of another user stands in for us.
      chmodSync(top, 0o755);
      chmodSync(dir, 0o755);
      const script = `process.setgid(65534); process.setuid(65534);
        require(${JSON.stringify(packageMain)}).save([1], ${JSON.stringify(path)}).then(() => console.log('saved'), (error) => console.log(error.name, error.code));`;
      const output = execFileSync(process.execPath, ['-e', script], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      expect(output).toMatch(/^CheckpointError (WRITE_FAILED|ACCESS_DENIED)/);
      return;
    }
    chmodSync(dir, 0o555);
    try {
      await expect(save([1], path)).rejects.toMatchObject({ name: 'CheckpointError' });
    } finally {
      chmodSync(dir, 0o755);
    }
    skip(false);
  });
  test('a name that PyTorch refuses', async () => {
    await expect(save(filled(1), join(dir, '.pt'))).rejects.toThrow('invalid file name');
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe('what the target was before', () => {
  test.each([0o600, 0o644, 0o755])('mode %o is kept', async (mode) => {
    await save(filled(1), path);
    chmodSync(path, mode);
    await save(filled(2), path);
    expect(statSync(path).mode & 0o777).toBe(mode);
    saveSync(filled(3), path);
    expect(statSync(path).mode & 0o777).toBe(mode);
    expect(valueIn(path)).toBe(3);
  });
  test('a new file has the mode of any new file', async () => {
    await save(filled(1), path);
    writeFileSync(join(dir, 'plain'), '');
    expect(statSync(path).mode).toBe(statSync(join(dir, 'plain')).mode);
  });
  test('a symlink stays, and what it points to is replaced', async () => {
    mkdirSync(join(dir, 'real'));
    const real = join(dir, 'real', 'v1.pt');
    await save(filled(1), real);
    chmodSync(real, 0o640);
    const link = join(dir, 'latest.pt');
    symlinkSync('real/v1.pt', link);
    const second = join(dir, 'chain.pt');
    symlinkSync(link, second);
    await save(filled(2), second);
    expect(lstatSync(second).isSymbolicLink()).toBe(true);
    expect(readlinkSync(link)).toBe('real/v1.pt');
    expect(lstatSync(real).isFile()).toBe(true);
    expect(statSync(real).mode & 0o777).toBe(0o640);
    expect(valueIn(real)).toBe(2);
    expect([...leftovers(), ...leftovers(join(dir, 'real'))]).toEqual([]);
  });
  test('a symlink to nothing makes the file that it names', async () => {
    symlinkSync('made.pt', path);
    await save(filled(1), path);
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(valueIn(join(dir, 'made.pt'))).toBe(1);
  });
  test('names with spaces, Unicode and 250 bytes', async () => {
    for (const name of ['a b\n.pt', 'модель.pt', `${'n'.repeat(247)}.pt`]) {
      await save(filled(1), join(dir, name));
      expect(valueIn(join(dir, name))).toBe(1);
    }
    expect(leftovers()).toEqual([]);
  });
});

describe('several writers', () => {
  test('20 saves at once in one process', async () => {
    await Promise.all(Array.from({ length: 20 }, (_, i) => save(filled(i, 50_000), path)));
    expect(valueIn(path)).toBeLessThan(20);
    expect(leftovers()).toEqual([]);
  });
  test('processes', { timeout: 60_000 }, async () => {
    const script = `
      const tc = require(${JSON.stringify(packageMain)});
      (async () => { for (let i = 0; i < 25; i++) await tc.save(new Map([['x', tc.Tensor.from(new Float32Array(50000).fill(process.pid))]]), ${JSON.stringify(path)}, { fsync: false }); })();`;
    const children = [1, 2, 3].map(() =>
      spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'ignore', 'pipe'] }),
    );
    const pids = children.map((child) => child.pid);
    let running = children.length;
    const codes = Promise.all(
      children.map(
        (child) =>
          new Promise((resolve) =>
            child.once('exit', (code) => {
              running--;
              resolve(code);
            }),
          ),
      ),
    );
    let looks = 0;
    while (running > 0) {
      if (existsSync(path)) {
        expect(pids).toContain(valueIn(path));
        looks++;
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(await codes).toEqual([0, 0, 0]);
    expect(looks).toBeGreaterThan(3);
    expect(leftovers()).toEqual([]);
  });
});

describe('saving over the file that the values come from', () => {
  const tensorOf = (value: Map<string, Tensor>, key: string): Tensor => value.get(key) as Tensor;

  test.each(['mmap', 'read'] as const)('opened by %s, several times', async (io) => {
    await save({ a: Tensor.from(new Float32Array(300_000).fill(1)), b: Tensor.from(Float32Array.of(1, 2)) }, path);
    const value = await load<OrderedDict<Tensor, string>>(path, { io });
    const bytes = readFileSync(path);
    for (let i = 0; i < 3; i++) {
      await save(value, path);
      expect(readFileSync(path).equals(bytes)).toBe(true);
    }
    saveSync(value, path);
    expect(readFileSync(path).equals(bytes)).toBe(true);
    expect((tensorOf(value, 'a').asTypedArray() as Float32Array).every((x) => x === 1)).toBe(true);
  });
  test.each(['mmap', 'read'] as const)('with views changed before, by %s', async (io) => {
    await save(
      { a: Tensor.from(new Float32Array(300_000).fill(1)), b: Tensor.from(new Float32Array(300_000).fill(2)) },
      path,
    );
    const value = await load<OrderedDict<Tensor, string>>(path, { io });
    (tensorOf(value, 'a').asTypedArray() as Float32Array)[299_999] = 7;
    await save(value, path);
    const again = await load<OrderedDict<Tensor, string>>(path);
    const a = tensorOf(again, 'a').asTypedArray() as Float32Array;
    expect([a[0], a[299_999], (tensorOf(again, 'b').asTypedArray() as Float32Array)[0]]).toEqual([1, 7, 2]);
    // The first load still has its own file and its own change.
    expect((tensorOf(value, 'a').asTypedArray() as Float32Array)[299_999]).toBe(7);
    expect((tensorOf(value, 'b').asTypedArray() as Float32Array)[299_999]).toBe(2);
  });
  test('a source that is cut short under us is TRUNCATED, and the target stays whole', async () => {
    const source = join(dir, 'source.pt');
    await save({ x: Tensor.from(new Float32Array(500_000).fill(3)) }, source);
    await save(filled(1), path);
    for (const io of ['mmap', 'read'] as const) {
      for (const compact of [false, true]) {
        const copy = join(dir, 'copy.pt');
        writeFileSync(copy, readFileSync(source));
        const value = await load(copy, { io });
        truncateSync(copy, 100_000);
        await expect(save(value, path, { compact })).rejects.toMatchObject({ code: 'TRUNCATED' });
        expect(() => saveSync(value, path, { compact })).toThrow(expect.objectContaining({ code: 'TRUNCATED' }));
        expect(valueIn(path)).toBe(1);
        expect(leftovers()).toEqual([]);
      }
    }
  });
});
