/**
 * The pickle machine: bytes in, an object graph out.
 *
 * It runs every opcode of protocols 0 to 5 without ever importing or calling anything: what REDUCE and its kin make is
 * decided in `construct.ts`. It is one loop over a stack and a memo, so that no nesting in the file can overflow ours, and
 * everything it holds on to is counted against the limits.
 *
 * State, besides the position:
 *   stack[0..depth)    values; origins[i] says what JavaScript cannot tell of stack[i]: the number of a string object
 *                      (counted from 1), FLOAT for an integral float, else 0.
 *   marks              stack depths at which MARK stood; `fence` is the topmost, below which nothing may be popped.
 *   memo, memoOrigins  by memo index while indexes are dense, `sparseMemo` for the rest: an index costs nothing itself.
 */
import { CheckpointError } from '../errors';
import type { Limits } from '../limits';
import { appendItems, build, newObject, persistentIdItems, reduce, setItem } from './construct';
import { NotUtf8Error, clip, decodeByteString, decodeLong, decodeUtf8, parseFloat, parseInteger, parseQuoted, parseRawUnicode } from './decode';
import { CanonicalTensor } from './canonical-tensor';
import type { GlobalResolver } from './globals';
import { type GlobalNames, globalNameSlot, markUnmemoized, NoteTaker, noteFloat, noteFloatKey } from './notes';
import { HIGHEST_PROTOCOL, Op, WEIGHTS_ONLY_OPS } from './opcodes';
import { rebuildPlainTensor } from './rebuild';
import { type Host, KnownGlobal, StorageClass, fail } from './rules';
import { ByteArray, FrozenSet, PyGlobal, type PyValue, Tuple, typeName } from './values';
import { weightsOnlyError } from './weights-only';

export interface UnpickleOptions {
  limits: Limits;
  host: Host;
  resolver: GlobalResolver;
  encoding: 'utf-8' | 'ascii' | 'latin1' | 'bytes';
  /** PyTorch's restricted opcodes, besides the restricted globals that `resolver` keeps. */
  weightsOnly: boolean;
  /** Where the pickle starts in the bytes. */
  byteOffset?: number;
  /** Added to the byte offsets of errors: where the bytes begin in their file or record. */
  baseOffset?: number;
  record?: string | undefined;
  persistentLoad?: ((pid: PyValue) => PyValue) | undefined;
}

export interface Unpickled {
  value: PyValue;
  /** Position after STOP. */
  byteEnd: number;
  protocol: number;
  globalNames: GlobalNames;
}

/** Origin of a number that is a Python float although it is integral. */
const FLOAT = -1;
/** Indexes up to this far beyond the end of the memo keep it an array; a wilder one goes to a Map. */
const MEMO_STRIDE = 4096;

/** Thrown where a pickle recalls what the fast path did not make; the pickle is then read without that path. */
class NotCanonical extends Error {}
/** Stands in the memo for the tuples that the fast path does not make. */
const SKIPPED: PyValue = Object.freeze({});

/** Runs one pickle. Throws PICKLE_CORRUPT, LIMIT_EXCEEDED, WEIGHTS_ONLY or what `host` throws, with the byte offset. */
export function unpickle(input: Uint8Array, options: UnpickleOptions): Unpickled {
  try {
    return execute(input, options, true);
  } catch (error) {
    if (!(error instanceof NotCanonical)) throw error;
    return execute(input, options, false);
  }
}

function execute(input: Uint8Array, options: UnpickleOptions, fast: boolean): Unpickled {
  const { limits, host, resolver, encoding, weightsOnly, persistentLoad } = options;
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
  const end = bytes.length;
  const start = options.byteOffset ?? 0;
  let pos = start;
  let opAt = start;
  let protocol = 0;

  const stack: PyValue[] = [];
  const origins: number[] = [];
  let depth = 0;
  const marks: number[] = [];
  let fence = 0;

  const memo: PyValue[] = [];
  const memoOrigins: number[] = [];
  const sparseMemo = new Map<number, readonly [PyValue, number]>();
  let memoCount = 0;

  const canonical = new CanonicalTensor();
  /** The persistent id of the fast path: one tuple for all, since whoever resolves it does not keep it. */
  const scratchId = Tuple.of<PyValue>('storage', null, '', '', 0);

  const globalNames: GlobalNames = new Map();
  const notes = new NoteTaker();
  let strings = 0;
  let stringBytes = 0;
  let opcodes = 0;

  function need(count: number): void {
    if (count > end - pos) fail(`the pickle ends inside an argument of ${count} bytes; ${end - pos} are left`);
  }
  function push(value: PyValue, origin = 0): void {
    if (depth >= limits.maxStackDepth) exceed('maxStackDepth', limits.maxStackDepth);
    stack[depth] = value;
    origins[depth++] = origin;
  }
  function demand(count: number): void {
    if (depth - count < fence) fail(`opcode 0x${(bytes[opAt] as number).toString(16)} needs ${count} values, the stack has ${depth - fence}`);
  }
  function pop(): PyValue {
    demand(1);
    return stack[--depth] as PyValue;
  }
  /** Ends the run that the last MARK began; the values stay above the returned depth. */
  function popMark(): number {
    if (marks.length === 0) fail('the stack has no mark');
    marks.pop();
    const at = fence;
    fence = marks.length ? (marks[marks.length - 1] as number) : 0;
    return at;
  }
  function line(): string {
    const newline = bytes.indexOf(10, pos);
    if (newline < 0) fail('a text argument has no end of line');
    const from = pos;
    pos = newline + 1;
    countText(newline - from);
    return bytes.toString('latin1', from, newline > from && bytes[newline - 1] === 13 ? newline - 1 : newline);
  }
  /** A line of UTF-8: module and class names. */
  function nameLine(): string {
    const text = line();
    return decodeUtf8(Buffer.from(text, 'latin1'), 0, text.length);
  }
  function countText(count: number): void {
    stringBytes += count;
    if (stringBytes > limits.maxStringBytes) exceed('maxStringBytes', limits.maxStringBytes);
  }
  function pushText(count: number): void {
    need(count);
    countText(count);
    push(decodeUtf8(bytes, pos, pos + count), ++strings);
    pos += count;
  }
  function pushByteString(from: number, to: number, source: Buffer): void {
    countText(to - from);
    push(decodeByteString(source, from, to, encoding), ++strings);
  }
  function pushBytes(count: number): void {
    need(count);
    push(new Uint8Array(bytes.subarray(pos, pos + count)));
    pos += count;
  }
  function length8(): number {
    need(8);
    const value = bytes.readBigUInt64LE(pos);
    pos += 8;
    if (value > BigInt(end)) fail(`an argument claims ${value} bytes; the pickle has ${end - start}`);
    return Number(value);
  }
  function put(index: number): void {
    demand(1);
    if (++memoCount > limits.maxMemoEntries) exceed('maxMemoEntries', limits.maxMemoEntries);
    if (index <= memo.length + MEMO_STRIDE) {
      memo[index] = stack[depth - 1] as PyValue;
      memoOrigins[index] = origins[depth - 1] as number;
    } else sparseMemo.set(index, [stack[depth - 1] as PyValue, origins[depth - 1] as number]);
  }
  function get(index: number): void {
    const value = memo[index];
    if (value === SKIPPED) throw new NotCanonical();
    if (value !== undefined) return push(value, memoOrigins[index]);
    const entry = sparseMemo.get(index);
    if (!entry) fail(`memo entry ${index} was never stored`);
    else push(entry[0], entry[1]);
  }
  /**
   * Reads a tensor in one step when the run after a MARK is the canonical one, leaving it on the stack in the place of
   * the function that rebuilds it. False, with nothing changed, when it is not.
   */
  function readCanonicalTensor(load: (pid: PyValue) => PyValue): boolean {
    const rebuild = stack[depth - 1];
    if (!(rebuild instanceof KnownGlobal) || rebuild.global !== 'torch._utils._rebuild_tensor_v2' || !canonical.read(bytes, pos)) return false;
    const run = canonical;
    const storageClass = memo[run.storageClass];
    const hooks = memo[run.hooks];
    if (memo[run.storageWord] !== 'storage' || !(storageClass instanceof StorageClass)) return false;
    if (!(hooks instanceof KnownGlobal) || hooks.global !== 'collections.OrderedDict') return false;
    const key = run.key < 0 ? bytes.toString('latin1', run.keyStart, run.keyEnd) : memo[run.key];
    const location = run.location < 0 ? bytes.toString('latin1', run.locationStart, run.locationEnd) : memo[run.location];
    // Memo numbers are consecutive in what PyTorch writes; the machine reads anything else.
    if (typeof key !== 'string' || typeof location !== 'string' || run.lastPut - run.puts + 1 !== memo.length) return false;
    memoCount += run.puts;
    if (memoCount > limits.maxMemoEntries) exceed('maxMemoEntries', limits.maxMemoEntries);
    for (let i = memo.length; i <= run.lastPut; i++) {
      memo.push(SKIPPED);
      memoOrigins.push(0);
    }
    if (run.key < 0) {
      memo[run.keyPut] = key;
      memoOrigins[run.keyPut] = ++strings;
    }
    scratchId[1] = storageClass;
    scratchId[2] = key;
    scratchId[3] = location;
    scratchId[4] = run.numel;
    const storage = load(scratchId);
    stack[depth - 1] = rebuildPlainTensor(storage, run.storageOffset, run.shape, run.stride, run.requiresGrad);
    // Past the REDUCE: the memo store that may follow is an opcode of its own.
    pos = run.end + 1;
    return true;
  }

  /** Remembers what the slot's JavaScript value cannot say. */
  function note(container: object, slot: PyValue, value: PyValue, origin: number, isKey = false): void {
    if (origin === FLOAT) {
      if (isKey) noteFloatKey(container, value as number);
      else noteFloat(container, slot, value as number);
    } else notes.string(container, slot, value as string, origin, isKey);
  }
  function pushTuple(from: number): void {
    const tuple = new Tuple();
    let noted = false;
    for (let i = from; i < depth; i++) {
      tuple.push(stack[i] as PyValue);
      if (origins[i] !== 0) noted = true;
    }
    if (noted) {
      if (persistentLoad && beforePersistentId()) notePersistentId(from);
      else for (let i = from; i < depth; i++) if (origins[i] !== 0) note(tuple, i - from, stack[i] as PyValue, origins[i] as number);
    }
    depth = from;
    if (!beforeMemoStore() && bytes[pos] !== Op.BINPERSID) markUnmemoized(tuple);
    push(tuple);
  }
  function beforeMemoStore(): boolean {
    const op = bytes[pos];
    return op === Op.BINPUT || op === Op.LONG_BINPUT || op === Op.MEMOIZE || op === Op.PUT;
  }
  /** Whether the tuple just read is about to become a persistent id: its strings are PyTorch's, not the user's. */
  function beforePersistentId(): boolean {
    const op = bytes[pos];
    const next = op === Op.BINPUT ? pos + 2 : op === Op.LONG_BINPUT ? pos + 5 : op === Op.MEMOIZE ? pos + 1 : pos;
    return bytes[next] === Op.BINPERSID;
  }
  function notePersistentId(from: number): void {
    for (const item of persistentIdItems) {
      const value = stack[from + item.index];
      const origin = origins[from + item.index] as number;
      if (from + item.index < depth && origin > 0 && typeof value === 'string' && item.isConstant(value)) notes.constant(value, origin);
    }
  }
  function setSlot(target: PyValue, at: number): void {
    const key = stack[at] as PyValue;
    const value = stack[at + 1] as PyValue;
    let slot = key;
    if (typeof key === 'string' && target instanceof Map && !weightsOnly) target.set(key, value);
    else {
      const filed = setItem(target, key, value, weightsOnly);
      if ('pair' in filed) {
        if (origins[at] !== 0) note(filed.pair, 0, key, origins[at] as number);
        if (origins[at + 1] !== 0) note(filed.pair, 1, value, origins[at + 1] as number);
        return;
      }
      slot = filed.key;
    }
    if (origins[at] !== 0) note(target as object, slot, key, origins[at] as number, true);
    if (origins[at + 1] !== 0) note(target as object, slot, value, origins[at + 1] as number);
  }
  function setSlots(from: number, target: PyValue): void {
    if ((depth - from) % 2) fail('a dict is given a key without a value');
    for (let i = from; i < depth; i += 2) setSlot(target, i);
    depth = from;
  }
  function extend(target: PyValue, from: number): void {
    const list = appendItems(target, weightsOnly, depth - from === 1);
    for (let i = from; i < depth; i++) {
      if (origins[i] !== 0) note(list, list.length, stack[i] as PyValue, origins[i] as number);
      list.push(stack[i] as PyValue);
    }
    depth = from;
  }
  function addToSet(set: Set<PyValue>, from: number): void {
    for (let i = from; i < depth; i++) {
      set.add(stack[i] as PyValue);
      if (origins[i] !== 0) note(set, stack[i] as PyValue, stack[i] as PyValue, origins[i] as number, true);
    }
    depth = from;
  }
  function popArgs(): Tuple {
    const args = pop();
    if (!(args instanceof Tuple)) fail(`the arguments of a call are a ${typeName(args)}, not a tuple`);
    return args as Tuple;
  }

  const run = (): Unpickled => {
    for (;;) {
      opAt = pos;
      const op = bytes[pos++];
      if (++opcodes > limits.maxOpcodes) exceed('maxOpcodes', limits.maxOpcodes);
      if (weightsOnly && op !== undefined && !WEIGHTS_ONLY_OPS.has(op)) throw weightsOnlyError(`Unsupported operand ${op}`);
      switch (op) {
        case Op.BINPUT:
          need(1);
          put(bytes[pos++] as number);
          break;
        case Op.LONG_BINPUT:
          need(4);
          put(bytes.readUInt32LE(pos));
          pos += 4;
          break;
        case Op.MEMOIZE:
          put(memoCount);
          break;
        case Op.BINGET:
          need(1);
          get(bytes[pos++] as number);
          break;
        case Op.LONG_BINGET:
          need(4);
          get(bytes.readUInt32LE(pos));
          pos += 4;
          break;
        case Op.MARK:
          if (fast && persistentLoad && depth > fence && readCanonicalTensor(persistentLoad)) break;
          marks.push(depth);
          fence = depth;
          if (marks.length > limits.maxStackDepth) exceed('maxStackDepth', limits.maxStackDepth);
          break;
        case Op.BININT1:
          need(1);
          push(bytes[pos++] as number);
          break;
        case Op.BININT2:
          need(2);
          push((bytes[pos] as number) | ((bytes[pos + 1] as number) << 8));
          pos += 2;
          break;
        case Op.BININT:
          need(4);
          push(bytes.readInt32LE(pos));
          pos += 4;
          break;
        case Op.LONG1: {
          need(1);
          const count = bytes[pos++] as number;
          need(count);
          push(decodeLong(bytes, pos, pos + count));
          pos += count;
          break;
        }
        case Op.LONG4: {
          need(4);
          const count = bytes.readInt32LE(pos);
          pos += 4;
          if (count < 0) fail(`an integer claims ${count} bytes`);
          if (count > limits.maxIntegerBytes) exceed('maxIntegerBytes', limits.maxIntegerBytes);
          need(count);
          push(decodeLong(bytes, pos, pos + count));
          pos += count;
          break;
        }
        case Op.BINFLOAT: {
          need(8);
          const value = bytes.readDoubleBE(pos);
          pos += 8;
          push(value, Number.isInteger(value) && !Object.is(value, -0) ? FLOAT : 0);
          break;
        }
        case Op.BINUNICODE:
          need(4);
          pos += 4;
          pushText(bytes.readUInt32LE(pos - 4));
          break;
        case Op.SHORT_BINUNICODE:
          need(1);
          pushText(bytes[pos++] as number);
          break;
        case Op.BINUNICODE8:
          pushText(length8());
          break;
        case Op.TUPLE:
          pushTuple(popMark());
          break;
        case Op.TUPLE1:
          demand(1);
          pushTuple(depth - 1);
          break;
        case Op.TUPLE2:
          demand(2);
          pushTuple(depth - 2);
          break;
        case Op.TUPLE3:
          demand(3);
          pushTuple(depth - 3);
          break;
        case Op.EMPTY_TUPLE:
          push(new Tuple());
          break;
        case Op.BINPERSID:
        case Op.PERSID: {
          const pid = op === Op.PERSID ? line() : pop();
          if (!persistentLoad) fail('a persistent id stands in a pickle that has no storages');
          else push(persistentLoad(pid));
          break;
        }
        case Op.GLOBAL: {
          const module = nameLine();
          const global = resolver.resolve(module, nameLine());
          if (global instanceof PyGlobal && !beforeMemoStore()) markUnmemoized(global);
          push(global);
          break;
        }
        case Op.STACK_GLOBAL: {
          demand(2);
          depth -= 2;
          const [module, name] = [stack[depth], stack[depth + 1]];
          if (typeof name !== 'string' || typeof module !== 'string') {
            fail('STACK_GLOBAL needs two strings');
            break;
          }
          for (const [i, part] of [module, name].entries()) {
            const slot = globalNameSlot(module, name, i);
            globalNames.set(slot, part);
            if ((origins[depth + i] as number) > 0) notes.string(globalNames, slot, part, origins[depth + i] as number, false);
          }
          push(resolver.resolve(module, name));
          break;
        }
        case Op.REDUCE: {
          const args = popArgs();
          push(reduce(pop(), args, host, weightsOnly));
          break;
        }
        case Op.NEWOBJ: {
          const args = popArgs();
          push(newObject(pop(), args, undefined, 'newobj', host, weightsOnly));
          break;
        }
        case Op.NEWOBJ_EX: {
          const kwargs = pop();
          if (!(kwargs instanceof Map)) fail(`the keyword arguments are a ${typeName(kwargs)}, not a dict`);
          const args = popArgs();
          push(newObject(pop(), args, kwargs as Map<PyValue, PyValue>, 'newobj_ex', host, weightsOnly));
          break;
        }
        case Op.INST: {
          const module = nameLine();
          const name = nameLine();
          const from = popMark();
          const args = Tuple.from(stack.slice(from, depth));
          depth = from;
          push(newObject(resolver.resolve(module, name), args, undefined, 'inst', host, weightsOnly));
          break;
        }
        case Op.OBJ: {
          const from = popMark();
          if (depth === from) fail('OBJ without a class');
          const args = Tuple.from(stack.slice(from + 1, depth));
          const callable = stack[from] as PyValue;
          depth = from;
          push(newObject(callable, args, undefined, 'obj', host, weightsOnly));
          break;
        }
        case Op.BUILD: {
          demand(2);
          const state = stack[--depth] as PyValue;
          const target = stack[depth - 1] as PyValue;
          stack[depth - 1] = build(target, state, host, weightsOnly);
          if (origins[depth] !== 0 && typeof target === 'object' && target !== null) note(target, 'state', state, origins[depth] as number);
          break;
        }
        case Op.EMPTY_DICT:
          push(new Map());
          break;
        case Op.EMPTY_LIST:
          push([]);
          break;
        case Op.EMPTY_SET:
          push(new Set());
          break;
        case Op.SETITEM:
          demand(3);
          depth -= 2;
          setSlot(stack[depth - 1] as PyValue, depth);
          break;
        case Op.SETITEMS: {
          const from = popMark();
          setSlots(from, from <= fence ? fail('SETITEMS without a dict') : (stack[from - 1] as PyValue));
          break;
        }
        case Op.DICT: {
          const dict = new Map<PyValue, PyValue>();
          setSlots(popMark(), dict);
          push(dict);
          break;
        }
        case Op.APPEND:
          demand(2);
          extend(stack[depth - 2] as PyValue, depth - 1);
          break;
        case Op.APPENDS: {
          const from = popMark();
          if (from <= fence) fail('APPENDS without a list');
          extend(stack[from - 1] as PyValue, from);
          break;
        }
        case Op.LIST: {
          const from = popMark();
          const items: PyValue[] = [];
          for (let i = from; i < depth; i++) {
            if (origins[i] !== 0) note(items, i - from, stack[i] as PyValue, origins[i] as number);
            items.push(stack[i] as PyValue);
          }
          depth = from;
          push(items);
          break;
        }
        case Op.ADDITEMS: {
          const from = popMark();
          if (from <= fence) fail('ADDITEMS without a set');
          const set = stack[from - 1];
          if (set instanceof Set) addToSet(set as Set<PyValue>, from);
          else extend(set as PyValue, from);
          break;
        }
        case Op.FROZENSET: {
          const from = popMark();
          const set = new FrozenSet<PyValue>();
          addToSet(set, from);
          push(set);
          break;
        }
        case Op.NONE:
          push(null);
          break;
        case Op.NEWTRUE:
          push(true);
          break;
        case Op.NEWFALSE:
          push(false);
          break;
        case Op.PROTO:
          need(1);
          protocol = bytes[pos++] as number;
          if (protocol > HIGHEST_PROTOCOL) fail(`unsupported pickle protocol: ${protocol}; the highest is ${HIGHEST_PROTOCOL}`);
          break;
        case Op.FRAME:
          need(8);
          pos += 8;
          break;
        case Op.STOP: {
          const value = pop();
          notes.finish();
          return { value, byteEnd: pos, protocol, globalNames };
        }
        case Op.POP:
          if (depth > fence) depth--;
          else popMark();
          break;
        case Op.POP_MARK:
          depth = popMark();
          break;
        case Op.DUP:
          demand(1);
          push(stack[depth - 1] as PyValue, origins[depth - 1]);
          break;
        case Op.SHORT_BINBYTES:
          need(1);
          pushBytes(bytes[pos++] as number);
          break;
        case Op.BINBYTES:
          need(4);
          pos += 4;
          pushBytes(bytes.readUInt32LE(pos - 4));
          break;
        case Op.BINBYTES8:
          pushBytes(length8());
          break;
        case Op.BYTEARRAY8: {
          const count = length8();
          need(count);
          push(new ByteArray(bytes.subarray(pos, pos + count)));
          pos += count;
          break;
        }
        case Op.SHORT_BINSTRING: {
          need(1);
          const count = bytes[pos++] as number;
          need(count);
          pushByteString(pos, pos + count, bytes);
          pos += count;
          break;
        }
        case Op.BINSTRING: {
          need(4);
          const count = bytes.readInt32LE(pos);
          pos += 4;
          if (count < 0) fail(`a byte string claims ${count} bytes`);
          need(count);
          pushByteString(pos, pos + count, bytes);
          pos += count;
          break;
        }
        case Op.STRING: {
          const quoted = parseQuoted(line());
          pushByteString(0, quoted.length, quoted);
          break;
        }
        case Op.UNICODE:
          push(parseRawUnicode(line()), ++strings);
          break;
        case Op.INT: {
          const text = line();
          push(text === '01' ? true : text === '00' ? false : integer(text));
          break;
        }
        case Op.LONG:
          push(integer(line()));
          break;
        case Op.FLOAT: {
          const value = parseFloat(line());
          push(value, Number.isInteger(value) && !Object.is(value, -0) ? FLOAT : 0);
          break;
        }
        case Op.PUT:
          put(memoIndex(line()));
          break;
        case Op.GET:
          get(memoIndex(line()));
          break;
        case Op.EXT1:
        case Op.EXT2:
        case Op.EXT4:
          fail('the pickle uses the extension registry of the process that wrote it');
          break;
        case Op.NEXT_BUFFER:
        case Op.READONLY_BUFFER:
          fail('the pickle refers to buffers kept outside of it');
          break;
        case undefined:
          fail('the pickle ends without STOP');
          break;
        default:
          fail(`unknown opcode 0x${op.toString(16)}`);
      }
    }
  };

  function integer(text: string): number | bigint {
    // A decimal digit holds less than half a byte.
    if (text.length > limits.maxIntegerBytes * 2) exceed('maxIntegerBytes', limits.maxIntegerBytes);
    return parseInteger(text);
  }
  function memoIndex(text: string): number {
    const index = parseInteger(text);
    if (typeof index !== 'number' || index < 0) fail(`'${clip(text)}' is no memo index`);
    return index as number;
  }
  function exceed(name: keyof Limits, limit: number): never {
    throw new CheckpointError('LIMIT_EXCEEDED', `the pickle goes over limits.${name} (${limit})`, {
      byteOffset: opAt,
      hint: 'raise the limit if the file is trusted',
    });
  }

  /** Fills in where in the pickle it happened, unless the error knows a record of its own. */
  function locate(error: CheckpointError): CheckpointError {
    if (error.record !== undefined && error.record !== options.record) return error;
    return error.located({ record: options.record, byteOffset: (options.baseOffset ?? 0) + opAt });
  }

  try {
    return run();
  } catch (error) {
    throw error instanceof CheckpointError && !(error instanceof NotUtf8Error) ? locate(error) : error;
  }
}
