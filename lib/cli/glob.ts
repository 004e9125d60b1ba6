/** Globs over tensor paths: `*` and `?` cross dots; a plain path means itself and everything below it. */

export function globMatcher(globs: readonly string[] | undefined): ((path: string) => boolean) | undefined {
  if (!globs || globs.length === 0) return undefined;
  const matchers = globs.map(matcherOf);
  return (path) => matchers.some((matches) => matches(path));
}

function matcherOf(glob: string): (path: string) => boolean {
  if (!/[*?]/.test(glob)) return (path) => path === glob || path.startsWith(`${glob}.`) || path.startsWith(`${glob}[`);
  const parts = glob.split('*').filter((part, i, all) => part !== '' || i === 0 || i === all.length - 1);
  return (path) => matchesParts(path, parts);
}

/** The texts between the stars, each found as early as possible: no backtracking, whatever the glob. */
function matchesParts(path: string, parts: readonly string[]): boolean {
  const first = parts[0] as string;
  if (parts.length === 1) return path.length === first.length && fits(path, first, 0);
  if (!fits(path, first, 0)) return false;
  const last = parts.at(-1) as string;
  const lastAt = path.length - last.length;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    while (at + part.length <= lastAt && !fits(path, part, at)) at++;
    if (at + part.length > lastAt) return false;
    at += part.length;
  }
  return lastAt >= at && fits(path, last, lastAt);
}

function fits(path: string, part: string, at: number): boolean {
  if (at < 0 || at + part.length > path.length) return false;
  for (let i = 0; i < part.length; i++) if (part[i] !== '?' && part[i] !== path[at + i]) return false;
  return true;
}
