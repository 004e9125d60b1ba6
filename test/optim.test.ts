// Promise: optimizers and schedulers are saved byte for byte as PyTorch 2.13 saves them, compute the same, and say the same.
// What PyTorch does is recorded in fixtures/optim.json by oracle/optim.py.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  DType,
  isCheckpointError,
  load,
  open,
  optim,
  Parameter,
  type PyValue,
  pyFloat,
  repr,
  Tensor,
  toBytes,
} from '../lib/index';
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
  const weight = new Parameter(
    Tensor.from(
      Float32Array.from({ length: 33 }, (_, i) => Math.fround(Math.fround(i / 7) - 1)),
      { shape: [3, 11] },
    ),
  );
  const bias = new Parameter(Tensor.from(Float32Array.of(0.5, -0.25, 1.5)));
  return onlyMatrix ? [weight] : [weight, bias];
}

function gradient(param: Tensor, step: number): Tensor {
  return Tensor.from(
    Float32Array.from({ length: param.numel }, (_, i) => (((i * 37 + step * 11) % 64) - 30) / 32),
    { shape: param.shape },
  );
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
      for (const [key, bits] of Object.entries(of.state[i] ?? {}))
        tensors.set(key, [optimizer.state.get(param)?.get(key) as Tensor, bits]);
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
  const named = new optim.AdamW([
    ['w', weight],
    ['b', bias],
  ]);
  expect(readable(await pickled(named.stateDict()))).toBe(readable(expected['named'] as string));
  expect(String(named)).toBe(expected['namedRepr']);
  const grouped = new optim.Adam([{ params: [weight], lr: pyFloat(1), weightDecay: 0 }, { params: bias }], {
    lr: 1e-2,
  });
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
  const { CosineAnnealingLR, ConstantLR, ChainedScheduler, ExponentialLR, LinearLR, SequentialLR, StepLR } =
    optim.lr_scheduler;
  if (name === 'SequentialLR') {
    const first = new LinearLR(optimizer, { startFactor: 0.1, totalIters: 10 });
    const second = new CosineAnnealingLR(optimizer, { tMax: 20 });
    const third = new StepLR(optimizer, { stepSize: 4 });
    return new SequentialLR(optimizer, [first, second, third], [10, 30]);
  }
  if (name === 'ChainedScheduler')
    return new ChainedScheduler([new ConstantLR(optimizer, 0.1, 4), new ExponentialLR(optimizer, 0.9)]);
  const kwargs = decoded(recordedKwargs) as Kwargs;
  if ('lr_lambda' in kwargs) kwargs['lr_lambda'] = (epoch: number) => pyFloat(1 / (1 + epoch));
  return new (schedulers[name] as SchedulerClass)(optimizer, kwargs);
}

/** As in the recording: falls, then stays, with ties. */
const metric = (epoch: number): number => Math.floor(Math.max(20 - epoch, 9) / 2);

function begin(of: SchedulerCase): { optimizer: optim.SGD; scheduler: optim.lr_scheduler.LRScheduler } {
  const [weight, bias] = parameters() as [Parameter, Parameter];
  const optimizer = new optim.SGD(
    [{ params: [weight] }, { params: [bias], lr: 0.25 }],
    decoded(of.optimizer) as object,
  );
  return { optimizer, scheduler: schedulerOf(of.name, of.kwargs, optimizer) };
}

describe.each(
  recorded.schedulers.map((of) => [`${label(of)} from lr ${JSON.stringify(of.optimizer['lr'])}`, of] as const),
)('%s', (_, of) => {
  test('50 epochs: rates exactly, state dicts byte for byte', async () => {
    const { optimizer, scheduler } = begin(of);
    const rates: number[] = [];
    for (let epoch = 0; epoch <= 50; epoch++) {
      rates.push(...scheduler.getLastLr());
      const saved = of.saved[epoch];
      if (saved)
        expect([
          epoch,
          readable(await pickled({ scheduler: scheduler.stateDict(), optimizer: optimizer.stateDict() })),
        ]).toEqual([epoch, readable(saved)]);
      if (epoch < 50) scheduler.step(of.name === 'ReduceLROnPlateau' ? metric(epoch) : undefined);
    }
    expect(rates).toEqual(doubles(of.rates));
  });
  test('resumes from its own saved state', async () => {
    const { optimizer, scheduler } = begin(of);
    for (let epoch = 0; epoch < 25; epoch++)
      scheduler.step(of.name === 'ReduceLROnPlateau' ? metric(epoch) : undefined);
    const saved = await toBytes({ scheduler: scheduler.stateDict(), optimizer: optimizer.stateDict() });
    const loaded = await load<Map<string, Map<string, PyValue>>>(saved);
    const other = begin(of);
    other.scheduler.loadStateDict(loaded.get('scheduler') as Map<string, PyValue>);
    other.optimizer.loadStateDict(loaded.get('optimizer') as Map<string, PyValue>);
    const again = { scheduler: other.scheduler.stateDict(), optimizer: other.optimizer.stateDict() };
    expect(readable(await pickled(again))).toBe(readable(of.saved[25] as string));
    for (let epoch = 25; epoch < 50; epoch++)
      other.scheduler.step(of.name === 'ReduceLROnPlateau' ? metric(epoch) : undefined);
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

describe('loadStateDict', () => {
  type Loadable = Record<string, PyValue>;
  const groupsOf = (optimizer: optim.Optimizer): Map<string, PyValue>[] =>
    optimizer.stateDict().get('param_groups') as Map<string, PyValue>[];
  const refused = (work: () => void): string => {
    try {
      work();
    } catch (error) {
      return `${isCheckpointError(error) ? error.code : (error as Error).name}: ${(error as Error).message}`;
    }
    return 'nothing was thrown';
  };

  test("what does not fit is refused in PyTorch's words, and nothing has changed", async () => {
    const [weight, bias] = parameters() as [Parameter, Parameter];
    const optimizer = new optim.SGD([weight, bias], { lr: 0.5, momentum: 0.9 });
    const before = await pickled(optimizer.stateDict());
    const load = (state: unknown): string => refused(() => optimizer.loadStateDict(state as Loadable));
    expect(load({ state: new Map() })).toBe("STATE_DICT: 'param_groups'");
    expect(load({ state: new Map(), param_groups: [] })).toBe(
      'STATE_DICT: loaded state dict has a different number of parameter groups',
    );
    const other = groupsOf(new optim.SGD([weight]));
    expect(load({ state: new Map(), param_groups: other })).toBe(
      "STATE_DICT: loaded state dict contains a parameter group that doesn't match the size of optimizer's group",
    );
    expect(load({ param_groups: groupsOf(optimizer) })).toBe("STATE_DICT: 'state'");
    expect(load([])).toBe("TypeError: Expected state_dict to be dict-like, got <class 'list'>.");
    expect(await pickled(optimizer.stateDict())).toBe(before);
    const scheduler = new optim.lr_scheduler.LambdaLR(optimizer, { lrLambda: () => 1 });
    expect(refused(() => scheduler.loadStateDict({}))).toBe("STATE_DICT: 'lr_lambdas'");
  });

  test('by position; tensors take the dtype of their parameter, the step stays; unknown keys stay', () => {
    const half = new Parameter(Tensor.zeros([2], { dtype: DType.bfloat16 }));
    const optimizer = new optim.Adam([half], { lr: 0.5 });
    const step = Tensor.full([], 3, { dtype: DType.float64 });
    const average = Tensor.ones([2], { dtype: DType.float64 });
    const betas = tupleOf([0.5, 0.6]);
    const group = new Map<string, PyValue>([
      ['lr', 0.25],
      ['betas', betas],
      ['own', 'kept'],
      ['params', [7]],
    ]);
    const saved = new Map<string, PyValue>([
      [
        'state',
        new Map<PyValue, PyValue>([
          [
            7,
            new Map<string, PyValue>([
              ['step', step],
              ['exp_avg', average],
              ['list', [average, 1]],
            ]),
          ],
          ['other', new Map([['x', 1]])],
        ]),
      ],
      ['param_groups', [group]],
    ]);
    optimizer.loadStateDict(saved);
    const state = optimizer.state.get(half) as Map<string, PyValue>;
    expect(state.get('step')).toBe(step);
    expect((state.get('exp_avg') as Tensor).dtype).toBe(DType.bfloat16);
    expect(((state.get('list') as PyValue[])[0] as Tensor).dtype).toBe(DType.bfloat16);
    expect(optimizer.state.get('other')).toEqual(new Map([['x', 1]]));
    const [live] = optimizer.paramGroups as [Map<string, PyValue>];
    expect(live).not.toBe(group);
    expect(live.get('params')).toEqual([half]);
    expect(live.get('betas')).toBe(betas);
    // What 2.13 has beyond the file is filled in, as PyTorch does for old files.
    expect([...live.keys()]).toEqual([
      'lr',
      'betas',
      'own',
      'params',
      'amsgrad',
      'maximize',
      'foreach',
      'capturable',
      'differentiable',
      'decoupled_weight_decay',
      'fused',
    ]);
    expect(group.get('params')).toEqual([7]);
  });

  test('steps that old files have as numbers become tensors', () => {
    const [weight] = parameters(true) as [Parameter];
    const optimizer = new optim.RMSprop([weight]);
    const saved = optimizer.stateDict();
    saved.set(
      'state',
      new Map([
        [
          0,
          new Map<string, PyValue>([
            ['step', 12],
            ['square_avg', Tensor.zeros([3, 11])],
          ]),
        ],
      ]),
    );
    optimizer.loadStateDict(saved);
    const step = optimizer.state.get(weight)?.get('step') as Tensor;
    expect([step.dtype, step.shape, step.item()]).toEqual([DType.float32, [], 12]);
  });

  test('names of the file win, else the live ones stay', () => {
    const [weight] = parameters(true) as [Parameter];
    const optimizer = new optim.SGD([['mine', weight]]);
    optimizer.loadStateDict(new optim.SGD([weight]).stateDict());
    expect(optimizer.paramGroups[0]?.get('param_names')).toEqual(['mine']);
    optimizer.loadStateDict(new optim.SGD([['theirs', weight]]).stateDict());
    expect(optimizer.paramGroups[0]?.get('param_names')).toEqual(['theirs']);
  });

  test('an optimizer that was pickled whole comes back, works, and is saved as it was', async () => {
    const { params, optimizer } = make('Adam', {});
    optimizer.step(params.map((param) => gradient(param, 0)));
    const bytes = await toBytes(optimizer);
    const back = await load<optim.Adam>(bytes);
    expect(back).toBeInstanceOf(optim.Adam);
    expect(String(back)).toBe(String(optimizer));
    expect(Buffer.compare(await toBytes(back), bytes)).toBe(0);
    const [group] = back.paramGroups as [optim.ParamGroup];
    const own = group.get('params') as Tensor[];
    back.step(own.map((param) => gradient(param, 1)));
    optimizer.step(params.map((param) => gradient(param, 1)));
    expect(await pickled(back.stateDict())).toBe(await pickled(optimizer.stateDict()));
    expect(own[0]?.toArray()).toEqual(params[0]?.toArray());
  });
});

test('gradients: own, by parameter, in order; half types, strides and shapes', () => {
  const [weight, bias] = parameters() as [Parameter, Parameter];
  const optimizer = new optim.SGD([weight, bias], { lr: 1 });
  const before = weight.toArray();
  optimizer.step(new Map([[bias as Tensor, Tensor.ones([3])]]));
  expect(weight.toArray()).toEqual(before);
  expect(bias.toArray()).toEqual([-0.5, -1.25, 0.5]);
  bias.grad = Tensor.ones([3]);
  optimizer.step();
  expect(bias.toArray()).toEqual([-1.5, -2.25, -0.5]);
  optimizer.zeroGrad(false);
  expect(bias.grad.toArray()).toEqual([0, 0, 0]);
  optimizer.zeroGrad();
  expect(bias.grad).toBeUndefined();
  expect(() => optimizer.step([Tensor.ones([3])])).toThrow(RangeError);
  expect(() => optimizer.step(new Map([[weight as Tensor, Tensor.ones([3])]]))).toThrow(RangeError);
  const transposed = new Parameter(
    Tensor.from(
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
      { dtype: DType.bfloat16 },
    ).t(),
  );
  const adam = new optim.Adam([transposed], { lr: 0.5 });
  adam.step([Tensor.ones([3, 2])]);
  expect(transposed.toArray()).toEqual([
    [0.498046875, 3.5],
    [1.5, 4.5],
    [2.5, 5.5],
  ]);
  const average = adam.state.get(transposed)?.get('exp_avg') as Tensor;
  expect([average.dtype, average.stride]).toEqual([DType.bfloat16, [1, 3]]);
  expect(() => new optim.LBFGS([bias]).step([Tensor.ones([3])])).toThrow('LBFGS.step() is not implemented');
});

test("wrong arguments are refused in Python's words", () => {
  const [weight] = parameters(true) as [Parameter];
  const message = (work: () => unknown): string => {
    try {
      work();
    } catch (error) {
      return `${(error as Error).name}: ${(error as Error).message}`;
    }
    return 'nothing was thrown';
  };
  const SGD = optim.SGD as unknown as new (...args: unknown[]) => optim.SGD;
  expect(message(() => new SGD([]))).toBe('RangeError: optimizer got an empty parameter list');
  expect(message(() => new SGD(weight))).toBe(
    'TypeError: params argument given to the optimizer should be an iterable of Tensors or dicts, but got torch.FloatTensor',
  );
  expect(message(() => new SGD([1]))).toBe(
    'TypeError: optimizer can only optimize Tensors, but one of the params is int',
  );
  expect(message(() => new SGD([['a', weight], weight]))).toBe(
    'RangeError: all optimizer params should be with/without names. Some param names are missing',
  );
  expect(message(() => new SGD([{ params: [weight] }, { params: [weight] }]))).toBe(
    'RangeError: some parameters appear in more than one parameter group',
  );
  expect(message(() => new SGD([{ params: new Set([weight]) }]))).toContain(
    'TypeError: optimizer parameters need to be organized in ordered collections',
  );
  expect(message(() => new SGD([weight], { lr: 'x' }))).toBe("TypeError: SGD: lr must be a number, not 'x'");
  expect(new SGD([weight], 0.5, 0.9).paramGroups[0]?.get('momentum')).toBe(0.9);
  const Step = optim.lr_scheduler.StepLR as unknown as new (...args: unknown[]) => optim.lr_scheduler.StepLR;
  expect(message(() => new Step({}, { stepSize: 1 }))).toBe('TypeError: dict is not an Optimizer');
  const scheduler = new Step(new SGD([weight], { lr: 1 }), 2, 0.5);
  scheduler.lastEpoch = 3;
  scheduler.step();
  expect([scheduler.lastEpoch, scheduler.getLastLr(), scheduler.baseLrs]).toEqual([4, [0.5], [1]]);
});
