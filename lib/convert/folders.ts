/** Folders of the output. */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { CheckpointError } from '../errors';

/** Makes a folder and those above it. Throws WRITE_FAILED where that cannot be. */
export function makeFolder(path: string): void {
  try {
    makeBelow(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const isFile = code === 'EEXIST' || code === 'ENOTDIR';
    throw new CheckpointError(
      code === 'ENOSPC' || code === 'EDQUOT' ? 'DISK_FULL' : 'WRITE_FAILED',
      isFile ? 'the output folder is a file, or below one' : `the output folder cannot be made: ${message}`,
      { path, cause },
    );
  }
}

/** One step at a time: `mkdir` of Node with `recursive` never ends where the system denies that the parent is there, as in /proc. */
function makeBelow(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  try {
    mkdirSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Another thread may have made it meanwhile.
    if (code === 'EEXIST' && statSync(path).isDirectory()) return;
    if (code !== 'ENOENT' || dirname(path) === path || statSync(dirname(path), { throwIfNoEntry: false })) throw error;
    makeBelow(dirname(path));
    mkdirSync(path);
  }
}
