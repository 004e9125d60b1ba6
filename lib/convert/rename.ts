/** Names of the output made from names of the input: prefixes are taken off, then come sed-like rules and functions. */

export type Rename = string | ((name: string) => string);

export interface NameOptions {
  /** `s/REGEX/REPLACEMENT/g`, with any delimiter and `\1` or `$1` for groups; `REGEX/REPLACEMENT`; or a function. */
  rename?: Rename | readonly Rename[] | undefined;
  /** Taken off names that begin with it, before any `rename`; prefixes may follow one another. */
  stripPrefix?: string | readonly string[] | undefined;
}

/** Undefined when names stay as they are. Throws TypeError for a rule that cannot be read. */
export function renamer({ rename, stripPrefix }: NameOptions): ((name: string) => string) | undefined {
  const prefixes = listOf(stripPrefix);
  const rules = listOf(rename).map((rule) => (typeof rule === 'function' ? rule : parseRule(rule)));
  if (prefixes.length === 0 && rules.length === 0) return undefined;
  return (name) => {
    let renamed = name;
    for (const prefix of prefixes) if (renamed.startsWith(prefix)) renamed = renamed.slice(prefix.length);
    for (const rule of rules) renamed = rule(renamed);
    return renamed;
  };
}

export function listOf<T>(value: T | readonly T[] | undefined): readonly T[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? (value as readonly T[]) : [value as T];
}

function parseRule(rule: string): (name: string) => string {
  const delimiter = /^s([^\w\s\\])/.exec(rule)?.[1];
  const parts = delimiter === undefined ? splitAt(rule, '/') : splitAt(rule.slice(2), delimiter);
  const [search, replacement, flags] = parts;
  const complete = delimiter === undefined ? parts.length === 2 : parts.length === 3;
  if (!complete || !search || replacement === undefined || !/^[gi]*$/.test(flags ?? '')) {
    throw new TypeError(`rename rule "${rule}" is neither s/REGEX/REPLACEMENT/ nor REGEX/REPLACEMENT`);
  }
  let pattern: RegExp;
  try {
    pattern = new RegExp(search, flags ?? '');
  } catch (cause) {
    throw new TypeError(`rename rule "${rule}": ${(cause as Error).message}`, { cause });
  }
  const template = replacement.replace(/\\(\d)/g, '$$$1');
  return (name) => name.replace(pattern, template);
}

/** Parts between delimiters; one behind a backslash is a character like any other. */
function splitAt(text: string, delimiter: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let i = 0; i < text.length; i++) {
    const character = text[i] as string;
    const next = text[i + 1];
    if (character === '\\' && next !== undefined) {
      part += next === delimiter ? next : character + next;
      i++;
    } else if (character === delimiter) {
      parts.push(part);
      part = '';
    } else {
      part += character;
    }
  }
  parts.push(part);
  return parts;
}
