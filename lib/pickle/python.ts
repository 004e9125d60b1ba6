/** Rules for Python's own types, where the pickle calls them. */

import { type ClassLookup, instantiate } from './classes';
import { filedKey } from './keys';
import { isFloatSlot, moveItemNotes, moveNotes, shareNotes } from './notes';
import { fail, type GlobalRule } from './rules';
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  kindOf,
  OrderedDict,
  PyGlobal,
  PyObject,
  type PyValue,
  Size,
  safeInteger,
  Tuple,
} from './values';

function pairsInto(map: Map<PyValue, PyValue>, items: PyValue | undefined): void {
  if (items === undefined || items === null) return;
  if (items instanceof Map) {
    for (const [key, value] of items) map.set(filedKey(map, key as PyValue), value as PyValue);
    return;
  }
  if (!Array.isArray(items)) fail(`a dict is made from ${kindOf(items)}`);
  for (const pair of items as PyValue[]) {
    if (!Array.isArray(pair) || pair.length !== 2) fail('a dict is made from items that are no pairs');
    const [key, value] = pair as [PyValue, PyValue];
    map.set(filedKey(map, key), value);
  }
}

function items(args: Tuple): Iterable<PyValue> {
  const first = args[0];
  if (first === undefined) return [];
  if (Array.isArray(first) || first instanceof Set) return first as Iterable<PyValue>;
  return fail(`a set is made from ${kindOf(first)}`);
}

/** Fills the set, which then knows of its members what was noted of the list that they come from. */
function filled(set: Set<PyValue>, args: Tuple): Set<PyValue> {
  const members: (PyValue | undefined)[] = [];
  for (const item of items(args)) {
    const member = filedKey(set, item);
    // What is there already stays as it is: 1.0 does not replace 1.
    members.push(set.has(member) ? undefined : member);
    set.add(member);
  }
  if (Array.isArray(args[0])) moveItemNotes(args[0] as PyValue[], members, set);
  return set;
}

/** `bytes(...)` and `bytearray(...)`: nothing, bytes, a list of small integers, or text with its codec. */
function byteValues(args: Tuple): Uint8Array {
  const [first, codec] = args;
  if (first === undefined) return new Uint8Array();
  if (first instanceof Uint8Array) return first.slice();
  if (typeof first === 'string')
    return codec === undefined ? fail('string argument without an encoding') : encode(first, codec);
  if (Array.isArray(first) && first.every((item) => Number.isInteger(item) && item >= 0 && item < 256))
    return Uint8Array.from(first as number[]);
  return fail(`bytes are made from ${kindOf(first)}`);
}

function encode(text: string, codec: PyValue | undefined): Uint8Array {
  switch (codec ?? 'utf-8') {
    case 'latin1':
    case 'latin-1':
    case 'iso-8859-1': {
      const bytes = Buffer.from(text, 'latin1');
      for (let i = 0; i < text.length; i++)
        if (text.charCodeAt(i) > 255) fail('text that is to be Latin-1 bytes has a character above 255');
      return new Uint8Array(bytes);
    }
    case 'ascii':
    case 'utf-8':
    case 'utf8':
      return new Uint8Array(Buffer.from(text, 'utf8'));
    default:
      return fail(`text is encoded with the unknown codec ${String(codec)}`);
  }
}

function number(value: PyValue | undefined): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  return fail(`${kindOf(value)} stands where a number is needed`);
}

function device(args: Tuple): Device {
  const [type, index] = args;
  if (typeof type !== 'string' || !(index === undefined || index === null || typeof index === 'number'))
    fail('torch.device needs a name and an index');
  try {
    return new Device(type as string, (index as number | null | undefined) ?? undefined);
  } catch (error) {
    return fail((error as Error).message);
  }
}

function size(args: Tuple): Size {
  const dims = args[0];
  if (!Array.isArray(dims) || !dims.every((dim, i) => Number.isSafeInteger(dim) && !isFloatSlot(dims, i, dim)))
    return fail('torch.Size is made from something else than integers');
  return Size.from(dims as number[]) as unknown as Size;
}

/** `copyreg._reconstructor(cls, base, baseState)`: how protocols 0 and 1 make objects. */
function reconstruct(args: Tuple, classes: ClassLookup): PyValue {
  const [callable, base, baseState] = args;
  // A class inside a class is the result of `getattr`.
  if (args.length !== 3 || !(callable instanceof PyGlobal || callable instanceof PyObject))
    return fail('copyreg._reconstructor needs a class, its base and a state');
  const object = new PyObject(
    callable,
    baseState === null ? new Tuple() : Tuple.of(baseState as PyValue),
    'reconstructor',
  );
  object.base = base as PyValue;
  const Class = callable instanceof PyGlobal ? classes.get(callable.global) : undefined;
  return Class ? instantiate(Class, object) : object;
}

/** `newObject` of classes that are filled by `__init__`, which NEWOBJ does not call: whatever it is given, they are empty. */
export const pythonRules: readonly (readonly [global: string, rule: GlobalRule])[] = [
  [
    'collections.OrderedDict',
    {
      newObject: () => new OrderedDict(),
      reduce(args) {
        const dict = new OrderedDict();
        pairsInto(dict, args[0]);
        return dict;
      },
    },
  ],
  [
    'collections.defaultdict',
    {
      newObject: () => new DefaultDict(),
      reduce(args) {
        const dict = new DefaultDict();
        const factory = args[0] ?? null;
        if (factory !== null && !(factory instanceof PyGlobal || factory instanceof PyObject))
          return fail(`the factory of a defaultdict is ${kindOf(factory)}: first argument must be callable or None`);
        dict.factory = factory;
        pairsInto(dict, args[1]);
        return dict;
      },
    },
  ],
  [
    'collections.Counter',
    {
      newObject: () => new Counter(),
      reduce(args) {
        const counter = new Counter();
        pairsInto(counter as Map<PyValue, PyValue>, args[0]);
        if (args[0] instanceof Map) shareNotes(args[0], counter);
        return counter;
      },
    },
  ],
  ['builtins.set', { newObject: () => new Set(), reduce: (args) => filled(new Set(), args) }],
  ['builtins.frozenset', { reduce: (args) => filled(new FrozenSet(), args) }],
  ['builtins.bytes', { reduce: byteValues }],
  [
    'builtins.bytearray',
    {
      newObject: () => new ByteArray(),
      reduce(args) {
        const made = new ByteArray(byteValues(args));
        if (args[0] instanceof Uint8Array) shareNotes(args[0], made);
        return made;
      },
    },
  ],
  [
    'builtins.complex',
    {
      reduce(args) {
        const complex = new Complex(number(args[0] ?? 0), number(args[1] ?? 0));
        if (Number.isNaN(complex.re) || Number.isNaN(complex.im)) moveNotes(args, complex);
        return complex;
      },
    },
  ],
  ['builtins.list', { newObject: () => [], reduce: (args) => [...items(args)] }],
  [
    'builtins.dict',
    {
      newObject: () => new Map(),
      reduce(args) {
        const dict = new Map<PyValue, PyValue>();
        pairsInto(dict, args[0]);
        return dict;
      },
    },
  ],
  ['builtins.tuple', { reduce: (args) => Tuple.from(items(args)) }],
  [
    'builtins.int',
    {
      reduce(args) {
        const [value] = args;
        if (typeof value === 'string' && /^[+-]?\d{1,4300}$/.test(value))
          return safeInteger(BigInt(value.replace(/^\+/, '')));
        return value === undefined ? 0 : typeof value === 'bigint' ? value : Math.trunc(number(value));
      },
    },
  ],
  [
    '_codecs.encode',
    {
      isFunction: true,
      reduce(args) {
        const [text, codec] = args;
        if (typeof text !== 'string') return fail(`_codecs.encode is given ${kindOf(text)}`);
        const bytes = encode(text, codec);
        // Both strings may have equal ones elsewhere: the name of the codec, and the one string of each Latin-1 character.
        shareNotes(args, bytes);
        return bytes;
      },
    },
  ],
  ['copyreg._reconstructor', { isFunction: true, reduce: (args, host) => reconstruct(args, host.classes) }],
  ['torch.Size', { reduce: size }],
  ['torch.device', { reduce: device }],
];
