// Promise: a training that stops in PyTorch goes on from our file with exactly the losses it would have had.
// Runs where TORCH_PYTHON names a Python with torch 2.13.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { load, OrderedDict, optim, Parameter, type PyValue, save, Tensor } from '../../lib/index';

const executable = process.env['TORCH_PYTHON'];
const skipped = 'SKIPPED: set TORCH_PYTHON to a Python with torch';
const { Adagrad, Adam, AdamW, RMSprop, SGD, lr_scheduler } = optim;
const TOTAL = 20;

/** The optimizers and schedulers of optim-training.py, made here. */
const cases: Record<string, (params: Parameter[]) => [optim.Optimizer, () => optim.lr_scheduler.LRScheduler]> = {
  sgd: (params) =>
    both(
      new SGD(params, { lr: 0.1, momentum: 0.9, weightDecay: 1e-3, nesterov: true }),
      (o) => new lr_scheduler.StepLR(o, { stepSize: 4, gamma: 0.5 }),
    ),
  adam: (params) =>
    both(new Adam(params, { lr: 0.01, amsgrad: true }), (o) => new lr_scheduler.CosineAnnealingLR(o, { tMax: TOTAL })),
  adamw: (params) =>
    both(
      new AdamW(params, { lr: 0.02, betas: [0.8, 0.95] }),
      (o) => new lr_scheduler.OneCycleLR(o, { maxLr: 0.05, totalSteps: TOTAL }),
    ),
  rmsprop: (params) =>
    both(
      new RMSprop(params, { lr: 0.01, momentum: 0.9, centered: true }),
      (o) => new lr_scheduler.MultiStepLR(o, { milestones: [3, 9, 9] }),
    ),
  adagrad: (params) =>
    both(new Adagrad(params, { lr: 0.1, lrDecay: 0.01 }), (o) => new lr_scheduler.LinearLR(o, { totalIters: 12 })),
};

function both(
  optimizer: optim.Optimizer,
  scheduler: (optimizer: optim.Optimizer) => optim.lr_scheduler.LRScheduler,
): [optim.Optimizer, () => optim.lr_scheduler.LRScheduler] {
  return [optimizer, () => scheduler(optimizer)];
}

type Dict = Map<string, PyValue>;
const dict = (value: PyValue | undefined): Dict => value as Dict;
const copy = (tensor: Tensor): Tensor => Tensor.from(tensor.toFloat32Array().slice(), { shape: tensor.shape });

/** A state dict as `nn.Sequential` gives it, with new tensors. */
function modelState(loaded: Dict): [OrderedDict, Parameter[]] {
  const state = new OrderedDict<PyValue, string>();
  const params: Parameter[] = [];
  for (const [name, tensor] of loaded) {
    const param = new Parameter(copy(tensor as Tensor));
    params.push(param);
    state.set(name, param.detach());
  }
  const version = (): Dict => new Map<string, PyValue>([['version', 1]]);
  state.attributes = new Map([['_metadata', new OrderedDict(['', '0', '1', '2'].map((name) => [name, version()]))]]);
  return [state as OrderedDict, params];
}

function python(...args: string[]): unknown {
  return JSON.parse(
    execFileSync(executable as string, [join(__dirname, 'optim-training.py'), ...args], {
      encoding: 'utf8',
      cwd: folder,
    }),
  );
}

/** Python's `float.hex`. */
function fromHex(text: string): number {
  const [, sign, whole, fraction = '', exponent] = /^(-?)0x(\d)\.?([0-9a-f]*)p([+-]\d+)$/.exec(text) as RegExpExecArray;
  const digits =
    Number.parseInt(whole as string, 16) + (fraction ? Number.parseInt(fraction, 16) / 16 ** fraction.length : 0);
  return (sign ? -1 : 1) * digits * 2 ** Number(exponent);
}

const folder = mkdtempSync(join(tmpdir(), 'optim-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!executable).each(Object.entries(cases))(
  executable ? 'resuming %s' : `${skipped} (%s)`,
  (name, make) => {
    const dir = join(folder, name);
    let losses: number[];
    let loaded: Dict;
    beforeAll(async () => {
      for (const part of ['', 'same', 'edited', 'made', 'stepped']) mkdirSync(join(dir, part), { recursive: true });
      losses = (python('train', name, dir) as string[]).map(fromHex);
      loaded = await load<Dict>(join(dir, 'ck.pt'));
      expect(losses).toHaveLength(TOTAL);
    }, 240_000);
    const written = (part: string): string => join(dir, part, 'ck.pt');

    test('a file that was loaded and saved is the same file', async () => {
      await save(loaded, written('same'));
      expect(Buffer.compare(readFileSync(written('same')), readFileSync(join(dir, 'ck.pt')))).toBe(0);
    });

    test('a file made here from the same numbers is the same file', async () => {
      const [model, params] = modelState(dict(loaded.get('model')));
      const [optimizer, schedule] = make(params);
      const scheduler = schedule();
      // Epochs are stepped here; what depends on gradients is copied.
      for (let epoch = 0; epoch < (loaded.get('epoch') as number); epoch++) scheduler.step();
      for (const [i, state] of dict(dict(loaded.get('optimizer')).get('state'))) {
        optimizer.state.set(
          params[i as unknown as number] as Parameter,
          new Map([...dict(state)].map(([key, tensor]) => [key, copy(tensor as Tensor)])),
        );
      }
      const made = new Map<string, unknown>([
        ['model', model],
        ['optimizer', optimizer.stateDict()],
        ['scheduler', scheduler.stateDict()],
        ['epoch', loaded.get('epoch')],
      ]);
      await save(made, written('made'));
      expect(readFileSync(written('made')).toString('latin1')).toBe(
        readFileSync(join(dir, 'ck.pt')).toString('latin1'),
      );
    });

    test('PyTorch goes on from our files: loaded and edited, made here, and after a step made here', async () => {
      const edited = await load<Dict>(join(dir, 'ck.pt'));
      edited.set('note', 'edited');
      await save(edited, written('edited'));
      const [model, params] = modelState(dict(loaded.get('model')));
      const [optimizer, schedule] = make(params);
      const scheduler = schedule();
      optimizer.loadStateDict(dict(loaded.get('optimizer')));
      scheduler.loadStateDict(dict(loaded.get('scheduler')));
      optimizer.step(await load<Tensor[]>(join(dir, 'gradients.pt')));
      scheduler.step();
      const epoch = loaded.get('epoch') as number;
      await save(
        new Map<string, unknown>([
          ['model', model],
          ['optimizer', optimizer.stateDict()],
          ['scheduler', scheduler.stateDict()],
          ['epoch', epoch + 1],
        ]),
        written('stepped'),
      );
      const files = ['edited', 'made', 'stepped'].map(written);
      const resumed = (python('resume', name, ...files) as string[][]).map((run) => run.map(fromHex)) as [
        number[],
        number[],
        number[],
      ];
      expect(resumed[0]).toEqual(losses.slice(epoch));
      expect(resumed[1]).toEqual(losses.slice(epoch));
      const stepped = losses.slice(epoch + 1);
      // Elsewhere the root of PyTorch's math library may differ from ours in the last place.
      if (name === 'sgd') expect(resumed[2]).toEqual(stepped);
      else expect(resumed[2].filter((loss, i) => Math.abs(loss / (stepped[i] as number) - 1) > 1e-4)).toEqual([]);
    }, 240_000);
  },
);
