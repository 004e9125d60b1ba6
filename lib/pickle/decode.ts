/** Decoding of the scalars of a pickle: text, integers, floats. Every function is given bytes already proven to exist. */
import { CheckpointError } from '../errors';
import { safeInteger } from './values';

export type StringEncoding = 'utf-8' | 'ascii' | 'latin1' | 'bytes';

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 with Python's `surrogatepass`: a lone surrogate may stand as three bytes, as it does in a JavaScript string. */
export function decodeUtf8(bytes: Buffer, start: number, end: number): string {
  // What is not UTF-8 comes as this character, as the character itself does: both are rare.
  const text = bytes.toString('utf8', start, end);
  if (!text.includes('\ufffd')) return text;
  try {
    return strictUtf8.decode(bytes.subarray(start, end));
  } catch {
    return decodeSurrogates(bytes, start, end);
  }
}

function decodeSurrogates(bytes: Buffer, start: number, end: number): string {
  // Split at each encoded surrogate (ED A0..BF xx); the rest must be proper UTF-8.
  const parts: string[] = [];
  let from = start;
  const flush = (to: number): void => {
    try {
      parts.push(strictUtf8.decode(bytes.subarray(from, to)));
    } catch {
      throw new CheckpointError('PICKLE_CORRUPT', 'a string is not valid UTF-8', { byteOffset: start });
    }
  };
  for (let i = start; i + 2 < end; i++) {
    if (bytes[i] !== 0xed || (bytes[i + 1] as number) < 0xa0 || ((bytes[i + 2] as number) & 0xc0) !== 0x80) continue;
    flush(i);
    parts.push(
      String.fromCharCode(0xd000 | (((bytes[i + 1] as number) & 0x3f) << 6) | ((bytes[i + 2] as number) & 0x3f)),
    );
    from = i + 3;
    i += 2;
  }
  flush(end);
  return parts.join('');
}

/** A byte string of Python 2 that is no UTF-8: the load may be tried again with Latin-1. */
export class NotUtf8Error extends CheckpointError {}

/** A byte string of Python 2, as the caller wants such strings. */
export function decodeByteString(
  bytes: Buffer,
  start: number,
  end: number,
  encoding: StringEncoding,
): string | Uint8Array {
  switch (encoding) {
    case 'bytes':
      return new Uint8Array(bytes.subarray(start, end));
    case 'latin1':
      return bytes.toString('latin1', start, end);
    case 'ascii':
      for (let i = start; i < end; i++) {
        if ((bytes[i] as number) >= 0x80) {
          throw new CheckpointError(
            'PICKLE_CORRUPT',
            `a byte string holds 0x${(bytes[i] as number).toString(16)}, which is not ASCII`,
            {
              byteOffset: i,
              hint: 'pass encoding: "latin1" or "bytes"',
            },
          );
        }
      }
      return bytes.toString('latin1', start, end);
    case 'utf-8':
      try {
        return decodeUtf8(bytes, start, end);
      } catch (cause) {
        const hint = 'a file of Python 2 may need the option encoding: "latin1"';
        throw new NotUtf8Error('PICKLE_CORRUPT', 'a byte string is not valid UTF-8', {
          byteOffset: start,
          hint,
          cause,
        });
      }
  }
}

/** Two's complement little-endian, of any length. */
export function decodeLong(bytes: Buffer, start: number, end: number): number | bigint {
  const length = end - start;
  if (length === 0) return 0;
  if (length <= 6) return bytes.readIntLE(start, length);
  if (length <= 8) {
    let value = 0n;
    for (let i = end - 1; i >= start; i--) value = (value << 8n) | BigInt(bytes[i] as number);
    return safeInteger(BigInt.asIntN(length * 8, value));
  }
  const hex = Buffer.from(bytes.subarray(start, end)).reverse().toString('hex');
  return safeInteger(BigInt.asIntN(length * 8, BigInt(`0x${hex}`)));
}

/** The decimal integer of a text opcode: `12`, `-7`, `123L`. To Python `010` is octal, and `+1`, ` 1` or `-0` may be a bool. */
export function parseInteger(text: string): number | bigint {
  const digits = text.trimEnd().replace(/L$/, '');
  if (!/^(?:0+|-?[1-9]\d*)$/.test(digits)) throw new CheckpointError('PICKLE_CORRUPT', `'${clip(text)}' is no integer`);
  return safeInteger(BigInt(digits));
}

/** The float of a text opcode, in Python's spelling. */
export function parseDecimal(text: string): number {
  const word = text.trim().toLowerCase();
  const special = /^([+-]?)(inf(?:inity)?|nan)$/.exec(word);
  if (special)
    return special[2] === 'nan' ? Number.NaN : special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/.test(word))
    throw new CheckpointError('PICKLE_CORRUPT', `'${clip(text)}' is no float`);
  return Number(word);
}

const SIMPLE_ESCAPES: Readonly<Record<string, number>> = {
  '\\': 0x5c,
  "'": 0x27,
  '"': 0x22,
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
};

/** The quoted string of protocol 0, `'ab\x00\n'`, as bytes. */
export function parseQuoted(text: string): Buffer {
  const quote = text[0];
  if (text.length < 2 || (quote !== "'" && quote !== '"') || !text.endsWith(quote)) {
    throw new CheckpointError('PICKLE_CORRUPT', `the string argument must be quoted: ${clip(text)}`);
  }
  const out: number[] = [];
  for (let i = 1; i < text.length - 1; i++) {
    if (text[i] !== '\\') {
      out.push(text.charCodeAt(i));
      continue;
    }
    const next = text[++i] as string;
    const simple = Object.hasOwn(SIMPLE_ESCAPES, next) ? SIMPLE_ESCAPES[next] : undefined;
    const hex = next === 'x' ? /^[0-9a-f]{2}/i.exec(text.slice(i + 1, i + 3)) : null;
    const octal = /^[0-7]{1,3}/.exec(text.slice(i, i + 3));
    if (simple !== undefined) out.push(simple);
    else if (hex) {
      out.push(Number.parseInt(hex[0], 16));
      i += 2;
    } else if (octal) {
      out.push(Number.parseInt(octal[0], 8) & 0xff);
      i += octal[0].length - 1;
    } else out.push(0x5c, next.charCodeAt(0));
  }
  return Buffer.from(out);
}

/** The `raw-unicode-escape` text of protocol 0: `\uXXXX`, `\UXXXXXXXX`, everything else Latin-1. */
export function parseRawUnicode(text: string): string {
  return text.replace(
    /(\\*)\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/g,
    (all: string, slashes: string, short?: string, long?: string) => {
      // An even number of backslashes before means that this one is a backslash of the text.
      if (slashes.length % 2) return all;
      const code = Number.parseInt((short ?? long) as string, 16);
      if (code > 0x10ffff) throw new CheckpointError('PICKLE_CORRUPT', `\\U${long} is no character`);
      return slashes + String.fromCodePoint(code);
    },
  );
}

export function clip(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

const ZERO = 0x30;
/** Longer numbers are no index of an array; whoever needs those has the text. */
const MAX_DIGITS = 9;

/** The number that these bytes spell as `String(number)` would; -1 when they spell none, or a long one. */
export function decimal(bytes: Uint8Array, start: number, end: number): number {
  const digits = end - start;
  if (digits < 1 || digits > MAX_DIGITS || (digits > 1 && bytes[start] === ZERO)) return -1;
  let number = 0;
  for (let i = start; i < end; i++) {
    const digit = (bytes[i] as number) - ZERO;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return number;
}
