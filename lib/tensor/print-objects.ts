/** Objects of Python's standard library that pickles hold, as Python prints them. */
import type { PyObject, Tuple } from '../pickle/values';
import { stringRepr } from './print-string';

/** Names under which Python prints these, by Python 3 class name. */
export const OBJECT_NAMES: Record<string, string> = {
  'builtins.slice': 'slice',
  'builtins.range': 'range',
  'collections.deque': 'deque',
  'argparse.Namespace': 'Namespace',
  'types.SimpleNamespace': 'namespace',
  'decimal.Decimal': 'Decimal',
};

/** The whole text of an object made of numbers or text alone; undefined for all others. */
export function knownText(object: PyObject): string | undefined {
  const { args } = object;
  switch (object.global) {
    case 'datetime.datetime':
    case 'datetime.date':
      return dateText(object.global, args);
    case 'datetime.timedelta': {
      const units = ['days', 'seconds', 'microseconds']
        .map((unit, i) => [unit, args[i]] as const)
        .filter(([, value]) => value);
      return `datetime.timedelta(${units.map(([unit, value]) => `${unit}=${String(value)}`).join(', ') || '0'})`;
    }
    case 'pathlib.PosixPath':
    case 'pathlib.PurePosixPath':
    case 'pathlib.Path': {
      if (!args.every((part) => typeof part === 'string')) return undefined;
      return `${object.global.slice(8)}(${stringRepr(args.join('/').replace(/^\/\/+/, '/') || '.')})`;
    }
    default:
      return undefined;
  }
}

/** The packed fields of a date, which Python 2 and protocol 2 hold as text. */
function dateText(name: string, args: Tuple): string | undefined {
  const [packed, zone] = args;
  const bytes = typeof packed === 'string' ? Buffer.from(packed, 'latin1') : packed;
  if (!(bytes instanceof Uint8Array) || (zone !== undefined && zone !== null)) return undefined;
  const at = (i: number): number => bytes[i] ?? 0;
  const fields = [at(0) * 256 + at(1), at(2) & 127, at(3)];
  if (bytes.length === 4) return `${name}(${fields.join(', ')})`;
  if (bytes.length !== 10) return undefined;
  const time = [at(4), at(5), at(6), at(7) * 65536 + at(8) * 256 + at(9)];
  // Seconds and microseconds of zero are left out.
  while (time.length > 2 && time.at(-1) === 0) time.pop();
  return `${name}(${[...fields, ...time].join(', ')})`;
}
