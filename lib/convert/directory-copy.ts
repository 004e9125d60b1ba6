/** Files beside the weights, which go over as they are. */
import { type Stats, statSync } from 'node:fs';
import { constants, copyFile, open, rename, rm, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CheckpointError, isCheckpointError } from '../errors';
import { statsOf } from '../source/files-below';
import { OWN_PREFIX } from './directory-scan';
import { makeFolder } from './folders';

export interface CopiedFile {
  /** Relative to both folders. */
  readonly input: string;
  readonly output: string;
  readonly bytes: number;
}

export interface CopyOptions {
  readonly dryRun: boolean;
  /** Wait until the disk has the bytes: the next run takes a copy of the right size and time for whole. */
  readonly fsync: boolean;
  readonly signal: AbortSignal | undefined;
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
  options: CopyOptions,
): Promise<Copies> {
  const copied: CopiedFile[] = [];
  const failed: { input: string; error: CheckpointError }[] = [];
  for (const file of files) {
    options.signal?.throwIfAborted();
    try {
      const bytes = await copy(join(inputDir, file), join(outputDir, file), options);
      if (bytes !== undefined) copied.push({ input: file, output: file, bytes });
    } catch (error) {
      if (!isCheckpointError(error)) throw error;
      failed.push({ input: file, error });
    }
  }
  return { copied, failed };
}

/** The bytes of the file; undefined where the copy is there already. */
async function copy(source: string, target: string, { dryRun, fsync }: CopyOptions): Promise<number | undefined> {
  if (!statsOf(source)) throw new CheckpointError('NOT_FOUND', 'no such file, or a link to nothing', { path: source });
  const from = statSync(source);
  const to = statSync(target, { throwIfNoEntry: false });
  if (to && to.size === from.size && Math.abs(to.mtimeMs - from.mtimeMs) < 1) return undefined;
  if (!dryRun) await copyInPlace(source, target, from, fsync);
  return from.size;
}

/** Under another name first, and with the times of the original: that is how the next run knows it. */
async function copyInPlace(source: string, target: string, { atime, mtime }: Stats, fsync: boolean): Promise<void> {
  const temporary = join(dirname(target), `${OWN_PREFIX}-copy-${basename(target)}`);
  makeFolder(dirname(target));
  try {
    await copyFile(source, temporary, constants.COPYFILE_FICLONE);
    await utimes(temporary, atime, mtime);
    if (fsync) await flush(temporary);
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

async function flush(path: string): Promise<void> {
  // Windows flushes only what is open for writing; elsewhere the copy may have the mode of an original that nobody writes.
  await using file = await open(path, process.platform === 'win32' ? 'r+' : 'r');
  await file.sync();
}
