/**
 * The pickler: an object graph in, the bytes that Python's C pickler writes for it out (protocols 2 to 5).
 *
 * Python's memo goes by object identity. Here objects are their own identity, constants and globals go by name, and
 * strings by the notes of `notes.ts`. Containers are written by generators that yield what they contain, driven by one
 * loop with a stack of its own, so that no depth of nesting can overflow ours. The whole graph is pickled, and every value
 * that cannot be is refused with its path, before a byte of output exists.
 */

import type { Relocate } from '../compact';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { NestedTensor } from '../tensor/nested';
import { SparseTensor } from '../tensor/sparse';
import { Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { joinPath } from '../walk';
import { ByteWriter } from './byte-writer';
import { getPickled, type Picklable, pickledForm } from './classes';
import { python2Parts, python3Parts } from './names';
import {
  floatKey,
  type GlobalNames,
  globalNameSlot,
  isFloatSlot,
  isUnmemoized,
  keyIdentity,
  nanBits,
  ROOT_SLOT,
  StringIdentity,
  stringIdentity,
} from './notes';
import { Op } from './opcodes';
import { makeTensorWriter, type TensorWriter } from './tensor-writer';
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  Layout,
  NdArray,
  NumpyScalar,
  OrderedDict,
  PyFloat,
  PyGlobal,
  PyInt,
  PyObject,
  type PyValue,
  QScheme,
  Size,
  Tuple,
  typeName,
} from './values';

export interface PickleTarget {
  readonly protocol: 2 | 3 | 4 | 5;
  /** Layout and tensor forms of this release. */
  readonly torchVersion: '1.13' | '2.6' | '2.13';
  /** True when the caller named the release: nothing is written then that it cannot read. */
  readonly versionAsked: boolean;
  /** The key of a storage in the container, numbered by first mention; `numel` as the persistent id counts it. */
  storageKey(storage: Storage, numel: number): string;
  /** Where the elements of a tensor are to be written: in its storage, or in a part of it. */
  relocate: Relocate;
  /** Told of each storage that stands in the graph by itself, and not under a tensor. */
  readonly keepWhole: ((storage: Storage) => void) | undefined;
  /** How the file that the values came from spelled its globals. */
  readonly globalNames: GlobalNames | undefined;
  /** True where a module class is a persistent id with its source, as in the legacy stream. */
  readonly legacy: boolean;
}

/** Python collects items of lists and dicts in runs of this many. */
const BATCH_ITEMS = 1000;

/** Modules whose types are written in C. */
const C_MODULES: ReadonlySet<string> = new Set(['builtins', 'collections', 'datetime', 'torch']);

/** Something to be written, as a generator yields it: the value, and where it stands for messages and notes. */
export type Child = readonly [value: unknown, container: object | undefined, slot: PyValue, isKey?: boolean];
export type Steps = Generator<Child, void, undefined>;

interface Frame {
  readonly steps: Steps;
  /** The step that led here, for the path in an error message. */
  readonly child: Child;
}

/** A string that is a new object each time it is written. */
export class FreshString {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export class Pickler {
  readonly out = new ByteWriter();
  readonly target: PickleTarget;
  readonly #memo = new Map<unknown, number>();
  /** Memo numbers of globals by module and name, as spelled. */
  readonly #globals = new Map<string, Map<string, number>>();
  /** The spelling of globals for protocols below 3. */
  readonly #spellings = new Map<string, Map<string, readonly [module: string, name: string]>>();
  readonly #stack: Frame[] = [];
  readonly #tensors: TensorWriter;
  #memoCount = 0;

  constructor(target: PickleTarget) {
    this.target = target;
    this.#tensors = makeTensorWriter(this);
  }

  /** The complete pickle of `root`. Throws UNSAVABLE with the path to the value that cannot be written. */
  dump(root: unknown): Uint8Array {
    const { out } = this;
    out.opU8(Op.PROTO, this.target.protocol);
    if (this.target.protocol >= 4) out.startFraming();
    this.#run([root, this.target.globalNames, ROOT_SLOT]);
    out.u8(Op.STOP);
    out.closeFrame();
    return out.bytes();
  }

  #run(root: Child): void {
    const stack = this.#stack;
    let child: Child | undefined = root;
    try {
      for (;;) {
        if (child) {
          const steps = this.#save(child);
          if (steps) stack.push({ steps, child });
          child = undefined;
        }
        const top = stack.at(-1);
        if (!top) return;
        const next: IteratorResult<Child, void> = top.steps.next();
        child = next.done ? undefined : next.value;
        if (next.done) stack.pop();
      }
    } catch (error) {
      if (!(error instanceof CheckpointError) || error.code !== 'UNSAVABLE') throw error;
      const path = this.#path(child ?? root);
      throw new CheckpointError('UNSAVABLE', `${path ? `value at "${path}"` : 'the value'}: ${error.message}`, {
        cause: error.cause,
      });
    }
  }

  #path(last: Child): string {
    let path = '';
    // The state of an object is no step of its own.
    for (const { child } of [...this.#stack, { child: last }])
      if (child[2] !== '' && !child[3] && !(child[1] instanceof PyObject && child[2] === 'state'))
        path = joinPath(path, child[2]);
    return path;
  }

  // ---- memo

  /** Gives the object the next memo number and writes the opcode that stores it. */
  memoize(identity: unknown): void {
    this.#memo.set(identity, this.#memoCount);
    this.memoizeFresh();
  }

  /** The same for an object that is made for the occasion, so that it cannot be met again. */
  memoizeFresh(): void {
    const index = this.#memoCount++;
    if (this.target.protocol >= 4) this.out.u8(Op.MEMOIZE);
    else if (index < 256) this.out.opU8(Op.BINPUT, index);
    else this.out.opU32(Op.LONG_BINPUT, index);
  }

  #get(index: number): void {
    if (index < 256) this.out.opU8(Op.BINGET, index);
    else this.out.opU32(Op.LONG_BINGET, index);
  }

  /**
   * The same for an object that its call has just made. One that was written on the way, as an argument of itself, is
   * taken off the stack again and referred to.
   */
  memoizeMade(identity: object): void {
    if (!this.#memo.has(identity)) return this.memoize(identity);
    this.out.u8(Op.POP);
    this.recall(identity);
  }

  /** Writes a reference when the object was written before. */
  recall(identity: unknown): boolean {
    const index = this.#memo.get(identity);
    if (index === undefined) return false;
    this.#get(index);
    return true;
  }

  // ---- scalars

  int(value: number | bigint): void {
    const { out } = this;
    out.boundary();
    if (value >= 0 && value <= 0xff) out.opU8(Op.BININT1, Number(value));
    else if (value >= 0 && value <= 0xffff) out.opU16(Op.BININT2, Number(value));
    else if (value >= -0x80000000 && value <= 0x7fffffff) out.opI32(Op.BININT, Number(value));
    else {
      const bytes = twosComplement(BigInt(value));
      if (bytes.length < 256) out.opU8(Op.LONG1, bytes.length);
      else out.opI32(Op.LONG4, bytes.length);
      out.raw(bytes);
    }
  }

  float(value: number): void {
    this.out.boundary();
    this.out.opF64(Op.BINFLOAT, value);
  }

  /** A float that may be a NaN with bits of its own in the slot. */
  #slotFloat(value: number, container: object | undefined, slot: PyValue, isKey = false): void {
    this.out.boundary();
    const bits = container && Number.isNaN(value) ? nanBits(container, slot, isKey) : undefined;
    this.out.opF64(Op.BINFLOAT, value, bits);
  }

  bool(value: boolean): void {
    this.out.boundary();
    this.out.u8(value ? Op.NEWTRUE : Op.NEWFALSE);
  }

  /** A string, shared with every other that has the same identity: the text itself unless told otherwise. */
  string(text: string, identity: unknown = text): void {
    this.out.boundary();
    if (this.recall(identity)) return;
    this.#text(text);
    this.memoize(identity);
  }

  /** A string that Python makes anew each time: written again although equal. */
  freshString(text: string): void {
    this.out.boundary();
    this.#text(text);
    this.memoizeFresh();
  }

  #text(text: string): void {
    const { out } = this;
    const short = this.target.protocol >= 4;
    // Almost every string of a checkpoint is a short name.
    if (text.length < 256 && out.shortAscii(text, short ? Op.SHORT_BINUNICODE : Op.BINUNICODE, short ? 1 : 4)) return;
    const data = encodeUtf8(text);
    out.payload(data, () => {
      if (this.target.protocol >= 4 && data.length < 256) out.opU8(Op.SHORT_BINUNICODE, data.length);
      else if (data.length <= 0xffffffff) out.opU32(Op.BINUNICODE, data.length);
      else out.opU64(Op.BINUNICODE8, data.length);
    });
  }

  /** A global in Python 3 names, spelled as the protocol wants it; written once, then recalled, unless told otherwise. */
  global(module: string, name: string, memoized = true): void {
    if (this.target.protocol >= 3) return this.#spelledGlobal(module, name, memoized);
    let ofModule = this.#spellings.get(module);
    if (!ofModule) this.#spellings.set(module, (ofModule = new Map()));
    let spelling = ofModule.get(name);
    if (!spelling) ofModule.set(name, (spelling = python2Parts(module, name)));
    this.#spelledGlobal(spelling[0], spelling[1], memoized);
  }

  #spelledGlobal(module: string, name: string, memoized: boolean): void {
    this.out.boundary();
    let ofModule = this.#globals.get(module);
    const known = ofModule?.get(name);
    if (known !== undefined) return this.#get(known);
    if (this.target.protocol >= 4) {
      for (const part of [0, 1] as const) this.#globalName([module, name], part);
      this.out.u8(Op.STACK_GLOBAL);
    } else {
      this.out.u8(Op.GLOBAL);
      this.out.raw(encodeUtf8(`${module}\n${name}\n`));
    }
    if (!memoized) return;
    if (!ofModule) this.#globals.set(module, (ofModule = new Map()));
    ofModule.set(name, this.#memoCount);
    this.memoizeFresh();
  }

  /** One string of a STACK_GLOBAL. */
  #globalName(spelling: readonly [module: string, name: string], part: 0 | 1): void {
    const text = spelling[part];
    const names = this.target.globalNames;
    const slot = globalNameSlot(spelling[0], spelling[1], part);
    if (names?.has(slot)) this.string(text, stringIdentity(names, slot, text) ?? text);
    // The name of a type that is written in C is a new string at each request.
    else if (part === 1 && C_MODULES.has(spelling[0])) this.freshString(text);
    else this.string(text);
  }

  /** `callable(args)` for an object that the memo is to know as `identity`. */
  call(identity: unknown, module: string, name: string, args: () => void): void {
    this.global(module, name);
    args();
    this.out.u8(Op.REDUCE);
    this.memoize(identity);
  }

  /** The mark before a tuple of more than three items. */
  mark(): void {
    this.out.boundary();
    this.out.u8(Op.MARK);
  }

  /** The opcode for a tuple of `count` items that are on the stack, after `mark` for more than three. */
  tupleOf(count: number): void {
    this.out.u8(count === 1 ? Op.TUPLE1 : count === 2 ? Op.TUPLE2 : count === 3 ? Op.TUPLE3 : Op.TUPLE);
    this.memoizeFresh();
  }

  // ---- values

  /** Writes a leaf and returns nothing, or begins a container and returns the generator of its contents. */
  #save(child: Child): Steps | undefined {
    const [value, container, slot, isKey] = child;
    if (isKey && typeof value !== 'string' && (container instanceof Map || container instanceof Set))
      checkKey(value as PyValue, (key) => container.has(key));
    this.out.boundary();
    switch (typeof value) {
      case 'string':
        this.string(
          value,
          (container && (isKey ? keyIdentity(container, value) : stringIdentity(container, slot, value))) ?? value,
        );
        return undefined;
      case 'number': {
        const key = isKey && container ? floatKey(container, value) : undefined;
        const float =
          key !== undefined ||
          !Number.isSafeInteger(value) ||
          Object.is(value, -0) ||
          (!isKey && container !== undefined && isFloatSlot(container, slot, value));
        if (float) this.#slotFloat(key ?? value, container, slot, isKey);
        else this.int(value);
        return undefined;
      }
      case 'boolean':
        this.bool(value);
        return undefined;
      case 'bigint':
        this.int(value);
        return undefined;
      case 'object':
        if (value === null) {
          this.out.u8(Op.NONE);
          return undefined;
        }
        return this.#saveObject(value, container instanceof PyObject && slot === '__args__');
      default:
        throw refuse(
          value === undefined
            ? 'undefined has no form in a pickle; use null for None, or leave the key out'
            : `a ${typeof value} has no form in a pickle`,
        );
    }
  }

  /** `areArgs`: the value is the tuple of arguments of a call. */
  #saveObject(value: object, areArgs: boolean): Steps | undefined {
    if (this.recall(value)) return undefined;
    if (value instanceof Tensor || value instanceof SparseTensor || value instanceof NestedTensor)
      return this.#tensors.tensor(value);
    if (value instanceof Map) return this.#saveMap(value as Map<PyValue, PyValue>);
    if (Array.isArray(value))
      return value instanceof Tuple ? this.#saveTuple(value, areArgs) : this.#saveList(value as PyValue[]);
    if (value instanceof PyObject) return this.reduction(value, value);
    if (value instanceof Set) return this.#saveSet(value as Set<PyValue>);
    if (value instanceof Storage) return this.#tensors.bareStorage(value);
    if (value instanceof FreshString) return void this.freshString(value.text);
    return this.#saveScalarObject(value) ? undefined : this.#saveOther(value);
  }

  /** Objects without contents. */
  #saveScalarObject(value: object): boolean {
    if (value instanceof PyFloat) this.float(value.value);
    else if (value instanceof PyInt) this.int(value.value);
    else if (value instanceof StringIdentity) this.string(value.text, value);
    else if (value instanceof Complex) {
      this.call(value, 'builtins', 'complex', () => {
        this.#slotFloat(value.re, value, 0);
        this.#slotFloat(value.im, value, 1);
        this.tupleOf(2);
      });
    } else if (value instanceof Uint8Array) this.#saveBytes(value);
    else if (value instanceof Device) {
      this.call(value, 'torch', 'device', () => {
        this.freshString(value.type);
        if (value.index !== undefined) this.int(value.index);
        this.tupleOf(value.index === undefined ? 1 : 2);
      });
    } else if (value instanceof DType || value instanceof QScheme) this.global('torch', value.name);
    else if (value instanceof Layout) {
      this.call(value, 'torch.serialization', '_get_layout', () => {
        this.freshString(String(value));
        this.tupleOf(1);
      });
    } else return false;
    return true;
  }

  #saveOther(value: object): Steps | undefined {
    if (value instanceof PyGlobal) return this.#saveGlobal(value);
    if (value instanceof NdArray || value instanceof NumpyScalar) {
      if (!value.pickled) throw refuse('a numpy value that was not loaded from a file cannot be written; use a Tensor');
      return this.reduction(value.pickled, value);
    }
    const pickled = pickledForm(value);
    const own = (value as Picklable)[getPickled];
    if (own) return this.reduction(own.call(value, pickled), value);
    if (pickled) return this.reduction(pickled, value);
    const prototype = Object.getPrototypeOf(value) as object | null;
    if (prototype === Object.prototype || prototype === null)
      return this.#saveEntries(value, entriesOf(value as Record<string, PyValue>));
    if (value instanceof Date)
      throw refuse('a Date has no form in a pickle; store value.toISOString() or value.getTime() / 1000');
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer)
      throw refuse(`a ${typeName(value)} has no form in a pickle; use Tensor.from(array), or a Uint8Array for bytes`);
    throw refuse(
      `an instance of ${typeName(value)} has no form in a pickle; register its class with register(), or save a plain object, Map or state dict`,
    );
  }

  #saveGlobal(value: PyGlobal): Steps | undefined {
    const [module, name] = python3Parts(value.module, value.name);
    // Several names of Python 3 had one in Python 2, and the other way round: what a file says is kept.
    const isPython2 = module !== value.module || name !== value.name;
    if (isPython2 && this.target.protocol < 3)
      return void this.#spelledGlobal(value.module, value.name, !isUnmemoized(value));
    // Protocols below 4 have no dotted names: Python fetches a nested class from its parent.
    if (this.target.protocol >= 4 || !name.includes('.')) return void this.global(module, name, !isUnmemoized(value));
    const dot = name.lastIndexOf('.');
    const parent = new PyGlobal(module, name.slice(0, dot));
    return this.reduction(
      new PyObject(new PyGlobal('builtins', 'getattr'), Tuple.of<PyValue>(parent, name.slice(dot + 1)), 'reduce'),
      value,
    );
  }

  /** `noted` has the notes of the two strings that old protocols make bytes from. */
  #saveBytes(value: Uint8Array, noted = value): void {
    const { out } = this;
    const { protocol } = this.target;
    if (value instanceof ByteArray) {
      if (protocol >= 5) {
        out.payload(value, () => out.opU64(Op.BYTEARRAY8, value.length));
        return this.memoize(value);
      }
      return this.call(value, 'builtins', 'bytearray', () => {
        if (value.length === 0) return out.u8(Op.EMPTY_TUPLE);
        // The bytes inside are an object of their own, made for the occasion.
        this.#saveBytes(new Uint8Array(value), value);
        this.tupleOf(1);
      });
    }
    if (protocol >= 3) {
      out.payload(value, () => {
        if (value.length < 256) out.opU8(Op.SHORT_BINBYTES, value.length);
        else if (value.length <= 0xffffffff) out.opU32(Op.BINBYTES, value.length);
        else out.opU64(Op.BINBYTES8, value.length);
      });
      return this.memoize(value);
    }
    if (value.length === 0) return this.call(value, 'builtins', 'bytes', () => out.u8(Op.EMPTY_TUPLE));
    this.call(value, '_codecs', 'encode', () => {
      const text = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1');
      // Python has one string object for each Latin-1 character; before 3.12 a literal was another one.
      if (text.length === 1) this.string(text, stringIdentity(noted, 0, text) ?? text);
      else this.freshString(text);
      this.string('latin1', stringIdentity(noted, 1, 'latin1') ?? 'latin1');
      this.tupleOf(2);
    });
  }

  // ---- containers

  *#saveTuple(tuple: Tuple, areArgs: boolean): Steps {
    const { out } = this;
    if (tuple instanceof Size) {
      this.global('torch', 'Size');
      const inner = Tuple.from(tuple as unknown as PyValue[]);
      yield [inner, undefined, ''];
      this.tupleOf(1);
      out.u8(Op.REDUCE);
      this.memoize(tuple);
      return;
    }
    if (tuple.length === 0) return out.u8(Op.EMPTY_TUPLE);
    if (tuple.length > 3) out.u8(Op.MARK);
    for (let i = 0; i < tuple.length; i++) yield [tuple[i], tuple, i];
    // A tuple inside itself was written on the way: take the items off again and refer to that one. The arguments of an
    // object inside itself were made anew by each `__reduce__`, so that the outer ones are another tuple.
    if (!areArgs && this.#memo.has(tuple)) {
      if (tuple.length > 3) out.u8(Op.POP_MARK);
      else for (let i = 0; i < tuple.length; i++) out.u8(Op.POP);
      this.recall(tuple);
      return;
    }
    out.u8(tuple.length === 1 ? Op.TUPLE1 : tuple.length === 2 ? Op.TUPLE2 : tuple.length === 3 ? Op.TUPLE3 : Op.TUPLE);
    if (!isUnmemoized(tuple)) this.memoize(tuple);
  }

  *#saveList(list: PyValue[]): Steps {
    this.out.u8(Op.EMPTY_LIST);
    this.memoize(list);
    yield* this.#exactItems(list);
  }

  /** The items of an exact list: a single one alone, all others in batches, the last of which may hold one. */
  *#exactItems(list: PyValue[]): Steps {
    const { out } = this;
    if (list.length === 1) {
      yield [list[0], list, 0];
      return out.u8(Op.APPEND);
    }
    for (let i = 0; i < list.length; ) {
      out.u8(Op.MARK);
      const end = Math.min(i + BATCH_ITEMS, list.length);
      for (; i < end; i++) yield [list[i], list, i];
      out.u8(Op.APPENDS);
    }
  }

  #saveMap(map: Map<PyValue, PyValue>): Steps {
    if (map instanceof OrderedDict) return this.#saveOrderedDict(map);
    return this.#saveEntries(map, map);
  }

  /** An exact dict. Python looks for more after every full batch, and so writes an empty one after 1000 items. */
  *#saveEntries(container: object, entries: Map<PyValue, PyValue> | readonly [PyValue, PyValue][]): Steps {
    const { out } = this;
    out.u8(Op.EMPTY_DICT);
    this.memoize(container);
    yield* this.#exactEntries(container, entries);
  }

  *#exactEntries(container: object, entries: Map<PyValue, PyValue> | readonly [PyValue, PyValue][]): Steps {
    const { out } = this;
    const count = entries instanceof Map ? entries.size : entries.length;
    if (count === 0) return;
    if (count > 1) out.u8(Op.MARK);
    let batch = 0;
    for (const [key, value] of entries) {
      yield [key, container, key, true];
      yield [value, container, key];
      if (++batch < BATCH_ITEMS) continue;
      out.u8(Op.SETITEMS);
      out.u8(Op.MARK);
      batch = 0;
    }
    out.u8(count === 1 ? Op.SETITEM : Op.SETITEMS);
  }

  /** Entries that Python takes from an iterator: a batch of one is written without a mark. */
  *#iteratedEntries(container: object, entries: readonly (readonly [PyValue, PyValue])[]): Steps {
    const { out } = this;
    for (let i = 0; i < entries.length; i += BATCH_ITEMS) {
      const end = Math.min(i + BATCH_ITEMS, entries.length);
      const single = end - i === 1;
      if (!single) out.u8(Op.MARK);
      for (let k = i; k < end; k++) {
        const [key, value] = entries[k] as readonly [PyValue, PyValue];
        // The pairs of an unknown class keep their notes themselves, those of a Map are with the Map.
        const pair = container === entries ? (entries[k] as object) : undefined;
        yield pair ? [key, pair, 0] : [key, container, key, true];
        yield pair ? [value, pair, 1] : [value, container, key];
      }
      out.u8(single ? Op.SETITEM : Op.SETITEMS);
    }
  }

  *#iteratedItems(list: readonly PyValue[]): Steps {
    const { out } = this;
    for (let i = 0; i < list.length; i += BATCH_ITEMS) {
      const end = Math.min(i + BATCH_ITEMS, list.length);
      const single = end - i === 1;
      if (!single) out.u8(Op.MARK);
      for (let k = i; k < end; k++) yield [list[k], list, k];
      out.u8(single ? Op.APPEND : Op.APPENDS);
    }
  }

  *#saveOrderedDict(dict: OrderedDict): Steps {
    const { out } = this;
    if (dict instanceof Counter) {
      this.global('collections', 'Counter');
      out.u8(Op.EMPTY_DICT);
      this.memoizeFresh();
      yield* this.#exactEntries(dict, dict as unknown as Map<PyValue, PyValue>);
      this.tupleOf(1);
    } else if (dict instanceof DefaultDict) {
      this.global('collections', 'defaultdict');
      if (dict.factory === null) out.u8(Op.EMPTY_TUPLE);
      else {
        yield [dict.factory, undefined, ''];
        this.tupleOf(1);
      }
    } else {
      this.global('collections', 'OrderedDict');
      out.u8(Op.EMPTY_TUPLE);
    }
    out.u8(Op.REDUCE);
    this.memoize(dict);
    if (!(dict instanceof Counter)) yield* this.#iteratedEntries(dict, [...dict]);
    if (!dict.attributes?.size) return;
    yield [dict.attributes, undefined, ''];
    out.u8(Op.BUILD);
  }

  *#saveSet(set: Set<PyValue>): Steps {
    const { out } = this;
    const items = [...set];
    const frozen = set instanceof FrozenSet;
    if (this.target.protocol < 4) {
      this.global('builtins', frozen ? 'frozenset' : 'set');
      out.u8(Op.EMPTY_LIST);
      this.memoizeFresh();
      yield* this.#setItems(set, items, Op.APPENDS);
      this.tupleOf(1);
      out.u8(Op.REDUCE);
      return this.memoize(set);
    }
    if (!frozen) {
      out.u8(Op.EMPTY_SET);
      this.memoize(set);
      return yield* this.#setItems(set, items, Op.ADDITEMS);
    }
    out.u8(Op.MARK);
    for (const item of items) yield [item, set, item, true];
    out.u8(Op.FROZENSET);
    this.memoize(set);
  }

  *#setItems(set: Set<PyValue>, items: readonly PyValue[], close: Op.APPENDS | Op.ADDITEMS): Steps {
    const { out } = this;
    if (items.length === 0) return;
    if (close === Op.APPENDS && items.length === 1) {
      yield [items[0], set, items[0] as PyValue, true];
      return out.u8(Op.APPEND);
    }
    for (let i = 0; i < items.length; ) {
      out.u8(Op.MARK);
      const end = Math.min(i + BATCH_ITEMS, items.length);
      for (; i < end; i++) yield [items[i], set, items[i] as PyValue, true];
      out.u8(close);
      // A set's items come from an iterator: after a full batch Python looks once more and closes an empty one.
      if (close === Op.ADDITEMS && i === items.length && items.length % BATCH_ITEMS === 0) {
        out.u8(Op.MARK);
        out.u8(close);
      }
    }
  }

  /** An object by its pickled form; `identity` is what the memo knows it as. */
  *reduction(object: PyObject, identity: object): Steps {
    const { out } = this;
    const { construction, args } = object;
    if (construction === 'reconstructor') {
      this.global('copyreg', '_reconstructor');
      yield [object.callable, undefined, ''];
      yield [object.base, undefined, ''];
      yield [args.length ? args[0] : null, args, 0];
      this.tupleOf(3);
      out.u8(Op.REDUCE);
    } else if (construction === 'from_type') {
      const [type, state] = object.base as Tuple;
      this.global('torch._tensor', '_rebuild_from_type_v2');
      this.mark();
      yield [object.callable, undefined, ''];
      yield [type, undefined, ''];
      yield [args, object, '__args__'];
      yield [state, undefined, '__state__'];
      this.tupleOf(4);
      out.u8(Op.REDUCE);
    } else if (construction === 'newobj_ex' && this.target.protocol >= 4) {
      yield [object.callable, undefined, ''];
      yield [args, object, '__args__'];
      yield [object.kwargs ?? new Map(), undefined, '__kwargs__'];
      out.u8(Op.NEWOBJ_EX);
    } else {
      if (object.kwargs?.size)
        throw refuse(`an object of ${object.global} made with keyword arguments needs pickleProtocol 4 or 5`);
      yield [object.callable, undefined, ''];
      yield [args, object, '__args__'];
      // Old-style instances without arguments are made without a call, those with arguments by one.
      const byCall =
        construction === 'reduce' || ((construction === 'inst' || construction === 'obj') && args.length > 0);
      out.u8(byCall ? Op.REDUCE : Op.NEWOBJ);
    }
    this.memoizeMade(identity);
    if (object.listItems) yield* this.#iteratedItems(object.listItems);
    if (object.dictItems) yield* this.#iteratedEntries(object.dictItems, object.dictItems);
    if (object.state === undefined) return;
    yield [object.state, object, 'state'];
    out.u8(Op.BUILD);
  }
}

export function refuse(what: string): CheckpointError {
  return new CheckpointError('UNSAVABLE', what);
}

/** The own properties of a plain object; a getter that throws is refused with its name. */
function entriesOf(object: Readonly<Record<string, PyValue>>): [string, PyValue][] {
  return Object.keys(object).map((key) => {
    try {
      return [key, object[key] as PyValue];
    } catch (cause) {
      throw new CheckpointError(
        'UNSAVABLE',
        `its property "${key}" throws when it is read: ${cause instanceof Error ? cause.message : String(cause)}`,
        { cause },
      );
    }
  });
}

/**
 * Refuses what Python refuses or merges: keys without a hash, and numbers that are equal there although not here, such as
 * 1, true and 1n.
 */
function checkKey(key: PyValue, has: (key: PyValue) => boolean): void {
  const mutable =
    (Array.isArray(key) && !(key instanceof Tuple)) ||
    key instanceof Map ||
    (key instanceof Set && !(key instanceof FrozenSet)) ||
    key instanceof ByteArray;
  if (mutable) throw refuse(`a ${typeName(key)} cannot be the key of a dict or member of a set in Python`);
  const number =
    typeof key === 'boolean'
      ? Number(key)
      : typeof key === 'bigint'
        ? exactNumber(key)
        : key instanceof PyFloat
          ? key.value
          : key instanceof PyInt
            ? exactNumber(key.value)
            : undefined;
  if (number !== undefined && has(number)) throw refuse(`the keys ${String(key)} and ${number} are one key in Python`);
}

/** The number that is this integer, if one is: 2^53 + 1 and 10^400 equal none. */
function exactNumber(value: bigint): number | undefined {
  const number = Number(value);
  return Number.isFinite(number) && BigInt(number) === value ? number : undefined;
}

/** The shortest two's complement of an integer, little-endian. */
function twosComplement(value: bigint): Uint8Array {
  const bits = (value < 0n ? -value - 1n : value).toString(2).length + 1;
  const length = Math.ceil(bits / 8);
  const hex = BigInt.asUintN(length * 8, value)
    .toString(16)
    .padStart(length * 2, '0');
  return Buffer.from(hex, 'hex').reverse();
}

/** UTF-8 with `surrogatepass`: a lone surrogate becomes three bytes instead of U+FFFD. */
function encodeUtf8(text: string): Uint8Array {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8');
  const parts: Buffer[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    const lone = code >= 0xd800 && code <= 0xdfff;
    parts.push(
      lone
        ? Buffer.from([0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)])
        : Buffer.from(character, 'utf8'),
    );
  }
  return Buffer.concat(parts);
}
