// Promise: a loaded value is pickled again byte for byte, also where JavaScript's values do not hold all that Python's did.
import { describe, expect, test } from 'vitest';
import { DType, load, open, PyGlobal, type PyValue, Tensor, toBytes } from '../lib/index';
import { bytesOf, py, zipCheckpoint } from './container-samples';

const { text, int, global, pickle } = py;
const append = 'a';
const float = (bits: bigint): Buffer => {
  const bytes = Buffer.alloc(9);
  bytes[0] = 0x47;
  bytes.writeBigUInt64BE(bits, 1);
  return bytes;
};
const one = float(0x3ff0000000000000n);
const nan = float(0x7ff8000000000000n);
/** What x86 makes of inf - inf: PyTorch files have it for a loss that went wrong. */
const negativeNan = float(0xfff8000000000000n);
const put = (index: number): Buffer => bytesOf('q', index);
const get = (index: number): Buffer => bytesOf('h', index);

async function pickled(bytes: Uint8Array): Promise<Buffer> {
  using checkpoint = await open(bytes);
  const record = checkpoint.info.records.find(({ name }) => name.endsWith('data.pkl'));
  if (!record) throw new Error('no data.pkl');
  return Buffer.from(bytes.subarray(record.byteOffset, record.byteOffset + record.byteLength));
}

async function resaved(data: Uint8Array): Promise<Buffer> {
  return pickled(await toBytes(await load<PyValue>(zipCheckpoint({ 'data.pkl': data }))));
}

describe('a pickle comes back as it was', () => {
  test.each<[name: string, data: Buffer]>([
    // Regression: the NaN came out with the bits that the host happened to keep: JavaScript promises none.
    ['negative NaN in a list', pickle(']', put(0), '(', negativeNan, nan, 'e')],
    [
      'negative NaN as value and key',
      pickle('}', put(0), '(', text('loss'), put(1), negativeNan, negativeNan, int(1), 'u'),
    ],
    [
      'negative NaN in a set',
      pickle(global('__builtin__', 'set'), put(0), ']', put(1), negativeNan, append, '\x85', put(2), 'R', put(3)),
    ],
    [
      'negative NaN in a complex number',
      pickle(global('__builtin__', 'complex'), put(0), negativeNan, nan, '\x86', put(1), 'R', put(2)),
    ],
    // Regression: a codec name that the file had under two string objects was written under one.
    [
      'bytes beside a string that says latin1',
      pickle(
        ...[']', put(0), '(', ']', put(1), text('latin1'), put(2), append, global('_codecs', 'encode'), put(3)],
        ...[text('ab'), put(4), text('latin1'), put(5), '\x86', put(6), 'R', put(7)],
        ...[get(3), text('cd'), put(8), get(5), '\x86', put(9), 'R', put(10), get(2), 'e'],
      ),
    ],
    [
      'bytearrays beside such a string',
      pickle(
        ...[']', put(0), '(', ']', put(1), text('latin1'), put(2), append, global('__builtin__', 'bytearray'), put(3)],
        ...[global('_codecs', 'encode'), put(4), text('ab'), put(5), text('latin1'), put(6), '\x86', put(7), 'R'],
        ...[put(8), '\x85', put(9), 'R', put(10), 'e'],
      ),
    ],
    [
      'dicts whose keys are equal strings, the same ones or others, and values that are like a key',
      pickle(
        ...[']', put(0), '(', '}', put(1), '(', text('a'), put(2), int(1), text('b'), put(3), int(2), text('c')],
        ...[
          put(4),
          int(3),
          'u',
          '}',
          put(5),
          '(',
          text('b'),
          put(6),
          get(2),
          get(2),
          text('a'),
          put(7),
          'u',
          text('c'),
        ],
        ...[put(8), get(4), '}', put(9), '(', get(6), get(8), text('d'), put(10), get(7), 'u'],
        ...['}', put(11), '(', int(1), get(10), get(4), text('d'), put(12), int(2), get(12), text('a'), put(13)],
        ...[get(3), 'u', 'e'],
      ),
    ],
    // Regression: integers beyond the doubles were taken for the equal of Infinity.
    [
      'a big integer and infinity as keys',
      pickle(
        '}',
        put(0),
        '(',
        bytesOf('\x8a', 129, ...new Array(128).fill(0), 1),
        int(1),
        float(0x7ff0000000000000n),
        int(2),
        'u',
      ),
    ],
  ])('%s', async (_name, data) => {
    expect((await resaved(data)).toString('latin1')).toBe(data.toString('latin1'));
  });
});

describe('a root that is no object', () => {
  // Regression: nothing was remembered of such a root, so that 1.0 came back as 1, in the newest layout.
  test.each<[name: string, data: Buffer]>([
    ['an integral float', pickle(one)],
    ['negative zero', pickle(float(0x8000000000000000n))],
    ['an unusual NaN', pickle(negativeNan)],
    ['a string', pickle(text('x'), put(0))],
    ['None, of protocol 3', bytesOf('\x80\x03', 'N.')],
    ['True, of protocol 5', bytesOf('\x80\x05', '\x88.')],
  ])('keeps its type and protocol: %s', async (_name, data) => {
    expect((await resaved(data)).toString('latin1')).toBe(data.toString('latin1'));
  });

  test('keeps the layout of its file', async () => {
    const first = await toBytes(7, { torchVersion: '1.13' });
    expect(Buffer.from(await toBytes(await load(first))).equals(first)).toBe(true);
    const second = await toBytes(7, { torchVersion: '2.6' });
    expect(Buffer.from(await toBytes(await load(second))).equals(second)).toBe(true);
  });

  test('is forgotten after sixteen others', async () => {
    await load(zipCheckpoint({ 'data.pkl': pickle(one) }));
    for (let i = 2; i < 18; i++) await load(zipCheckpoint({ 'data.pkl': pickle(int(i)) }));
    expect(await pickled(await toBytes(1))).toEqual(pickle(int(1)));
  });
});

// Regression: the two keys stood the other way round.
test('of a tensor with both flags neg comes first, as from PyTorch', async () => {
  const tensor = Tensor.from(Float32Array.of(1, 2), { dtype: DType.complex64, shape: [1] });
  tensor.conj = true;
  tensor.neg = true;
  const data = await pickled(await toBytes(tensor));
  expect(data.indexOf('neg')).toBeGreaterThan(0);
  expect(data.indexOf('conj')).toBeGreaterThan(data.indexOf('neg'));
});

describe('what Python 2 called the exceptions', () => {
  // Regression: those it did not have were written as if it had, and no Python could load them.
  test.each([
    ['FileNotFoundError', 'cexceptions\nOSError\n'],
    ['ModuleNotFoundError', 'cexceptions\nImportError\n'],
    ['ValueError', 'cexceptions\nValueError\n'],
    ['RecursionError', 'c__builtin__\nRecursionError\n'],
  ])('%s', async (name, written) => {
    const data = await pickled(await toBytes([new PyGlobal('builtins', name)]));
    expect(data.toString('latin1')).toContain(written);
  });
});
