/** The option `dicts: 'object'`: dicts with only string keys as objects without a prototype. */
import { moveNotes } from './notes';
import { OrderedDict, PyObject, type PyValue, type Tuple } from './values';

/** Replaces plain dicts throughout a graph, sharing and cycles kept. Containers that stay are changed in place. */
export function asObjects(root: PyValue): PyValue {
  const replaced = new Map<object, PyValue>();
  const pending: object[] = [];

  const convert = (value: PyValue): PyValue => {
    if (typeof value !== 'object' || value === null) return value;
    const known = replaced.get(value);
    if (known !== undefined) return known;
    const holds = value instanceof Map || Array.isArray(value) || value instanceof PyObject;
    if (!holds) return value;
    const plain =
      value instanceof Map &&
      !(value instanceof OrderedDict) &&
      [...value.keys()].every((key) => typeof key === 'string');
    const result: PyValue = plain ? (Object.create(null) as object) : value;
    replaced.set(value, result);
    pending.push(value);
    return result;
  };

  const converted = convert(root);
  for (let source = pending.pop(); source; source = pending.pop()) {
    const target = replaced.get(source) as object;
    if (source instanceof Map) {
      for (const [key, value] of source as Map<PyValue, PyValue>) {
        if (target instanceof Map) target.set(key, convert(value));
        else (target as Record<string, PyValue>)[key as string] = convert(value);
      }
      if (source instanceof OrderedDict && source.attributes)
        for (const [key, value] of source.attributes) source.attributes.set(key, convert(value));
      if (target !== source) moveNotes(source, target);
    } else if (Array.isArray(source)) {
      for (let i = 0; i < source.length; i++) source[i] = convert(source[i] as PyValue);
    } else if (source instanceof PyObject) {
      if (source.state !== undefined) source.state = convert(source.state);
      source.args = convert(source.args) as Tuple;
      for (const pair of source.dictItems ?? []) pair[1] = convert(pair[1]);
      for (let i = 0; i < (source.listItems?.length ?? 0); i++)
        (source.listItems as PyValue[])[i] = convert((source.listItems as PyValue[])[i] as PyValue);
    }
  }
  return converted;
}
