/**
 * Python's `repr` of any value a checkpoint holds.
 *
 * Containers are written by generators on a stack of our own, so that no nesting in a file can overflow the real one; a
 * container inside itself shows as `[...]`, as in Python. Text that a file could blow up without end (a list of lists of
 * lists, each shared ten times) is cut off with `...`: what is shown once costs no more than reading the file did.
 */
import { DType } from './dtype';
import { getPickled, type Picklable, pickledForm } from './pickle/classes';
import { isFloatKey, isFloatSlot } from './pickle/notes';
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
  printer,
  QScheme,
  Size,
  Tuple,
} from './pickle/values';
import { awaken } from './registry';
import { isAnyTensor, tensorText } from './tensor/print';
import { collapse, moduleText } from './tensor/print-module';
import { complexRepr, floatRepr } from './tensor/print-number';
import { ndArrayText, numpyScalarText } from './tensor/print-numpy';
import { knownText, OBJECT_NAMES } from './tensor/print-objects';
import { storageText } from './tensor/print-storage';
import { bytesRepr, stringRepr } from './tensor/print-string';
import { Storage } from './tensor/storage';

/** Longer texts are of no use to anyone, and a string of 2^29 characters cannot exist. */
const MAX_CHARACTERS = 1 << 26;
/** Pieces of text before they are joined: each is an entry of an array, whatever its length. */
const MAX_PIECES = 1 << 24;
/** The same within what is shown a second time: a file of sixty tuples, each twice in the next, has 2^60 of them. */
const MAX_REPEATED_CHARACTERS = 1 << 22;
const MAX_REPEATED_PIECES = 1 << 19;
/** Containers in containers: Python itself gives up long before, and what is open takes memory here. */
const MAX_DEPTH = 10_000;
/** Every level of modules indents all the lines below it: this many are deep enough to read. */
const MAX_MODULE_DEPTH = 256;

/** A method with this name gives the text of an object of a JavaScript class that stands for a Python class. */
export const reprText: unique symbol = Symbol.for('torch-checkpoint.repr') as never;

/** What stands between the parentheses of a module loaded as a `PyObject`, by Python 3 class name; `nn` fills it. */
export const moduleExtraRepr = new Map<string, (object: PyObject) => string>();

/** A value inside a container; the slot tells `1.0` from `1`. */
class Child {
  constructor(
    readonly value: unknown,
    readonly container?: object,
    readonly slot?: PyValue,
    readonly isKey = false,
    /** True where the container wants the text, to indent it, instead of having it appended. */
    readonly captured = false,
  ) {}
}

type Parts = Generator<string | Child, void, string>;

interface Frame {
  readonly parts: Parts;
  readonly value: object;
  readonly out: string[];
  readonly captured: boolean;
  /** Whether all of this was shown before. */
  readonly repeated: boolean;
}

/** Python's `repr` of a value. Walks with a stack of its own; a container inside itself is `[...]`, as in Python. */
export function repr(root: unknown): string {
  const frames: Frame[] = [];
  const open = new Set<object>();
  const shown = new Set<object>();
  const rootOut: string[] = [];
  let out = rootOut;
  let characters = 0;
  let pieces = 0;
  let repeatedCharacters = 0;
  let repeatedPieces = 0;
  let captures = 0;
  let answer = '';
  const count = (text: string, repeated: boolean): void => {
    characters += text.length;
    if (repeated) repeatedCharacters += text.length;
  };
  const isShown = (value: unknown): boolean => {
    if (typeof value !== 'object' || value === null) return false;
    if (shown.has(value)) return true;
    shown.add(value);
    return false;
  };
  const enter = (child: Child, within: boolean): void => {
    const repeated = isShown(child.value) || within;
    const text = leafText(child) ?? cycleText(child.value as object, open);
    const tooDeep = frames.length >= MAX_DEPTH || (child.captured && captures >= MAX_MODULE_DEPTH);
    if (text !== undefined || tooDeep) {
      if (child.captured) answer = text ?? '...';
      else out.push(text ?? '...');
      count(text ?? '...', repeated);
      return;
    }
    const value = child.value as object;
    open.add(value);
    if (child.captured) {
      out = [];
      captures++;
    }
    frames.push({ parts: partsOf(value), value, out, captured: child.captured, repeated });
  };
  enter(new Child(root), false);
  while (frames.length > 0) {
    const frame = frames[frames.length - 1]!;
    const { value: part, done } = frame.parts.next(answer);
    answer = '';
    if (done) {
      frames.pop();
      open.delete(frame.value);
      if (frame.captured) {
        captures--;
        answer = frame.out.join('');
        out = frames.at(-1)?.out ?? rootOut;
      }
    } else if (typeof part === 'string') {
      frame.out.push(part);
      count(part, frame.repeated);
    } else {
      enter(part, frame.repeated);
    }
    pieces++;
    if (frame.repeated) repeatedPieces++;
    const tooMuch = characters > MAX_CHARACTERS || pieces > MAX_PIECES;
    if (tooMuch || repeatedCharacters > MAX_REPEATED_CHARACTERS || repeatedPieces > MAX_REPEATED_PIECES) {
      const texts = [rootOut, ...frames.filter(({ captured }) => captured).map((cut) => cut.out)];
      return `${texts.map((text) => text.join('')).join('')}...`;
    }
  }
  return rootOut.join('');
}

printer.repr = repr;

function cycleText(value: object, open: Set<object>): string | undefined {
  if (!open.has(value)) return undefined;
  if (Array.isArray(value)) return value instanceof Tuple ? '(...)' : '[...]';
  return value instanceof OrderedDict || !(value instanceof Map) ? '...' : '{...}';
}

/** The text of a value that holds no others; undefined for containers. */
function leafText({ value, container, slot, isKey }: Child): string | undefined {
  switch (typeof value) {
    case 'boolean':
      return value ? 'True' : 'False';
    case 'string':
      return stringRepr(value);
    case 'bigint':
      return String(value);
    case 'number': {
      const noted =
        container !== undefined &&
        (isKey ? isFloatKey(container, value) : isFloatSlot(container, slot as PyValue, value));
      const isInt = Number.isSafeInteger(value) && !Object.is(value, -0) && !noted;
      return isInt ? String(value) : floatRepr(value);
    }
    case 'undefined':
      return 'None';
    case 'object':
      return value === null ? 'None' : objectText(value);
    default:
      return String(value);
  }
}

/** Globals that are values of their own, by name. */
const SINGLETONS: ReadonlySet<string> = new Set(['builtins.Ellipsis', 'builtins.NotImplemented']);

function objectText(value: object): string | undefined {
  if (isAnyTensor(value)) return tensorText(value);
  if (Array.isArray(value) || value instanceof Map || value instanceof Set) return textOf(value);
  if (value instanceof PyFloat) return floatRepr(value.value);
  if (value instanceof PyInt) return String(value.value);
  if (value instanceof Complex) return complexRepr(value.re, value.im);
  if (value instanceof Uint8Array) return bytesRepr(value, value instanceof ByteArray);
  if (value instanceof DType || value instanceof Layout || value instanceof QScheme) return String(value);
  if (value instanceof Device) {
    return `device(type='${value.type}'${value.index === undefined ? '' : `, index=${value.index}`})`;
  }
  if (value instanceof PyGlobal && SINGLETONS.has(value.global)) return value.name;
  if (value instanceof PyGlobal) return `<class '${value.global.replace(/^builtins\./, '')}'>`;
  if (value instanceof Storage) return storageText(value);
  if (value instanceof NumpyScalar) return numpyScalarText(value);
  if (value instanceof NdArray && !value.objects) return ndArrayText(value);
  return textOf(value);
}

function textOf(value: object): string | undefined {
  return (value as { [reprText]?(): string })[reprText]?.();
}

function partsOf(value: object): Parts {
  if (Array.isArray(value)) return sequenceParts(value);
  if (value instanceof Map) return mappingParts(value);
  if (value instanceof Set) return setParts(value);
  if (value instanceof PyObject) return isModule(value) ? moduleParts(value) : objectParts(value, value);
  if (value instanceof NdArray) return objectArrayParts(value);
  const pickled = (value as Picklable)[getPickled]?.(pickledForm(value)) ?? pickledForm(value);
  if (pickled) return partsOf(pickled);
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype === null || prototype === Object.prototype) return entriesParts('{', Object.entries(value), value, '}');
  return foreignParts(value);
}

function* foreignParts(value: object): Parts {
  yield `<${value.constructor?.name ?? 'object'} object>`;
}

function* sequenceParts(items: readonly unknown[]): Parts {
  const isTuple = items instanceof Tuple;
  yield items instanceof Size ? 'torch.Size([' : isTuple ? '(' : '[';
  yield* itemsParts(items, items);
  if (items instanceof Size) yield '])';
  else yield isTuple ? (items.length === 1 ? ',)' : ')') : ']';
}

function* itemsParts(items: readonly unknown[], container: object): Parts {
  for (let i = 0; i < items.length; i++) {
    if (i > 0) yield ', ';
    yield new Child(items[i], container, i);
  }
}

function* mappingParts(map: Map<unknown, unknown>): Parts {
  if (map instanceof Counter) {
    // Python shows the most common first.
    const entries = [...map].sort(([, a], [, b]) => Number(b) - Number(a));
    yield* map.size === 0 ? text('Counter()') : entriesParts('Counter({', entries, map, '})');
  } else if (map instanceof DefaultDict) {
    yield 'defaultdict(';
    yield new Child(map.factory);
    yield ', ';
    yield* entriesParts('{', map, map, '})');
  } else if (map instanceof OrderedDict) {
    yield 'OrderedDict(';
    let first = true;
    for (const [key, value] of map) {
      yield first ? '[(' : ', (';
      first = false;
      yield new Child(key, map, undefined, true);
      yield ', ';
      yield new Child(value, map, key as PyValue);
      yield ')';
    }
    yield first ? ')' : '])';
  } else {
    yield* entriesParts('{', map, map, '}');
  }
}

function* text(whole: string): Parts {
  yield whole;
}

function* entriesParts(
  start: string,
  entries: Iterable<readonly [unknown, unknown]>,
  container: object,
  end: string,
): Parts {
  yield start;
  let first = true;
  for (const [key, value] of entries) {
    if (!first) yield ', ';
    first = false;
    yield new Child(key, container, undefined, true);
    yield ': ';
    yield new Child(value, container, key as PyValue);
  }
  yield end;
}

function* setParts(set: Set<unknown>): Parts {
  const frozen = set instanceof FrozenSet;
  if (set.size === 0) {
    yield frozen ? 'frozenset()' : 'set()';
    return;
  }
  yield frozen ? 'frozenset({' : '{';
  let first = true;
  for (const item of set) {
    if (!first) yield ', ';
    first = false;
    yield new Child(item, set, undefined, true);
  }
  yield frozen ? '})' : '}';
}

/** An array of objects, on one line: NumPy aligns and wraps, which needs all the texts first. */
function* objectArrayParts(array: NdArray): Parts {
  const objects = array.objects ?? [];
  yield 'array([';
  yield* itemsParts(objects, objects);
  const dtype = array.dtype.startsWith('StringDType') ? array.dtype : 'object';
  yield array.shape.length === 1 ? `], dtype=${dtype})` : `], shape=(${array.shape.join(', ')}), dtype=${dtype})`;
}

/** `state` has attributes by name: the parts of a dict, or of a pair of dict and slots. */
function attributesOf({ state }: PyObject): [PyValue, PyValue, object][] {
  const parts = state instanceof Tuple && state.length === 2 ? state : [state];
  const attributes: [PyValue, PyValue, object][] = [];
  for (const part of parts) {
    if (!(part instanceof Map)) continue;
    for (const [name, value] of part as Map<PyValue, PyValue>) attributes.push([name, value, part]);
  }
  return attributes;
}

/** Python would ask the class; what it was made of is the next best. */
function* objectParts(object: PyObject, container: object): Parts {
  const known = knownText(object);
  if (known !== undefined) {
    yield known;
    return;
  }
  if (object.callable instanceof PyGlobal) yield OBJECT_NAMES[object.global] ?? object.global;
  else yield new Child(object.callable);
  yield '(';
  let separator = '';
  // A range that steps by one does not say so.
  const args = object.global === 'builtins.range' && object.args[2] === 1 ? object.args.slice(0, 2) : object.args;
  const isDeque = object.global === 'collections.deque';
  if (!isDeque) {
    for (let i = 0; i < args.length; i++) {
      yield separator;
      yield new Child(args[i], object.args, i);
      separator = ', ';
    }
  }
  for (const [name, value] of object.kwargs ?? []) {
    yield `${separator}${String(name)}=`;
    yield new Child(value, object.kwargs, name);
    separator = ', ';
  }
  if (object.listItems || isDeque) {
    yield `${separator}[`;
    yield* itemsParts(object.listItems ?? [], object.listItems ?? container);
    yield ']';
    separator = ', ';
  }
  if (isDeque && args.length === 2) {
    yield `${separator}maxlen=`;
    yield new Child(args[1]);
  }
  if (object.dictItems) {
    yield* entriesParts(`${separator}{`, object.dictItems, object.dictItems, '}');
    separator = ', ';
  }
  yield* stateParts(object, separator);
  yield ')';
}

function* stateParts(object: PyObject, first: string): Parts {
  let separator = first;
  const attributes = attributesOf(object);
  const isWord = (name: PyValue): boolean => typeof name === 'string' && /^[\p{L}_][\p{L}\p{N}_]*$/u.test(name);
  for (const [name, value, part] of attributes) {
    if (!isWord(name)) continue;
    yield `${separator}${name}=`;
    yield new Child(value, part, name);
    separator = ', ';
  }
  const odd = attributes.filter(([name]) => !isWord(name));
  if (odd.length > 0)
    yield* entriesParts(
      `${separator}**{`,
      odd.map(([name, value]) => [name, value] as const),
      odd[0]![2],
      '}',
    );
  if (attributes.length > 0 || object.state === undefined || object.state === null || object.state instanceof Map)
    return;
  yield `${separator}state=`;
  yield new Child(object.state, object, 'state');
}

/** A `torch.nn.Module` of a class that is not registered. */
function isModule(object: PyObject): boolean {
  return object.get('_modules') instanceof Map && object.callable instanceof PyGlobal;
}

function* moduleParts(module: PyObject): Parts {
  const { global } = module;
  const modules = module.get('_modules') as Map<PyValue, PyValue>;
  const children: [key: string, text: string][] = [];
  for (const [key, child] of modules) {
    children.push([String(key), yield* capture(new Child(child, modules, key, false, true))]);
  }
  const shown = global === 'torch.nn.modules.container.ModuleList' ? collapse(children) : children;
  awaken(global);
  yield moduleText(global.slice(global.lastIndexOf('.') + 1), moduleExtraRepr.get(global)?.(module) ?? '', shown);
}

function* capture(child: Child): Generator<Child, string, string> {
  return yield child;
}
