/**
 * What a run over a folder has done so far: one line of JSON for each finished input, in a hidden file of the output
 * folder. A line is appended when all outputs of the input are in place, so that a run that is killed loses at most the
 * files it was at; those have temporary names and are made again.
 *
 * An output that is taken for finished must be what was written: it has the size, the time and the sample of bytes that
 * were taken down. The sample is what a disk that lost power, or a copy that broke off, gets wrong: the beginning and the
 * end, where the header of safetensors and the directory of a zip are, and pages spread over all the rest. Every byte is
 * compared where the user asks for that, with `verify`.
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError } from '../errors';
import { type Job, OWN_PREFIX } from './directory-scan';
import { makeFolder } from './folders';

export interface FinishedFile {
  readonly path: string;
  readonly bytes: number;
  readonly mtimeNs: string;
  /** SHA-256 of the bytes that `sampleOf` looks at. */
  readonly sample: string;
}

/** What is known of an input that was finished. */
export interface Finished {
  readonly input: string;
  readonly bytes: number;
  readonly mtimeNs: string;
  /** The options it was made with. */
  readonly options: string;
  /** Empty where the input has no tensors. */
  readonly outputs: readonly FinishedFile[];
  readonly sourceNames: readonly string[];
  readonly stored: readonly { readonly name: string; readonly bytes: number }[];
}

const NAME = `${OWN_PREFIX}-journal.jsonl`;

export class Journal {
  readonly #folder: string;
  readonly #fsync: boolean;
  readonly #finished = new Map<string, Finished>();
  #file: number | undefined;

  /** `fsync`: whether a line is on the disk when `add` returns, and with it, on many file systems, all outputs before it. */
  constructor(folder: string, fsync: boolean) {
    this.#folder = folder;
    this.#fsync = fsync;
    for (const line of this.#lines()) {
      const entry = parse(line);
      if (entry) this.#finished.set(entry.input, entry);
    }
  }

  #lines(): string[] {
    try {
      return readFileSync(join(this.#folder, NAME), 'utf8').split('\n');
    } catch {
      return [];
    }
  }

  /** Everything that was made, relative to the folder, but for what replaced its own input. */
  outputs(): ReadonlySet<string> {
    const entries = [...this.#finished.values()];
    return new Set(
      entries.flatMap(({ input, outputs }) => outputs.map(({ path }) => path).filter((path) => path !== input)),
    );
  }

  /** The entry of a job whose input, options and outputs are what they were. */
  finished(job: Job, options: string): Finished | undefined {
    const entry = this.#finished.get(job.input);
    if (!entry || entry.bytes !== job.bytes || entry.mtimeNs !== job.mtimeNs || entry.options !== options)
      return undefined;
    return entry.outputs.every(({ path, bytes, mtimeNs, sample }) => {
      const file = join(this.#folder, path);
      const stats = statSync(file, { bigint: true, throwIfNoEntry: false });
      const isSame = stats?.isFile() && Number(stats.size) === bytes && String(stats.mtimeNs) === mtimeNs;
      return isSame && sampleOf(file, bytes) === sample;
    })
      ? entry
      : undefined;
  }

  /** Takes down that a job is done; its outputs are looked at now. */
  add(entry: Omit<Finished, 'outputs'>, paths: readonly string[]): void {
    const outputs = paths.map((path): FinishedFile => {
      const file = join(this.#folder, path);
      const stats = statSync(file, { bigint: true });
      const bytes = Number(stats.size);
      return { path, bytes, mtimeNs: String(stats.mtimeNs), sample: sampleOf(file, bytes) ?? '' };
    });
    try {
      makeFolder(this.#folder);
      this.#file ??= openSync(join(this.#folder, NAME), 'a');
      // A line that a kill cut short must not swallow this one.
      writeSync(this.#file, `\n${JSON.stringify({ ...entry, outputs } satisfies Finished)}\n`);
      if (this.#fsync) fsyncSync(this.#file);
    } catch (cause) {
      throw new CheckpointError('WRITE_FAILED', `the journal cannot be written: ${(cause as Error).message}`, {
        path: join(this.#folder, NAME),
        cause,
      });
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

const EDGE_BYTES = 1 << 20;
const PAGE_BYTES = 4096;
/** A run of pages that is lost is mostly longer than a 64th of a large file; smaller files are read whole. */
const PAGES = 64;

/** Undefined where the file cannot be read. */
function sampleOf(path: string, byteLength: number): string | undefined {
  const hash = createHash('sha256');
  const middle = byteLength - 2 * EDGE_BYTES;
  const parts =
    middle <= PAGES * PAGE_BYTES
      ? [[0, byteLength] as const]
      : [
          [0, EDGE_BYTES] as const,
          ...Array.from(
            { length: PAGES },
            (_, i) => [EDGE_BYTES + Math.floor((middle * i) / PAGES), PAGE_BYTES] as const,
          ),
          [byteLength - EDGE_BYTES, EDGE_BYTES] as const,
        ];
  try {
    const file = openSync(path, 'r');
    try {
      for (const [at, length] of parts) {
        const bytes = Buffer.alloc(length);
        readSync(file, bytes, 0, length, at);
        hash.update(bytes);
      }
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
  return hash.digest('hex');
}

/** Undefined for a line that is none of ours or was cut short. */
function parse(line: string): Finished | undefined {
  if (line === '') return undefined;
  try {
    const entry = JSON.parse(line) as Finished;
    const whole =
      typeof entry.input === 'string' &&
      Array.isArray(entry.outputs) &&
      Array.isArray(entry.stored) &&
      Array.isArray(entry.sourceNames);
    return whole ? entry : undefined;
  } catch {
    return undefined;
  }
}
