/**
 * What a pickle is written with: the memo, scalars, strings and globals, opcode by opcode.
 *
 * Python's memo goes by object identity. Here objects are their own identity, constants and globals go by name, and
 * strings by the notes of `notes.ts`.
 */
import type { Relocate } from '../compact';
import { CheckpointError } from '../errors';
import type { Storage } from '../tensor/storage';
import { ByteWriter } from './byte-writer';
import { python2Parts } from './names';
import { type GlobalNames, globalNameSlot, nanBits, stringIdentity } from './notes';
import { Op } from './opcodes';
import { ByteArray, type PyValue } from './values';

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

/** Modules whose types are written in C. */
const C_MODULES: ReadonlySet<string> = new Set(['builtins', 'collections', 'datetime', 'torch']);

/** Something to be written, as a generator yields it: the value, and where it stands for messages and notes. */
export type Child = readonly [value: unknown, container: object | undefined, slot: PyValue, isKey?: boolean];
export type Steps = Generator<Child, void, undefined>;

export class PickleWriter {
  readonly out = new ByteWriter();
  readonly target: PickleTarget;
  readonly #memo = new Map<unknown, number>();
  /** Memo numbers of globals by module and name, as spelled. */
  readonly #globals = new Map<string, Map<string, number>>();
  /** The spelling of globals for protocols below 3. */
  readonly #spellings = new Map<string, Map<string, readonly [module: string, name: string]>>();
  #memoCount = 0;

  constructor(target: PickleTarget) {
    this.target = target;
  }

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
   * The same for an object that its call has just made. One that was written on the way, below an argument of itself, is
   * taken off the stack again and referred to: false, and what else belongs to the object is written already.
   */
  memoizeMade(identity: object): boolean {
    const isNew = !this.#memo.has(identity);
    if (isNew) this.memoize(identity);
    else {
      this.out.u8(Op.POP);
      this.recall(identity);
    }
    return isNew;
  }

  /** Whether the object was written before. */
  knows(identity: unknown): boolean {
    return this.#memo.has(identity);
  }

  /** Writes a reference when the object was written before. */
  recall(identity: unknown): boolean {
    const index = this.#memo.get(identity);
    if (index === undefined) return false;
    this.#get(index);
    return true;
  }

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
  slotFloat(value: number, container: object | undefined, slot: PyValue, isKey = false): void {
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
    if (this.target.protocol >= 3) return this.spelledGlobal(module, name, memoized);
    let ofModule = this.#spellings.get(module);
    if (!ofModule) this.#spellings.set(module, (ofModule = new Map()));
    let spelling = ofModule.get(name);
    if (!spelling) ofModule.set(name, (spelling = python2Parts(module, name)));
    this.spelledGlobal(spelling[0], spelling[1], memoized);
  }

  /** A global in the names of the protocol. */
  spelledGlobal(module: string, name: string, memoized: boolean): void {
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

  /**
   * `bytes` or a `bytearray`, which the memo has not met. `noted` has the notes of the two strings that old protocols make
   * bytes from.
   */
  byteString(value: Uint8Array, noted = value): void {
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
        this.byteString(new Uint8Array(value), value);
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
}

export function refuse(what: string): CheckpointError {
  return new CheckpointError('UNSAVABLE', what);
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
