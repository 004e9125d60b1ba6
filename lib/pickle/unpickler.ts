/**
 * The pickle machine: bytes in, an object graph out.
 *
 * It runs every opcode of protocols 0 to 5 without ever importing or calling anything: what REDUCE and its kin make is
 * decided in `construct.ts`. The state it works on is described in `machine.ts`.
 */
import { CheckpointError } from '../errors';
import { NotCanonical } from './canonical-tensor';
import { build, newObject, reduce } from './construct';
import { decodeLong, NotUtf8Error, parseDecimal, parseQuoted, parseRawUnicode } from './decode';
import { FastPath } from './fast-path';
import { FLOAT, Machine, type UnpickleOptions } from './machine';
import { type GlobalNames, globalNameSlot, markUnmemoized, ROOT_SLOT } from './notes';
import { HIGHEST_PROTOCOL, Op, WEIGHTS_ONLY_OPS } from './opcodes';
import { fail } from './rules';
import { ByteArray, FrozenSet, kindOf, PyGlobal, type PyValue, Tuple } from './values';
import { weightsOnlyError } from './weights-only';

export interface Unpickled {
  value: PyValue;
  /** Position after STOP. */
  byteEnd: number;
  protocol: number;
  globalNames: GlobalNames;
}

/** Runs one pickle. Throws PICKLE_CORRUPT, LIMIT_EXCEEDED, WEIGHTS_ONLY or what `host` throws, with the byte offset. */
export function unpickle(input: Uint8Array, options: UnpickleOptions): Unpickled {
  try {
    return execute(new Machine(input, options), true);
  } catch (error) {
    if (!(error instanceof NotCanonical)) throw error;
    return execute(new Machine(input, options), false);
  }
}

/** What V8 says where a Map or Set would have more than 2^24 entries. */
const TOO_MANY = /^(Map|Set) maximum size exceeded$/;

/** `fast`: whether tensors may be read in one step. */
function execute(machine: Machine, fast: boolean): Unpickled {
  const { persistentLoad } = machine;
  try {
    return run(machine, fast && persistentLoad ? new FastPath(machine, persistentLoad) : undefined);
  } catch (error) {
    if (error instanceof RangeError && TOO_MANY.test(error.message))
      throw machine.locate(new CheckpointError('LIMIT_EXCEEDED', `a dict or set has too many items: ${error.message}`));
    throw error instanceof CheckpointError && !(error instanceof NotUtf8Error) ? machine.locate(error) : error;
  }
}

function run(m: Machine, fastPath: FastPath | undefined): Unpickled {
  const { bytes, limits, host, weightsOnly, persistentLoad } = m;
  for (;;) {
    m.opAt = m.pos;
    if (m.pos >= m.frame.end) m.leaveFrame();
    const op = bytes[m.pos++];
    if (++m.opcodes > limits.maxOpcodes) m.exceed('maxOpcodes', limits.maxOpcodes);
    if (weightsOnly && op !== undefined && !WEIGHTS_ONLY_OPS.has(op))
      throw weightsOnlyError(`Unsupported operand ${op}`);
    switch (op) {
      case Op.BINPUT:
        m.need(1);
        m.put(bytes[m.pos++] as number);
        break;
      case Op.LONG_BINPUT:
        m.need(4);
        m.put(bytes.readUInt32LE(m.pos));
        m.pos += 4;
        break;
      case Op.MEMOIZE:
        m.put(m.memo.count);
        break;
      case Op.BINGET:
        m.need(1);
        m.get(bytes[m.pos++] as number);
        break;
      case Op.LONG_BINGET:
        m.need(4);
        m.get(bytes.readUInt32LE(m.pos));
        m.pos += 4;
        break;
      case Op.MARK:
        if (fastPath && m.depth > m.fence && fastPath.readTensors()) break;
        m.pushMark();
        break;
      case Op.BININT1:
        m.need(1);
        m.push(bytes[m.pos++] as number);
        break;
      case Op.BININT2:
        m.need(2);
        m.push((bytes[m.pos] as number) | ((bytes[m.pos + 1] as number) << 8));
        m.pos += 2;
        break;
      case Op.BININT:
        m.need(4);
        m.push(bytes.readInt32LE(m.pos));
        m.pos += 4;
        break;
      case Op.LONG1: {
        m.need(1);
        const count = bytes[m.pos++] as number;
        m.need(count);
        m.push(decodeLong(bytes, m.pos, m.pos + count));
        m.pos += count;
        break;
      }
      case Op.LONG4: {
        m.need(4);
        const count = bytes.readInt32LE(m.pos);
        m.pos += 4;
        if (count < 0) fail(`an integer claims ${count} bytes`);
        if (count > limits.maxIntegerBytes) m.exceed('maxIntegerBytes', limits.maxIntegerBytes);
        m.need(count);
        m.push(decodeLong(bytes, m.pos, m.pos + count));
        m.pos += count;
        break;
      }
      case Op.BINFLOAT:
        m.pushFloat();
        break;
      case Op.BINUNICODE:
        m.need(4);
        m.pos += 4;
        m.pushText(bytes.readUInt32LE(m.pos - 4));
        break;
      case Op.SHORT_BINUNICODE:
        m.need(1);
        m.pushText(bytes[m.pos++] as number);
        break;
      case Op.BINUNICODE8:
        m.pushText(m.length8());
        break;
      case Op.TUPLE:
        m.pushTuple(m.popMark());
        break;
      case Op.TUPLE1:
        m.demand(1);
        m.pushTuple(m.depth - 1);
        break;
      case Op.TUPLE2:
        m.demand(2);
        m.pushTuple(m.depth - 2);
        break;
      case Op.TUPLE3:
        m.demand(3);
        m.pushTuple(m.depth - 3);
        break;
      case Op.EMPTY_TUPLE:
        m.pushMade(new Tuple());
        break;
      case Op.BINPERSID:
      case Op.PERSID: {
        const pid = op === Op.PERSID ? m.line() : m.pop();
        if (!persistentLoad) fail('a persistent id stands in a pickle that has no storages');
        else m.push(persistentLoad(pid));
        break;
      }
      case Op.GLOBAL: {
        const module = m.nameLine();
        const global = m.resolver.resolve(module, m.nameLine());
        if (global instanceof PyGlobal && !m.beforeMemoStore()) markUnmemoized(global);
        m.push(global);
        break;
      }
      case Op.STACK_GLOBAL: {
        m.demand(2);
        m.depth -= 2;
        const [module, name] = [m.stack[m.depth], m.stack[m.depth + 1]];
        if (typeof name !== 'string' || typeof module !== 'string') {
          fail('STACK_GLOBAL needs two strings');
          break;
        }
        for (const [i, part] of [module, name].entries()) {
          const slot = globalNameSlot(module, name, i);
          m.globalNames.set(slot, part);
          if ((m.origins[m.depth + i] as number) > 0)
            m.notes.string(m.globalNames, slot, part, m.origins[m.depth + i] as number, false);
        }
        m.push(m.resolver.resolve(module, name));
        break;
      }
      case Op.REDUCE: {
        const args = m.popArgs();
        const callable = m.pop();
        m.resolver.judgeCall(callable, args);
        m.pushMade(reduce(callable, args, host, weightsOnly));
        break;
      }
      case Op.NEWOBJ: {
        const args = m.popArgs();
        m.pushMade(newObject(m.pop(), args, undefined, 'newobj', host, weightsOnly));
        break;
      }
      case Op.NEWOBJ_EX: {
        const kwargs = m.pop();
        if (!(kwargs instanceof Map)) fail(`the keyword arguments are ${kindOf(kwargs)}, not a dict`);
        const args = m.popArgs();
        m.pushMade(newObject(m.pop(), args, kwargs as Map<PyValue, PyValue>, 'newobj_ex', host, weightsOnly));
        break;
      }
      case Op.INST: {
        const module = m.nameLine();
        const name = m.nameLine();
        const from = m.popMark();
        const args = Tuple.from(m.stack.slice(from, m.depth));
        m.depth = from;
        const callable = m.resolver.resolve(module, name);
        m.resolver.judgeItems(args);
        m.resolver.judgeCall(callable, args);
        m.pushMade(newObject(callable, args, undefined, 'inst', host, weightsOnly));
        break;
      }
      case Op.OBJ: {
        const from = m.popMark();
        if (m.depth === from) fail('OBJ without a class');
        const args = Tuple.from(m.stack.slice(from + 1, m.depth));
        const callable = m.stack[from] as PyValue;
        m.depth = from;
        m.resolver.judgeItems(args);
        m.resolver.judgeCall(callable, args);
        m.pushMade(newObject(callable, args, undefined, 'obj', host, weightsOnly));
        break;
      }
      case Op.BUILD: {
        m.demand(2);
        const state = m.stack[--m.depth] as PyValue;
        const target = m.stack[m.depth - 1] as PyValue;
        m.stack[m.depth - 1] = build(target, state, host, weightsOnly);
        if (m.origins[m.depth] !== 0 && typeof target === 'object' && target !== null)
          m.note(target, 'state', state, m.origins[m.depth] as number);
        break;
      }
      case Op.EMPTY_DICT:
        m.pushMade(new Map());
        break;
      case Op.EMPTY_LIST:
        m.pushMade([]);
        break;
      case Op.EMPTY_SET:
        m.pushMade(new Set());
        break;
      case Op.SETITEM:
        m.demand(3);
        m.depth -= 2;
        m.setSlot(m.stack[m.depth - 1] as PyValue, m.depth);
        break;
      case Op.SETITEMS: {
        const from = m.popMark();
        m.setSlots(from, from <= m.fence ? fail('SETITEMS without a dict') : (m.stack[from - 1] as PyValue));
        break;
      }
      case Op.DICT: {
        const dict = new Map<PyValue, PyValue>();
        m.setSlots(m.popMark(), dict);
        m.pushMade(dict);
        break;
      }
      case Op.APPEND:
        m.demand(2);
        m.extend(m.stack[m.depth - 2] as PyValue, m.depth - 1);
        break;
      case Op.APPENDS: {
        const from = m.popMark();
        if (from <= m.fence) fail('APPENDS without a list');
        m.extend(m.stack[from - 1] as PyValue, from);
        break;
      }
      case Op.LIST: {
        const from = m.popMark();
        const items: PyValue[] = [];
        for (let i = from; i < m.depth; i++) {
          if (m.origins[i] !== 0) m.note(items, i - from, m.stack[i] as PyValue, m.origins[i] as number);
          items.push(m.stack[i] as PyValue);
        }
        m.depth = from;
        m.pushMade(items);
        break;
      }
      case Op.ADDITEMS: {
        const from = m.popMark();
        if (from <= m.fence) fail('ADDITEMS without a set');
        const set = m.stack[from - 1];
        if (set instanceof Set) m.addToSet(set as Set<PyValue>, from);
        else m.extend(set as PyValue, from);
        break;
      }
      case Op.FROZENSET: {
        const from = m.popMark();
        const set = new FrozenSet<PyValue>();
        m.addToSet(set, from);
        m.pushMade(set);
        break;
      }
      case Op.NONE:
        m.push(null);
        break;
      case Op.NEWTRUE:
        m.push(true);
        break;
      case Op.NEWFALSE:
        m.push(false);
        break;
      case Op.PROTO:
        m.need(1);
        m.protocol = bytes[m.pos++] as number;
        if (m.protocol > HIGHEST_PROTOCOL)
          fail(`unsupported pickle protocol: ${m.protocol}; the highest is ${HIGHEST_PROTOCOL}`);
        break;
      case Op.FRAME:
        m.enterFrame();
        break;
      case Op.STOP: {
        const value = m.pop();
        const origin = m.origins[m.depth] as number;
        if (origin < 0) m.note(m.globalNames, ROOT_SLOT, value, origin);
        m.notes.finish();
        return { value, byteEnd: m.pos, protocol: m.protocol, globalNames: m.globalNames };
      }
      case Op.POP:
        if (m.depth > m.fence) m.depth--;
        else m.popMark();
        break;
      case Op.POP_MARK:
        m.depth = m.popMark();
        break;
      case Op.DUP:
        m.demand(1);
        m.push(m.stack[m.depth - 1] as PyValue, m.origins[m.depth - 1]);
        break;
      case Op.SHORT_BINBYTES:
        m.need(1);
        m.pushBytes(bytes[m.pos++] as number);
        break;
      case Op.BINBYTES:
        m.need(4);
        m.pos += 4;
        m.pushBytes(bytes.readUInt32LE(m.pos - 4));
        break;
      case Op.BINBYTES8:
        m.pushBytes(m.length8());
        break;
      case Op.BYTEARRAY8: {
        const count = m.length8();
        m.need(count);
        m.pushMade(new ByteArray(bytes.subarray(m.pos, m.pos + count)));
        m.pos += count;
        break;
      }
      case Op.SHORT_BINSTRING: {
        m.need(1);
        const count = bytes[m.pos++] as number;
        m.need(count);
        m.pushByteString(m.pos, m.pos + count, bytes);
        m.pos += count;
        break;
      }
      case Op.BINSTRING: {
        m.need(4);
        const count = bytes.readInt32LE(m.pos);
        m.pos += 4;
        if (count < 0) fail(`a byte string claims ${count} bytes`);
        m.need(count);
        m.pushByteString(m.pos, m.pos + count, bytes);
        m.pos += count;
        break;
      }
      case Op.STRING: {
        const quoted = parseQuoted(m.line());
        m.pushByteString(0, quoted.length, quoted);
        break;
      }
      case Op.UNICODE:
        m.push(parseRawUnicode(m.textLine()), ++m.strings);
        break;
      case Op.INT: {
        const text = m.line();
        m.push(text === '01' ? true : text === '00' ? false : m.integer(text));
        break;
      }
      case Op.LONG:
        m.push(m.integer(m.line()));
        break;
      case Op.FLOAT: {
        const value = parseDecimal(m.line());
        m.push(value, Number.isInteger(value) ? FLOAT : 0);
        break;
      }
      case Op.PUT:
        m.put(m.memoIndex(m.line()));
        break;
      case Op.GET:
        m.get(m.memoIndex(m.line()));
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
}
