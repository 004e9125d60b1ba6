// Promise: state dicts load into modules with every rule and text that PyTorch 2.13 recorded in fixtures/nn.json.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { DType } from '../lib/dtype';
import { CheckpointError } from '../lib/errors';
import { loadSync } from '../lib/load';
import { IncompatibleKeys } from '../lib/nn/incompatible-keys';
import * as nn from '../lib/nn/index';
import { loadStateDict } from '../lib/nn/load-state-dict';
import { stateDict } from '../lib/nn/state-dict';
import { consumePrefix, filterKeys, mergeStateDicts, renameKeys } from '../lib/nn/state-dict-keys';
import { OrderedDict, PyObject, type PyValue, Size, Tuple } from '../lib/pickle/values';
import { toBytes } from '../lib/save';
import { Parameter, Tensor } from '../lib/tensor/tensor';
import { build, edited, type Recorded } from './oracle/nn-case';

const recorded = JSON.parse(readFileSync(join(__dirname, 'fixtures/nn.json'), 'utf8')) as Recorded;

function outcome(load: () => IncompatibleKeys): { result?: string; error?: string } {
  try {
    return { result: String(load()) };
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as CheckpointError).code).toBe('STATE_DICT');
    return { error: (error as Error).message };
  }
}

describe('recorded loads', () => {
  test.each(recorded.loads.map((one) => [JSON.stringify([one.model[0], one.edits, one.options]), one] as const))(
    '%s',
    (_, one) => {
      const expected = one.result === undefined ? { error: one.error } : { result: one.result };
      expect(outcome(() => build(one.model).loadStateDict(edited(one.source, one.edits), one.options))).toEqual(
        expected,
      );
    },
  );

  test('the same into objects of unregistered classes', async () => {
    for (const one of recorded.loads) {
      const inert = loadSync(await toBytes(build(one.model)), { classes: new Map() }) as PyObject;
      expect(inert).toBeInstanceOf(PyObject);
      const expected = one.result === undefined ? { error: one.error } : { result: one.result };
      expect(outcome(() => loadStateDict(inert, edited(one.source, one.edits), one.options))).toEqual(expected);
    }
  });

  test('what is no mapping is a TypeError', () => {
    const given = [
      [],
      Tuple.of(1),
      null,
      3,
      1.5,
      'x',
      true,
      Tensor.ones([1]),
      new Set([1]),
      new Uint8Array(1),
      new nn.Linear(1, 1),
      Size.from([1]),
    ];
    const texts = given.map((state) => {
      try {
        return String(new nn.Linear(1, 1).loadStateDict(state));
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError);
        return (error as Error).message;
      }
    });
    expect(texts).toEqual(recorded.texts.not_mappings);
  });
});

describe('loading', () => {
  const linear = (): nn.Linear => new nn.Linear(2, 1);

  test('copies in place, converts, and keeps identity', () => {
    const model = linear();
    const { weight } = model;
    const { storage } = weight;
    model.loadStateDict({
      weight: Tensor.from(new Float64Array([1.5, 2.5]), { shape: [1, 2] }),
      bias: Tensor.from([3], { dtype: DType.int64 }),
    });
    expect(model.weight).toBe(weight);
    expect(weight.storage).toBe(storage);
    expect(weight.toArray()).toEqual([[1.5, 2.5]]);
    expect(model.bias?.toArray()).toEqual([3]);
  });

  test('copies into and from tensors that are not contiguous', () => {
    const model = linear();
    const base = Tensor.zeros([3, 2]);
    model.weight = new Parameter(base.transpose(0, 1).narrow(0, 1, 1).narrow(1, 0, 2));
    model.loadStateDict({ weight: Tensor.from([[1], [2]]).t(), bias: Tensor.from([0]) });
    expect(base.toArray()).toEqual([
      [0, 1],
      [0, 2],
      [0, 0],
    ]);
  });

  test('assign takes the tensors themselves and keeps requiresGrad', () => {
    const model = linear();
    model.weight.requiresGrad = false;
    const weight = Tensor.from(new Float64Array([1, 2]), { shape: [1, 2] });
    const bias = new Parameter(Tensor.from([3]), false);
    model.loadStateDict({ weight, bias }, { assign: true });
    expect(model.weight).toBeInstanceOf(Parameter);
    expect(model.weight.storage).toBe(weight.storage);
    expect(model.weight.dtype).toBe(DType.float64);
    expect(model.weight.requiresGrad).toBe(false);
    expect(model.bias).toBe(bias);
    expect(bias.requiresGrad).toBe(true);
    const text = outcome(() =>
      model.loadStateDict({ weight: weight.to(DType.int64), bias: bias.to(DType.int64) }, { assign: true }),
    ).error;
    expect(text).toContain(
      "an exception occurred : ('Only Tensors of floating point and complex dtype can require gradients',).",
    );
  });

  test('meta tensors: a warning one way, an error the other', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const meta = new nn.Linear(2, 1, { device: 'meta' });
    meta.loadStateDict(linear().stateDict());
    expect(warn.mock.calls.map(([text]) => String(text).split(':')[0])).toEqual(['for weight', 'for bias']);
    expect(meta.weight.isMeta).toBe(true);
    meta.loadStateDict(linear().stateDict(), { assign: true });
    expect(meta.weight.isMeta).toBe(false);
    warn.mockRestore();
    expect(outcome(() => linear().loadStateDict(new nn.Linear(2, 1, { device: 'meta' }).stateDict())).error).toContain(
      'While copying the parameter named "weight", whose dimensions in the model are torch.Size([1, 2]) and whose dimensions in the checkpoint are torch.Size([1, 2]), an exception occurred : (\'Cannot copy out of meta tensor; no data!\',).',
    );
  });

  test('nothing is rolled back', () => {
    const model = linear();
    expect(() => model.loadStateDict({ weight: Tensor.from([[7, 8]]), bias: Tensor.ones([2]) })).toThrow(
      'size mismatch for bias',
    );
    expect(model.weight.toArray()).toEqual([[7, 8]]);
  });

  test('a mapped source is read, not viewed', async () => {
    const source = loadSync(await toBytes(linear().stateDict())) as OrderedDict<Tensor, string>;
    const model = linear();
    model.loadStateDict(source);
    expect(model.weight.equal(source.get('weight') as Tensor)).toBe(true);
    expect(model.weight.storage).not.toBe(source.get('weight')?.storage);
  });

  test('hooks run in PyTorch order and may change what they are given', () => {
    const model = new nn.Sequential(new nn.Linear(1, 1), new nn.ReLU());
    const seen: string[] = [];
    model.registerLoadStateDictPreHook((_, state, prefix) => {
      seen.push(`pre ${prefix}`);
      for (const key of [...state.keys()])
        if (key.startsWith('old.')) state.set(`0.${key.slice(4)}`, state.get(key) as PyValue) && state.delete(key);
    });
    const post = (model[0] as nn.Module).registerLoadStateDictPostHook(
      (_, keys) => void seen.push(`post 0 ${keys.missingKeys.length}`),
    );
    model.registerLoadStateDictPostHook((_, keys) => {
      seen.push('post');
      keys.missingKeys.length = 0;
    });
    model.registerStateDictPreHook((_, prefix, keepVars) => void seen.push(`save ${prefix}${keepVars}`));
    model.registerStateDictPostHook((_, destination) => new OrderedDict([...destination, ['extra', 1]]) as never);
    expect(String(model.loadStateDict({ 'old.weight': Tensor.ones([1, 1]) }))).toBe('<All keys matched successfully>');
    expect(seen).toEqual(['pre ', 'post 0 1', 'post']);
    expect([...model.stateDict().keys()]).toEqual(['0.weight', '0.bias', 'extra']);
    post.remove();
    model.registerLoadStateDictPostHook((() => 1) as never);
    expect(() => model.loadStateDict(new Map(), { strict: false })).toThrow('are not expected to return new values');
  });

  test('extra state', () => {
    class Counter extends nn.Module {
      steps = 3;
      override getExtraState(): PyValue {
        return new Map([['steps', this.steps]]);
      }
      override setExtraState(state: PyValue): void {
        this.steps = (state as Map<string, number>).get('steps') as number;
      }
    }
    const model = new nn.Sequential(new Counter());
    expect([...model.stateDict().keys()]).toEqual(['0._extra_state']);
    model.loadStateDict({ '0._extra_state': new Map([['steps', 9]]) });
    expect((model[0] as Counter).steps).toBe(9);
    expect(() => model.loadStateDict({})).toThrow('Missing key(s) in state_dict: "0._extra_state". ');
  });

  test('a lazy module takes its shape from the state dict', () => {
    const model = new nn.LazyLinear(2);
    model.loadStateDict({ weight: Tensor.ones([2, 5]), bias: Tensor.ones([2]) });
    expect(model.getParameter('weight').shape).toEqual([2, 5]);
  });

  test('stateDict of what is no module is refused', () => {
    expect(() => stateDict({})).toThrow(TypeError);
    expect(() => loadStateDict(new Map(), {})).toThrow(TypeError);
  });

  test('the result keeps the lists', () => {
    const result = linear().loadStateDict({ weight: Tensor.ones([1, 2]), q: Tensor.ones([1]) }, { strict: false });
    expect(result).toBeInstanceOf(IncompatibleKeys);
    expect([result.missingKeys, result.unexpectedKeys]).toEqual([['bias'], ['q']]);
  });
});

describe('keys', () => {
  const wrapped = (): OrderedDict =>
    new nn.DataParallel(new nn.Sequential(new nn.Linear(1, 1))).stateDict() as OrderedDict;
  const metadataOf = (state: OrderedDict): PyValue[] => [
    ...((state.attributes as Map<string, PyValue>).get('_metadata') as Map<PyValue, PyValue>).keys(),
  ];

  test('consumePrefix renames in place and keeps metadata', () => {
    const state = wrapped();
    consumePrefix(state, 'module.');
    expect([...state.keys()]).toEqual(['0.weight', '0.bias']);
    expect(metadataOf(state)).toEqual(['', '0']);
    const model = new nn.Sequential(new nn.Linear(1, 1));
    expect(String(model.loadStateDict(state))).toBe('<All keys matched successfully>');
    const mixed = new OrderedDict<PyValue, PyValue>([
      ['module.a', 1],
      ['b', 2],
      ['module.c', 3],
    ]);
    consumePrefix(mixed, 'module.');
    expect([...mixed]).toEqual([
      ['b', 2],
      ['a', 1],
      ['c', 3],
    ]);
  });

  test('renameKeys, filterKeys and mergeStateDicts make new dicts', () => {
    const state = wrapped();
    const renamed = renameKeys(state, (key) => key.replace('module.', 'net.'));
    expect([...renamed.keys()]).toEqual(['net.0.weight', 'net.0.bias']);
    expect(metadataOf(renamed)).toEqual(['', 'module', 'module.0']);
    expect(() => renameKeys(state, () => 'same')).toThrow(
      'renameKeys() gives "module.0.weight" and "module.0.bias" one name, "same"',
    );
    expect([...filterKeys(state, (key) => key.endsWith('bias')).keys()]).toEqual(['module.0.bias']);
    const merged = mergeStateDicts(
      new Map<PyValue, PyValue>([
        ['a', 1],
        ['b', 2],
      ]),
      new Map<PyValue, PyValue>([
        ['b', 3],
        ['c', 4],
      ]),
    );
    expect([...merged]).toEqual([
      ['a', 1],
      ['b', 3],
      ['c', 4],
    ]);
    expect([...state.keys()]).toEqual(['module.0.weight', 'module.0.bias']);
  });
});
