/**
 * A folder of checkpoints, each under the time it was saved: `checkpoint_20250427_153210.pth`.
 *
 * Names decide what is latest, not the times of files, which copies and restores change. A name is taken by creating a
 * hidden file for it, which the file system lets only one process do; the checkpoint itself appears whole under its name.
 */
import { mkdir, open as openFile, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError, type ErrorCode, isCheckpointError } from '../errors';
import { type LoadOptions, load, open } from '../load';
import type { PyValue } from '../pickle/values';
import { type SaveOptions, save } from '../save';

/** Options of `CheckpointManager`. */
export interface CheckpointManagerOptions {
  /** What names begin with; default 'checkpoint'. */
  prefix?: string;
  /** How many sound checkpoints to keep; older ones are deleted after each save. Default: all. */
  keep?: number;
  /** The clock; default: now. */
  now?: () => Date;
}

/** Options of `loadLatest`. */
export interface LoadLatestOptions extends LoadOptions {
  /** Compare every record with its checksum before the checkpoint is used; default true. */
  verify?: boolean;
}

/** What a save that was cut short leaves: no sound checkpoint, as opposed to one that may not or cannot be used here. */
const TORN: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'EMPTY_FILE',
  'TRUNCATED',
  'CHANGED',
  'NOT_A_CHECKPOINT',
  'ZIP_CORRUPT',
  'LEGACY_CORRUPT',
  'PICKLE_CORRUPT',
  'TENSOR_CORRUPT',
  'CRC_MISMATCH',
]);

/** A claim on a name that is older than any save takes was left by a process that died. */
const STALE_CLAIM_MS = 24 * 60 * 60 * 1000;
const CLAIM_PREFIX = '.torch-checkpoint-claim-';
/** Suffixes sort by name up to here. */
const MAX_SAVES_PER_SECOND = 9999;

interface Entry {
  readonly path: string;
  /** Digits of date and time, and of the suffix; they sort as text. */
  readonly order: string;
}

/** Keeps the checkpoints of a training run in a folder, named by time. */
export class CheckpointManager {
  readonly dir: string;
  readonly prefix: string;
  readonly keep: number | undefined;
  readonly #now: () => Date;

  constructor(dir: string, options: CheckpointManagerOptions = {}) {
    const { prefix = 'checkpoint', keep, now = () => new Date() } = options;
    if (typeof dir !== 'string' || dir === '') throw new TypeError('CheckpointManager needs the path of a folder');
    if (typeof prefix !== 'string' || prefix === '' || /[/\\\0]/.test(prefix) || prefix.startsWith('.'))
      throw new RangeError(`prefix '${prefix}' cannot begin the name of a file`);
    if (keep !== undefined && (!Number.isInteger(keep) || keep < 1))
      throw new RangeError(`keep ${keep} is not a positive integer`);
    this.dir = dir;
    this.prefix = prefix;
    this.keep = keep;
    this.#now = now;
  }

  /** Saves under the current time and gives the path. The folder is made where there is none. Throws what `save` throws. */
  async save(value: unknown, options: SaveOptions = {}): Promise<string> {
    await mkdir(this.dir, { recursive: true });
    const { path, release } = await this.#claim();
    try {
      await save(value, path, options);
    } finally {
      await release();
    }
    if (this.keep !== undefined) await this.#prune(path, this.keep);
    return path;
  }

  /** The paths of all checkpoints, oldest first. A folder that does not exist has none. */
  async list(): Promise<string[]> {
    return (await this.#entries()).map(({ path }) => path);
  }

  /** The path of the latest checkpoint, or null. */
  async latest(): Promise<string | null> {
    return (await this.list()).at(-1) ?? null;
  }

  /**
   * Loads the latest checkpoint that is whole; damaged ones are passed over with a process warning. Throws NOT_FOUND
   * naming the folder where there is none at all, the error of the newest where all are damaged, and at once what has
   * nothing to do with damage, such as a device that is not here.
   */
  async loadLatest<T = PyValue>(options: LoadLatestOptions = {}): Promise<T> {
    return (await this.loadLatestWithPath<T>(options)).value;
  }

  /** `loadLatest`, with the path that was loaded. */
  async loadLatestWithPath<T = PyValue>(options: LoadLatestOptions = {}): Promise<{ path: string; value: T }> {
    let newest: CheckpointError | undefined;
    for (const path of (await this.list()).reverse()) {
      try {
        return { path, value: await loadSound<T>(path, options) };
      } catch (error) {
        // Another process may have pruned it since.
        if (isCheckpointError(error) && error.code === 'NOT_FOUND') continue;
        if (!isTorn(error)) throw error;
        newest ??= error;
        process.emitWarning(`${path} is damaged and is passed over: ${error.message}`, {
          code: 'TORCH_CHECKPOINT_DAMAGED',
        });
      }
    }
    if (newest)
      throw new CheckpointError(
        newest.code,
        `none of the checkpoints ${this.prefix}_*.pth is whole; the newest: ${newest.message}`,
        { path: this.dir, cause: newest },
      );
    throw new CheckpointError('NOT_FOUND', `there is no checkpoint ${this.prefix}_*.pth in the folder`, {
      path: this.dir,
    });
  }

  async #entries(): Promise<Entry[]> {
    const pattern = new RegExp(`^${escaped(this.prefix)}_(\\d{8}_\\d{6})(?:_(\\d{4,}))?\\.pth$`);
    const entries: Entry[] = [];
    for (const file of await filesIn(this.dir)) {
      const match = pattern.exec(file);
      if (match)
        entries.push({ path: join(this.dir, file), order: `${match[1]}_${(match[2] ?? '').padStart(12, '0')}` });
    }
    return entries.sort((a, b) => (a.order < b.order ? -1 : 1));
  }

  /** Takes the first free name of this second that is later than all its others. */
  async #claim(): Promise<{ path: string; release: () => Promise<void> }> {
    await removeStaleClaims(this.dir);
    const stem = `${this.prefix}_${timestamp(this.#now())}`;
    for (let i = await this.#firstFree(stem); i <= MAX_SAVES_PER_SECOND; i++) {
      const name = `${stem}${i === 0 ? '' : `_${String(i).padStart(4, '0')}`}.pth`;
      const claim = join(this.dir, CLAIM_PREFIX + name);
      try {
        await (await openFile(claim, 'wx')).close();
      } catch (error) {
        if (codeOf(error) === 'EEXIST') continue;
        throw new CheckpointError('WRITE_FAILED', `the folder cannot be written to: ${(error as Error).message}`, {
          path: this.dir,
          cause: error,
        });
      }
      const release = (): Promise<void> => unlink(claim).catch(() => undefined);
      const path = join(this.dir, name);
      // A process that held the claim before us has put the checkpoint in place before it let go.
      if (!(await exists(path))) return { path, release };
      await release();
    }
    throw new CheckpointError('WRITE_FAILED', `more than ${MAX_SAVES_PER_SECOND} checkpoints in one second`, {
      path: this.dir,
    });
  }

  /** One more than the highest number in use in this second: names freed by pruning would sort before it. */
  async #firstFree(stem: string): Promise<number> {
    let next = 0;
    for (const path of await this.list()) {
      const file = path.slice(this.dir.length).replace(/^[/\\]+/, '');
      if (!file.startsWith(stem)) continue;
      const suffix = /_(\d{4,})\.pth$/.exec(file.slice(stem.length));
      next = Math.max(next, Number(suffix?.[1] ?? 0) + 1);
    }
    return next;
  }

  /** Deletes what is older than the newest `keep` sound checkpoints; what was just saved counts as one and stays. */
  async #prune(saved: string, keep: number): Promise<void> {
    let sound = 1;
    for (const path of (await this.list()).reverse()) {
      if (path === saved) continue;
      if (sound >= keep) await unlink(path).catch(() => undefined);
      else if (await isSound(path)) sound++;
    }
  }
}

/** True for errors that say the file is damaged. */
function isTorn(error: unknown): error is CheckpointError {
  return isCheckpointError(error) && TORN.has(error.code);
}

async function loadSound<T>(path: string, { verify = true, ...options }: LoadLatestOptions): Promise<T> {
  if (verify) {
    // Every global is looked at when the checkpoint is loaded.
    const checkpoint = await open(path, { ...options, unsafeGlobals: 'inert' });
    try {
      const report = await checkpoint.verify(options.signal ? { signal: options.signal } : {});
      const [damage] = report.damaged;
      if (damage) throw new CheckpointError('CRC_MISMATCH', damage.reason, { path, record: damage.record });
    } finally {
      checkpoint.close();
    }
  }
  return load<T>(path, options);
}

/** Whether headers and object graph can be read; the bytes of tensors are not looked at. */
async function isSound(path: string): Promise<boolean> {
  try {
    (await open(path, { unsafeGlobals: 'inert' })).close();
    return true;
  } catch (error) {
    return isCheckpointError(error) && !TORN.has(error.code) && error.code !== 'NOT_FOUND';
  }
}

async function filesIn(dir: string): Promise<string[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    return entries.filter((entry) => entry.isFile() || entry.isSymbolicLink()).map(({ name }) => name);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    const code = codeOf(error) === 'EACCES' || codeOf(error) === 'EPERM' ? 'ACCESS_DENIED' : 'IO';
    throw new CheckpointError(code, `the folder cannot be listed: ${(error as Error).message}`, {
      path: dir,
      cause: error,
    });
  }
}

async function removeStaleClaims(dir: string): Promise<void> {
  for (const name of await filesIn(dir)) {
    if (!name.startsWith(CLAIM_PREFIX)) continue;
    const claim = join(dir, name);
    const age = await stat(claim).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0,
    );
    if (age > STALE_CLAIM_MS) await unlink(claim).catch(() => undefined);
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** Local time as `20250427_153210`. */
function timestamp(time: Date): string {
  const digits = (value: number, width = 2): string => String(value).padStart(width, '0');
  const date = digits(time.getFullYear(), 4) + digits(time.getMonth() + 1) + digits(time.getDate());
  return `${date}_${digits(time.getHours())}${digits(time.getMinutes())}${digits(time.getSeconds())}`;
}
