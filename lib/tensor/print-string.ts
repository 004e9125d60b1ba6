/** Strings and bytes as Python's `repr` writes them. */

/** What Python calls not printable: controls, formats, surrogates, unassigned code points and all spaces but one. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}\p{Zs}]/u;
const ESCAPED = /[\\\p{C}\p{Zl}\p{Zp}\p{Zs}]/gu;
const NAMED: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** Single quotes, unless only double ones save escaping. */
function quoteFor(text: string): string {
  return text.includes("'") && !text.includes('"') ? '"' : "'";
}

export function stringRepr(text: string): string {
  const quote = quoteFor(text);
  const escaped = text.replace(ESCAPED, (character) => {
    const named = NAMED[character];
    if (named) return named;
    if (character === ' ' || !UNPRINTABLE.test(character)) return character;
    return escapeCode(character.codePointAt(0)!);
  });
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

function escapeCode(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

/** `b'...'`, or `bytearray(b'...')`. */
export function bytesRepr(bytes: Uint8Array, mutable = false): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const quote = quoteFor(text);
  const escaped = text.replace(/[\\']|[^\x20-\x7e]/g, (character) => {
    if (character === "'") return quote === "'" ? "\\'" : "'";
    return NAMED[character] ?? escapeCode(character.charCodeAt(0));
  });
  const literal = `b${quote}${escaped}${quote}`;
  return mutable ? `bytearray(${literal})` : literal;
}
