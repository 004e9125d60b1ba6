/**
 * Folders: every model below one, converted into the same places below another.
 *
 * Files are independent of each other, so that they run in parallel and one that fails leaves the rest alone. Indices of
 * shards come last, from what was really stored. The journal lets the same call take up where it was interrupted.
 */
import { statfsSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { DType } from '../dtype';
import { type ErrorCode, isCheckpointError } from '../errors';
import type { Progress } from '../source/progress';
import { byteCount, type ConvertOptions, encodingFor, unmatchedWarning } from './convert';
import { type CopiedFile, copyOthers } from './directory-copy';
import { checkIndex, writeGroupIndex } from './directory-index';
import { type Group, type Job, type Scan, scanDirectory } from './directory-scan';
import { makeFolder } from './folders';
import type { Outcome } from './job';
import { type Finished, Journal } from './journal';
import { Pool } from './pool';
import { renamer } from './rename';
import { targetNamed } from './targets';

/** Progress of a folder: that of the file at hand, and of the whole. */
export interface BatchProgress extends Progress {
  /** The file that got further, relative to the input folder; undefined when one was finished. */
  readonly file: string | undefined;
  /** Of the file at hand, how much of its output is written. */
  readonly fileBytes: number | undefined;
  readonly fileTotalBytes: number | undefined;
  readonly filesDone: number;
  readonly files: number;
}

/** Options of `convertDirectory`; those of `convert` hold for every file. */
export interface DirectoryOptions extends Omit<ConvertOptions, 'onProgress'> {
  /** Globs over paths relative to the input folder: only these files are converted. `**` crosses folders. */
  files?: readonly string[] | undefined;
  /** Copy all other files too, such as configurations and tokenizers; default true. */
  copyOthers?: boolean | undefined;
  /** Conversions at a time; default: the cores, 4 at most. */
  jobs?: number | undefined;
  /** Bytes of memory that all conversions together may take, or `512MiB`; default 512 MiB. */
  memoryBudget?: number | string | undefined;
  /** False: convert again what an earlier run has finished. */
  resume?: boolean | undefined;
  onProgress?: ((progress: BatchProgress) => void) | undefined;
}

/** One file of a folder, and what became of it. */
export interface BatchFile {
  /** Relative to the input folder. */
  readonly input: string;
  /** Relative to the output folder. */
  readonly output?: string;
  /** Of the output, written or planned. */
  readonly bytes: number;
  readonly status: 'converted' | 'skipped' | 'failed' | 'planned';
  /** Why it was skipped. */
  readonly reason?: string;
  /** What lies beside it, seems to belong to it, and was left out. */
  readonly warnings?: readonly string[];
  readonly error?: { readonly code: ErrorCode | 'INTERNAL'; readonly message: string };
}

/** What became of every file of a folder. */
export interface BatchReport {
  readonly dryRun: boolean;
  readonly converted: number;
  readonly skipped: number;
  readonly failed: number;
  readonly files: readonly BatchFile[];
  /** Files that went over as they are. */
  readonly copied: readonly CopiedFile[];
  /** Bytes that are still to be written (a dry run), and those that are free where the output goes. */
  readonly plannedBytes: number;
  readonly freeBytes: number | undefined;
  /** Globs that no file has a match for. */
  readonly warnings: readonly string[];
}

const DEFAULT_MEMORY = '512MiB';
const MAX_JOBS = 4;
/** What one conversion was seen to take, and what larger files add for their pickles. */
const TASK_BYTES = 64 << 20;
const INPUT_BYTES_PER_BYTE = 64;

/**
 * Converts all checkpoints below `inputDir` into the same places below `outputDir`, to safetensors unless `to` says
 * otherwise. Failures of single files are reported, not thrown. Running it again does what is missing or has changed.
 * Throws TypeError for options that contradict each other, CheckpointError where the folders cannot be used at all.
 */
export async function convertDirectory(
  inputDir: string,
  outputDir: string,
  options: DirectoryOptions = {},
): Promise<BatchReport> {
  options.signal?.throwIfAborted();
  return new Batch(inputDir, outputDir, options).run();
}

class Batch {
  readonly #inputDir: string;
  readonly #outputDir: string;
  readonly #options: DirectoryOptions;
  readonly #taskOptions: ConvertOptions;
  readonly #optionsKey: string;
  readonly #scan: Scan;
  readonly #journal: Journal;
  readonly #results = new Map<string, BatchFile>();
  /** What is stored for each input that is done, now or in an earlier run. */
  readonly #done = new Map<string, Pick<Finished, 'sourceNames' | 'stored'>>();
  /** Globs that no file so far has a match for; undefined before the first. */
  #unmatched: readonly string[] | undefined;
  /** Inputs that this run has gone through. */
  #settled = 0;
  #doneBytes = 0;
  readonly #totalBytes: number;
  /** Of the inputs at hand, the bytes that are through. */
  readonly #underway = new Map<Job, number>();

  constructor(inputDir: string, outputDir: string, options: DirectoryOptions) {
    const {
      files: _files,
      copyOthers: _copy,
      jobs: _jobs,
      memoryBudget: _memory,
      resume: _resume,
      onProgress: _progress,
      signal: _signal,
      ...rest
    } = options;
    const to = options.to ?? 'safetensors';
    const target = targetNamed(to);
    // Wrong options are told once, not for every file.
    encodingFor(options.dtype);
    byteCount(options.maxShardSize);
    renamer(options);
    this.#inputDir = inputDir;
    this.#outputDir = outputDir;
    this.#options = options;
    // By name, so that threads can be told of it and the journal can tell one from another.
    this.#taskOptions = { ...rest, to, dtype: options.dtype instanceof DType ? options.dtype.name : options.dtype };
    this.#optionsKey = keyOf(this.#taskOptions);
    this.#journal = new Journal(outputDir, options.fsync ?? true);
    this.#scan = scanDirectory(inputDir, outputDir, {
      target,
      files: options.files,
      merge: options.maxShardSize !== undefined,
      made: isSameFolder(inputDir, outputDir) ? this.#journal.outputs() : undefined,
    });
    this.#totalBytes = this.#scan.jobs.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  async run(): Promise<BatchReport> {
    const { dryRun = false, copyOthers: copies = true, fsync = true, signal } = this.#options;
    if (!dryRun) makeFolder(this.#outputDir);
    this.#tellClashes();
    const finished = new Map(this.#scan.jobs.map((job) => [job, this.#finished(job)]));
    const jobs = this.#scan.jobs.filter((job) => !finished.get(job) || this.#mustCompare(finished.get(job)));
    const threads = Math.max(
      1,
      Math.min(this.#options.jobs ?? Math.min(availableParallelism(), MAX_JOBS), jobs.length),
    );
    const pool = new Pool({
      threads,
      memoryBytes: byteCount(this.#options.memoryBudget ?? DEFAULT_MEMORY) as number,
      signal,
    });
    try {
      await Promise.all(jobs.map((job) => this.#work(job, finished.get(job), pool)));
      for (const group of this.#scan.groups) await this.#index(group, dryRun);
    } finally {
      await pool.close();
      this.#journal.close();
    }
    const others = copies ? this.#scan.others : [];
    const { copied, failed } = await copyOthers(this.#inputDir, this.#outputDir, others, { dryRun, fsync, signal });
    for (const { input, error } of failed) this.#fail(input, input, error.code, error.message);
    return this.#report(dryRun, copied);
  }

  #tellClashes(): void {
    for (const { input, other, isSame } of this.#scan.clashes) {
      if (isSame) this.#tell({ input, bytes: 0, status: 'skipped', reason: `"${other}" is the same model` });
      else this.#fail(input, undefined, 'UNSAVABLE', `"${other}" has the same output; rename one of them`);
    }
  }

  /** What an earlier run made of the job, if that still stands; it is told at once. */
  #finished(job: Job): Finished | undefined {
    const entry = this.#options.resume === false ? undefined : this.#journal.finished(job, this.#optionsKey);
    if (!entry) return undefined;
    this.#done.set(job.input, entry);
    const bytes = entry.outputs.reduce((sum, output) => sum + output.bytes, 0);
    const output = entry.outputs.length > 0 ? { output: job.output } : {};
    this.#tell({
      input: job.input,
      ...output,
      bytes,
      status: 'skipped',
      reason: entry.outputs.length > 0 ? 'done by an earlier run' : 'no tensors',
    });
    if (!this.#mustCompare(entry)) this.#doneBytes += job.bytes;
    return entry;
  }

  /** With `verify`, outputs of an earlier run are compared with their inputs too. */
  #mustCompare(entry: Finished | undefined): boolean {
    const { verify = false, dryRun = false } = this.#options;
    return verify && !dryRun && entry !== undefined && entry.outputs.length > 0;
  }

  async #work(job: Job, entry: Finished | undefined, pool: Pool): Promise<void> {
    const { dryRun = false, onProgress } = this.#options;
    const compared = entry && (await this.#run(job, pool, true));
    if (compared?.kind !== 'converted') this.#settle(job, await this.#run(job, pool, false), dryRun);
    this.#underway.delete(job);
    this.#doneBytes += job.bytes;
    onProgress?.({ ...this.#progress(), file: undefined, fileBytes: undefined, fileTotalBytes: undefined });
  }

  #run(job: Job, pool: Pool, verifyOnly: boolean): Promise<Outcome> {
    const { onProgress } = this.#options;
    const task = {
      input: join(this.#inputDir, job.input),
      output: join(this.#outputDir, job.output),
      options: this.#taskOptions,
      verifyOnly,
    };
    const need = TASK_BYTES + Math.floor(job.bytes / INPUT_BYTES_PER_BYTE);
    return pool.run(task, need, ({ bytes, totalBytes }) => {
      this.#underway.set(job, totalBytes ? (job.bytes * bytes) / totalBytes : 0);
      onProgress?.({ ...this.#progress(), file: job.input, fileBytes: bytes, fileTotalBytes: totalBytes });
    });
  }

  #progress(): Omit<BatchProgress, 'file' | 'fileBytes' | 'fileTotalBytes'> {
    let bytes = this.#doneBytes;
    for (const share of this.#underway.values()) bytes += share;
    return {
      stage: 'convert',
      bytes: Math.floor(bytes),
      totalBytes: this.#totalBytes,
      filesDone: this.#results.size,
      files: this.#scan.jobs.length,
    };
  }

  #settle(job: Job, outcome: Outcome, dryRun: boolean): void {
    const { input, output } = job;
    if (outcome.kind === 'failed') return this.#fail(input, output, outcome.code, outcome.message);
    const { report, sourceNames, unmatched, stored } = outcome.conversion;
    this.#settled++;
    this.#unmatched = this.#unmatched?.filter((glob) => unmatched.includes(glob)) ?? unmatched;
    this.#done.set(input, { sourceNames, stored });
    const isEmpty = outcome.kind === 'empty';
    if (!dryRun) {
      const paths = isEmpty ? [] : report.files.map(({ path }) => relative(this.#outputDir, path).split(sep).join('/'));
      this.#journal.add({ ...this.#facts(job), options: this.#optionsKey, sourceNames, stored }, paths);
    }
    if (isEmpty)
      this.#tell({
        input,
        bytes: 0,
        status: 'skipped',
        reason: sourceNames.length > 0 ? 'no tensor that the target can hold' : 'no tensors',
      });
    else {
      const warnings = report.warnings.length > 0 ? { warnings: report.warnings } : {};
      this.#tell({ input, output, bytes: report.bytes, status: dryRun ? 'planned' : 'converted', ...warnings });
    }
  }

  /** How the next run knows the input. One that was replaced by its own output is another now. */
  #facts({ input, output, bytes, mtimeNs }: Job): Pick<Finished, 'input' | 'bytes' | 'mtimeNs'> {
    const path = join(this.#inputDir, input);
    if (resolve(path) !== resolve(this.#outputDir, output)) return { input, bytes, mtimeNs };
    const stats = statSync(path, { bigint: true });
    return { input, bytes: Number(stats.size), mtimeNs: String(stats.mtimeNs) };
  }

  /** The index over shards that all are there; what is wrong with the old one is told as its own failure. */
  async #index(group: Group, dryRun: boolean): Promise<void> {
    const shards = group.jobs.map((job) => ({ job, done: this.#done.get(job.input) }));
    if (shards.some(({ done }) => !done)) return;
    try {
      checkIndex(this.#inputDir, group, (input) => this.#done.get(input)?.sourceNames ?? []);
      if (dryRun) return;
      await writeGroupIndex(
        this.#inputDir,
        this.#outputDir,
        group,
        shards.map(({ job, done }) => ({ output: job.output, stored: done?.stored ?? [] })),
        this.#options,
      );
    } catch (error) {
      if (!isCheckpointError(error)) throw error;
      this.#fail(group.index ?? group.output, undefined, error.code, error.message);
    }
  }

  #fail(input: string, output: string | undefined, code: ErrorCode | 'INTERNAL', message: string): void {
    this.#tell({
      input,
      ...(output === undefined ? {} : { output }),
      bytes: 0,
      status: 'failed',
      error: { code, message },
    });
  }

  #tell(file: BatchFile): void {
    this.#results.set(file.input, file);
  }

  #report(dryRun: boolean, copied: readonly CopiedFile[]): BatchReport {
    const files = [...this.#results.values()].sort((a, b) => (a.input < b.input ? -1 : 1));
    const count = (status: BatchFile['status']): number => files.filter((file) => file.status === status).length;
    const sum = (of: readonly { readonly bytes: number }[]): number =>
      of.reduce((total, { bytes }) => total + bytes, 0);
    return {
      dryRun,
      converted: count('converted'),
      skipped: count('skipped'),
      failed: count('failed'),
      files,
      copied,
      plannedBytes: dryRun ? sum(files.filter(({ status }) => status === 'planned')) + sum(copied) : 0,
      freeBytes: freeBytes(this.#outputDir),
      // What an earlier run has done may have had a match.
      warnings: this.#done.size > this.#settled ? [] : (this.#unmatched ?? []).map(unmatchedWarning),
    };
  }
}

function isSameFolder(a: string, b: string): boolean {
  const [one, other] = [a, b].map((path) => statSync(path, { bigint: true, throwIfNoEntry: false }));
  return one !== undefined && one.dev === other?.dev && one.ino === other.ino;
}

/** Everything that changes the output. */
function keyOf(options: ConvertOptions): string {
  const { dryRun: _dryRun, verify: _verify, fsync: _fsync, io: _io, limits: _limits, ...rest } = options;
  return JSON.stringify(rest, (_key, value: unknown) =>
    value instanceof Map
      ? [...value]
      : typeof value === 'function' || typeof value === 'bigint'
        ? String(value)
        : value,
  );
}

function freeBytes(folder: string): number | undefined {
  for (let path = resolve(folder); ; path = dirname(path)) {
    try {
      const { bavail, bsize } = statfsSync(path);
      return bavail * bsize;
    } catch {
      if (path === dirname(path)) return undefined;
    }
  }
}
