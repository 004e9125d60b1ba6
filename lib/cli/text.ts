/**
 * Text on its way to a terminal. Names in a checkpoint are anybody's: they may hold escape sequences that repaint the
 * screen, or characters that reverse what stands around them. Nothing of a file is printed without passing here.
 */

/** Controls (C0, DEL, C1), line and paragraph separators, what changes direction or is invisible, lone surrogates. */
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** One line that shows every character, the dangerous ones as escapes. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    const code = character.charCodeAt(0);
    return (
      NAMED[character] ??
      (code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`)
    );
  });
}

/** The same for text of several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** JSON that may be shown on a terminal: what `printable` escapes is escaped here too. Infinity and NaN become strings. */
export function jsonText(value: unknown, indent?: number): string {
  const text = JSON.stringify(
    value,
    (_key, item: unknown) =>
      typeof item === 'number' && !Number.isFinite(item)
        ? String(item)
        : typeof item === 'bigint'
          ? String(item)
          : item,
    indent,
  );
  return text.replace(UNPRINTABLE, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Columns that a text takes on a terminal: marks take none, East Asian wide characters and emoji two. */
export function columnsOf(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let columns = 0;
  for (const character of text) columns += characterColumns(character);
  return columns;
}

function characterColumns(character: string): number {
  if (/\p{M}/u.test(character)) return 0;
  return /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}]/u.test(
    character,
  )
    ? 2
    : 1;
}

/** The text in at most `columns`, its middle left out: the ends tell tensor names apart. */
export function shorten(text: string, columns: number): string {
  if (columnsOf(text) <= columns) return text;
  if (columns <= 1) return '…'.slice(0, Math.max(columns, 0));
  const characters = [...text];
  const headColumns = Math.floor((columns - 1) / 2);
  const tailColumns = columns - 1 - headColumns;
  return `${take(characters, headColumns)}…${take(characters.reverse(), tailColumns, true)}`;
}

/** As many characters from the start as fit; `reversed` ones come back in reading order. */
function take(characters: readonly string[], columns: number, reversed = false): string {
  const taken: string[] = [];
  let used = 0;
  for (const character of characters) {
    used += characterColumns(character);
    if (used > columns) break;
    taken.push(character);
  }
  return (reversed ? taken.reverse() : taken).join('');
}

/** Names longer than this many lines are shortened: nobody reads them. */
const MAX_NAME_LINES = 6;

/** A dotted name in lines of at most `columns`, broken behind dots where there are any; the later ones are indented. */
export function wrapName(name: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  let used = 0;
  const next = (): void => {
    lines.push(line);
    line = '  ';
    used = 2;
  };
  for (const part of shorten(name, MAX_NAME_LINES * columns).split(/(?<=\.)/)) {
    if (used > 2 && used + columnsOf(part) > columns) next();
    for (const character of part) {
      const width = characterColumns(character);
      if (used + width > columns && used > 2) next();
      line += character;
      used += width;
    }
  }
  lines.push(line);
  return lines;
}

/** Lines of at most `columns` where commas allow; the later ones are indented. */
export function wrapAtCommas(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const part of text.split(/(?<=,) /)) {
    if (line !== '' && columnsOf(line) + 1 + columnsOf(part) > columns) {
      lines.push(line);
      line = `  ${part}`;
    } else line = line === '' ? part : `${line} ${part}`;
  }
  return [...lines, line];
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `1.5 MiB`; bytes are exact. */
export function humanBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${UNITS[unit]}`;
}

/** `1 record`, `1,200 records`. */
export function counted(count: number, what: string): string {
  return `${grouped(count)} ${what}${count === 1 ? '' : 's'}`;
}

/** `12,345,678`. */
export function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}
