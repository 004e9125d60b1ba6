/**
 * Keys of dicts and members of sets: what Python holds to be one, and what a Map or Set does.
 *
 * Python compares by value across types, so that True, 1 and 1.0 are one key; a Map tells them apart. The other way round
 * a NaN equals nothing, itself included, so that a dict may have many; a Map files them all under one. The second and every
 * further NaN of a container is therefore a `PyFloat`, which is an object and thus a key of its own. Tuples, bytes and
 * frozensets are compared by what is in them there, and are objects of their own in a Map.
 */
import { refuse } from './pickle-writer';
import { fail } from './rules';
import { ByteArray, Complex, FrozenSet, kindOf, PyFloat, PyInt, type PyValue, Tuple, typeName } from './values';

type Keyed = Pick<Map<PyValue, PyValue> | Set<PyValue>, 'has'>;

/** Mutable objects have no hash in Python. */
function isMutable(key: PyValue): boolean {
  return (
    (Array.isArray(key) && !(key instanceof Tuple)) ||
    key instanceof Map ||
    (key instanceof Set && !(key instanceof FrozenSet)) ||
    key instanceof ByteArray
  );
}

/** The key under which `container` files what a pickle gives as `key`. Throws PICKLE_CORRUPT for what cannot be one. */
export function filedKey(container: Keyed, key: PyValue): PyValue {
  switch (typeof key) {
    case 'string':
      return key;
    case 'boolean':
      return container.has(Number(key)) ? Number(key) : key;
    case 'number':
      if (key === 0 || key === 1) return !container.has(key) && container.has(key === 1) ? key === 1 : key;
      if (Number.isNaN(key) && container.has(key)) return new PyFloat(key);
      return Number.isInteger(key) && !Number.isSafeInteger(key) && container.has(BigInt(key)) ? BigInt(key) : key;
    case 'bigint': {
      const number = exactNumber(key);
      return number !== undefined && container.has(number) ? number : key;
    }
    default:
      return key === null ? key : equalKey(container, key);
  }
}

/** By container: its keys that Python compares by what is in them, by a text that equal ones have in common. */
const composed = new WeakMap<Keyed, Map<string, PyValue>>();
/** Python writes no two equal keys: of longer ones each is taken for another. */
const MAX_COMPOSED_TEXT = 256;

/** The key of the container that equals this tuple, frozenset or bytes; the object itself where there is none. */
function equalKey(container: Keyed, key: object): object {
  const text = composedText(key, MAX_COMPOSED_TEXT);
  if (text === undefined || text.startsWith(IDENTITY)) return key;
  let known = composed.get(container);
  if (!known) composed.set(container, (known = new Map()));
  const found = known.get(text);
  if (found === undefined) known.set(text, key);
  return (found as object | undefined) ?? key;
}

/** Begins the text of what equals only itself. */
const IDENTITY = '#';
const identities = new WeakMap<object, number>();
let identityCount = 0;

/** The same text for what is equal in Python, of no more than `room` characters; undefined where that is too few. */
function composedText(value: PyValue, room: number): string | undefined {
  if (isMutable(value)) fail(`${kindOf(value)} cannot be the key of a dict or in one`);
  if (room <= 0) return undefined;
  let text: string | undefined;
  if (value === null) text = 'N';
  else if (typeof value === 'string') text = `"${value.length}:${value}`;
  else if (typeof value === 'boolean') text = `${Number(value)};`;
  else if (typeof value === 'bigint') text = `${value};`;
  else if (typeof value === 'number') text = Number.isNaN(value) ? undefined : `${numberText(value)};`;
  else if (value instanceof Complex) text = `c${value.re + 0},${value.im + 0};`;
  else if (value instanceof Tuple) text = composedItems('(', value, room);
  else if (value instanceof FrozenSet) text = composedItems('{', value, room);
  else if (value instanceof Uint8Array)
    text = value.length < room ? `b${value.length}:${Buffer.from(value).toString('latin1')}` : undefined;
  else text = `${IDENTITY}${identityOf(value)};`;
  return text !== undefined && text.length <= room ? text : undefined;
}

/** Integers are equal whether they are floats or not, and so are both zeros. */
function numberText(value: number): string {
  return String(Number.isInteger(value) ? BigInt(value) : value);
}

function composedItems(open: string, items: Iterable<PyValue>, room: number): string | undefined {
  const texts: string[] = [];
  let left = room - 2;
  for (const item of items) {
    const text = composedText(item, left);
    if (text === undefined) return undefined;
    left -= text.length;
    texts.push(text);
  }
  return `${open}${(open === '(' ? texts : texts.sort()).join('')})`;
}

function identityOf(value: object): number {
  let identity = identities.get(value);
  if (identity === undefined) identities.set(value, (identity = ++identityCount));
  return identity;
}

/**
 * Refuses what Python refuses or merges: keys without a hash, and numbers that are equal there although not here, such as
 * 1, true and 1n.
 */
export function checkKey(container: Keyed, key: PyValue): void {
  if (isMutable(key)) throw refuse(`a ${typeName(key)} cannot be the key of a dict or member of a set in Python`);
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
  if (number !== undefined && !Number.isNaN(number) && container.has(number))
    throw refuse(`the keys ${String(key)} and ${number} are one key in Python`);
}

/** The number that is this integer, if one is: 2^53 + 1 and 10^400 equal none. */
function exactNumber(value: bigint): number | undefined {
  const number = Number(value);
  return Number.isFinite(number) && BigInt(number) === value ? number : undefined;
}
