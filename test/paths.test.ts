// Promise: every value of a checkpoint can be asked for, also where the texts of two paths are the same.
import { describe, expect, test } from 'vitest';
import { diff, FrozenSet, open, type PyValue, Tensor, Tuple, toBytes } from '../lib/index';
import { walk } from '../lib/walk';

const scalar = (value: number): Tensor => Tensor.from(Float32Array.of(value));

/** Paths that read alike: dotted and nested keys, empty keys, keys that are objects. */
const ambiguous = (): Map<PyValue, PyValue> =>
  new Map<PyValue, PyValue>([
    ['a.b', scalar(1)],
    ['a', new Map([['b', scalar(2)]])],
    ['', new Map([['w', scalar(3)]])],
    ['w', scalar(4)],
    [scalar(0), scalar(5)],
    [scalar(0), scalar(6)],
    [7, new Map([['', scalar(7)]])],
    [Tuple.of('t'), [scalar(8)]],
  ]);

test('a path may be given key by key', async () => {
  using checkpoint = await open(await toBytes(ambiguous()));
  const [, , , , five, six, , tuple] = [...(checkpoint.root as Map<PyValue, PyValue>).keys()];
  const value = (...keys: PyValue[]): number => (checkpoint.get(keys) as Tensor).item() as number;
  expect(value('a.b')).toBe(1);
  expect(value('a', 'b')).toBe(2);
  expect(value('', 'w')).toBe(3);
  expect(value('w')).toBe(4);
  expect(value(five as PyValue)).toBe(5);
  expect(value(six as PyValue)).toBe(6);
  expect(value(7, '')).toBe(7);
  expect(value(7n, '')).toBe(7);
  expect(value(tuple as PyValue, 0)).toBe(8);
  expect(checkpoint.get([])).toBe(checkpoint.root);
  // The type of the contract: a path from a listing needs no check.
  const typed: PyValue = checkpoint.get('w');
  expect(typed).toBeInstanceOf(Tensor);
  for (const keys of [['b'], ['a', 'b', 'c'], [8], ['7'], [scalar(0)]]) expect(checkpoint.get(keys)).toBeUndefined();
});

// Known: the text of a path cannot tell these apart; the first value that reads so is given.
test('of values whose paths read alike, get gives the first', async () => {
  using checkpoint = await open(await toBytes(ambiguous()));
  const paths = [...checkpoint.tensors()].map(([path]) => path);
  expect(paths).toEqual(['a.b', 'a.b', 'w', 'w', '[<object>]', '[<object>]', '[7].', "[('t',)][0]"]);
  expect((checkpoint.get('a.b') as Tensor).item()).toBe(1);
  expect(checkpoint.get('')).toBe(checkpoint.root);
});

describe('paths that would fill the memory are an error', () => {
  const levels = 60_000;
  /** Lists in lists, with an empty tensor at each level. */
  function nested(withTensors: boolean): Buffer {
    const global = 'ctorch._utils\n_rebuild_meta_tensor_no_storage\n';
    const tensor = `${global}(ctorch\nfloat32\n))\x89tR`;
    const level = withTensors ? `](${tensor}` : '](K\x01';
    return Buffer.from(`\x80\x02${level.repeat(levels)}${'e'.repeat(levels)}.`, 'latin1');
  }

  test('of tensors', async () => {
    using checkpoint = await open(nested(true));
    expect(() => [...checkpoint.tensors()]).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }));
  });
  // Regression: the process ran out of memory.
  test('of the values of a diff', async () => {
    await expect(diff(nested(false), nested(false))).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
  });
});

// Risk: members of sets are sorted by their texts, and the text of a set inside a set inside a set is long.
test('sets nested 20,000 deep are walked through', () => {
  let set = new FrozenSet<PyValue>([scalar(1)]);
  for (let i = 0; i < 20_000; i++) set = new FrozenSet<PyValue>([set, i]);
  expect([...walk(set)].length).toBe(40_002);
});
