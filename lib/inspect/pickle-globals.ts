/**
 * The globals that a pickle names, read off its opcodes: nothing is built, and a pickle that breaks off still tells what
 * it named before.
 *
 * Protocol 4 takes module and name from the stack (STACK_GLOBAL), so that strings are followed through stack and memo,
 * and so are globals and tuples that `getattr` may be called with; every other value is `undefined`. A hostile pickle may
 * underflow the stack or miss marks: that is as good as a value nobody knows.
 */
import { DEFAULT_LIMITS } from '../limits';
import { parseQuoted, parseRawUnicode } from '../pickle/decode';
import { Frame } from '../pickle/frame';
import { python3Name } from '../pickle/names';
import { Op } from '../pickle/opcodes';
import { attributeOf, GETATTR, GETATTR_HANDED_OVER, type Verdict, verdictOf } from '../pickle/verdicts';

export interface NamedInPickle {
  /** In Python 3 names; `?` for a part that is no constant string. */
  readonly name: string;
  readonly verdict: Verdict;
  readonly byteOffset: number;
}

/** A bytes object that begins like a checkpoint or a pickle. */
export interface Blob {
  readonly bytes: Uint8Array;
  readonly byteOffset: number;
}

export interface PickleGlobals {
  readonly globals: readonly NamedInPickle[];
  readonly blobs: readonly Blob[];
  /** Codes of the extension registry, which name a global that only the reader's Python knows. */
  readonly extensions: readonly number[];
  /** True when STOP was reached. */
  readonly whole: boolean;
  /** Behind the last opcode that was understood. */
  readonly byteEnd: number;
}

/** Module and class names are shorter; longer strings need not be followed. */
const MAX_NAME = 1024;
/** Start and length of a string in one number: pickles have 2^30 bytes at most. */
const PLACE = 2 * MAX_NAME;
/** A smaller blob holds no pickle that does anything. */
const MIN_BLOB_BYTES = 12;

/** Reads the globals of the pickle that begins at `start`. Never throws. */
export function pickleGlobals(input: Uint8Array, start = 0): PickleGlobals {
  const machine = new Machine(input, start);
  const whole = machine.run();
  return {
    globals: machine.globals,
    blobs: machine.blobs,
    extensions: machine.extensions,
    whole,
    byteEnd: machine.position,
  };
}

/** A global, or what `getattr` takes from one. */
class Named {
  readonly global: string;
  constructor(global: string) {
    this.global = global;
  }
}

/**
 * A string constant, or where its bytes are (`PLACE`), for few are looked at; a global, a short tuple, or undefined
 * for any other value.
 */
type Value = string | number | Named | readonly Value[] | undefined;

/** `getattr` takes a third argument, what to give where there is no such attribute. */
const MAX_ARGUMENTS = 3;

class Machine {
  readonly globals: NamedInPickle[] = [];
  readonly blobs: Blob[] = [];
  readonly extensions: number[] = [];
  position: number;
  readonly #bytes: Buffer;
  readonly #stack: Value[] = [];
  readonly #marks: number[] = [];
  /** Numbers are given in order, mostly; the others are kept apart. */
  readonly #memo: Value[] = [];
  readonly #farMemo = new Map<number, Value>();
  readonly #frame: Frame;
  /** Arguments are followed where there is something to call with them. */
  #namesGetattr = false;
  readonly #seen = new Set<string>();

  constructor(input: Uint8Array, start: number) {
    this.#bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
    this.position = start;
    this.#frame = new Frame(this.#bytes.length);
  }

  /** True at STOP, false where the bytes end or make no sense. */
  run(): boolean {
    for (;;) {
      const at = this.position;
      const op = this.#bytes[this.position++];
      if (op === undefined) {
        this.position = at;
        return false;
      }
      try {
        const isInPlace = at < this.#frame.end || this.#frame.leave(at);
        if (isInPlace && op === Op.STOP) return true;
        if (!isInPlace || !this.#step(op, at)) {
          this.position = at;
          return false;
        }
      } catch {
        // An argument beyond the end or across a frame's, or text that is no string: the opcode is not understood.
        this.position = at;
        return false;
      }
    }
  }

  #step(op: Op, at: number): boolean {
    switch (op) {
      case Op.GLOBAL: {
        const module = this.#line();
        this.#push(this.#name(module, this.#line(), at));
        return true;
      }
      case Op.INST: {
        const module = this.#line();
        const callable = this.#name(module, this.#line(), at);
        return this.#call(callable, this.#itemsToMark(at), at);
      }
      case Op.STACK_GLOBAL: {
        const name = this.#pop();
        this.#push(this.#name(this.#pop(), name, at));
        return true;
      }
      case Op.EXT1:
        return this.#extension(this.#number(1));
      case Op.EXT2:
        return this.#extension(this.#number(2));
      case Op.EXT4:
        return this.#extension(this.#number(4));
      case Op.MARK:
        if (this.#marks.length >= DEFAULT_LIMITS.maxMarks) return false;
        this.#marks.push(this.#stack.length);
        return true;
      case Op.POP:
        if (this.#stack.length === (this.#marks.at(-1) ?? 0)) this.#marks.pop();
        else this.#stack.pop();
        return true;
      case Op.DUP:
        this.#push(this.#stack.at(-1));
        return true;
      case Op.POP_MARK:
      case Op.APPENDS:
      case Op.SETITEMS:
      case Op.ADDITEMS:
        this.#toMark();
        return true;
      case Op.LIST:
      case Op.DICT:
      case Op.FROZENSET:
        this.#toMark();
        this.#push(undefined);
        return true;
      case Op.TUPLE:
        this.#push(this.#itemsToMark(at));
        return true;
      case Op.OBJ: {
        const mark = this.#marks.at(-1) ?? 0;
        const [callable] = this.#stack.splice(mark, 1);
        return this.#call(callable, this.#itemsToMark(at), at);
      }
      case Op.APPEND:
      case Op.BUILD:
        this.#pop();
        return true;
      case Op.SETITEM:
        return this.#replace(2, false);
      case Op.BINPERSID:
        return this.#replace(1, true);
      case Op.REDUCE: {
        const args = this.#pop();
        return this.#call(this.#pop(), args, at);
      }
      case Op.NEWOBJ:
        return this.#replace(2, true);
      case Op.NEWOBJ_EX:
        return this.#replace(3, true);
      case Op.TUPLE1:
        return this.#tuple(1, at);
      case Op.TUPLE2:
        return this.#tuple(2, at);
      case Op.TUPLE3:
        return this.#tuple(3, at);
      case Op.NONE:
      case Op.NEWTRUE:
      case Op.NEWFALSE:
      case Op.EMPTY_TUPLE:
      case Op.EMPTY_LIST:
      case Op.EMPTY_DICT:
      case Op.EMPTY_SET:
      case Op.NEXT_BUFFER:
        this.#push(undefined);
        return true;
      case Op.READONLY_BUFFER:
        return true;
      case Op.PROTO:
        this.#skip(1);
        return true;
      case Op.FRAME:
        // The end of a frame that was cut off may be missing.
        return this.#frame.enter(this.position + 8, this.#number(8));
      case Op.BININT1:
        return this.#constant(1);
      case Op.BININT2:
        return this.#constant(2);
      case Op.BININT:
        return this.#constant(4);
      case Op.BINFLOAT:
        return this.#constant(8);
      case Op.LONG1:
        return this.#constant(this.#number(1));
      case Op.LONG4:
        return this.#constant(this.#number(4));
      case Op.INT:
      case Op.LONG:
      case Op.FLOAT:
      case Op.PERSID:
        this.#line();
        this.#push(undefined);
        return true;
      case Op.STRING:
        return this.#byteString(parseQuoted(this.#line('latin1')), at);
      case Op.UNICODE:
        return this.#unicode(parseRawUnicode(this.#line('latin1')), at);
      case Op.SHORT_BINSTRING:
        return this.#byteString(this.#take(this.#number(1)), at);
      case Op.BINSTRING:
        return this.#byteString(this.#take(this.#number(4)), at);
      case Op.SHORT_BINUNICODE:
        return this.#text(this.#number(1), at);
      case Op.BINUNICODE:
        return this.#text(this.#number(4), at);
      case Op.BINUNICODE8:
        return this.#text(this.#number(8), at);
      case Op.SHORT_BINBYTES:
        return this.#blob(this.#take(this.#number(1)), at);
      case Op.BINBYTES:
        return this.#blob(this.#take(this.#number(4)), at);
      case Op.BINBYTES8:
      case Op.BYTEARRAY8:
        return this.#blob(this.#take(this.#number(8)), at);
      case Op.GET:
        this.#push(this.#recall(Number.parseInt(this.#line(), 10)));
        return true;
      case Op.BINGET:
        this.#push(this.#recall(this.#number(1)));
        return true;
      case Op.LONG_BINGET:
        this.#push(this.#recall(this.#number(4)));
        return true;
      case Op.PUT:
        this.#put(Number.parseInt(this.#line(), 10), this.#stack.at(-1));
        return true;
      case Op.BINPUT:
        this.#put(this.#number(1), this.#stack.at(-1));
        return true;
      case Op.LONG_BINPUT:
        this.#put(this.#number(4), this.#stack.at(-1));
        return true;
      case Op.MEMOIZE:
        this.#put(this.#memo.length + this.#farMemo.size, this.#stack.at(-1));
        return true;
      default:
        return false;
    }
  }

  #put(index: number, value: Value): void {
    if (index < this.#memo.length) this.#memo[index] = value;
    else if (index !== this.#memo.length) this.#farMemo.set(index, value);
    else {
      this.#memo.push(value);
      // The place may have been taken before its turn.
      this.#farMemo.delete(index);
      for (let next = index + 1; this.#farMemo.has(next); next++) {
        this.#memo.push(this.#farMemo.get(next));
        this.#farMemo.delete(next);
      }
    }
  }

  #recall(index: number): Value {
    return index < this.#memo.length ? this.#memo[index] : this.#farMemo.get(index);
  }

  /** The text of a constant; undefined for any other value. */
  #textOf(value: Value): string | undefined {
    if (typeof value === 'string') return value;
    if (typeof value !== 'number') return undefined;
    const start = Math.floor(value / PLACE);
    return this.#bytes.toString('utf8', start, start + (value % PLACE));
  }

  #push(value: Value): void {
    // An array of a hundred million elements ends the process.
    if (this.#stack.length >= DEFAULT_LIMITS.maxStackDepth) throw new RangeError('too many values');
    this.#stack.push(value);
  }

  #pop(): Value {
    return this.#stack.pop();
  }

  #replace(count: number, pushes: boolean): true {
    this.#stack.length = Math.max(0, this.#stack.length - count);
    if (pushes) this.#push(undefined);
    return true;
  }

  #toMark(): void {
    const mark = this.#marks.pop() ?? 0;
    if (mark < this.#stack.length) this.#stack.length = mark;
  }

  #tuple(count: number, at: number): true {
    if (!this.#namesGetattr) return this.#replace(count, true);
    const from = Math.max(0, this.#stack.length - count);
    this.#push(this.#items(this.#stack.splice(from), at));
    return true;
  }

  #itemsToMark(at: number): Value {
    if (!this.#namesGetattr) {
      this.#toMark();
      return undefined;
    }
    const mark = Math.min(this.#marks.pop() ?? 0, this.#stack.length);
    if (this.#stack.length - mark <= MAX_ARGUMENTS) return this.#items(this.#stack.splice(mark), at);
    for (let i = mark; i < this.#stack.length; i++) this.#handOver(this.#stack[i], at);
    this.#stack.length = mark;
    return undefined;
  }

  /** The items of a tuple: those that are tuples themselves are none of `getattr`, and would nest without end. */
  #items(items: readonly Value[], at: number): Value {
    for (const item of items) this.#handOver(item, at);
    return items.map((item) => (typeof item === 'object' && !(item instanceof Named) ? undefined : item));
  }

  /** Whoever is given `getattr` can call it with what nobody sees here. */
  #handOver(value: Value, at: number): void {
    if (value instanceof Named && value.global === GETATTR) this.#tell(GETATTR_HANDED_OVER, 'dangerous', at);
  }

  /** The result of a call: of `getattr` what it reaches. */
  #call(callable: Value, args: Value, at: number): true {
    this.#push(
      callable instanceof Named && callable.global === GETATTR
        ? this.#attribute(args as readonly Value[], at)
        : undefined,
    );
    return true;
  }

  #attribute(args: readonly Value[] | undefined, at: number): Value {
    const [object, attribute] = Array.isArray(args) ? (args as readonly Value[]) : [];
    const name = this.#textOf(attribute);
    const owner = object instanceof Named ? object.global : undefined;
    // No writer computes a name: whoever does hides it.
    if (name === undefined) this.#tell(`${owner ?? '?'}.?`, 'dangerous', at);
    else {
      const reached = attributeOf(owner, name);
      if (reached === undefined) return undefined;
      if (verdictOf(reached) === 'dangerous') this.#tell(reached, 'dangerous', at);
      return new Named(reached);
    }
    return undefined;
  }

  #tell(name: string, verdict: Verdict, byteOffset: number): void {
    if (this.#seen.has(`${verdict} ${name}`)) return;
    this.#seen.add(`${verdict} ${name}`);
    this.globals.push({ name, verdict, byteOffset });
  }

  #name(first: Value, second: Value, at: number): Value {
    const module = this.#textOf(first);
    const name = this.#textOf(second);
    const mapped = module === undefined || name === undefined ? undefined : python3Name(module, name);
    const spelled = `${module ?? '?'}\n${name ?? '?'}`;
    const named = mapped === undefined ? undefined : new Named(mapped);
    this.#namesGetattr ||= mapped === GETATTR;
    if (this.#seen.has(spelled)) return named;
    this.#seen.add(spelled);
    if (module === undefined || name === undefined || mapped === undefined) {
      // No writer computes a name: whoever does hides it.
      this.globals.push({ name: `${module ?? '?'}.${name ?? '?'}`, verdict: 'dangerous', byteOffset: at });
      return undefined;
    }
    // Whichever Python reads it, one of the two spellings counts.
    const verdicts = [verdictOf(mapped), verdictOf(`${module}.${name}`)];
    this.globals.push({
      name: mapped,
      verdict: verdicts.includes('dangerous') ? 'dangerous' : (verdicts[0] as Verdict),
      byteOffset: at,
    });
    return named;
  }

  #extension(code: number): true {
    this.extensions.push(code);
    this.#push(undefined);
    return true;
  }

  #constant(byteLength: number): true {
    this.#skip(byteLength);
    this.#push(undefined);
    return true;
  }

  #unicode(text: string, at: number): true {
    this.#push(text.length <= MAX_NAME ? text : undefined);
    // Protocol 2 writes bytes as text, a character for each byte.
    if (text.length >= MIN_BLOB_BYTES && (text[0] === '\x80' || text.startsWith('PK\x03\x04')))
      this.#addBlob(Buffer.from(text, 'latin1'), at);
    return true;
  }

  #text(byteLength: number, at: number): true {
    const start = this.position;
    this.#skip(byteLength);
    this.#push(byteLength <= MAX_NAME ? start * PLACE + byteLength : undefined);
    const first = this.#bytes[start];
    if (byteLength >= MIN_BLOB_BYTES && (first === 0xc2 || first === 0x50)) this.#textBlob(start, at);
    return true;
  }

  /** Protocol 2 writes bytes as text, a character for each byte. */
  #textBlob(start: number, at: number): void {
    const utf8 = this.#bytes.subarray(start, this.position);
    if ((utf8[0] === 0xc2 && utf8[1] === 0x80) || utf8.subarray(0, 4).equals(ZIP_START))
      this.#addBlob(Buffer.from(utf8.toString('utf8'), 'latin1'), at);
  }

  #byteString(bytes: Buffer, at: number): true {
    this.#push(bytes.length <= MAX_NAME ? bytes.toString('utf8') : undefined);
    this.#addBlob(bytes, at);
    return true;
  }

  #blob(bytes: Buffer, at: number): true {
    this.#push(undefined);
    this.#addBlob(bytes, at);
    return true;
  }

  #addBlob(bytes: Buffer, byteOffset: number): void {
    if (bytes.length < MIN_BLOB_BYTES) return;
    const isPickle = bytes[0] === Op.PROTO && (bytes[1] as number) <= 5;
    if (isPickle || bytes.subarray(0, 4).equals(ZIP_START)) this.blobs.push({ bytes, byteOffset });
  }

  #skip(byteLength: number): void {
    if (byteLength > this.#bytes.length - this.position) throw new RangeError('beyond the end');
    this.position += byteLength;
  }

  #take(byteLength: number): Buffer {
    const start = this.position;
    this.#skip(byteLength);
    return this.#bytes.subarray(start, this.position);
  }

  /** Little-endian and unsigned; the lengths of a pickle that is there are safe integers. */
  #number(byteLength: 1 | 2 | 4 | 8): number {
    const start = this.position;
    this.#skip(byteLength);
    return byteLength === 8 ? Number(this.#bytes.readBigUInt64LE(start)) : this.#bytes.readUIntLE(start, byteLength);
  }

  #line(encoding: 'utf8' | 'latin1' = 'utf8'): string {
    const end = this.#bytes.indexOf(10, this.position);
    if (end < 0) throw new RangeError('beyond the end');
    const text = this.#bytes.toString(encoding, this.position, end);
    this.position = end + 1;
    return text.endsWith('\r') ? text.slice(0, -1) : text;
  }
}

const ZIP_START = Buffer.from('PK\x03\x04', 'latin1');
