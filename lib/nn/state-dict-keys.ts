/** Changing the keys of state dicts, as when a model was saved from inside another. */
import { keyIdentity, noteKey, StringIdentity } from '../pickle/notes';
import { OrderedDict, type PyValue } from '../pickle/values';

function demandMap(state: unknown, who: string): asserts state is Map<PyValue, PyValue> {
  if (!(state instanceof Map))
    throw new TypeError(`${who}() takes a state dict (a Map), not ${state === null ? 'null' : typeof state}`);
}

/** A key cut from another is a new string in Python; those of one character are shared. */
function setSliced(map: Map<PyValue, PyValue>, key: string, value: PyValue): void {
  if (key.length > 1 && !map.has(key)) noteKey(map, key, new StringIdentity(key));
  map.set(key, value);
}

/**
 * Takes `prefix` (with its dot: `'module.'`) off every key that has it, in place, as PyTorch's
 * `consume_prefix_in_state_dict_if_present`: such keys move to the end in their order, `_metadata` is kept and renamed.
 */
export function consumePrefix(state: Map<PyValue, PyValue>, prefix: string): void {
  demandMap(state, 'consumePrefix');
  for (const key of [...state.keys()]) {
    if (typeof key !== 'string' || !key.startsWith(prefix)) continue;
    const value = state.get(key) as PyValue;
    state.delete(key);
    setSliced(state, key.slice(prefix.length), value);
  }
  const metadata =
    state instanceof OrderedDict ? (state as OrderedDict<PyValue, PyValue>).attributes?.get('_metadata') : undefined;
  if (!(metadata instanceof Map)) return;
  // PyTorch takes out every dot here.
  const module = prefix.replaceAll('.', '');
  for (const key of [...metadata.keys()] as PyValue[]) {
    if (typeof key !== 'string' || key === '' || !(key === module || key.startsWith(prefix))) continue;
    const value = metadata.get(key) as PyValue;
    metadata.delete(key);
    setSliced(metadata as Map<PyValue, PyValue>, key.slice(prefix.length), value);
  }
}

/** A new dict of the same kind with the keys that `rename` gives; metadata is taken over as it is. */
function rebuilt(
  state: Map<PyValue, PyValue>,
  entries: Iterable<readonly [from: PyValue, to: PyValue, value: PyValue]>,
): OrderedDict {
  const result = new OrderedDict();
  for (const [from, to, value] of entries) {
    result.set(to, value);
    // A changed key is a new string, an unchanged one is the same.
    const identity =
      from === to ? typeof from === 'string' && keyIdentity(state, from) : new StringIdentity(to as string);
    if (identity) noteKey(result, to, identity);
  }
  copyAttributes(state, result);
  return result;
}

function copyAttributes(from: Map<PyValue, PyValue>, to: OrderedDict): void {
  if (from instanceof OrderedDict && from.attributes) to.attributes = new Map(from.attributes);
}

/** A new state dict with renamed keys, in the same order. Two keys that get one name are a RangeError. */
export function renameKeys(state: Map<PyValue, PyValue>, rename: (key: string) => string): OrderedDict {
  demandMap(state, 'renameKeys');
  const entries = [...state].map(([key, value]) => [key, typeof key === 'string' ? rename(key) : key, value] as const);
  const seen = new Map<PyValue, PyValue>();
  for (const [from, to] of entries) {
    if (seen.has(to))
      throw new RangeError(
        `renameKeys() gives "${String(seen.get(to))}" and "${String(from)}" one name, "${String(to)}"`,
      );
    seen.set(to, from);
  }
  return rebuilt(state, entries);
}

/** A new state dict with the entries that `keep` says true of, in the same order. */
export function filterKeys(state: Map<PyValue, PyValue>, keep: (key: string, value: PyValue) => boolean): OrderedDict {
  demandMap(state, 'filterKeys');
  const kept = [...state].filter(([key, value]) => keep(key as string, value));
  return rebuilt(
    state,
    kept.map(([key, value]) => [key, key, value] as const),
  );
}

/** A new state dict of all entries: a later one replaces an earlier one of the same key, in the earlier one's place. */
export function mergeStateDicts(...states: readonly Map<PyValue, PyValue>[]): OrderedDict {
  const merged = new OrderedDict();
  let metadata: OrderedDict | undefined;
  for (const state of states) {
    demandMap(state, 'mergeStateDicts');
    for (const [key, value] of state) merged.set(key, value);
    const own = state instanceof OrderedDict ? (state as OrderedDict).attributes?.get('_metadata') : undefined;
    if (!(own instanceof Map)) continue;
    metadata ??= new OrderedDict();
    for (const [key, value] of own as Map<PyValue, PyValue>) metadata.set(key, value);
  }
  if (metadata) merged.attributes = new Map([['_metadata', metadata]]);
  return merged;
}
