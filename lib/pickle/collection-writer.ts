/**
 * Collections and objects as Python's C pickler writes them, by generators that yield what they contain: `pickler.ts`
 * drives them with a stack of its own, so that no depth of nesting can overflow ours.
 */
import { isUnmemoized } from './notes';
import { Op } from './opcodes';
import { type PickleWriter, refuse, type Steps } from './pickle-writer';
import { Counter, DefaultDict, FrozenSet, type OrderedDict, type PyObject, type PyValue, Size, Tuple } from './values';

/** Python collects items of lists and dicts in runs of this many. */
const BATCH_ITEMS = 1000;

export function* tupleSteps(pickle: PickleWriter, tuple: Tuple, areArgs: boolean): Steps {
  const { out } = pickle;
  if (tuple instanceof Size) {
    pickle.global('torch', 'Size');
    const inner = Tuple.from(tuple as unknown as PyValue[]);
    yield [inner, undefined, ''];
    pickle.tupleOf(1);
    out.u8(Op.REDUCE);
    pickle.memoize(tuple);
    return;
  }
  if (tuple.length === 0) return out.u8(Op.EMPTY_TUPLE);
  if (tuple.length > 3) out.u8(Op.MARK);
  for (let i = 0; i < tuple.length; i++) yield [tuple[i], tuple, i];
  // A tuple inside itself was written on the way: take the items off again and refer to that one. The arguments of an
  // object inside itself were made anew by each `__reduce__`, so that the outer ones are another tuple.
  if (!areArgs && pickle.knows(tuple)) {
    if (tuple.length > 3) out.u8(Op.POP_MARK);
    else for (let i = 0; i < tuple.length; i++) out.u8(Op.POP);
    pickle.recall(tuple);
    return;
  }
  out.u8(tuple.length === 1 ? Op.TUPLE1 : tuple.length === 2 ? Op.TUPLE2 : tuple.length === 3 ? Op.TUPLE3 : Op.TUPLE);
  if (!isUnmemoized(tuple)) pickle.memoize(tuple);
}

export function* listSteps(pickle: PickleWriter, list: PyValue[]): Steps {
  pickle.out.u8(Op.EMPTY_LIST);
  pickle.memoize(list);
  yield* exactItems(pickle, list);
}

/** The items of an exact list: a single one alone, all others in batches, the last of which may hold one. */
function* exactItems(pickle: PickleWriter, list: PyValue[]): Steps {
  const { out } = pickle;
  if (list.length === 1) {
    yield [list[0], list, 0];
    return out.u8(Op.APPEND);
  }
  for (let i = 0; i < list.length; ) {
    out.u8(Op.MARK);
    const end = Math.min(i + BATCH_ITEMS, list.length);
    for (; i < end; i++) yield [list[i], list, i];
    out.u8(Op.APPENDS);
  }
}

/** An exact dict. Python looks for more after every full batch, and so writes an empty one after 1000 items. */
export function* dictSteps(
  pickle: PickleWriter,
  container: object,
  entries: Map<PyValue, PyValue> | readonly [PyValue, PyValue][],
): Steps {
  const { out } = pickle;
  out.u8(Op.EMPTY_DICT);
  pickle.memoize(container);
  yield* exactEntries(pickle, container, entries);
}

function* exactEntries(
  pickle: PickleWriter,
  container: object,
  entries: Map<PyValue, PyValue> | readonly [PyValue, PyValue][],
): Steps {
  const { out } = pickle;
  const count = entries instanceof Map ? entries.size : entries.length;
  if (count === 0) return;
  if (count > 1) out.u8(Op.MARK);
  let batch = 0;
  for (const [key, value] of entries) {
    yield [key, container, key, true];
    yield [value, container, key];
    if (++batch < BATCH_ITEMS) continue;
    out.u8(Op.SETITEMS);
    out.u8(Op.MARK);
    batch = 0;
  }
  out.u8(count === 1 ? Op.SETITEM : Op.SETITEMS);
}

/** Entries that Python takes from an iterator: a batch of one is written without a mark. */
function* iteratedEntries(
  pickle: PickleWriter,
  container: object,
  entries: readonly (readonly [PyValue, PyValue])[],
): Steps {
  const { out } = pickle;
  for (let i = 0; i < entries.length; i += BATCH_ITEMS) {
    const end = Math.min(i + BATCH_ITEMS, entries.length);
    const single = end - i === 1;
    if (!single) out.u8(Op.MARK);
    for (let k = i; k < end; k++) {
      const [key, value] = entries[k] as readonly [PyValue, PyValue];
      // The pairs of an unknown class keep their notes themselves, those of a Map are with the Map.
      const pair = container === entries ? (entries[k] as object) : undefined;
      yield pair ? [key, pair, 0] : [key, container, key, true];
      yield pair ? [value, pair, 1] : [value, container, key];
    }
    out.u8(single ? Op.SETITEM : Op.SETITEMS);
  }
}

function* iteratedItems(pickle: PickleWriter, list: readonly PyValue[]): Steps {
  const { out } = pickle;
  for (let i = 0; i < list.length; i += BATCH_ITEMS) {
    const end = Math.min(i + BATCH_ITEMS, list.length);
    const single = end - i === 1;
    if (!single) out.u8(Op.MARK);
    for (let k = i; k < end; k++) yield [list[k], list, k];
    out.u8(single ? Op.APPEND : Op.APPENDS);
  }
}

export function* orderedDictSteps(pickle: PickleWriter, dict: OrderedDict): Steps {
  const { out } = pickle;
  if (dict instanceof Counter) {
    pickle.global('collections', 'Counter');
    out.u8(Op.EMPTY_DICT);
    pickle.memoizeFresh();
    yield* exactEntries(pickle, dict, dict as unknown as Map<PyValue, PyValue>);
    pickle.tupleOf(1);
  } else if (dict instanceof DefaultDict) {
    pickle.global('collections', 'defaultdict');
    if (dict.factory === null) out.u8(Op.EMPTY_TUPLE);
    else {
      yield [dict.factory, undefined, ''];
      pickle.tupleOf(1);
    }
  } else {
    pickle.global('collections', 'OrderedDict');
    out.u8(Op.EMPTY_TUPLE);
  }
  out.u8(Op.REDUCE);
  if (!pickle.memoizeMade(dict)) return;
  if (!(dict instanceof Counter)) yield* iteratedEntries(pickle, dict, [...dict]);
  if (!dict.attributes?.size) return;
  yield [dict.attributes, undefined, ''];
  out.u8(Op.BUILD);
}

export function* setSteps(pickle: PickleWriter, set: Set<PyValue>): Steps {
  const { out } = pickle;
  const items = [...set];
  const frozen = set instanceof FrozenSet;
  if (pickle.target.protocol < 4) {
    pickle.global('builtins', frozen ? 'frozenset' : 'set');
    out.u8(Op.EMPTY_LIST);
    pickle.memoizeFresh();
    yield* setItems(pickle, set, items, Op.APPENDS);
    pickle.tupleOf(1);
    out.u8(Op.REDUCE);
    return void pickle.memoizeMade(set);
  }
  if (!frozen) {
    out.u8(Op.EMPTY_SET);
    pickle.memoize(set);
    return yield* setItems(pickle, set, items, Op.ADDITEMS);
  }
  out.u8(Op.MARK);
  for (const item of items) yield [item, set, item, true];
  // One that was written on the way, as the attribute of a member, takes the place of this one.
  if (pickle.knows(set)) {
    out.u8(Op.POP_MARK);
    pickle.recall(set);
    return;
  }
  out.u8(Op.FROZENSET);
  pickle.memoize(set);
}

function* setItems(
  pickle: PickleWriter,
  set: Set<PyValue>,
  items: readonly PyValue[],
  close: Op.APPENDS | Op.ADDITEMS,
): Steps {
  const { out } = pickle;
  if (items.length === 0) return;
  if (close === Op.APPENDS && items.length === 1) {
    yield [items[0], set, items[0] as PyValue, true];
    return out.u8(Op.APPEND);
  }
  for (let i = 0; i < items.length; ) {
    out.u8(Op.MARK);
    const end = Math.min(i + BATCH_ITEMS, items.length);
    for (; i < end; i++) yield [items[i], set, items[i] as PyValue, true];
    out.u8(close);
    // A set's items come from an iterator: after a full batch Python looks once more and closes an empty one.
    if (close === Op.ADDITEMS && i === items.length && items.length % BATCH_ITEMS === 0) {
      out.u8(Op.MARK);
      out.u8(close);
    }
  }
}

/** An object by its pickled form; `identity` is what the memo knows it as. */
export function* reductionSteps(pickle: PickleWriter, object: PyObject, identity: object): Steps {
  const { out } = pickle;
  const { construction, args } = object;
  if (construction === 'reconstructor') {
    pickle.global('copyreg', '_reconstructor');
    yield [object.callable, undefined, ''];
    yield [object.base, undefined, ''];
    yield [args.length ? args[0] : null, args, 0];
    pickle.tupleOf(3);
    out.u8(Op.REDUCE);
  } else if (construction === 'from_type') {
    pickle.global('torch._tensor', '_rebuild_from_type_v2');
    pickle.mark();
    yield [object.callable, undefined, ''];
    yield [object.base, undefined, ''];
    yield [args, object, '__args__'];
    yield [object.state ?? null, object, 'state'];
    pickle.tupleOf(4);
    out.u8(Op.REDUCE);
  } else if (construction === 'newobj_ex' && pickle.target.protocol >= 4) {
    yield [object.callable, undefined, ''];
    yield [args, object, '__args__'];
    yield [object.kwargs ?? new Map(), undefined, '__kwargs__'];
    out.u8(Op.NEWOBJ_EX);
  } else {
    if (object.kwargs?.size)
      throw refuse(`an object of ${object.global} made with keyword arguments needs pickleProtocol 4 or 5`);
    yield [object.callable, undefined, ''];
    yield [args, object, '__args__'];
    // Old-style instances without arguments are made without a call, those with arguments by one.
    const byCall =
      construction === 'reduce' || ((construction === 'inst' || construction === 'obj') && args.length > 0);
    out.u8(byCall ? Op.REDUCE : Op.NEWOBJ);
  }
  if (!pickle.memoizeMade(identity)) return;
  if (object.listItems) yield* iteratedItems(pickle, object.listItems);
  if (object.dictItems) yield* iteratedEntries(pickle, object.dictItems, object.dictItems);
  if (object.state === undefined || construction === 'from_type') return;
  yield [object.state, object, 'state'];
  out.u8(Op.BUILD);
}
