/**
 * The pickler: an object graph in, the bytes that Python's C pickler writes for it out (protocols 2 to 5).
 *
 * Leaves are written as they come, containers by generators that yield what they contain. The whole graph is pickled, and
 * every value that cannot be is refused with its path, before a byte of output exists.
 */
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { NestedTensor } from '../tensor/nested';
import { SparseTensor } from '../tensor/sparse';
import { Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { joinPath } from '../walk';
import { getPickled, type Picklable, pickledForm } from './classes';
import { dictSteps, listSteps, orderedDictSteps, reductionSteps, setSteps, tupleSteps } from './collection-writer';
import { checkKey } from './keys';
import { python3Parts } from './names';
import { floatKey, isFloatSlot, isUnmemoized, keyIdentity, ROOT_SLOT, StringIdentity, stringIdentity } from './notes';
import { Op } from './opcodes';
import { type Child, type PickleTarget, PickleWriter, refuse, type Steps } from './pickle-writer';
import { makeTensorWriter, type TensorWriter } from './tensor-writer';
import {
  Complex,
  Device,
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
  Tuple,
  typeName,
} from './values';

interface Frame {
  readonly steps: Steps;
  /** The step that led here, for the path in an error message. */
  readonly child: Child;
}

export class Pickler extends PickleWriter {
  readonly #stack: Frame[] = [];
  readonly #tensors: TensorWriter;

  constructor(target: PickleTarget) {
    super(target);
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

  /** Writes a leaf and returns nothing, or begins a container and returns the generator of its contents. */
  #save(child: Child): Steps | undefined {
    const [value, container, slot, isKey] = child;
    if (isKey && typeof value !== 'string' && (container instanceof Map || container instanceof Set))
      checkKey(container as Map<PyValue, PyValue> | Set<PyValue>, value as PyValue);
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
        if (float) this.slotFloat(key ?? value, container, slot, isKey);
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
        if (value instanceof PyFloat) {
          // A key that is one of several NaNs has bits of its own.
          this.slotFloat(value.value, isKey ? container : undefined, slot, true);
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
    if (value instanceof Map)
      return value instanceof OrderedDict ? orderedDictSteps(this, value) : dictSteps(this, value, value);
    if (Array.isArray(value))
      return value instanceof Tuple ? tupleSteps(this, value, areArgs) : listSteps(this, value as PyValue[]);
    if (value instanceof PyObject) return reductionSteps(this, value, value);
    if (value instanceof Set) return setSteps(this, value as Set<PyValue>);
    if (value instanceof Storage) return this.#tensors.bareStorage(value);
    return this.#saveScalarObject(value) ? undefined : this.#saveOther(value);
  }

  /** Objects without contents. */
  #saveScalarObject(value: object): boolean {
    if (value instanceof PyInt) this.int(value.value);
    else if (value instanceof StringIdentity) this.string(value.text, value);
    else if (value instanceof Complex) {
      this.call(value, 'builtins', 'complex', () => {
        this.slotFloat(value.re, value, 0);
        this.slotFloat(value.im, value, 1);
        this.tupleOf(2);
      });
    } else if (value instanceof Uint8Array) this.byteString(value);
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
      return reductionSteps(this, value.pickled, value);
    }
    const pickled = pickledForm(value);
    const own = (value as Picklable)[getPickled];
    if (own) return reductionSteps(this, own.call(value, pickled), value);
    if (pickled) return reductionSteps(this, pickled, value);
    const prototype = Object.getPrototypeOf(value) as object | null;
    if (prototype === Object.prototype || prototype === null)
      return dictSteps(this, value, entriesOf(value as Record<string, PyValue>));
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
      return void this.spelledGlobal(value.module, value.name, !isUnmemoized(value));
    // Protocols below 4 have no dotted names: Python fetches a nested class from its parent.
    if (this.target.protocol >= 4 || !name.includes('.')) return void this.global(module, name, !isUnmemoized(value));
    const dot = name.lastIndexOf('.');
    const parent = new PyGlobal(module, name.slice(0, dot));
    return reductionSteps(
      this,
      new PyObject(new PyGlobal('builtins', 'getattr'), Tuple.of<PyValue>(parent, name.slice(dot + 1)), 'reduce'),
      value,
    );
  }
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
