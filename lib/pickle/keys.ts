/**
 * Keys of dicts and members of sets: what Python holds to be one, and what a Map or Set does.
 *
 * Python compares by value across types, so that True, 1 and 1.0 are one key; a Map tells them apart. The other way round
 * a NaN equals nothing, itself included, so that a dict may have many; a Map files them all under one. The second and every
 * further NaN of a container is therefore a `PyFloat`, which is an object and thus a key of its own.
 */
import { refuse } from './pickle-writer';
import { fail } from './rules';
import { ByteArray, FrozenSet, kindOf, PyFloat, PyInt, type PyValue, Tuple, typeName } from './values';

type Keyed = Pick<Map<PyValue, PyValue> | Set<PyValue>, 'has'>;

/** Mutable objects have no hash in Python. */
function isMutable(key: PyValue): boolean {
  return (
    (Array.isArray(key) && !(key instanceof Tuple)) ||
    key instanceof Map ||
    (key instanceof Set && !(key instanceof FrozenSet))
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
      return Number.isNaN(key) && container.has(key) ? new PyFloat(key) : key;
    default:
      return isMutable(key) ? fail(`${kindOf(key)} cannot be the key of a dict`) : key;
  }
}

/**
 * Refuses what Python refuses or merges: keys without a hash, and numbers that are equal there although not here, such as
 * 1, true and 1n.
 */
export function checkKey(container: Keyed, key: PyValue): void {
  if (isMutable(key) || key instanceof ByteArray)
    throw refuse(`a ${typeName(key)} cannot be the key of a dict or member of a set in Python`);
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
