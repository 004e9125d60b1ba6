/** Files beside the weights, which go over as they are. */
import { constants, copyFileSync, mkdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CheckpointError } from '../errors';
import { OWN_PREFIX } from './directory-scan';

export interface CopiedFile {
  /** Relative to both folders. */
  readonly input: string;
  readonly output: string;
  readonly bytes: number;
}

/** Copies what is not there yet; gives the files that were, or would be, copied. */
export async function copyOthers(
  inputDir: string,
  outputDir: string,
  files: readonly string[],
  dryRun: boolean,
  signal: AbortSignal | undefined,
): Promise<CopiedFile[]> {
  const copied: CopiedFile[] = [];
  for (const file of files) {
    signal?.throwIfAborted();
    const source = join(inputDir, file);
    const target = join(outputDir, file);
    const from = statSync(source, { throwIfNoEntry: false });
    const to = statSync(target, { throwIfNoEntry: false });
    if (!from || (to && to.size === from.size && Math.abs(to.mtimeMs - from.mtimeMs) < 1)) continue;
    if (!dryRun) copyInPlace(source, target, from.atime, from.mtime);
    copied.push({ input: file, output: file, bytes: from.size });
  }
  return copied;
}

/** Under another name first, and with the times of the original: that is how the next run knows it. */
function copyInPlace(source: string, target: string, atime: Date, mtime: Date): void {
  const temporary = join(dirname(target), `${OWN_PREFIX}-copy-${basename(target)}`);
  try {
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(source, temporary, constants.COPYFILE_FICLONE);
    utimesSync(temporary, atime, mtime);
    renameSync(temporary, target);
  } catch (cause) {
    rmSync(temporary, { force: true });
    const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC';
    throw new CheckpointError(
      full ? 'DISK_FULL' : 'WRITE_FAILED',
      `the file cannot be copied: ${(cause as Error).message}`,
      { path: target, cause },
    );
  }
}
