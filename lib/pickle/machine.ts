/**
 * The state of the pickle machine and the moves it can make; `unpickler.ts` has the loop that decides which.
 *
 *   stack[0..depth)    values; origins[i] says what JavaScript cannot tell of stack[i]: the number of a string object
 *                      (counted from 1), FLOAT for an integral float, NAN - i for the NaN of bits nans[i], else 0.
 *   marks              stack depths at which MARK stood; `fence` is the topmost, below which nothing may be popped.
 *   memo               what was stored, with its origin.
 *
 * Nothing here recurses, and everything that the machine holds on to is counted against the limits.
 */
import { CheckpointError } from '../errors';
import type { Limits } from '../limits';
import { USUAL_NAN } from './byte-writer';
import { appendItems, checkItemTarget, persistentIdItems, setItem } from './construct';
import { clip, decodeByteString, decodeUtf8, parseInteger, type StringEncoding } from './decode';
import { Frame } from './frame';
import type { GlobalResolver } from './globals';
import { filedKey } from './keys';
import { Memo } from './memo';
import { NoteTaker } from './note-taker';
import { type GlobalNames, markUnmemoized, noteFloat, noteFloatKey, noteNan } from './notes';
import { Op } from './opcodes';
import { fail, type Host, type NumberedStorages } from './rules';
import { kindOf, NdArray, type PyValue, Tuple } from './values';

export interface UnpickleOptions {
  limits: Limits;
  host: Host;
  resolver: GlobalResolver;
  encoding: StringEncoding;
  /** PyTorch's restricted opcodes, besides the restricted globals that `resolver` keeps. */
  weightsOnly: boolean;
  /** Where the pickle starts in the bytes. */
  byteOffset?: number;
  /** Added to the byte offsets of errors: where the bytes begin in their file or record. */
  baseOffset?: number;
  /** How many bytes of a file the bytes come from, where they were inflated: what the pickle may ask for goes by these. */
  storedLength?: number;
  record?: string | undefined;
  persistentLoad?: ((pid: PyValue) => PyValue) | undefined;
  /** What `persistentLoad` gives for storages whose keys are numbers in decimal. */
  numberedStorages?: NumberedStorages | undefined;
}

/** Bytes of memory that an object takes here, about; an empty dict takes 200. */
const OBJECT_BYTES = 256;
/** Bytes of a note on a number: up to 200 for the first of a container. */
const NOTE_BYTES = 160;
/** Bytes that an argument takes, and what a call may make of each of its items: an entry of a Map or Set. */
const ITEM_BYTES = 8;
const ENTRY_BYTES = 32;

/** What objects may take where no limit is given: Python writes an empty dict, with its memo store, in two bytes. */
const OBJECT_TIMES = 128;
const OBJECT_EXTRA_BYTES = 1 << 27;
/** What calls may copy then: Python writes one copy of what it holds, now and then two. */
const COPIED_TIMES = 32;
const COPIED_EXTRA_BYTES = 1 << 25;

/** Origin of a number that is a Python float although it is integral. */
export const FLOAT = -1;
/** Origin of the first unusual NaN; the following ones have the numbers below. */
const NAN = -2;

export class Machine {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly limits: Limits;
  readonly host: Host;
  readonly resolver: GlobalResolver;
  readonly encoding: StringEncoding;
  readonly weightsOnly: boolean;
  readonly persistentLoad: UnpickleOptions['persistentLoad'];
  readonly numberedStorages: UnpickleOptions['numberedStorages'];
  readonly #options: UnpickleOptions;

  /** The next byte, and the opcode that is being followed. */
  pos: number;
  opAt: number;
  protocol = 0;
  opcodes = 0;
  readonly frame: Frame;

  readonly stack: PyValue[] = [];
  readonly origins: number[] = [];
  depth = 0;
  readonly marks: number[] = [];
  fence = 0;

  readonly memo: Memo;

  readonly globalNames: GlobalNames = new Map();
  readonly notes: NoteTaker;
  readonly #nans: bigint[] = [];
  strings = 0;
  stringBytes = 0;
  /** What the objects made so far take, beyond twice the bytes of the pickle: what it holds itself is free. */
  #objectBytes: number;
  /** Of these, what calls were given. */
  #copiedBytes = 0;
  /** What either may be where `maxObjectBytes` is not given: a file of a kilobyte is no reason to fill half of the heap. */
  readonly #objectAllowance: number;
  readonly #copyAllowance: number;

  constructor(input: Uint8Array, options: UnpickleOptions) {
    this.#options = options;
    this.bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
    this.memo = new Memo(this.bytes);
    this.notes = new NoteTaker(this.bytes.length);
    this.start = options.byteOffset ?? 0;
    this.end = this.bytes.length;
    const storedLength = options.storedLength ?? this.bytes.length;
    const isGiven = Object.hasOwn(options.limits, 'maxObjectBytes');
    const allowed = (times: number, extra: number): number =>
      isGiven ? Number.POSITIVE_INFINITY : times * storedLength + extra;
    this.#objectBytes = -2 * storedLength;
    this.#objectAllowance = allowed(OBJECT_TIMES, OBJECT_EXTRA_BYTES);
    this.#copyAllowance = allowed(COPIED_TIMES, COPIED_EXTRA_BYTES);
    this.frame = new Frame(this.end);
    this.pos = this.start;
    this.opAt = this.start;
    this.limits = options.limits;
    this.host = options.host;
    this.resolver = options.resolver;
    this.encoding = options.encoding;
    this.weightsOnly = options.weightsOnly;
    this.persistentLoad = options.persistentLoad;
    this.numberedStorages = options.numberedStorages;
  }

  need(count: number): void {
    if (count > this.end - this.pos)
      fail(`the pickle ends inside an argument of ${count} bytes; ${this.end - this.pos} are left`);
  }

  push(value: PyValue, origin = 0): void {
    if (this.depth >= this.limits.maxStackDepth) this.exceed('maxStackDepth', this.limits.maxStackDepth);
    this.stack[this.depth] = value;
    this.origins[this.depth++] = origin;
  }

  /** Pushes an object that an opcode has made. */
  pushMade(value: PyValue): void {
    this.#spend(OBJECT_BYTES);
    this.push(value);
  }

  #spend(bytes: number): void {
    this.#objectBytes += bytes;
    if (this.#objectBytes <= 0) return;
    const limit = Math.min(this.#objectAllowance, this.limits.maxObjectBytes);
    if (this.#objectBytes > limit) this.exceed('maxObjectBytes', limit);
  }

  pushMark(): void {
    this.marks.push(this.depth);
    this.fence = this.depth;
    if (this.marks.length > this.limits.maxMarks) this.exceed('maxMarks', this.limits.maxMarks);
  }

  demand(count: number): void {
    if (this.depth - count < this.fence)
      fail(
        `opcode 0x${(this.bytes[this.opAt] as number).toString(16)} needs ${count} values, the stack has ${this.depth - this.fence}`,
      );
  }

  pop(): PyValue {
    this.demand(1);
    return this.stack[--this.depth] as PyValue;
  }

  /** Ends the run that the last MARK began; the values stay above the returned depth. */
  popMark(): number {
    if (this.marks.length === 0) fail('the stack has no mark');
    this.marks.pop();
    const at = this.fence;
    this.fence = this.marks.length ? (this.marks[this.marks.length - 1] as number) : 0;
    return at;
  }

  /** The bytes of a text argument, up to the end of its line. */
  #lineRange(): readonly [from: number, to: number] {
    const newline = this.bytes.indexOf(10, this.pos);
    if (newline < 0) fail('a text argument has no end of line');
    const from = this.pos;
    this.pos = newline + 1;
    this.countText(newline - from);
    return [from, newline];
  }

  /** A line as it is, a carriage return at its end included: Python's reader strips none. */
  textLine(): string {
    const [from, to] = this.#lineRange();
    return this.bytes.toString('latin1', from, to);
  }

  line(): string {
    const text = this.textLine();
    return text.endsWith('\r') ? text.slice(0, -1) : text;
  }

  /** A line of UTF-8: module and class names. */
  nameLine(): string {
    const [from, to] = this.#lineRange();
    return decodeUtf8(this.bytes, from, to > from && this.bytes[to - 1] === 13 ? to - 1 : to);
  }

  countText(count: number): void {
    this.stringBytes += count;
    if (this.stringBytes > this.limits.maxStringBytes) this.exceed('maxStringBytes', this.limits.maxStringBytes);
  }

  /** The eight bytes of a float, big-endian. */
  pushFloat(): void {
    this.need(8);
    const value = this.bytes.readDoubleBE(this.pos);
    let origin = Number.isInteger(value) ? FLOAT : 0;
    if (Number.isNaN(value)) {
      const bits = this.bytes.readBigUInt64BE(this.pos);
      if (bits !== USUAL_NAN) origin = NAN + 1 - this.#nans.push(bits);
    }
    this.pos += 8;
    this.push(value, origin);
  }

  pushText(count: number): void {
    this.need(count);
    this.countText(count);
    this.push(decodeUtf8(this.bytes, this.pos, this.pos + count), ++this.strings);
    this.pos += count;
  }

  pushByteString(from: number, to: number, source: Buffer): void {
    this.countText(to - from);
    const decoded = decodeByteString(source, from, to, this.encoding);
    if (typeof decoded === 'string') this.push(decoded, ++this.strings);
    else this.pushMade(decoded);
  }

  pushBytes(count: number): void {
    this.need(count);
    this.pushMade(new Uint8Array(this.bytes.subarray(this.pos, this.pos + count)));
    this.pos += count;
  }

  length8(): number {
    this.need(8);
    const value = this.bytes.readBigUInt64LE(this.pos);
    this.pos += 8;
    if (value > BigInt(this.end)) fail(`an argument claims ${value} bytes; the pickle has ${this.end - this.start}`);
    return Number(value);
  }

  enterFrame(): void {
    const byteLength = this.length8();
    if (!this.frame.enter(this.pos, byteLength)) fail('a frame begins inside another one');
    if (byteLength > this.end - this.pos)
      fail(`the pickle ends inside a frame of ${byteLength} bytes; ${this.end - this.pos} are left`);
  }

  leaveFrame(): void {
    if (!this.frame.leave(this.pos)) fail('an opcode goes on behind the end of its frame');
  }

  put(index: number): void {
    this.demand(1);
    this.memo.put(index, this.stack[this.depth - 1] as PyValue, this.origins[this.depth - 1] as number);
    if (this.memo.count > this.limits.maxMemoEntries) this.exceed('maxMemoEntries', this.limits.maxMemoEntries);
  }

  /** Memo stores of what is not made; see `Memo.skip`. */
  passOver(count: number, firstText: number, secondText: number, firstId: number): void {
    this.memo.skip(count, firstText, secondText, firstId);
    if (this.memo.count > this.limits.maxMemoEntries) this.exceed('maxMemoEntries', this.limits.maxMemoEntries);
  }

  get(index: number): void {
    if (!this.memo.find(index)) fail(`memo entry ${index} was never stored`);
    this.push(this.memo.value, this.memo.origin);
  }

  /** Remembers what the slot's JavaScript value cannot say. */
  note(container: object, slot: PyValue, value: PyValue, origin: number, isKey = false): void {
    if (origin < 0) this.#spend(NOTE_BYTES);
    if (origin === FLOAT) {
      if (isKey) noteFloatKey(container, value as number);
      else noteFloat(container, slot, value as number);
    } else if (origin < 0) noteNan(container, slot, this.#nans[NAN - origin] as bigint, isKey);
    else this.notes.string(container, slot, value as string, origin, isKey);
  }

  pushTuple(from: number): void {
    const tuple = new Tuple();
    if (this.resolver.resolvedGetattr) this.resolver.judgeItems(this.stack.slice(from, this.depth));
    let noted = false;
    for (let i = from; i < this.depth; i++) {
      tuple.push(this.stack[i] as PyValue);
      if (this.origins[i] !== 0) noted = true;
    }
    if (noted) {
      if (this.persistentLoad && this.beforePersistentId()) this.notePersistentId(from);
      else
        for (let i = from; i < this.depth; i++)
          if (this.origins[i] !== 0) this.note(tuple, i - from, this.stack[i] as PyValue, this.origins[i] as number);
    }
    this.depth = from;
    if (!this.beforeMemoStore() && this.bytes[this.pos] !== Op.BINPERSID) markUnmemoized(tuple);
    this.pushMade(tuple);
  }

  beforeMemoStore(): boolean {
    const op = this.bytes[this.pos];
    return op === Op.BINPUT || op === Op.LONG_BINPUT || op === Op.MEMOIZE || op === Op.PUT;
  }

  /** Whether the tuple just read is about to become a persistent id: its strings are PyTorch's, not the user's. */
  beforePersistentId(): boolean {
    const op = this.bytes[this.pos];
    const next =
      op === Op.BINPUT
        ? this.pos + 2
        : op === Op.LONG_BINPUT
          ? this.pos + 5
          : op === Op.MEMOIZE
            ? this.pos + 1
            : this.pos;
    return this.bytes[next] === Op.BINPERSID;
  }

  notePersistentId(from: number): void {
    for (let i = from; i < this.depth; i++)
      if (this.origins[i] === FLOAT) fail('a persistent id holds a float where an integer belongs');
    for (const item of persistentIdItems) {
      const value = this.stack[from + item.index];
      const origin = this.origins[from + item.index] as number;
      if (from + item.index < this.depth && origin > 0 && typeof value === 'string' && item.isConstant(value))
        this.notes.constant(value, origin);
    }
  }

  setSlot(target: PyValue, at: number): void {
    const key = this.stack[at] as PyValue;
    const value = this.stack[at + 1] as PyValue;
    const keyOrigin = this.origins[at] as number;
    let slot = key;
    if (typeof key === 'string' && target instanceof Map) {
      const { size } = target;
      if (this.weightsOnly) setItem(target, key, value, true);
      else target.set(key, value);
      // Where the key was there already, the dict keeps the string object that it has.
      if (keyOrigin !== 0 && target.size > size) this.notes.key(target, keyOrigin);
    } else {
      const size = target instanceof Map ? target.size : 0;
      const filed = setItem(target, key, value, this.weightsOnly);
      if ('pair' in filed) {
        if (keyOrigin !== 0) this.note(filed.pair, 0, key, keyOrigin);
        if (this.origins[at + 1] !== 0) this.note(filed.pair, 1, value, this.origins[at + 1] as number);
        return;
      }
      slot = filed.key;
      // As above: 1.0 does not replace the 1 that is there.
      if (keyOrigin !== 0 && (target as Map<PyValue, PyValue>).size > size)
        this.note(target as object, slot, key, keyOrigin, true);
    }
    if (this.origins[at + 1] !== 0) this.note(target as object, slot, value, this.origins[at + 1] as number);
  }

  setSlots(from: number, target: PyValue): void {
    if ((this.depth - from) % 2) fail('a dict is given a key without a value');
    if (this.weightsOnly) checkItemTarget(target);
    for (let i = from; i < this.depth; i += 2) this.setSlot(target, i);
    this.depth = from;
  }

  extend(target: PyValue, from: number): void {
    // Python's own reader does not look where there is nothing to add.
    if (this.depth === from && !this.weightsOnly) return;
    const list = appendItems(target, this.weightsOnly, this.depth - from === 1);
    for (let i = from; i < this.depth; i++) {
      if (this.origins[i] !== 0) this.note(list, list.length, this.stack[i] as PyValue, this.origins[i] as number);
      list.push(this.stack[i] as PyValue);
    }
    this.depth = from;
  }

  addToSet(set: Set<PyValue>, from: number): void {
    for (let i = from; i < this.depth; i++) {
      const { size } = set;
      const member = filedKey(set, this.stack[i] as PyValue);
      set.add(member);
      if (this.origins[i] !== 0 && set.size > size)
        this.note(set, member, this.stack[i] as PyValue, this.origins[i] as number, true);
    }
    this.depth = from;
  }

  popArgs(): Tuple {
    const args = this.pop();
    if (!(args instanceof Tuple)) fail(`the arguments of a call are ${kindOf(args)}, not a tuple`);
    this.#chargeCall(args as Tuple);
    return args as Tuple;
  }

  /** A call may copy what it is given, and five bytes of a pickle can make it again. */
  #chargeCall(args: Tuple): void {
    let bytes = args.length * ITEM_BYTES;
    this.#spend(bytes);
    bytes = 0;
    for (const arg of args) {
      if (typeof arg === 'string') bytes += arg.length;
      else if (typeof arg !== 'object' || arg === null) continue;
      else if (Array.isArray(arg)) bytes += arg.length * ENTRY_BYTES;
      else if (arg instanceof Uint8Array) bytes += arg.byteLength;
      else if (arg instanceof Map || arg instanceof Set) bytes += arg.size * ENTRY_BYTES;
      else if (arg instanceof NdArray) bytes += arg.data.byteLength;
    }
    this.#spend(bytes);
    this.#copiedBytes += bytes;
    if (this.#copiedBytes > this.#copyAllowance) this.exceed('maxObjectBytes', this.#copyAllowance);
  }

  integer(text: string): number | bigint {
    // A decimal digit holds less than half a byte.
    if (text.length > this.limits.maxIntegerBytes * 2) this.exceed('maxIntegerBytes', this.limits.maxIntegerBytes);
    return parseInteger(text);
  }

  memoIndex(text: string): number {
    const index = parseInteger(text);
    if (typeof index !== 'number' || index < 0) fail(`'${clip(text)}' is no memo index`);
    return index as number;
  }

  exceed(name: keyof Limits, limit: number): never {
    throw new CheckpointError('LIMIT_EXCEEDED', `the pickle goes over limits.${name} (${limit})`, {
      byteOffset: this.opAt,
      hint: 'raise the limit if the file is trusted',
    });
  }

  /** Fills in where in the pickle it happened, unless the error knows a record of its own. */
  locate(error: CheckpointError): CheckpointError {
    if (error.record !== undefined && error.record !== this.#options.record) return error;
    return error.located({ record: this.#options.record, byteOffset: (this.#options.baseOffset ?? 0) + this.opAt });
  }
}
