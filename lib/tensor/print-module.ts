/** The tree that PyTorch prints for a module. */

/** Equal neighbours of a ModuleList become one: `(0-1): 2 x Linear(...)`. */
export function collapse(children: readonly (readonly [key: string, text: string])[]): [key: string, text: string][] {
  const runs: { first: number; last: number; text: string }[] = [];
  for (const [i, [, childText]] of children.entries()) {
    const run = runs.at(-1);
    if (run?.text === childText) run.last = i;
    else runs.push({ first: i, last: i, text: childText });
  }
  return runs.map(({ first, last, text: run }) => {
    return first === last ? [String(first), run] : [`${first}-${last}`, `${last - first + 1} x ${run}`];
  });
}

/** `repr(module)`: its name, what `extra_repr` gives, and its children by key, indented. */
export function moduleText(
  name: string,
  extra: string,
  children: readonly (readonly [key: string, text: string])[],
): string {
  const extraLines = extra === '' ? [] : extra.split('\n');
  if (children.length === 0 && extraLines.length <= 1) return `${name}(${extra})`;
  const lines = [...extraLines, ...children.map(([key, child]) => `(${key}): ${child.replaceAll('\n', '\n  ')}`)];
  return `${name}(\n  ${lines.join('\n  ')}\n)`;
}
