// Promise: every value prints as Python and PyTorch print it, quickly, and never by throwing.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import { DType } from '../lib/dtype';
import { CheckpointError } from '../lib/errors';
import { loadSync } from '../lib/load';
import { noteFloat } from '../lib/pickle/notes';
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  Layout,
  OrderedDict,
  PyGlobal,
  PyObject,
  type PyValue,
  pyFloat,
  pyInt,
  QScheme,
  Size,
  Tuple,
} from '../lib/pickle/values';
import { moduleExtraRepr, repr, reprText } from '../lib/repr';
import { setPrintOptions } from '../lib/tensor/print';
import { exponential, fixed, floatRepr } from '../lib/tensor/print-number';
import { MemoryBytes, Storage, type StorageBytes } from '../lib/tensor/storage';
import { Parameter, Tensor } from '../lib/tensor/tensor';
import { build, type PrintCase } from './oracle/print-case';

const recorded = JSON.parse(readFileSync(join(__dirname, 'fixtures/print.json'), 'utf8')) as {
  cases: PrintCase[];
  values: string[];
};

afterEach(() => setPrintOptions({ profile: 'default' }));

test('150 tensors recorded from PyTorch', () => {
  expect(recorded.cases).toHaveLength(150);
  for (const { options, tensor, text } of recorded.cases) {
    setPrintOptions({ ...options, sciMode: options.sci_mode ?? undefined });
    const built = build(tensor);
    expect(repr(built), JSON.stringify({ options, tensor })).toBe(text);
    expect(String(built)).toBe(text);
    expect(inspect(built)).toBe(text);
  }
});

const global = (name: string): PyGlobal =>
  new PyGlobal(name.slice(0, name.lastIndexOf('.')), name.slice(name.lastIndexOf('.') + 1));
const object = (name: string, args: PyValue[], state?: PyValue): PyObject =>
  new PyObject(global(name), Tuple.from(args), 'reduce', state);
const dict = (entries: Record<string, PyValue>): Map<PyValue, PyValue> => new Map(Object.entries(entries));

function values(): unknown[] {
  const floats = [1, 2.5];
  const cycle: unknown[] = [1];
  cycle.push(cycle);
  const ring = new Map<string, unknown>();
  ring.set('self', ring);
  const defaults = new DefaultDict();
  defaults.factory = global('builtins.list');
  defaults.set('a', [1]);
  const deque = object('collections.deque', [new Tuple(), 3]);
  deque.listItems = [1, 2];
  const dateBytes = (...bytes: number[]): Uint8Array => Uint8Array.from([0x07, 0xe4, 1, 2, ...bytes]);
  return [
    null,
    true,
    1,
    pyFloat(1),
    2n ** 70n,
    1e16,
    1e-5,
    0.0001,
    123456789.123,
    -0,
    1e22,
    Number.POSITIVE_INFINITY,
    Number.NaN,
    "it's",
    'a\'b"\n\0\u00e9\u200b\u{1f600}\\',
    Buffer.from("a'\n\xff", 'latin1'),
    ByteArray.from([120]),
    floats,
    new Tuple(),
    Tuple.of(1),
    Tuple.of(1, 2),
    new Map(),
    new Map<PyValue, PyValue>([
      ['a', [1]],
      [2, null],
    ]),
    new Set(),
    new Set([1]),
    new FrozenSet(),
    new FrozenSet([1]),
    new Complex(1, 2),
    new Complex(0, -1),
    new Complex(1.5, Number.NaN),
    new Complex(-0, 1),
    Size.from([2, 3]),
    new Device('cuda:1'),
    new Device('cpu'),
    DType.float32,
    Layout.strided,
    QScheme.of('per_tensor_affine'),
    new OrderedDict(),
    new OrderedDict<PyValue, string>([
      ['a', 1],
      ['b', Tensor.zeros([2, 2])],
    ]),
    defaults,
    new Counter([
      ['a', 1],
      ['b', 3],
    ]),
    new Counter(),
    global('builtins.int'),
    global('torch.nn.modules.linear.Linear'),
    object('builtins.slice', [1, null, null]),
    object('builtins.range', [0, 3, 1]),
    object('builtins.range', [0, 4, 2]),
    object('argparse.Namespace', [], dict({ a: 1, 'b c': 2 })),
    object('types.SimpleNamespace', [], dict({ a: 1 })),
    deque,
    object('datetime.datetime', [dateBytes(3, 4, 0, 0, 0, 0)]),
    object('datetime.datetime', [dateBytes(3, 4, 5, 0, 0, 6)]),
    object('datetime.date', [dateBytes()]),
    object('datetime.timedelta', [-1, 5, 0]),
    object('pathlib.PosixPath', ['/', 'a', 'b']),
    object('decimal.Decimal', ['1.5']),
    cycle,
    ring,
    dict({
      w: Tensor.from([
        [1, 0],
        [0, 1],
      ]),
      l: [Tensor.zeros([2, 2])],
    }),
    new Storage('', 'cpu', DType.uint8, new MemoryBytes(new Uint8Array(0)), true),
    Tensor.from([1, 2.5]).storage,
  ];
}

// Regression: a Storage showed its inner objects, and a frozenset what JavaScript calls one.
test('String and console.log of storages and frozensets are repr', () => {
  const storage = Tensor.from([1, 2.5]).storage;
  for (const value of [storage, new FrozenSet([1, 'a'])]) {
    expect(String(value)).toBe(repr(value));
    expect(inspect(value)).toBe(repr(value));
  }
  expect(String(storage)).toBe(' 1.0\n 2.5\n[torch.storage.TypedStorage(dtype=torch.float32, device=cpu) of size 2]');
  expect(String(new FrozenSet([1, 'a']))).toBe("frozenset({1, 'a'})");
});

// What Python 3.11 prints of them; dates, patterns and others were shown as the calls that make them.
test.each([
  [
    'cdatetime\ntime\n(C\x06\x01\x02\x03\x00\x00\x00cdatetime\ntimezone\ncdatetime\ntimedelta\n(K\x00K\x00K\x00tR\x85RtR',
    'datetime.time(1, 2, 3, tzinfo=datetime.timezone.utc)',
  ],
  [
    'cdatetime\ndatetime\nC\x0a\x07\xe8\x81\x01\x01\x02\x00\x00\x00\x05\x85R',
    'datetime.datetime(2024, 1, 1, 1, 2, 0, 5, fold=1)',
  ],
  [
    'cdatetime\ntimezone\ncdatetime\ntimedelta\n(K\x00MXMK\x00tRX\x03\x00\x00\x00IST\x86R',
    "datetime.timezone(datetime.timedelta(seconds=19800), 'IST')",
  ],
  ['cre\n_compile\nX\x02\x00\x00\x00a+K\x2a\x86R', "re.compile('a+', re.IGNORECASE|re.MULTILINE)"],
  ['cfractions\nFraction\nX\x03\x00\x00\x003/7\x85R', 'Fraction(3, 7)'],
  ['cfractions\nFraction\nK\x03K\x07\x86R', 'Fraction(3, 7)'],
  ['cuuid\nUUID\n)\x81}X\x03\x00\x00\x00intK\x05sb', "UUID('00000000-0000-0000-0000-000000000005')"],
  ['cpathlib\nPureWindowsPath\nX\x03\x00\x00\x00C:\\X\x01\x00\x00\x00x\x86R', "PureWindowsPath('C:/x')"],
  ['c__builtin__\nEllipsis\n', 'Ellipsis'],
  ['c__builtin__\ntype\nN\x85R', "<class 'NoneType'>"],
])('of the standard library: %j', (opcodes, text) => {
  expect(repr(loadSync(Buffer.from(`\x80\x03${opcodes}.`, 'latin1')))).toBe(text);
});

test('Python values as Python prints them', () => {
  expect(values().map(repr)).toEqual(recorded.values);
});

test('integral numbers are ints unless a slot remembers a float', () => {
  const list = [1, 1];
  noteFloat(list, 1, 1);
  expect(repr(list)).toBe('[1, 1.0]');
  expect(repr([pyInt(1), pyFloat(2), 2 ** 53])).toBe('[1, 2.0, 9007199254740992.0]');
});

test('the examples of the specification', () => {
  const f32 = (data: number[]): string => repr(Tensor.from(data));
  expect(f32([1.5, 2, 300])).toBe('tensor([  1.5000,   2.0000, 300.0000])');
  expect(f32([1, Number.POSITIVE_INFINITY])).toBe('tensor([1., inf])');
  expect(repr(Tensor.arange(1001))).toBe('tensor([   0,    1,    2,  ...,  998,  999, 1000])');
  expect(repr(Tensor.zeros([2, 3], { device: 'meta' }))).toBe("tensor(..., device='meta', size=(2, 3))");
  expect(repr(Tensor.zeros([2]).to('cuda:1'))).toBe("tensor([0., 0.], device='cuda:1')");
  expect(repr(new Parameter(Tensor.zeros([2])))).toBe('Parameter containing:\ntensor([0., 0.], requires_grad=True)');
  expect(repr(Tensor.arange(10000, { dtype: DType.float32 }).reshape(100, 100)).split('\n')[1]).toBe(
    '         9.9000e+01],',
  );
  const sub = Tensor.zeros([1]);
  sub.pythonType = global('my.pkg.Masked');
  expect(repr(sub)).toBe('Masked([0.])');
});

function module(name: string, children: Record<string, PyValue>): PyObject {
  return new PyObject(global(name), new Tuple(), 'newobj', dict({ _modules: dict(children) }));
}

describe('modules without a class', () => {
  test('print as trees, ModuleLists collapsed', () => {
    const relu = (): PyObject => module('torch.nn.modules.activation.ReLU', {});
    const net = module('m.Net', {
      list: module('torch.nn.modules.container.ModuleList', { 0: relu(), 1: relu() }),
      none: null,
    });
    expect(repr(net)).toBe('Net(\n  (list): ModuleList(\n    (0-1): 2 x ReLU()\n  )\n  (none): None\n)');
  });
  test('take what is registered for the parentheses', () => {
    moduleExtraRepr.set('m.Linear', () => 'in=1, out=2');
    expect(repr(module('m.Linear', {}))).toBe('Linear(in=1, out=2)');
    moduleExtraRepr.delete('m.Linear');
  });
});

test('a JavaScript class gives its own text', () => {
  expect(repr([{ [reprText]: () => 'Mine()' }])).toBe('[Mine()]');
});

test('numbers as C writes them: ties to even, exponents of two digits, beyond 1e21', () => {
  expect([0.5, 1.5, 2.5, -0.5, -0].map((x) => fixed(x, 0))).toEqual(['0', '2', '2', '-0', '-0']);
  expect([fixed(0.125, 2), fixed(0.375, 2), fixed(1e22, 1), fixed(5e-324, 2)]).toEqual([
    '0.12',
    '0.38',
    '10000000000000000000000.0',
    '0.00',
  ]);
  expect([exponential(2.5, 0), exponential(3.5, 0), exponential(1e100, 2), exponential(0, 4)]).toEqual([
    '2e+00',
    '4e+00',
    '1.00e+100',
    '0.0000e+00',
  ]);
  expect([1e15, 1e16, 1e-4, 1e-5, 5e-324].map(floatRepr)).toEqual([
    '1000000000000000.0',
    '1e+16',
    '0.0001',
    '1e-05',
    '5e-324',
  ]);
});

describe('hostile values', () => {
  // Regression: a million levels took five seconds and a gigabyte.
  test('nesting beyond any stack: the text of a value ends at 10,000 levels, that of its neighbour does not', () => {
    let list: PyValue = [];
    for (let i = 0; i < 200_000; i++) list = i % 2 ? Tuple.of(list) : [list];
    expect(repr([list, 1])).toBe(`[${'(['.repeat(4_999)}(...,)${'],)'.repeat(4_999)}, 1]`);
    let net: PyValue = null;
    for (let i = 0; i < 5000; i++) net = module('m.M', { x: net });
    expect(repr(net)).toContain('...');
  });
  test('a small graph with a text without end', () => {
    let list: PyValue = ['x'.repeat(1 << 20)];
    for (let i = 0; i < 30; i++) list = [list, list];
    expect(repr(list).endsWith('...')).toBe(true);
  });
  test('what is shown again and again is cut off soon, what is shown once is shown whole', () => {
    // Regression: such a tuple took most of a minute and hundreds of megabytes.
    let laughs: PyValue = Tuple.of<PyValue>('ha', 'ha');
    for (let i = 0; i < 60; i++) laughs = Tuple.of<PyValue>(laughs, laughs);
    const started = process.cpuUsage();
    const text = repr(laughs);
    expect(text.endsWith('...')).toBe(true);
    expect(text.length).toBeLessThan(2 ** 23);
    expect(process.cpuUsage(started).user).toBeLessThan(5_000_000);
    const once = repr(Array.from({ length: 300_000 }, (_, i) => Tuple.of<PyValue>(i, 'once')));
    expect(once.endsWith("(299999, 'once')]")).toBe(true);
    const twice = Tuple.of(0.9, 0.999);
    expect(repr([twice, twice])).toBe('[(0.9, 0.999), (0.9, 0.999)]');
  });
  test('a shape of repeated elements', () => {
    const one = Tensor.zeros([1]);
    const huge = one.expand(...new Array<number>(30).fill(3));
    expect(repr(huge)).toContain('...');
  });
  test('bytes that cannot be read show as none', () => {
    const broken: StorageBytes = {
      byteLength: 8,
      zeroCopy: false,
      bytes: () => {
        throw new CheckpointError('CLOSED', 'closed');
      },
      span: () => {
        throw new CheckpointError('CLOSED', 'closed');
      },
      read: () => Promise.reject(new Error('unused')),
      slice: () => broken,
    };
    const storage = new Storage('0', 'not a device!', DType.int32, broken);
    expect(repr(new Tensor(storage, DType.int32, [2], [1], 0))).toBe(
      "tensor(..., device='not a device!', size=(2,), dtype=torch.int32)",
    );
    expect(repr(Tensor.fromStream({ dtype: DType.float32, shape: [3] }, async function* () {}))).toBe(
      'tensor(..., size=(3,))',
    );
  });
});

test('a large tensor is read at its edges only', () => {
  let spans = 0;
  const numel = 2 ** 31;
  const source: StorageBytes = {
    byteLength: numel * 4,
    zeroCopy: false,
    bytes: () => {
      throw new Error('the whole storage was asked for');
    },
    span: () => {
      spans++;
      return new Uint8Array(8);
    },
    read: () => Promise.reject(new Error('unused')),
    slice: () => source,
  };
  const tensor = new Tensor(new Storage('', 'cpu', DType.float32, source), DType.float32, [numel], [0], 0);
  expect(repr(tensor)).toBe('tensor([0., 0., 0.,  ..., 0., 0., 0.])');
  expect(spans).toBe(1);
});

test('print options are checked and profiles restore them', () => {
  expect(() => setPrintOptions({ precision: -1 })).toThrow(RangeError);
  expect(() => setPrintOptions({ profile: 'huge' as 'full' })).toThrow(TypeError);
  setPrintOptions({ profile: 'short' });
  expect(repr(Tensor.from([1.5]))).toBe('tensor([1.50])');
  setPrintOptions({ profile: 'full' });
  expect(repr(Tensor.arange(1001))).not.toContain('...');
});
