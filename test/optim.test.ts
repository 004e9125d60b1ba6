// Promise: optimizers and schedulers are saved byte for byte as PyTorch 2.13 saves them, compute the same, and say the same.
// What PyTorch does is recorded in fixtures/optim.json by oracle/optim.py.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Parameter, type PyValue, Tensor, load, open, optim, pyFloat, repr, toBytes } from '../lib/index';
import { tupleOf } from '../lib/optim/numbers';

type Kwargs = Record<string, unknown>;
interface OptimizerCase {
  name: string;
  kwargs: Kwargs;
  fresh: string;
  repr: string;
  stepped?: string;
  params: string[];
  state: Record<string, string>[];
}
interface SchedulerCase {
  name: string;
  kwargs: Kwargs;
  optimizer: Kwargs;
  rates: string;
  saved: Record<string, string>;
}
interface Recorded {
  optimizers: OptimizerCase[];
  groups: [Record<string, string>];
  schedulers: SchedulerCase[];
  closedForms: { name: string; kwargs: Kwargs; rates: string[]; saved: string }[];
  errors: { name: string; kwargs: Kwargs; error: string; text: string }[];
}
const recorded = JSON.parse(readFileSync(join(__dirname, 'fixtures', 'optim.json'), 'utf8')) as Recorded;

/** Arguments as the fixture records them. */
function decoded(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(decoded);
  if (typeof value !== 'object' || value === null) return value;
  const { float, tuple } = value as { float?: string; tuple?: unknown[] };
  if (float !== undefined) return Number.isInteger(Number(float)) ? pyFloat(Number(float)) : Number(float);
  if (tuple) return tupleOf(tuple.map(decoded) as PyValue[]);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, decoded(item)]));
}

function parameters(onlyMatrix = false): Parameter[] {
  const weight = new Parameter(Tensor.from(Float32Array.from({ length: 33 }, (_, i) => Math.fround(Math.fround(i / 7) - 1)), { shape: [3, 11] }));
  const bias = new Parameter(Tensor.from(Float32Array.of(0.5, -0.25, 1.5)));
  return onlyMatrix ? [weight] : [weight, bias];
}

function gradient(param: Tensor, step: number): Tensor {
  return Tensor.from(Float32Array.from({ length: param.numel }, (_, i) => (((i * 37 + step * 11) % 64) - 30) / 32), { shape: param.shape });
}

type OptimizerClass = new (params: optim.OptimizerParams, options: object) => optim.Optimizer;
function make(name: string, recordedKwargs: Kwargs): { params: Parameter[]; optimizer: optim.Optimizer } {
  const { _only_matrix: onlyMatrix, ...kwargs } = decoded(recordedKwargs) as Kwargs;
  const params = parameters(onlyMatrix === true);
  const Class = (optim as unknown as Record<string, OptimizerClass>)[name] as OptimizerClass;
  return { params, optimizer: new Class(params, kwargs) };
}

/** The pickle in what `save` writes, as readable as a difference of bytes can be. */
async function pickled(value: unknown): Promise<string> {
  const bytes = await toBytes(value);
  const checkpoint = await open(bytes);
  const record = checkpoint.info.records.find(({ name }) => name === 'data.pkl');
  if (!record) throw new Error('no data.pkl');
  return Buffer.from(bytes.subarray(record.byteOffset, record.byteOffset + record.byteLength)).toString('base64');
}

const readable = (base64: string): string => Buffer.from(base64, 'base64').toString('latin1');
const floats = (base64: string): Float32Array => {
  const bytes = Buffer.from(base64, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
};
const doubles = (base64: string): number[] => {
  const bytes = Buffer.from(base64, 'base64');
  return Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleLE(8 * i));
};
const label = ({ name, kwargs }: { name: string; kwargs: Kwargs }): string => `${name} ${JSON.stringify(kwargs)}`;

/** The square root of PyTorch's math library may be off in the last place, and what follows with it. */
function far(a: ArrayLike<number>, b: ArrayLike<number>): number[] {
  return Array.from(a).filter((x, i) => !(Math.abs(x - (b[i] as number)) <= 1e-8 + 4e-6 * Math.abs(x)));
}

describe.each(recorded.optimizers.map((of) => [label(of), of] as const))('%s', (_, of) => {
  test('fresh state dict and repr', async () => {
    const { optimizer } = make(of.name, of.kwargs);
    expect(readable(await pickled(optimizer.stateDict()))).toBe(readable(of.fresh));
    expect(String(optimizer)).toBe(of.repr);
    expect(repr(optimizer)).toBe(of.repr);
  });
  test.skipIf(!of.stepped)('five steps', async () => {
    const { params, optimizer } = make(of.name, of.kwargs);
    const memory = params.map((param) => param.asTypedArray());
    for (let step = 0; step < 5; step++) optimizer.step(params.map((param) => gradient(param, step)));
    expect(readable(await pickled(optimizer.stateDict()))).toBe(readable(of.stepped as string));
    const exact = of.name === 'SGD';
    for (const [i, param] of params.entries()) {
      expect(param.asTypedArray().buffer).toBe(memory[i]?.buffer);
      const tensors = new Map([['param', [param, of.params[i] as string] as const]]);
      for (const [key, bits] of Object.entries(of.state[i] ?? {})) tensors.set(key, [optimizer.state.get(param)?.get(key) as Tensor, bits]);
      for (const [key, [tensor, bits]] of tensors) {
        if (exact) expect([key, tensor.toFloat32Array()]).toEqual([key, floats(bits)]);
        else expect([key, far(tensor.toFloat32Array(), floats(bits))]).toEqual([key, []]);
      }
    }
  });
});

test('groups, names, groups added later, shared defaults, a tensor as learning rate', async () => {
  const [expected] = recorded.groups;
  const [weight, bias] = parameters() as [Parameter, Parameter];
  const named = new optim.AdamW([['w', weight], ['b', bias]]);
  expect(readable(await pickled(named.stateDict()))).toBe(readable(expected['named'] as string));
  expect(String(named)).toBe(expected['namedRepr']);
  const grouped = new optim.Adam([{ params: [weight], lr: pyFloat(1), weightDecay: 0 }, { params: bias }], { lr: 1e-2 });
  expect(readable(await pickled(grouped.stateDict()))).toBe(readable(expected['grouped'] as string));
  expect(String(grouped)).toBe(expected['groupedRepr']);
  const added = new optim.SGD([weight]);
  added.addParamGroup({ params: [bias], momentum: 0.5, note: 'later' });
  expect(readable(await pickled(added.stateDict()))).toBe(readable(expected['added'] as string));
  const nadams = { g: new optim.NAdam([weight]).stateDict(), d: new optim.NAdam([bias]).stateDict() };
  expect(readable(await pickled(nadams))).toBe(readable(expected['twoNAdams'] as string));
  const tensorLr = new optim.SGD([weight], { lr: Tensor.from(Float32Array.of(0.5), { shape: [] }) });
  expect(readable(await pickled(tensorLr.stateDict()))).toBe(readable(expected['tensorLr'] as string));
});

type SchedulerClass = new (optimizer: optim.Optimizer, options: object) => optim.lr_scheduler.LRScheduler;
const schedulers = optim.lr_scheduler as unknown as Record<string, SchedulerClass>;

function schedulerOf(name: string, recordedKwargs: Kwargs, optimizer: optim.Optimizer): optim.lr_scheduler.LRScheduler {
  const { CosineAnnealingLR, ConstantLR, ChainedScheduler, ExponentialLR, LinearLR, SequentialLR, StepLR } = optim.lr_scheduler;
  if (name === 'SequentialLR') {
    const first = new LinearLR(optimizer, { startFactor: 0.1, totalIters: 10 });
    const second = new CosineAnnealingLR(optimizer, { tMax: 20 });
    const third = new StepLR(optimizer, { stepSize: 4 });
    return new SequentialLR(optimizer, [first, second, third], [10, 30]);
  }
  if (name === 'ChainedScheduler') return new ChainedScheduler([new ConstantLR(optimizer, 0.1, 4), new ExponentialLR(optimizer, 0.9)]);
  const kwargs = decoded(recordedKwargs) as Kwargs;
  if ('lr_lambda' in kwargs) kwargs['lr_lambda'] = (epoch: number) => pyFloat(1 / (1 + epoch));
  return new (schedulers[name] as SchedulerClass)(optimizer, kwargs);
}

/** As in the recording: falls, then stays, with ties. */
const metric = (epoch: number): number => Math.floor(Math.max(20 - epoch, 9) / 2);

function begin(of: SchedulerCase): { optimizer: optim.SGD; scheduler: optim.lr_scheduler.LRScheduler } {
  const [weight, bias] = parameters() as [Parameter, Parameter];
  const optimizer = new optim.SGD([{ params: [weight] }, { params: [bias], lr: 0.25 }], decoded(of.optimizer) as object);
  return { optimizer, scheduler: schedulerOf(of.name, of.kwargs, optimizer) };
}

describe.each(recorded.schedulers.map((of) => [`${label(of)} from lr ${JSON.stringify(of.optimizer['lr'])}`, of] as const))('%s', (_, of) => {
  test('50 epochs: rates exactly, state dicts byte for byte', async () => {
    const { optimizer, scheduler } = begin(of);
    const rates: number[] = [];
    for (let epoch = 0; epoch <= 50; epoch++) {
      rates.push(...scheduler.getLastLr());
      const saved = of.saved[epoch];
      if (saved) expect([epoch, readable(await pickled({ scheduler: scheduler.stateDict(), optimizer: optimizer.stateDict() }))]).toEqual([epoch, readable(saved)]);
      if (epoch < 50) scheduler.step(of.name === 'ReduceLROnPlateau' ? metric(epoch) : undefined);
    }
    expect(rates).toEqual(doubles(of.rates));
  });
  test('resumes from its own saved state', async () => {
    const { optimizer, scheduler } = begin(of);
    for (let epoch = 0; epoch < 25; epoch++) scheduler.step(of.name === 'ReduceLROnPlateau' ? metric(epoch) : undefined);
    const saved = await toBytes({ scheduler: scheduler.stateDict(), optimizer: optimizer.stateDict() });
    const loaded = await load<Map<string, Map<string, PyValue>>>(saved);
    const other = begin(of);
    other.scheduler.loadStateDict(loaded.get('scheduler') as Map<string, PyValue>);
    other.optimizer.loadStateDict(loaded.get('optimizer') as Map<string, PyValue>);
    const again = { scheduler: other.scheduler.stateDict(), optimizer: other.optimizer.stateDict() };
    expect(readable(await pickled(again))).toBe(readable(of.saved[25] as string));
    for (let epoch = 25; epoch < 50; epoch++) other.scheduler.step(of.name === 'ReduceLROnPlateau' ? metric(epoch) : undefined);
    expect(other.scheduler.getLastLr()).toEqual(doubles(of.rates).slice(-2));
  });
});

test.each(recorded.closedForms.map((of) => [label(of), of] as const))('step(epoch) of %s', async (_, of) => {
  const scheduler = schedulerOf(of.name, of.kwargs, new optim.SGD(parameters(), { lr: 0.1 }));
  const rates = [3, 17, 30, 8].map((epoch) => {
    scheduler.step(epoch);
    return scheduler.getLastLr()[0];
  });
  expect(rates).toEqual(of.rates.map(Number));
  expect(readable(await pickled(scheduler.stateDict()))).toBe(readable(of.saved));
});

test.each(recorded.errors.map((of) => [label(of), of] as const))('error of %s', (_, of) => {
  let thrown: unknown;
  try {
    if (of.name in optim) make(of.name, of.kwargs);
    else schedulerOf(of.name, of.kwargs, new optim.SGD(parameters(), { lr: 0.1 }));
  } catch (error) {
    thrown = error;
  }
  expect((thrown as Error | undefined)?.message).toBe(of.text);
  expect((thrown as Error).constructor).toBe(of.error === 'TypeError' ? TypeError : RangeError);
});
