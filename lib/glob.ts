/**
 * Globs. Over paths of tensors `*` stands for any characters, dots too, `?` for one; a plain path means itself and
 * everything below it. Brackets are what they are in paths: indices. Over files `*` and `?` stay in a folder.
 */

export type Matcher = (path: string) => boolean;

/** True for paths that one of the globs matches; undefined where there are none. */
export function anyOf(globs: readonly string[] | undefined): Matcher | undefined {
  if (!globs || globs.length === 0) return undefined;
  const matchers = globs.map(matcherOf);
  return (path) => matchers.some((matches) => matches(path));
}

/** The same, and true also below every path that matches: for globs that take whole sub-trees out. */
export function anyAbove(globs: readonly string[] | undefined): Matcher | undefined {
  const matches = anyOf(globs);
  if (!matches) return undefined;
  return (path) => {
    if (matches(path)) return true;
    for (let i = 1; i < path.length; i++)
      if ((path[i] === '.' || path[i] === '[') && matches(path.slice(0, i))) return true;
    return false;
  };
}

function matcherOf(glob: string): Matcher {
  if (!/[*?]/.test(glob))
    return (path) => path === glob || glob === '' || path.startsWith(`${glob}.`) || path.startsWith(`${glob}[`);
  return (path) => matchesGlob(path, glob);
}

/** One star is gone back to at a time, so that the time is a product of two lengths at most, whatever the glob. */
export function matchesGlob(text: string, glob: string): boolean {
  let at = 0;
  let next = 0;
  let star = -1;
  let retry = 0;
  while (at < text.length) {
    if (glob[next] === '*') {
      star = next++;
      retry = at;
    } else if (next < glob.length && (glob[next] === '?' || glob[next] === text[at])) {
      at++;
      next++;
    } else if (star >= 0) {
      next = star + 1;
      at = ++retry;
    } else {
      return false;
    }
  }
  while (glob[next] === '*') next++;
  return next === glob.length;
}

/** A glob over relative paths of files: `*` and `?` stay in a folder, `**` crosses them. */
export function fileGlob(glob: string): Matcher {
  const pattern = glob.replace(/\*\*\/?|[*?]|[^*?]+/g, (part) => {
    if (part === '**/') return '(?:.*/)?';
    if (part === '**') return '.*';
    if (part === '*') return '[^/]*';
    return part === '?' ? '[^/]' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  });
  const whole = new RegExp(`^${pattern}$`);
  return (path) => whole.test(path);
}
