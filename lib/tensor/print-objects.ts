/** Objects of Python's standard library that pickles hold, as Python prints them. */
import { PyObject, type PyValue, type Tuple } from '../pickle/values';
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
    case 'datetime.time':
      return timeText(args);
    case 'datetime.timedelta':
      return spanText(args);
    case 'datetime.timezone':
      return zoneText(object);
    case 'fractions.Fraction': {
      const parts =
        args.length === 1 && typeof args[0] === 'string' ? /^(-?\d+)(?:\/(\d+))?$/.exec(args[0]) : undefined;
      if (parts) return `Fraction(${parts[1]}, ${parts[2] ?? 1})`;
      return args.length === 2 && args.every(isInt) ? `Fraction(${args.join(', ')})` : undefined;
    }
    case 're._compile':
      return patternText(args);
    case 'uuid.UUID': {
      const int = object.get('int');
      if (!isInt(int) || object.args.length > 0) return undefined;
      const digits = BigInt(int as number)
        .toString(16)
        .padStart(32, '0');
      return `UUID('${digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')}')`;
    }
    case 'builtins.type':
      return args.length === 1 && args[0] === null ? "<class 'NoneType'>" : undefined;
    case 'pathlib.PureWindowsPath':
    case 'pathlib.WindowsPath': {
      if (!args.every((part) => typeof part === 'string')) return undefined;
      const [first = '', ...rest] = args as string[];
      // A root has its separator with it: `C:\\`.
      const joined = first.endsWith('\\') ? first + rest.join('/') : args.join('/');
      const text = joined.replaceAll('\\', '/');
      return `${object.global.slice(8)}(${stringRepr(text || '.')})`;
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

function isInt(value: unknown): boolean {
  return typeof value === 'bigint' || Number.isSafeInteger(value);
}

function spanText(args: Tuple): string {
  const units = ['days', 'seconds', 'microseconds']
    .map((unit, i) => [unit, args[i]] as const)
    .filter(([, value]) => value);
  return `datetime.timedelta(${units.map(([unit, value]) => `${unit}=${String(value)}`).join(', ') || '0'})`;
}

/** A zone of a fixed offset; undefined for all others, which may be anything. */
function zoneText(zone: PyValue | undefined): string | undefined {
  if (!(zone instanceof PyObject) || zone.global !== 'datetime.timezone') return undefined;
  const [offset, name] = zone.args as PyValue[];
  if (!(offset instanceof PyObject) || offset.global !== 'datetime.timedelta') return undefined;
  if (name === undefined && offset.args.every((part) => part === 0)) return 'datetime.timezone.utc';
  if (name !== undefined && typeof name !== 'string') return undefined;
  return `datetime.timezone(${spanText(offset.args)}${name === undefined ? '' : `, ${stringRepr(name)}`})`;
}

/** Bits of `re.RegexFlag` in the order in which a pattern prints them; text patterns are Unicode without saying so. */
const FLAGS: readonly (readonly [bit: number, name: string])[] = [
  [2, 're.IGNORECASE'],
  [4, 're.LOCALE'],
  [8, 're.MULTILINE'],
  [16, 're.DOTALL'],
  [64, 're.VERBOSE'],
  [128, 're.DEBUG'],
  [256, 're.ASCII'],
];
const MAX_PATTERN_CHARACTERS = 200;

function patternText([pattern, flags]: readonly PyValue[]): string | undefined {
  if (typeof pattern !== 'string' || typeof flags !== 'number' || (flags & ~510) !== 0) return undefined;
  const names = FLAGS.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name);
  const shown = [stringRepr(pattern).slice(0, MAX_PATTERN_CHARACTERS), ...(names.length > 0 ? [names.join('|')] : [])];
  return `re.compile(${shown.join(', ')})`;
}

/** The packed fields of a date, which Python 2 and protocol 2 hold as text. */
function packedBytes(packed: PyValue | undefined): Uint8Array | undefined {
  const bytes = typeof packed === 'string' ? Buffer.from(packed, 'latin1') : packed;
  return bytes instanceof Uint8Array ? bytes : undefined;
}

/** What stands behind the fields: undefined where that is of an unknown kind. */
function zoneAndFold(zone: PyValue | undefined, fold: boolean): string | undefined {
  const text = zone === undefined || zone === null ? '' : zoneText(zone);
  if (text === undefined) return undefined;
  return `${fold ? ', fold=1' : ''}${text && `, tzinfo=${text}`}`;
}

/** Hours to microseconds; seconds and microseconds of zero are left out. */
function clock(bytes: Uint8Array, start: number): number[] {
  const at = (i: number): number => bytes[start + i] ?? 0;
  const time = [at(0), at(1), at(2), at(3) * 65536 + at(4) * 256 + at(5)];
  while (time.length > 2 && time.at(-1) === 0) time.pop();
  return time;
}

function dateText(name: string, [packed, zone]: readonly PyValue[]): string | undefined {
  const bytes = packedBytes(packed);
  if (!bytes) return undefined;
  const month = bytes[2] ?? 0;
  const fields = [(bytes[0] ?? 0) * 256 + (bytes[1] ?? 0), month & 127, bytes[3] ?? 0];
  if (bytes.length === 4) return `${name}(${fields.join(', ')})`;
  const rest = zoneAndFold(zone, month > 127);
  if (bytes.length !== 10 || rest === undefined) return undefined;
  return `${name}(${[...fields, ...clock(bytes, 4)].join(', ')}${rest})`;
}

function timeText([packed, zone]: readonly PyValue[]): string | undefined {
  const bytes = packedBytes(packed);
  const rest = zoneAndFold(zone, (bytes?.[0] ?? 0) > 127);
  if (bytes?.length !== 6 || rest === undefined) return undefined;
  const fields = clock(bytes, 0);
  fields[0] = (fields[0] as number) & 127;
  return `datetime.time(${fields.join(', ')}${rest})`;
}
