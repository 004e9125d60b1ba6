// Promise: what PyTorch wrote is saved again byte for byte, and PyTorch opens everything that is saved here: the same
// values, types, sharing and strides.
// Runs where TORCH_PYTHON names a Python with torch, and again for TORCH_PYTHON_OLD, one with torch 1.13.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  DType,
  load,
  loadSync,
  OrderedDict,
  openSync,
  Parameter,
  pyFloat,
  type SaveOptions,
  save,
  Tensor,
  Tuple,
  toBytes,
} from '../../lib/index';

const SCRIPT = join(__dirname, 'save.py');
const PYTHONS = [
  ['TORCH_PYTHON', process.env['TORCH_PYTHON'], false],
  ['TORCH_PYTHON_OLD', process.env['TORCH_PYTHON_OLD'], true],
] as const;

let top: string;
beforeAll(() => {
  top = mkdtempSync(join(tmpdir(), 'save-oracle-'));
});
afterAll(() => rmSync(top, { recursive: true, force: true }));

interface Made {
  readonly name: string;
  readonly path: string | null;
  readonly error: string | null;
}

/** Gives each request to the Python and returns its answers. */
function ask<T>(python: string, command: string, requests: readonly object[]): T[] {
  const input = requests.map((request) => `${JSON.stringify(request)}\n`).join('');
  const output = execFileSync(python, [SCRIPT, command], {
    input,
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  return output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
}

/** A root that is no object remembers nothing of its file, and a hole of `skip_data` has a checksum of zero. */
const IRREPRODUCIBLE = /^(protocol_(int|none|text)|frames_first|skipdata)/;
/** Tagged with a device that this machine need not have. */
const ON_DEVICE = /^tagged/;
/** What the layout of 1.13 has no form for, or loses. */
const NOT_IN_OLD = /^(dtypes|nested|jagged|gradients|special_tensors|numbers_and_strings|odd_|sparse|protocol_all)/;
/** Legacy files of these are written as PyTorch writes them, and cannot be read by PyTorch itself. */
const NOT_IN_LEGACY = /^(dtypes|nested|untyped_storage|protocol_all)/;

describe.each(PYTHONS)('with %s', (variable, python, old) => {
  if (!python) {
    test.skip(`SKIPPED: set ${variable} to a Python with torch${old ? ' 1.13' : ''}`, () => undefined);
    return;
  }
  let files: { name: string; path: string }[];
  beforeAll(() => {
    const made = execFileSync(python, [SCRIPT, 'make', join(top, variable)], {
      encoding: 'utf8',
      maxBuffer: 2 ** 30,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    files = made
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Made)
      .filter((one): one is Made & { path: string } => one.path !== null);
  }, 300_000);

  test('every file is written again as it was', { timeout: 600_000 }, async () => {
    expect(files.length).toBeGreaterThan(150);
    const different: string[] = [];
    for (const { name, path } of files) {
      const checkpoint = openSync(path);
      const { archiveName } = checkpoint.info;
      // What was on another device stays on it only in `open`.
      const root = ON_DEVICE.test(name) ? checkpoint.root : await load(path);
      if (archiveName === undefined) throw new Error(`${name} has no archive name`);
      const same = Buffer.from(await toBytes(root, { recordPrefix: archiveName })).equals(readFileSync(path));
      if (!same && !IRREPRODUCIBLE.test(name)) different.push(name);
    }
    expect(different).toEqual([]);
  });

  const settings: [name: string, options: SaveOptions, skip: RegExp, request: object][] = [
    ['the other protocol', { pickleProtocol: 5 }, /^$/, {}],
    [
      'protocol 3, large alignment',
      { pickleProtocol: 3, storageAlignment: 65536 },
      /^(objects4|kwargs_objects_p4)/,
      {},
    ],
    [
      'protocol 2, no alignment, no checksums',
      { pickleProtocol: 2, storageAlignment: 1, crc32: false },
      /^objects4/,
      {},
    ],
    ['the legacy stream', { format: 'legacy' }, NOT_IN_LEGACY, {}],
    ['compact', { compact: true }, /^$/, { tolerant: true }],
    ...(old
      ? ([['the layout of 1.13', { torchVersion: '1.13' }, /^$/, {}]] as const).map(
          (one): [string, SaveOptions, RegExp, object] => [...one],
        )
      : (
          [
            ['the layout of 2.6', { torchVersion: '2.6' }, /^$/, {}],
            ['the layout of 2.13, mapped', { torchVersion: '2.13' }, /^$/, { mmap: true }],
            ['the layout of 1.13', { torchVersion: '1.13' }, NOT_IN_OLD, {}],
          ] as const
        ).map((one): [string, SaveOptions, RegExp, object] => [...one])),
  ];
  test.each(settings)('PyTorch reads the same from %s', { timeout: 600_000 }, async (_, options, skip, request) => {
    const out = mkdtempSync(join(top, 'out-'));
    // 1.13 cannot load its own subclasses under Python 3.11.
    const chosen = files.filter(
      ({ name }) => !skip.test(name) && !ON_DEVICE.test(name) && !(old && name === 'subclasses'),
    );
    const requests: object[] = [];
    for (const { name, path } of chosen) {
      const b = join(out, `${requests.length}.pt`);
      await save(loadSync(path), b, { ...options, fsync: false }).catch((error: Error) =>
        expect.unreachable(`${name}: ${error.message}`),
      );
      requests.push({ a: path, b, ...request });
    }
    const answers = ask<string | null>(python, 'compare', requests);
    const wrong = answers.flatMap((answer, i) => (answer === null ? [] : [`${chosen[i]?.name}: ${answer}`]));
    expect(answers.length).toBe(chosen.length);
    expect(wrong).toEqual([]);
    if (options.crc32 !== false && options.format !== 'legacy') {
      // A file without checksums stays one.
      const zips = requests.flatMap((one, i) =>
        chosen[i]?.name === 'nocrc.pt' ? [] : [{ path: (one as { b: string }).b }],
      );
      const broken = ask<string | null>(python, 'zips', zips);
      expect(broken.filter((answer) => answer !== null)).toEqual([]);
    }
    rmSync(out, { recursive: true });
  });

  test('values made here', { timeout: 120_000 }, async () => {
    const out = join(top, `${variable}-made`);
    mkdirSync(out);
    const base = Tensor.from(Float32Array.of(0, 1, 2, 3, 4, 5));
    const value = {
      dict: {
        a: 1,
        b: pyFloat(1),
        c: 2.5,
        d: null,
        e: true,
        big: 2n ** 70n,
        text: 'é😀',
        bytes: Uint8Array.of(0, 255),
      },
      list: [1, [2, ['x']], Tuple.of(1, 2, 3, 4)],
      state: new OrderedDict([['w', base]]),
      views: [base, base.narrow(0, 1, 2), base.view(2, 3).transpose(0, 1)],
      parameter: new Parameter(Tensor.from(Float32Array.of(7)), true),
      frozen: new Parameter(Tensor.from(Float32Array.of(8)), false),
      dtypes: [DType.float64, DType.float16, DType.bfloat16, DType.int64, DType.int8, DType.bool].map((dtype) =>
        Tensor.from([1, 0, 1], { dtype }),
      ),
      shapes: [Tensor.from(Float32Array.of(3), { shape: [] }), Tensor.from(new Float32Array(0), { shape: [0, 2] })],
    };
    const tensor = (
      shape: number[],
      stride: number[],
      offset: number,
      memory: number | null,
      dtype: string,
      hex: string,
      more = {},
    ) => ({ tensor: dtype, shape, stride, offset, grad: false, parameter: false, memory, hex, ...more });
    const hex = (...values: number[]): string => Buffer.from(Float32Array.from(values).buffer).toString('hex');
    const int = (x: number | bigint): object => ({ int: String(x) });
    const expected = {
      dict: [
        [
          'dict',
          {
            dict: [
              ['a', int(1)],
              ['b', { float: '0x1.0000000000000p+0' }],
              ['c', { float: '0x1.4000000000000p+1' }],
              ['d', null],
              ['e', true],
              ['big', int(2n ** 70n)],
              ['text', 'é😀'],
              ['bytes', { bytes: '00ff' }],
            ],
          },
        ],
        ['list', { list: [int(1), { list: [int(2), { list: ['x'] }] }, { tuple: [int(1), int(2), int(3), int(4)] }] }],
        ['state', { OrderedDict: [['w', tensor([6], [1], 0, 0, 'float32', hex(0, 1, 2, 3, 4, 5))]] }],
        [
          'views',
          {
            list: [
              tensor([6], [1], 0, 0, 'float32', hex(0, 1, 2, 3, 4, 5)),
              tensor([2], [1], 1, 0, 'float32', hex(1, 2)),
              tensor([3, 2], [1, 3], 0, 0, 'float32', hex(0, 3, 1, 4, 2, 5)),
            ],
          },
        ],
        ['parameter', tensor([1], [1], 0, 1, 'float32', hex(7), { parameter: true, grad: true })],
        ['frozen', tensor([1], [1], 0, 2, 'float32', hex(8), { parameter: true })],
        [
          'dtypes',
          {
            list: [
              tensor([3], [1], 0, 3, 'float64', '000000000000f03f0000000000000000000000000000f03f'),
              tensor([3], [1], 0, 4, 'float16', '003c0000003c'),
              tensor([3], [1], 0, 5, 'bfloat16', '803f0000803f'),
              tensor([3], [1], 0, 6, 'int64', '010000000000000000000000000000000100000000000000'),
              tensor([3], [1], 0, 7, 'int8', '010001'),
              tensor([3], [1], 0, 8, 'bool', '010001'),
            ],
          },
        ],
        ['shapes', { list: [tensor([], [], 0, 9, 'float32', hex(3)), tensor([0, 2], [2, 1], 0, null, 'float32', '')] }],
      ],
    };
    const requests: object[] = [];
    for (const torchVersion of ['1.13', '2.6', '2.13'] as const) {
      for (const pickleProtocol of [2, 3, 4, 5] as const) {
        for (const format of ['zip', 'legacy'] as const) {
          const path = join(out, `${requests.length}.pt`);
          await save(value, path, { torchVersion, pickleProtocol, format, fsync: false });
          const mmap = format === 'zip' && !old;
          requests.push({ path, mmap, weightsOnly: pickleProtocol === 2 && !old });
        }
      }
    }
    writeFileSync(join(out, 'whole.pt'), await toBytes(value));
    for (const answer of ask<unknown>(python, 'describe', [
      ...requests,
      { path: join(out, 'whole.pt'), weightsOnly: !old },
    ]))
      expect(answer).toEqual(expected);
  });
});
