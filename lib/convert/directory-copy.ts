/** Files beside the weights, which go over as they are. */
import { statSync } from 'node:fs';
import { constants, copyFile, rename, rm, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CheckpointError, isCheckpointError } from '../errors';
import { OWN_PREFIX } from './directory-scan';
import { makeFolder } from './folders';

export interface CopiedFile {
  /** Relative to both folders. */
  readonly input: string;
  readonly output: string;
  readonly bytes: number;
}

export interface Copies {
  readonly copied: readonly CopiedFile[];
  readonly failed: readonly { readonly input: string; readonly error: CheckpointError }[];
}

/** Copies what is not there yet; gives the files that were, or would be, copied, and those that could not be. */
export async function copyOthers(
  inputDir: string,
  outputDir: string,
  files: readonly string[],
  dryRun: boolean,
  signal: AbortSignal | undefined,
): Promise<Copies> {
  const copied: CopiedFile[] = [];
  const failed: { input: string; error: CheckpointError }[] = [];
  for (const file of files) {
    signal?.throwIfAborted();
    try {
      const bytes = await copy(join(inputDir, file), join(outputDir, file), dryRun);
      if (bytes !== undefined) copied.push({ input: file, output: file, bytes });
    } catch (error) {
      if (!isCheckpointError(error)) throw error;
      failed.push({ input: file, error });
    }
  }
  return { copied, failed };
}

/** The bytes of the file; undefined where the copy is there already. */
async function copy(source: string, target: string, dryRun: boolean): Promise<number | undefined> {
  const from = statSync(source, { throwIfNoEntry: false });
  if (!from) throw new CheckpointError('NOT_FOUND', 'no such file, or a link to nothing', { path: source });
  const to = statSync(target, { throwIfNoEntry: false });
  if (to && to.size === from.size && Math.abs(to.mtimeMs - from.mtimeMs) < 1) return undefined;
  if (!dryRun) await copyInPlace(source, target, from.atime, from.mtime);
  return from.size;
}

/** Under another name first, and with the times of the original: that is how the next run knows it. */
async function copyInPlace(source: string, target: string, atime: Date, mtime: Date): Promise<void> {
  const temporary = join(dirname(target), `${OWN_PREFIX}-copy-${basename(target)}`);
  makeFolder(dirname(target));
  try {
    await copyFile(source, temporary, constants.COPYFILE_FICLONE);
    await utimes(temporary, atime, mtime);
    await rename(temporary, target);
  } catch (cause) {
    await rm(temporary, { force: true });
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new CheckpointError(
      code === 'ENOSPC' || code === 'EDQUOT' ? 'DISK_FULL' : 'WRITE_FAILED',
      `the file cannot be copied: ${message}`,
      { path: target, cause },
    );
  }
}
