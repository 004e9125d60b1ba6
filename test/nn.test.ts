// Promise: modules print, name and order their parts as PyTorch 2.13 recorded them in fixtures/nn.json, and behave as
// Python's when they are assigned to, subclassed, and loaded from hostile files.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { DType } from '../lib/dtype';
import { loadSync } from '../lib/load';
import * as nn from '../lib/nn/index';
import { instantiate, setState } from '../lib/pickle/classes';
import { OrderedDict, PyGlobal, PyObject, type PyValue, pyFloat, Tuple } from '../lib/pickle/values';
import { register, registeredClass, registeredName, registerFamily, registry } from '../lib/registry';
import { repr } from '../lib/repr';
import { toBytes } from '../lib/save';
import { Parameter, Tensor } from '../lib/tensor/tensor';
import { build, type Recorded } from './oracle/nn-case';

const recorded = JSON.parse(readFileSync(join(__dirname, 'fixtures/nn.json'), 'utf8')) as Recorded;

describe('recorded modules', () => {
  test.each(recorded.cases.map((one) => [JSON.stringify(one.module), one] as const))('%s', (_, one) => {
    const module = build(one.module);
    expect(String(module)).toBe(one.text);
    const pickled = (module as unknown as { [key: symbol]: () => PyObject })[
      Symbol.for('torch-checkpoint.getPickled')
    ]!();
    expect([...(pickled.state as Map<string, PyValue>).keys()]).toEqual(one.attributes);
    const parts = (map: ReadonlyMap<string, PyValue>) =>
      [...map].map(([name, value]) => [name, value === null ? null : true]);
    expect(parts(module._parameters)).toEqual(one.parameters);
    expect(parts(module._buffers)).toEqual(one.buffers);
    const state = module.stateDict();
    expect(
      [...state].map(([key, value]) => [key, value instanceof Tensor ? [String(value.dtype), value.shape] : null]),
    ).toEqual(one.state);
    const metadata = state.attributes?.get('_metadata') as Map<string, Map<string, PyValue>>;
    expect([...metadata].map(([key, entry]) => [key, Object.fromEntries(entry)])).toEqual(one.metadata);
    expect([...module.namedParameters()].map(([name]) => name)).toEqual(one.named_parameters);
    expect([...module.namedModules()].map(([name]) => name)).toEqual(one.named_modules);
  });

  test('a loaded module of an unregistered class prints alike', () => {
    for (const one of recorded.cases) {
      const pickled = (build(one.module) as unknown as { [key: symbol]: () => PyObject })[
        Symbol.for('torch-checkpoint.getPickled')
      ]!();
      const inert = new PyObject(pickled.callable, new Tuple(), 'newobj', pickled.state);
      expect(repr(inert)).toBe(one.text);
    }
  });
});

class Net extends nn.Module {
  fc2: nn.Linear;
  fc1: nn.Linear;
  hidden = 5;
  late: nn.ReLU | null = null;
  act = new nn.ReLU();
  #calls = 0;
  constructor() {
    super();
    this.fc1 = new nn.Linear(3, 2);
    this.fc2 = new nn.Linear(2, 1);
    this.late = new nn.ReLU();
  }
  count(): number {
    return ++this.#calls;
  }
}

describe('user modules', () => {
  test('register in the order of assignment, fields and private fields included', () => {
    const net = new Net();
    expect(net).toBeInstanceOf(Net);
    expect(net).toBeInstanceOf(nn.Module);
    expect(net.count() + net.count()).toBe(3);
    expect([...net.namedChildren()].map(([name]) => name)).toEqual(['act', 'fc1', 'fc2', 'late']);
    expect(String(net)).toBe(
      'Net(\n  (act): ReLU()\n  (fc1): Linear(in_features=3, out_features=2, bias=True)\n  (fc2): Linear(in_features=2, out_features=1, bias=True)\n  (late): ReLU()\n)',
    );
    expect(inspect(net)).toBe(String(net));
    expect([...net.stateDict().keys()]).toEqual(['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias']);
    expect(net.hidden).toBe(5);
    expect('fc1' in net && 'hidden' in net && !('fc9' in net)).toBe(true);
    expect(Object.keys(net)).toEqual(['hidden', 'act', 'fc1', 'fc2', 'late']);
  });

  test('assignment replaces in place, null empties, delete removes', () => {
    const net = new Net();
    const replacement = new nn.Linear(3, 4, { bias: false });
    net.fc1 = replacement;
    expect(net.fc1).toBe(replacement);
    expect([...net.namedChildren()].map(([name]) => name)).toEqual(['act', 'fc1', 'fc2', 'late']);
    net.late = null;
    expect([...net.children()]).toHaveLength(3);
    expect(net._modules.get('late')).toBe(null);
    delete (net as Partial<Net>).fc2;
    expect('fc2' in net).toBe(false);
    expect([...net.stateDict().keys()]).toEqual(['fc1.weight']);
    (net as unknown as { scale: Parameter }).scale = new Parameter(Tensor.ones([2]));
    expect([...net.namedParameters()].map(([name]) => name)).toEqual(['scale', 'fc1.weight']);
    expect(() => Object.assign(net, { scale: Tensor.ones([2]) })).toThrow(
      "cannot assign 'torch.FloatTensor' as parameter 'scale' (torch.nn.Parameter or None expected)",
    );
  });

  test('buffers: persistent and not', () => {
    const net = new nn.Module();
    net.registerBuffer('kept', Tensor.ones([1]));
    net.registerBuffer('transient', Tensor.ones([2]), { persistent: false });
    expect([...net.stateDict().keys()]).toEqual(['kept']);
    expect([...net.namedBuffers()].map(([name]) => name)).toEqual(['kept', 'transient']);
    (net as unknown as { transient: Tensor }).transient = Tensor.ones([3]);
    expect([...net.stateDict().keys()]).toEqual(['kept']);
    expect(net.getBuffer('transient').shape).toEqual([3]);
  });

  test('attributes answer to both spellings', () => {
    const linear = new nn.Linear(3, 2) as nn.Linear & { in_features: number; inFeatures: number };
    expect([linear.in_features, linear.inFeatures]).toEqual([3, 3]);
    linear.inFeatures = 7;
    expect(String(linear)).toBe('Linear(in_features=7, out_features=2, bias=True)');
    const norm = new nn.BatchNorm2d(3);
    expect(norm.runningVar?.toArray()).toEqual([1, 1, 1]);
    expect(new nn.ELU(pyFloat(2)).toString()).toBe('ELU(alpha=2.0)');
  });

  test('errors of registration and paths are in PyTorch words', () => {
    const model = new nn.Sequential(new nn.Linear(2, 2), new nn.ReLU());
    const first = model[0] as nn.Module;
    const texts = (calls: (() => unknown)[]) =>
      calls.map((call) => {
        try {
          return String(call());
        } catch (error) {
          return (error as Error).message;
        }
      });
    // Python's KeyError shows its text quoted.
    const plain = recorded.texts.registering.map((text) =>
      /^['"]/.test(text) ? text.slice(1, -1).replaceAll("\\'", "'") : text,
    );
    expect(
      texts([
        () => model.registerBuffer('a.b', null),
        () => model.registerBuffer('', null),
        () => first.registerBuffer('weight', null),
        () => model.registerBuffer('x', 5 as never),
        () => model.registerParameter('x', Tensor.ones([1]) as never),
        () => model.registerParameter('x', 'text' as never),
        () => model.addModule('x', 3 as never),
        () => model.addModule('a.b', new nn.ReLU()),
        () => model.addModule('', new nn.ReLU()),
        () => first.addModule('weight', new nn.ReLU()),
        () => Object.assign(first, { weight: Tensor.ones([1]) }),
        () => Object.assign(model, { 0: 5 }),
      ]),
    ).toEqual(plain);
    expect(
      texts([
        () => model.getSubmodule('0.weight'),
        () => model.getSubmodule('5'),
        () => model.getSubmodule('0.nothing'),
        () => model.getParameter('0.nothing'),
        () => model.getParameter('1'),
        () => model.getBuffer('0.weight'),
        () => model.getBuffer('0.nothing'),
        () => model.getSubmodule('1'),
        () => model.getParameter('5.weight'),
      ]),
    ).toEqual(recorded.texts.paths);
  });

  test('wrong arguments are TypeErrors in Python words', () => {
    const Linear = nn.Linear as unknown as new (...args: unknown[]) => nn.Module;
    expect(() => new Linear(3)).toThrow(
      new TypeError("Linear.__init__() missing 1 required positional argument: 'out_features'"),
    );
    expect(() => new Linear()).toThrow("missing 2 required positional arguments: 'in_features' and 'out_features'");
    expect(() => new Linear(1, 2, { bais: true })).toThrow(
      "Linear.__init__() got an unexpected keyword argument 'bais'",
    );
    expect(() => new Linear(1, 2, true, { bias: true })).toThrow("got multiple values for argument 'bias'");
    expect(() => new Linear(1, 2, 3, 4, 5, 6)).toThrow('takes 6 positional arguments but 7 were given');
    expect(() => new nn.Conv2d(3, 4, 3, { groups: 2 })).toThrow('in_channels must be divisible by groups');
    expect(() => new nn.Dropout({ p: 2 })).toThrow('dropout probability has to be between 0 and 1, but got 2');
  });

  test('train, eval, apply, requiresGrad_, to', () => {
    const net = new Net();
    net.eval();
    expect([...net.modules()].every((module) => !module.training)).toBe(true);
    const seen: string[] = [];
    net.apply((module) => seen.push(module.constructor.name));
    expect(seen).toEqual(['ReLU', 'Linear', 'Linear', 'ReLU', 'Net']);
    expect([...net.requiresGrad_(false).parameters()].some((parameter) => parameter.requiresGrad)).toBe(false);
    const weight = net.fc1.weight;
    net.half();
    expect(net.fc1.weight).toBe(weight);
    expect(weight.dtype).toBe(DType.float16);
    expect(() => net.to(DType.int64)).toThrow(
      'nn.Module.to only accepts floating point or complex dtypes, but got desired dtype=torch.int64',
    );
    expect(String(net.to('cuda').fc1.weight.device)).toBe('cuda:0');
    const norm = new nn.BatchNorm1d(2).half();
    expect(norm._buffers.get('num_batches_tracked')).toMatchObject({ dtype: DType.int64 });
  });

  test('tied parameters are listed once and stay tied when converted', () => {
    const tied = new nn.ModuleDict({
      a: new nn.Linear(2, 2, { bias: false }),
      b: new nn.Linear(2, 2, { bias: false }),
    });
    const [a, b] = [tied.get('a') as nn.Linear, tied.get('b') as nn.Linear];
    b.weight = a.weight;
    expect([...tied.namedParameters()].map(([name]) => name)).toEqual(['a.weight']);
    expect([...tied.namedParameters({ removeDuplicate: false })].map(([name]) => name)).toEqual([
      'a.weight',
      'b.weight',
    ]);
    expect([...tied.stateDict().keys()]).toEqual(['a.weight', 'b.weight']);
    tied.to('meta');
    expect(a.weight).toBe(b.weight);
  });

  test('containers: index, insert, pop, extend', () => {
    const list = new nn.ModuleList([new nn.ReLU(), new nn.Tanh()]);
    list.append(new nn.Sigmoid()).extend([new nn.GELU()]);
    list.insert(1, new nn.Identity());
    expect([...list].map((module) => module.constructor.name)).toEqual(['ReLU', 'Identity', 'Tanh', 'Sigmoid', 'GELU']);
    expect(list.at(-1)).toBeInstanceOf(nn.GELU);
    expect(list[3]).toBeInstanceOf(nn.Sigmoid);
    expect(list.pop(0)).toBeInstanceOf(nn.ReLU);
    expect(list.length).toBe(4);
    expect(() => list.at(4)).toThrow('index 4 is out of range');
    const named = new nn.Sequential(new OrderedDict<nn.Module, string>([['x', new nn.ReLU()]]));
    expect(named[0]).toBeInstanceOf(nn.ReLU);
  });

  test('initial values keep to PyTorch ranges and repeat with a seed', () => {
    nn.manualSeed(7);
    const values = new nn.Linear(16, 400).weight.toFloat32Array();
    nn.manualSeed(7);
    expect(new nn.Linear(16, 400).weight.toFloat32Array()).toEqual(values);
    expect(Math.max(...values)).toBeLessThanOrEqual(0.25);
    expect(Math.min(...values)).toBeGreaterThanOrEqual(-0.25);
    expect(Math.max(...values)).toBeGreaterThan(0.249);
    const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(0.01);
    const rows = new nn.Embedding(500, 20, { paddingIdx: 3 });
    const table = rows.weight.toFloat32Array();
    const variance = table.reduce((sum, each) => sum + each * each, 0) / table.length;
    expect(variance).toBeGreaterThan(0.9);
    expect(variance).toBeLessThan(1.1);
    expect(Array.from(table.subarray(60, 80))).toEqual(new Array(20).fill(0));
  });
});

describe('registry', () => {
  test('a class of a program stands for one of ours, whenever it is registered', () => {
    class Mine {}
    const global = 'torch.nn.modules.linear.Bilinear';
    const ours = registeredClass('torch.nn.modules.linear.Linear');
    expect(ours).toBe(nn.Linear);
    register(global, Mine);
    expect(registeredClass(global)).toBe(Mine);
    expect(registry().get(global)).toBe(Mine);
    register(global, nn.Bilinear);
    expect(registeredName(nn.Bilinear)).toBe(global);
  });

  test('a family is registered when a name of it is asked for, or all are', () => {
    const asked: string[] = [];
    const family = (prefix: string): void =>
      registerFamily(prefix, () => {
        asked.push(prefix);
        register(`${prefix}Class`, class Of {});
      });
    family('first.');
    family('second.');
    expect(registeredClass('third.Class')).toBeUndefined();
    expect(asked).toEqual([]);
    class Mine {}
    register('first.Class', Mine);
    expect(asked).toEqual(['first.']);
    expect(registeredClass('first.Class')).toBe(Mine);
    expect([...registry().keys()]).toContain('second.Class');
    expect(asked).toEqual(['first.', 'second.']);
  });
});

describe('modules from files', () => {
  function loaded(global: string, state: Map<PyValue, PyValue>): nn.Module {
    const Class = registry().get(global)!;
    const dot = global.lastIndexOf('.');
    const pickled = new PyObject(new PyGlobal(global.slice(0, dot), global.slice(dot + 1)), new Tuple());
    const module = instantiate(Class, pickled) as nn.Module & { [setState](state: PyValue, pickled: PyObject): void };
    pickled.state = state;
    module[setState](state, pickled);
    return module;
  }

  test('names from a file shadow nothing and touch no prototype', () => {
    const hostile = ['__proto__', 'constructor', 'stateDict', 'toString', 'then', 'hasOwnProperty', 'a.b', ''];
    const module = loaded(
      'torch.nn.modules.linear.Linear',
      new Map<PyValue, PyValue>([
        ['__proto__', 'x'],
        ['constructor', 'x'],
        ['namedParameters', 'x'],
        ['_parameters', new Map<PyValue, PyValue>(hostile.map((name) => [name, new Parameter(Tensor.ones([1]))]))],
        [
          '_modules',
          new Map<PyValue, PyValue>([
            ['__proto__', 5],
            ['eval', null],
          ]),
        ],
        ['_buffers', 'nothing'],
        ['_non_persistent_buffers_set', [1]],
      ]),
    );
    expect(module).toBeInstanceOf(nn.Linear);
    expect(Object.keys(module)).toEqual([]);
    expect([...module.stateDict().keys()]).toEqual(hostile);
    expect(module.getParameter('constructor')).toBeInstanceOf(Parameter);
    expect(module.getParameter('stateDict')).toBeInstanceOf(Parameter);
    expect(({} as Record<string, unknown>).x).toBe(undefined);
    expect(String(module)).toBe(
      'Linear(\n  in_features=None, out_features=None, bias=False\n  (__proto__): 5\n  (eval): None\n)',
    );
    expect(module.loadStateDict(module.stateDict(), { strict: false }).missingKeys).toEqual([]);
  });

  test('modules inside themselves and deep nests end', () => {
    const self = loaded('torch.nn.modules.container.Sequential', new Map<PyValue, PyValue>([['_modules', new Map()]]));
    self.addModule('0', self);
    expect(() => self.stateDict()).toThrow('modules are nested more than 1000 deep, or one contains itself');
    expect([...self.modules()]).toHaveLength(1);
    expect(String(self)).toContain('Sequential');
    let deep: nn.Module = new nn.ReLU();
    for (let i = 0; i < 5000; i++) deep = new nn.Sequential(deep);
    expect(() => deep.stateDict()).toThrow('nested more than 1000 deep');
    expect(() => [...deep.modules()]).toThrow('nested more than 1000 deep');
    expect(() => deep.apply(() => undefined)).toThrow('nested more than 1000 deep');
  });

  test('an attribute that is the module itself does not hang printing', () => {
    const state = new Map<PyValue, PyValue>([['_modules', new Map()]]);
    const module = loaded('torch.nn.modules.linear.Linear', state);
    state.set('in_features', module);
    state.set('out_features', Tuple.of<PyValue>(module, 1));
    expect(String(module)).toBe('Linear(in_features=..., out_features=(..., 1), bias=False)');
  });

  test('changes made through a loaded module are in what is saved', async () => {
    const bytes = await toBytes(new nn.Sequential(new nn.Linear(2, 2), new nn.LSTM(2, 3)));
    const model = loadSync(bytes) as nn.Sequential;
    expect(model).toBeInstanceOf(nn.Sequential);
    expect(Buffer.compare(await toBytes(model), bytes)).toBe(0);
    const first = model[0] as nn.Linear;
    expect(first.weight).toBeInstanceOf(Parameter);
    first.loadStateDict({
      weight: Tensor.from([
        [1, 2],
        [3, 4],
      ]),
      bias: Tensor.from([5, 6]),
    });
    (model[1] as nn.Module).loadStateDict((model[1] as nn.Module).stateDict(), { assign: true });
    (model as unknown as { extra: nn.Module }).extra = new nn.ReLU();
    const again = loadSync(await toBytes(model)) as nn.Sequential;
    expect((again[0] as nn.Linear).weight.toArray()).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(again.getSubmodule('extra')).toBeInstanceOf(nn.ReLU);
    const lstm = again[1] as nn.Module;
    const flat = lstm.get('_flat_weights') as PyValue[];
    expect(flat).toEqual([...lstm.parameters()]);
  });

  test('user classes: registered ones save whole, others say what to do', async () => {
    await expect(toBytes(new Net())).rejects.toThrow(
      /the class Net has no Python name.*register\('package.module.Net', Net\)/,
    );
    register('mypackage.Net', Net);
    const bytes = await toBytes(new Net());
    const net = loadSync(bytes) as Net;
    expect(net).toBeInstanceOf(Net);
    expect(net.fc1.weight.shape).toEqual([2, 3]);
    expect(net.hidden).toBe(5);
    net.fc1 = new nn.Linear(3, 2, { bias: false });
    expect([...net.stateDict().keys()]).toEqual(['fc1.weight', 'fc2.weight', 'fc2.bias']);
    expect(String(net)).toContain('(fc1): Linear(in_features=3, out_features=2, bias=False)');
    const inert = loadSync(bytes, { classes: new Map() }) as PyObject;
    expect(repr(inert)).toBe(String(new Net()));
  });
});
