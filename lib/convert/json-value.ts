/** JSON as Python's values: `1` is an int and `1.0` a float, objects are dicts. JavaScript's own parser forgets which. */
import { type PyValue, pyFloat, pyInt } from '../pickle/values';

/** Far deeper than anybody types. */
const MAX_DEPTH = 200;
const TOKEN =
  /\s*(?:([{}[\],:])|("(?:[^"\\]|\\.)*")|(-?(?:Infinity|(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?))|(true|false|null|NaN)|(\S))/gsy;

/** Throws TypeError for what is no JSON. NaN and Infinity are taken too, as Python takes them. */
export function parseJsonValue(text: string): PyValue {
  const tokens = [...tokensOf(text)];
  let at = 0;
  const fail = (): never => {
    throw new TypeError(`${JSON.stringify(text.slice(0, 200))} is no JSON; texts stand in double quotes`);
  };

  function value(depth: number): PyValue {
    const token = tokens[at++];
    if (token === undefined || depth > MAX_DEPTH) return fail();
    if (token === '{') return dict(depth);
    if (token === '[') return list(depth);
    if (token.startsWith('"')) return JSON.parse(token) as string;
    switch (token) {
      case 'true':
        return true;
      case 'false':
        return false;
      case 'null':
        return null;
    }
    if (/^-?\d+$/.test(token)) return token === '-0' ? pyInt(0) : pyInt(BigInt(token));
    const number = Number(token);
    return token === 'NaN' || !Number.isNaN(number) ? pyFloat(number) : fail();
  }

  function dict(depth: number): PyValue {
    const map = new Map<PyValue, PyValue>();
    if (tokens[at] === '}') at++;
    else {
      do {
        const key = tokens[at++];
        if (!key?.startsWith('"') || tokens[at++] !== ':') return fail();
        map.set(JSON.parse(key) as string, value(depth + 1));
      } while (tokens[at++] === ',');
      if (tokens[at - 1] !== '}') return fail();
    }
    return map;
  }

  function list(depth: number): PyValue {
    const items: PyValue[] = [];
    if (tokens[at] === ']') at++;
    else {
      do items.push(value(depth + 1));
      while (tokens[at++] === ',');
      if (tokens[at - 1] !== ']') return fail();
    }
    return items;
  }

  try {
    const result = value(0);
    return at === tokens.length ? result : fail();
  } catch (error) {
    if (error instanceof SyntaxError) return fail();
    throw error;
  }
}

function* tokensOf(text: string): Generator<string, void, undefined> {
  for (const match of text.trimEnd().matchAll(TOKEN)) yield match.slice(1).find((part) => part !== undefined) as string;
}
