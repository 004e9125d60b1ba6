/** What is told of a checkpoint that was built to attack whoever opens it with Python. */
import { verdictOf } from '../pickle/verdicts';

/** Names that one line has room for. */
const MAX_NAMES = 5;

/** Of the globals that the pickles of a checkpoint name, those that reach code, processes or files. */
export function dangerousNames(globals: readonly { readonly global: string }[]): string[] {
  return globals.map(({ global }) => global).filter((global) => verdictOf(global) === 'dangerous');
}

/** `names`: at least one; `file`: how the file is called in the sentence. */
export function unsafeText(names: readonly string[], file: string): string {
  const more = names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : '';
  return `loading ${file} with Python would run ${names.slice(0, MAX_NAMES).join(', ')}${more}; nothing was run here`;
}

/** A warning for each file that deserves one. */
export function unsafeWarnings(
  ...files: readonly (readonly [globals: Parameters<typeof dangerousNames>[0], file: string])[]
): string[] {
  return files.flatMap(([globals, file]) => {
    const names = dangerousNames(globals);
    return names.length > 0 ? [`UNSAFE: ${unsafeText(names, file)}`] : [];
  });
}
