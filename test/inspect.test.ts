/** Promise: what `inspect`, `show`, `diff`, `scan`, `diagnose` and `verify` say of a file is true, for every container. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { printable, shorten } from '../lib/cli/text';
import { anyOf } from '../lib/glob';
import { diagnose } from '../lib/inspect/diagnose';
import { diff } from '../lib/inspect/diff';
import { inspect } from '../lib/inspect/inspect';
import { pickleGlobals } from '../lib/inspect/pickle-globals';
import { scan } from '../lib/inspect/scan';
import { show } from '../lib/inspect/show';
import { openSync } from '../lib/load';
import { bytesOf, dict, floats, py, storageId, tar, tensor, zipCheckpoint } from './container-samples';

const fixtures = join(__dirname, 'fixtures', 'valid');
const files = existsSync(fixtures)
  ? readdirSync(fixtures).filter((name) => /\.(?:pt|pkl|safetensors)$/.test(name))
  : [];

function window(offset: number, shape: number[], stride: number[], numel = 4): Buffer {
  const ints = (values: number[]): Buffer => py.tuple(...values.map(py.int));
  return bytesOf(
    py.global('torch._utils', '_rebuild_tensor_v2'),
    py.tuple(
      storageId({ key: '0', numel }),
      py.int(offset),
      ints(shape),
      ints(stride),
      '\x89',
      bytesOf(py.global('collections', 'OrderedDict'), ')R'),
    ),
    'R',
  );
}
const holding = (entries: Readonly<Record<string, Uint8Array>>, data = floats(1, 2, 3, 4)): Uint8Array =>
  zipCheckpoint({ 'data.pkl': py.pickle(dict(entries)), 'data/0': data });

describe.each(files)('%s', (name) => {
  const path = join(fixtures, name);

  test('inspect lists what open lists', async () => {
    const inspection = await inspect(path);
    using checkpoint = openSync(path);
    expect(inspection.tensors.map(({ path: one }) => one)).toEqual([...checkpoint.tensors()].map(([one]) => one));
    expect(inspection.unreachableBytes).toBeLessThanOrEqual(inspection.storageBytes);
    for (const group of inspection.aliases) expect(group.length).toBeGreaterThan(1);
  });

  test('it equals itself, is not dangerous, and every tensor can be shown', async () => {
    expect(await diff(path, path)).toMatchObject({ equal: true });
    const { verdict, globals } = await scan(path);
    expect(verdict).not.toBe('dangerous');
    using checkpoint = openSync(path);
    const scanned = new Set(globals.map((global) => global.name));
    for (const { global } of checkpoint.info.globals) expect(scanned).toContain(global);
    for (const [one] of [...checkpoint.tensors()].slice(0, 5)) expect((await show(path, one)).text).not.toBe('');
  });
});

describe('inspect', () => {
  test('counts aliases once and views as what they reach', async () => {
    const report = await inspect(
      holding({ whole: window(0, [4], [1]), tied: window(0, [4], [1]), tail: window(2, [2], [1]) }),
    );
    expect(report).toMatchObject({
      parameters: 4,
      tensorBytes: 16,
      storageBytes: 16,
      unreachableBytes: 0,
      aliases: [['whole', 'tied', 'tail']],
    });
    const part = await inspect(holding({ head: window(0, [1], [1]), repeated: window(3, [5], [0]) }));
    expect(part).toMatchObject({ parameters: 2, tensorBytes: 8, storageBytes: 16, unreachableBytes: 8 });
  });

  test('lists values with the kind that Python gives them', async () => {
    const { values } = await inspect(
      holding({
        n: py.int(3),
        x: bytesOf('G', [0x40, 8, 0, 0, 0, 0, 0, 0]),
        pair: bytesOf(py.int(1), py.int(2), '\x86'),
        none: Buffer.from('N'),
      }),
    );
    expect(values).toEqual([
      { path: 'n', kind: 'int', repr: '3' },
      { path: 'x', kind: 'float', repr: '3.0' },
      { path: 'pair', kind: 'tuple', repr: '(1, 2)' },
      { path: 'none', kind: 'None', repr: 'None' },
    ]);
  });

  test('says loudly what is unsafe, and loads it inert', async () => {
    const report = await inspect(
      holding({
        w: tensor({ key: '0', numel: 4 }),
        run: bytesOf(py.global('os', 'system'), py.tuple(py.text('true')), 'R'),
      }),
    );
    expect(report.warnings[0]).toMatch(/^UNSAFE: .*os\.system/);
    expect(report.verdicts).toContainEqual({ name: 'os.system', verdict: 'dangerous' });
  });

  test('a key named like a property of objects is only a name', async () => {
    const report = await inspect(holding({ __proto__x: py.int(1), ['__proto__']: tensor({ key: '0', numel: 4 }) }));
    expect(report.values.map(({ path }) => path)).toContain('__proto__x');
    expect(({} as Record<string, unknown>)['path']).toBeUndefined();
  });
});

describe('show', () => {
  test('statistics leave NaN and infinities out', async () => {
    const { statistics } = await show(
      holding({ w: window(0, [6], [1], 6) }, floats(0, Number.NaN, Number.POSITIVE_INFINITY, -2, 2, 4)),
      'w',
    );
    expect(statistics).toMatchObject({ numel: 6, nan: 1, inf: 1, zeros: 1, min: -2, max: 4, mean: 1 });
    expect(statistics?.std).toBeCloseTo(Math.sqrt(20 / 3), 12);
    expect(statistics?.histogram?.reduce((sum, { count }) => sum + count, 0)).toBe(4);
  });

  test('an unknown path comes with those that look like it', async () => {
    await expect(show(holding({ 'encoder.weight': window(0, [4], [1]) }), 'weight')).rejects.toThrow(
      /did you mean "encoder\.weight"/,
    );
  });
});

describe('diff', () => {
  const a = holding({ w: window(0, [4], [1]) });

  test('NaN equals NaN and -0 equals 0', async () => {
    const [x, y] = [floats(Number.NaN, 0, 1, 2), floats(Number.NaN, -0, 1, 2)];
    // Another NaN: the sign bit is set.
    y[3] = (y[3] as number) | 0x80;
    expect(await diff(holding({ w: window(0, [4], [1]) }, x), holding({ w: window(0, [4], [1]) }, y))).toMatchObject({
      equal: true,
    });
  });

  test('an element that became NaN is as far as can be', async () => {
    const report = await diff(a, holding({ w: window(0, [4], [1]) }, floats(1, 2, 3, Number.NaN)), { atol: 1e9 });
    expect(report.changed).toEqual([
      { path: 'w', reason: 'values', count: 1, maxAbs: Number.POSITIVE_INFINITY, maxUlp: Number.POSITIVE_INFINITY },
    ]);
  });

  test('shape, sharing and strides', async () => {
    expect((await diff(a, holding({ w: window(0, [2, 2], [2, 1]) }))).changed).toEqual([
      { path: 'w', reason: 'shape', a: '[4]', b: '[2, 2]' },
    ]);
    const strided = holding({ w: window(0, [2, 2], [1, 2]) }, floats(1, 3, 2, 4));
    expect(await diff(holding({ w: window(0, [2, 2], [2, 1]) }), strided)).toMatchObject({ equal: true });
    const tied = holding({ a: window(0, [2], [1]), b: window(0, [2], [1]) });
    const apart = zipCheckpoint({
      'data.pkl': py.pickle(dict({ a: tensor({ key: '0', numel: 2 }), b: tensor({ key: '1', numel: 2 }) })),
      'data/0': floats(1, 2),
      'data/1': floats(1, 2),
    });
    expect((await diff(tied, apart)).changed).toEqual([
      { path: 'a', reason: 'aliases', a: 'shared by a, b', b: 'not shared' },
    ]);
  });

  test('ten thousand views of one storage are compared at once', async () => {
    // Regression: every path of a group was compared with its whole group.
    const views = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`v${i}`, window(i % 4, [1], [1])]));
    const started = Date.now();
    const bytes = holding(views);
    expect(await diff(bytes, bytes)).toMatchObject({ equal: true });
    expect(Date.now() - started).toBeLessThan(15_000);
  });
});

describe('scan', () => {
  test('random weights that look like opcodes are no pickle', async () => {
    // Regression: PROTO and STACK_GLOBAL by chance were taken for a hidden name.
    const { verdict, findings } = await scan(
      zipCheckpoint({
        'data/0': bytesOf([
          0x80, 2, 0x4e, 0x4e, 0x93, 0x4e, 0x4e, 0x4e, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
        ]),
      }),
    );
    expect({ verdict, findings }).toEqual({ verdict: 'safe', findings: [] });
  });

  test('allowed globals count as safe', async () => {
    const bytes = py.pickle(py.global('mine.models', 'Net'), ')R');
    expect(await scan(bytes)).toMatchObject({ verdict: 'unknown' });
    expect(await scan(bytes, { allow: ['mine.*'] })).toMatchObject({ verdict: 'safe' });
  });

  test('a tar is looked into', async () => {
    const bytes = tar({
      pickle: py.pickle(py.global('posix', 'system'), py.tuple(py.text('true')), 'R'),
      tensors: py.pickle('N'),
      storages: py.pickle('N'),
    });
    expect(await scan(bytes)).toMatchObject({ verdict: 'dangerous' });
  });

  test('no bytes make it throw', async () => {
    const whole = zipCheckpoint();
    for (let at = 0; at < whole.length; at += 7) {
      await expect(scan(whole.subarray(0, at))).resolves.toHaveProperty('verdict');
      const flipped = Buffer.from(whole);
      flipped[at] = (flipped[at] as number) ^ 0xff;
      await expect(scan(flipped)).resolves.toHaveProperty('verdict');
    }
  });

  test('the opcode walk never throws, and tells the end', () => {
    const pickle = py.pickle(py.global('a', 'B'), py.tuple(py.text('x')), 'R');
    expect(pickleGlobals(pickle)).toMatchObject({ whole: true, byteEnd: pickle.length });
    for (let at = 0; at < pickle.length; at++) expect(pickleGlobals(pickle.subarray(0, at)).whole).toBe(false);
  });
});

describe('diagnose', () => {
  test.each([
    ['empty', Buffer.alloc(0)],
    ['gzip', bytesOf([0x1f, 0x8b, 8, 0, 0, 0, 0, 0])],
    ['json', Buffer.from('{"error": "unauthorized"}')],
    ['zeros', Buffer.alloc(5000)],
    ['hdf5', Buffer.from('\x89HDF\r\n\x1a\n and so on', 'latin1')],
  ])('%s', async (kind, bytes) => {
    const diagnosis = await diagnose(bytes);
    expect(diagnosis).toMatchObject({ ok: false, kind });
    expect(diagnosis.message).not.toBe('');
  });

  test('a healthy one', async () => {
    expect(await diagnose(zipCheckpoint())).toMatchObject({ ok: true, kind: 'zip' });
  });
});

describe('text', () => {
  test('escapes what repaints a terminal', () => {
    expect(printable('a\x1b[2J\u202eb\n\u009bc\ud800')).toBe('a\\x1b[2J\\u202eb\\n\\x9bc\\ud800');
    expect(printable('层.重み.é')).toBe('层.重み.é');
  });

  test('shortens in the middle, by columns', () => {
    expect(shorten('abcdefghij', 7)).toBe('abc…hij');
    expect(shorten('漢字漢字漢字', 7)).toBe('漢…字');
  });

  test.each([
    ['*', 'a.b', true],
    ['a.*.c', 'a.b.c', true],
    ['a.*.c', 'a.c', false],
    ['a', 'a.b', true],
    ['a', 'ab', false],
    ['a', 'a[0]', true],
    ['*b*b', 'bb', true],
    ['*b*b', 'b', false],
    ['a?c', 'abc', true],
  ])('glob %s on %s', (glob, path, expected) => {
    expect(anyOf([glob])?.(path)).toBe(expected);
  });
});
