/**
 * The files below a folder. Links are followed, as what a folder holds for its user lies behind them: Hugging Face's cache
 * is links to files, and large folders are moved to another disk and linked. Every folder is walked once, so that links in
 * a circle end; folders under their own name come before links to them.
 */
import { type BigIntStats, readdirSync, statSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { CheckpointError } from '../errors';

export interface FileBelow {
  /** Relative to the folder, with `/`. */
  readonly path: string;
  /** Undefined for a link to nothing. */
  readonly stats: BigIntStats | undefined;
}

/** In order, the files of a folder before those below it: everything but what `skips` says of a name or a folder. Throws CheckpointError for a folder that cannot be listed. */
export function* filesBelow(
  folder: string,
  skips: { readonly name?: (name: string, isFolder: boolean) => boolean; readonly folder?: string } = {},
): Generator<FileBelow, void, undefined> {
  const root = resolve(folder);
  const own = identityOf(root);
  const other = skips.folder === undefined ? undefined : identityOf(skips.folder);
  const seen = new Set<string | undefined>(other === own ? [] : [other]);
  const folders = [root];
  const links: string[] = [];
  for (let current = folders.pop(); current !== undefined; current = folders.pop() ?? links.shift()) {
    const identity = identityOf(current);
    if (identity !== undefined && seen.has(identity)) continue;
    seen.add(identity);
    const below: string[] = [];
    for (const entry of entriesOf(current)) {
      const path = join(current, entry.name);
      if (skips.name?.(entry.name, entry.isDirectory())) continue;
      if (entry.isDirectory()) below.push(path);
      if (!entry.isFile() && !entry.isSymbolicLink()) continue;
      const stats = statsOf(path);
      if (stats?.isDirectory()) {
        if (!skips.name?.(entry.name, true)) links.push(path);
      } else if (!stats || stats.isFile()) yield { path: relative(root, path).split(sep).join('/'), stats };
    }
    folders.push(...below.reverse());
  }
}

/** Undefined where nothing is there, and for a link that leads to itself. */
export function statsOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}

function identityOf(folder: string): string | undefined {
  const stats = statsOf(folder);
  return stats && `${stats.dev}:${stats.ino}`;
}

interface Entry {
  readonly name: string;
  isDirectory(): boolean;
  isFile(): boolean;
  isSymbolicLink(): boolean;
}

function entriesOf(folder: string): Entry[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new CheckpointError(
      code === 'EACCES' ? 'ACCESS_DENIED' : 'NOT_FOUND',
      `the folder cannot be listed: ${message}`,
      { path: folder, cause },
    );
  }
}
