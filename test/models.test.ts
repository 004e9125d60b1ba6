// Promise: a folder of checkpoints gives the latest whole one, whatever was killed, copied or saved at the same time.
import { fork } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  CheckpointManager,
  loadModel,
  OrderedDict,
  optim,
  Parameter,
  type PyValue,
  saveModel,
  saveSync,
  Tensor,
} from '../lib/index';

let dir: string;
let warnings: string[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'models-'));
  warnings = [];
  vi.spyOn(process, 'emitWarning').mockImplementation((warning) => void warnings.push(String(warning)));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(dir, { recursive: true, force: true });
});

const at =
  (second: number): (() => Date) =>
  () =>
    new Date(2025, 3, 27, 15, 32, second);
const value = (epoch: number): Map<string, PyValue> =>
  new Map<string, PyValue>([
    ['epoch', epoch],
    ['weight', Tensor.full([1000], epoch)],
  ]);
const epochOf = async (manager: CheckpointManager): Promise<unknown> =>
  (await manager.loadLatest<Map<string, PyValue>>()).get('epoch');
const names = (): string[] => readdirSync(dir).sort();

test('names are local time; a second save in the same second sorts later', async () => {
  const manager = new CheckpointManager(dir, { now: at(10) });
  const paths = [];
  for (let i = 0; i < 12; i++) paths.push(await manager.save(value(i)));
  expect(basename(paths[0] as string)).toBe('checkpoint_20250427_153210.pth');
  expect([...paths].sort()).toEqual(paths);
  expect(await manager.list()).toEqual(paths);
  expect(await manager.latest()).toBe(paths[11]);
  expect(await epochOf(manager)).toBe(11);
  expect(names()).toEqual(paths.map((path) => basename(path)));
});

test('saves at the same time get names of their own', async () => {
  const managers = [1, 2, 3].map(() => new CheckpointManager(dir, { now: at(10), prefix: 'model' }));
  const paths = await Promise.all(
    Array.from({ length: 12 }, (_, i) => (managers[i % 3] as CheckpointManager).save(value(i))),
  );
  expect(new Set(paths).size).toBe(12);
  expect(names()).toEqual(paths.map((path) => basename(path)).sort());
  expect(names().every((name) => name.startsWith('model_'))).toBe(true);
});

test('saves of other processes in the same second get names of their own', async () => {
  const script = join(dir, '..', `${basename(dir)}.cjs`);
  writeFileSync(
    script,
    `const { CheckpointManager } = require(${JSON.stringify(join(__dirname, '..', 'dist', 'index.js'))});
const manager = new CheckpointManager(${JSON.stringify(dir)}, { now: () => new Date(2025, 3, 27, 15, 32, 10) });
Promise.all([1, 2, 3, 4].map((i) => manager.save(new Map([['epoch', i]])))).then((paths) => process.send(paths));`,
  );
  const run = (): Promise<string[]> =>
    new Promise((resolve, reject) =>
      fork(script)
        .on('message', (paths) => resolve(paths as string[]))
        .on('error', reject),
    );
  const paths = (await Promise.all([run(), run()])).flat();
  rmSync(script);
  expect(new Set(paths).size).toBe(8);
  expect(await new CheckpointManager(dir).list()).toEqual([...paths].sort());
});

test('latest goes by name, not by the times of files; other files are ignored', async () => {
  const older = await new CheckpointManager(dir, { now: at(10) }).save(value(1));
  const newer = await new CheckpointManager(dir, { now: at(11) }).save(value(2));
  utimesSync(older, new Date(2030, 1, 1), new Date(2030, 1, 1));
  for (const name of [
    'best.pth',
    'checkpoint_latest.pth',
    'checkpoint_20260101_000000.pt',
    'other_20260101_000000.pth',
    '.torch-checkpoint-x',
    'xcheckpoint_20260101_000000.pth',
  ]) {
    writeFileSync(join(dir, name), 'x');
  }
  mkdirSync(join(dir, 'checkpoint_20260101_000000.pth'));
  const manager = new CheckpointManager(dir);
  expect(await manager.list()).toEqual([older, newer]);
  expect(await manager.latest()).toBe(newer);
  expect(await epochOf(manager)).toBe(2);
});

test.each([
  ['cut short', (path: string) => truncateSync(path, 900)],
  ['empty', (path: string) => truncateSync(path, 0)],
  [
    'zeros at the end',
    (path: string) => writeFileSync(path, Buffer.concat([readFileSync(path).subarray(0, 2000), Buffer.alloc(3000)])),
  ],
  [
    'one bit of a tensor',
    (path: string) => {
      const bytes = readFileSync(path);
      bytes[2500] = (bytes[2500] as number) ^ 1;
      writeFileSync(path, bytes);
    },
  ],
])('a damaged newest file is passed over with a warning: %s', async (_, damage) => {
  const good = await new CheckpointManager(dir, { now: at(10) }).save(value(1));
  const torn = await new CheckpointManager(dir, { now: at(11) }).save(value(2));
  damage(torn);
  const manager = new CheckpointManager(dir);
  expect(await epochOf(manager)).toBe(1);
  expect(warnings.filter((text) => text.includes(torn))).toHaveLength(1);
  expect(await manager.latest()).toBe(torn);
  truncateSync(good, 100);
  await expect(manager.loadLatest()).rejects.toMatchObject({ name: 'CheckpointError', path: dir });
});

test('keep: never deletes the last good one, nor what was just saved', async () => {
  const first = await new CheckpointManager(dir, { now: at(1) }).save(value(1));
  const torn = join(dir, 'checkpoint_20250427_153205.pth');
  writeFileSync(torn, 'PK');
  const second = await new CheckpointManager(dir, { now: at(6), keep: 2 }).save(value(2));
  // The torn file is not one of the two.
  expect(await new CheckpointManager(dir).list()).toEqual([first, torn, second]);
  const third = await new CheckpointManager(dir, { now: at(7), keep: 2 }).save(value(3));
  expect(await new CheckpointManager(dir).list()).toEqual([second, third]);
  // A clock that was set back: older by name, and still the one that was just saved.
  const past = await new CheckpointManager(dir, { now: at(2), keep: 1 }).save(value(4));
  expect(await new CheckpointManager(dir).list()).toEqual([past]);
  await expect(new CheckpointManager(dir, { now: at(8), keep: 1 }).save(() => 1)).rejects.toMatchObject({
    code: 'UNSAVABLE',
  });
  expect(names()).toEqual([basename(past)]);
});

test('nothing there', async () => {
  const missing = join(dir, 'missing');
  for (const folder of [dir, missing]) {
    const manager = new CheckpointManager(folder);
    expect(await manager.list()).toEqual([]);
    expect(await manager.latest()).toBeNull();
    await expect(manager.loadLatest()).rejects.toMatchObject({
      name: 'CheckpointError',
      code: 'NOT_FOUND',
      message: expect.stringContaining(folder),
    });
  }
  expect(() => new CheckpointManager(dir, { keep: 0 })).toThrow(RangeError);
  expect(() => new CheckpointManager(dir, { prefix: '../x' })).toThrow(RangeError);
});

test('an error that is no damage is not passed over', async () => {
  const tensor = Tensor.full([3], 1, { device: 'cuda:0' });
  const path = await new CheckpointManager(dir, { now: at(1) }).save(tensor);
  await expect(new CheckpointManager(dir).loadLatest()).rejects.toMatchObject({ code: 'LOCATION', path });
  expect((await new CheckpointManager(dir).loadLatest<Tensor>({ mapLocation: 'cpu' })).toArray()).toEqual([1, 1, 1]);
  expect(warnings).toEqual([]);
});

class Model {
  weight = new Parameter(Tensor.zeros([2, 2]));
  stateDict(): Map<string, PyValue> {
    return new OrderedDict<PyValue, string>([['weight', this.weight.detach()]]);
  }
  loadStateDict(state: Map<string, PyValue>): void {
    (this.weight.asTypedArray() as Float32Array).set((state.get('weight') as Tensor).toFloat32Array());
  }
}

test('saveModel and loadModel', async () => {
  const make = () => {
    const model = new Model();
    const optimizer = new optim.SGD([model.weight], { lr: 0.1, momentum: 0.9 });
    return { model, optimizer, scheduler: new optim.lr_scheduler.StepLR(optimizer, { stepSize: 2 }) };
  };
  const parts = make();
  parts.optimizer.step([Tensor.ones([2, 2])]);
  for (let i = 0; i < 3; i++) parts.scheduler.step();
  const path = await saveModel(dir, { ...parts, epoch: 3, extraInfo: { accuracy: 0.5 }, now: at(1) });
  expect(path).toBe(join(dir, 'checkpoint_20250427_153201.pth'));
  const other = make();
  const loaded = await loadModel(dir, { ...other, mapLocation: 'cpu' });
  expect([...loaded.checkpoint.keys()]).toEqual([
    'model_state_dict',
    'optimizer_state_dict',
    'scheduler_state_dict',
    'epoch',
    'extra_info',
  ]);
  expect(loaded).toMatchObject({ path, epoch: 3, extraInfo: new Map([['accuracy', 0.5]]) });
  expect(other.model.weight.toFloat32Array()).toEqual(new Float32Array(4).fill(-0.1));
  const state = other.optimizer.state.get(other.model.weight) as Map<string, Tensor>;
  expect(state.get('momentum_buffer')?.toArray()).toEqual([
    [1, 1],
    [1, 1],
  ]);
  expect(other.scheduler.getLastLr()).toEqual(parts.scheduler.getLastLr());
  expect(other.scheduler.lastEpoch).toBe(3);
  expect((await loadModel(path)).epoch).toBe(3);
  saveSync(new Map([['model_state_dict', parts.model.stateDict()]]), join(dir, 'checkpoint_20260101_000000.pth'));
  await expect(loadModel(dir, other)).rejects.toMatchObject({
    code: 'STATE_DICT',
    message: expect.stringContaining('optimizer_state_dict'),
  });
});
