/**
 * Paths through an object graph, and the tensors along them.
 *
 * A string key or attribute is joined with `.` verbatim, an index or integer key is `[i]`, any other key is `[repr]`. An
 * object is walked through its pickled state, its constructor arguments under `__args__`. A container that is reached
 * again, by sharing or by a cycle, is listed once. The walk keeps its own stack: no nesting can overflow ours.
 */
import { CheckpointError } from './errors';
import { getPickled, type Picklable, pickledForm } from './pickle/classes';
import { hasKeyNotes, isFloatKey } from './pickle/notes';
import { FrozenSet, NdArray, OrderedDict, PyObject, type PyValue, pyFloat, Tuple } from './pickle/values';
import { repr } from './repr';
import { NestedTensor } from './tensor/nested';
import { SparseTensor } from './tensor/sparse';
import { Storage } from './tensor/storage';
import { Tensor } from './tensor/tensor';

/** A tensor of any layout: what `tensors()` lists. */
export type AnyTensor = Tensor | SparseTensor | NestedTensor;

export function isTensor(value: unknown): value is AnyTensor {
  return value instanceof Tensor || value instanceof SparseTensor || value instanceof NestedTensor;
}

/** One step of a path. */
type Step = readonly [key: PyValue, value: PyValue, isFloat?: boolean];

/** What is left to be walked of a container at `path`: the items of a list from `at` on, or steps. */
interface Level {
  readonly path: string;
  readonly items: readonly PyValue[] | undefined;
  at: number;
  readonly steps: Iterator<Step> | undefined;
  /** Whether the steps are the entries of a Map themselves. */
  readonly isMap: boolean;
}

/** A tensor with nothing below it, as nearly all are. */
function isBareTensor(value: unknown): boolean {
  return value instanceof Tensor && value.attributes === undefined && value.grad === undefined;
}

export function joinPath(path: string, key: PyValue, isFloat = false): string {
  if (typeof key === 'string') return path ? `${path}.${key}` : key;
  if (typeof key === 'number' && isFloat) return `${path}[${repr(pyFloat(key))}]`;
  if ((typeof key === 'number' && Number.isInteger(key)) || typeof key === 'bigint') return `${path}[${key}]`;
  return `${path}[${keyRepr(key)}]`;
}

/** What stands in a path for a key that is an object, such as a parameter: it says that there is one, not which. */
const OBJECT_KEY = '<object>';

/** Whether the path leads through such a key, so that others may read the same without being mistaken. */
export function isThroughObjectKey(path: string): boolean {
  return path.includes(`[${OBJECT_KEY}]`);
}

/** Items of a tuple or set that its text spells out, at all depths together: a small file can nest them without end. */
const MAX_KEY_ITEMS = 1000;
const MAX_KEY_DEPTH = 32;

function keyRepr(key: PyValue, budget = { items: MAX_KEY_ITEMS }, depth = 0): string {
  if (key instanceof Tuple || key instanceof FrozenSet) {
    if (depth > MAX_KEY_DEPTH) return '(...)';
    const texts: string[] = [];
    for (const item of key as Iterable<PyValue>) {
      if (--budget.items < 0) {
        texts.push('...');
        break;
      }
      const isFloat = typeof item === 'number' && key instanceof FrozenSet && isFloatKey(key, item);
      texts.push(isFloat ? repr(pyFloat(item)) : keyRepr(item, budget, depth + 1));
    }
    if (key instanceof Tuple) return `(${texts.join(', ')}${key.length === 1 ? ',' : ''})`;
    return texts.length > 0 ? `frozenset({${texts.join(', ')}})` : 'frozenset()';
  }
  if (isTensor(key) || key instanceof PyObject) return OBJECT_KEY;
  return repr(key);
}

function stateSteps(state: PyValue | undefined): Step[] {
  if (state === undefined || state === null) return [];
  if (
    state instanceof Tuple &&
    state.length === 2 &&
    (state[0] === null || state[0] instanceof Map) &&
    state[1] instanceof Map
  ) {
    return [...stateSteps(state[0] as PyValue), ...(state[1] as Map<PyValue, PyValue>)];
  }
  if (typeof state === 'object' && isPlainObject(state)) return Object.entries(state);
  return state instanceof Map ? [...(state as Map<PyValue, PyValue>)] : [['__state__', state]];
}

/** The state of a jagged tensor names again what its arguments are; a wrapper of tensors has them in its state alone. */
function isCache({ construction, global }: PyObject): boolean {
  return construction === 'from_type' && global !== 'torch._utils._rebuild_wrapper_subclass';
}

function objectSteps(object: PyObject): Step[] {
  const steps: Step[] = [
    ...(object.dictItems ?? []),
    ...(object.listItems ?? []).map((item, i): Step => [i, item]),
    ...(isCache(object) ? [] : stateSteps(object.state)),
  ];
  if (object.args.length) steps.push(['__args__', object.args]);
  if (object.kwargs?.size) steps.push(['__kwargs__', object.kwargs]);
  return steps;
}

/** The entries of a Map themselves where they say all: a step made of each would take as long as the rest of a walk. */
function mapSteps(map: Map<PyValue, PyValue>): Iterable<Step> {
  const entries: Iterable<Step> = hasKeyNotes(map) ? notedSteps(map) : map;
  return map instanceof OrderedDict && map.attributes ? chained(entries, map.attributes) : entries;
}

function* notedSteps(map: Map<PyValue, PyValue>): Generator<Step, void, undefined> {
  for (const entry of map) {
    const key = entry[0];
    yield typeof key === 'number' && isFloatKey(map, key) ? [key, entry[1], true] : entry;
  }
}

function* chained(first: Iterable<Step>, second: Iterable<Step>): Generator<Step, void, undefined> {
  yield* first;
  yield* second;
}

/** What a value holds, in order; undefined for a leaf. Of a Map one step at a time: it may have a million. */
export function childrenOf(value: PyValue): Iterable<Step> | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (value instanceof Map) return mapSteps(value as Map<PyValue, PyValue>);
  if (Array.isArray(value)) return (value as PyValue[]).map((item, i): Step => [i, item]);
  if (value instanceof Set) {
    const items = [...(value as Set<PyValue>)];
    if (items.length === 1) return [[0, items[0] as PyValue]];
    return items
      .map((item) => [keyRepr(item), item] as const)
      .sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0))
      .map(([, item], i): Step => [i, item]);
  }
  if (value instanceof PyObject) return objectSteps(value);
  if (isPlainObject(value)) return Object.entries(value);
  if (value instanceof NdArray || value instanceof Storage || isTensor(value) || value instanceof Uint8Array)
    return undefined;
  const pickled = pickledForm(value);
  const own = (value as Picklable)[getPickled];
  if (own) return objectSteps(own.call(value, pickled));
  return pickled && objectSteps(pickled);
}

/** Whether `childrenOf` would answer, without making the answer. */
function isContainer(value: PyValue): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (value instanceof Map || value instanceof Set || Array.isArray(value) || value instanceof PyObject) return true;
  return isPlainObject(value) || (value as Picklable)[getPickled] !== undefined || pickledForm(value) !== undefined;
}

/** Nothing can be reached through it, nor through its attributes: such a dict may stand a million times in a small file. */
function isEmptyMap(value: object): boolean {
  return value instanceof Map && value.size === 0 && !(value instanceof OrderedDict && value.attributes);
}

/** A dict that was loaded with `dicts: 'object'`. */
function isPlainObject(value: object): value is Record<string, PyValue> {
  return Object.getPrototypeOf(value) === null;
}

/** A longer tuple is a container like any other: walking it again at each mention would add up. */
const MAX_PLAIN_ITEMS = 16;

function isPlainTuple(value: PyValue): boolean {
  return (
    value instanceof Tuple &&
    value.length <= MAX_PLAIN_ITEMS &&
    !(value as PyValue[]).some((item) => isTensor(item) || item instanceof NdArray || isContainer(item))
  );
}

/** Values reached from a root, each with its path; containers before what they hold. */
export function walk(root: PyValue): IterableIterator<[path: string, value: PyValue]> {
  return new Walk([['', root]], (value): value is PyValue => value !== undefined);
}

/** Of all paths of a list together. Those of a million tensors have a tenth of this. */
const MAX_PATH_CHARACTERS = 2 ** 29;

/** Bounds what listed paths cost: a file of a megabyte can nest so deep that its paths have a terabyte. */
export class PathBudget {
  #characters = 0;

  /** Throws LIMIT_EXCEEDED when this path is too much beside those before it. */
  spend(path: string): void {
    this.#characters += path.length;
    if (this.#characters > MAX_PATH_CHARACTERS)
      throw new CheckpointError(
        'LIMIT_EXCEEDED',
        `the paths of the values have more than ${MAX_PATH_CHARACTERS} characters together: they are nested too deep to be listed`,
      );
  }
}

/**
 * The tensors of a graph in order, each with its path; one that stands in several places is listed at each. Throws
 * LIMIT_EXCEEDED where the paths would fill the memory.
 */
export function walkTensors(root: PyValue): IterableIterator<[path: string, tensor: AnyTensor]> {
  return walkTensorsOf([['', root]]);
}

/** The same of several roots, each with what stands before its paths. */
export function walkTensorsOf(
  roots: Iterable<readonly [prefix: string, root: PyValue]>,
): IterableIterator<[path: string, tensor: AnyTensor]> {
  return new Walk(roots, isTensor, new PathBudget());
}

/**
 * A walk through graphs. It is no generator: of a loop over this V8 makes no objects for the steps, and to a hundred thousand
 * tensors those take longer than all else.
 */
class Walk<T extends PyValue> implements IterableIterator<[path: string, value: T]> {
  readonly #wanted: (value: PyValue) => value is T;
  readonly #budget: PathBudget | undefined;
  readonly #seen = new Set<object>();
  readonly #levels: Level[] = [];
  #top: Level | undefined;
  /** The value that was given last, where there may be something below it, and its path. */
  #given: PyValue | undefined;
  #givenPath = '';

  constructor(
    roots: Iterable<readonly [prefix: string, root: PyValue]>,
    wanted: (value: PyValue) => value is T,
    budget?: PathBudget,
  ) {
    this.#wanted = wanted;
    this.#budget = budget;
    this.#enter('', roots);
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<[path: string, value: T], undefined> {
    if (this.#given !== undefined) this.#lookInto(this.#given, this.#givenPath);
    this.#given = undefined;
    for (let top = this.#top; top !== undefined; top = this.#top) {
      let value: PyValue;
      let path: string;
      // The entry of a Map is an array made for us: where it says all, it is the answer.
      let entry: Step | undefined;
      if (top.items) {
        value = top.items[top.at] as PyValue;
        const index = `[${top.at++}]`;
        path = top.path + index;
        // Before what the last item holds: of lists in lists, a million deep, none is kept.
        if (top.at >= top.items.length) this.#leave();
      } else {
        const steps = top.steps as Iterator<Step>;
        // Two calls for one: V8 knows the iterators of Maps where there are no others.
        const { done, value: step } = top.isMap ? steps.next() : steps.next();
        if (done) {
          this.#leave();
          continue;
        }
        value = step[1];
        if (top.isMap && top.path === '' && typeof step[0] === 'string') {
          path = step[0];
          entry = step;
        } else path = joinPath(top.path, step[0], step[2]);
      }
      if (this.#wanted(value)) {
        this.#budget?.spend(path);
        if (!isBareTensor(value)) {
          this.#given = value;
          this.#givenPath = path;
        }
        return { done: false, value: (entry as [string, T] | undefined) ?? [path, value] };
      }
      this.#lookInto(value, path);
    }
    return { done: true, value: undefined };
  }

  #enter(path: string, steps: Iterable<Step> | undefined): void {
    if (!steps) return;
    this.#push({ path, items: undefined, at: 0, steps: steps[Symbol.iterator](), isMap: steps instanceof Map });
  }

  #enterItems(path: string, items: readonly PyValue[]): void {
    if (items.length > 0) this.#push({ path, items, at: 0, steps: undefined, isMap: false });
  }

  #push(level: Level): void {
    this.#levels.push(level);
    this.#top = level;
  }

  #leave(): void {
    this.#levels.pop();
    this.#top = this.#levels.at(-1);
  }

  /** Goes on with what the value holds, unless it was met before. */
  #lookInto(value: PyValue, path: string): void {
    if (typeof value !== 'object' || value === null || isBareTensor(value) || this.#seen.has(value)) return;
    if (isTensor(value)) {
      const attributes = value.attributes;
      if (value instanceof Tensor && value.grad) this.#enter(path, [['grad', value.grad]]);
      if (attributes === undefined || attributes === null) return;
      this.#seen.add(value);
      this.#enter(joinPath(path, '__attrs__'), childrenOf(attributes));
    } else if (value instanceof NdArray) this.#enterItems(path, value.objects ?? []);
    else if (Array.isArray(value)) {
      // A tuple of plain values is no container that could be reached again.
      if (value.length > 0 && !isPlainTuple(value)) this.#seen.add(value);
      this.#enterItems(path, value);
    } else if (!isEmptyMap(value)) {
      const steps = childrenOf(value);
      if (steps) this.#seen.add(value);
      this.#enter(path, steps);
    }
  }
}

// What all iterators have, such as `map` and `filter` where the host has them.
Object.setPrototypeOf(Walk.prototype, Object.getPrototypeOf(Object.getPrototypeOf(new Map().entries())));

/** The value at `path` below `root`; undefined where there is none. Keys may hold dots: every way to read the path is tried. */
export function valueAt(root: PyValue, path: string): PyValue | undefined {
  if (path === '') return root;
  // Depth first over (value, rest of path); the rest gets shorter with each step, and no pair is looked at twice.
  const tried = new Map<object, Set<number>>();
  const stack: [value: PyValue, rest: string][] = [[root, path]];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const [value, rest] = next;
    if (rest === '') return value;
    if (typeof value !== 'object' || value === null) continue;
    const lengths = tried.get(value) ?? new Set();
    if (lengths.has(rest.length)) continue;
    tried.set(value, lengths.add(rest.length));
    for (const [key, item, isFloat] of [...stepsOf(value)].reverse()) {
      const segment = typeof key === 'string' && rest.length < path.length ? `.${key}` : joinPath('', key, isFloat);
      const next = rest[segment.length];
      if (segment && rest.startsWith(segment) && (next === undefined || next === '.' || next === '['))
        stack.push([item, rest.slice(segment.length)]);
    }
  }
  return undefined;
}

/**
 * The value below `root` at a path given key by key: the form that tells `['a.b']` from `['a', 'b']`, the key `''` from the
 * container it is in, and keys whose texts are alike. Keys are compared as Python would, objects by identity.
 */
export function valueAtKeys(root: PyValue, keys: readonly PyValue[]): PyValue | undefined {
  let value: PyValue | undefined = root;
  for (const wanted of keys) {
    let found: PyValue | undefined;
    for (const [key, item] of typeof value === 'object' && value !== null ? stepsOf(value) : []) {
      if (!isSameKey(key, wanted)) continue;
      found = item;
      break;
    }
    if (found === undefined) return undefined;
    value = found;
  }
  return value;
}

function isSameKey(a: PyValue, b: PyValue): boolean {
  if (a === b) return true;
  if (typeof a === 'bigint' && typeof b === 'number') return Number.isInteger(b) && a === BigInt(b);
  if (typeof a === 'number' && typeof b === 'bigint') return Number.isInteger(a) && b === BigInt(a);
  return Number.isNaN(a) && Number.isNaN(b);
}

/** What a path can lead on to from a value. */
function stepsOf(value: object): Iterable<Step> {
  if (value instanceof Tensor) return tensorSteps(value);
  return (value instanceof NdArray ? objectArraySteps(value) : childrenOf(value)) ?? [];
}

/** The elements of an object array, in C order. */
function objectArraySteps(array: NdArray): Step[] {
  return (array.objects ?? []).map((item, i): Step => [i, item]);
}

function tensorSteps(tensor: Tensor): Step[] {
  const steps: Step[] = [];
  if (tensor.grad) steps.push(['grad', tensor.grad]);
  if (tensor.attributes !== undefined) steps.push(['__attrs__', tensor.attributes]);
  return steps;
}
