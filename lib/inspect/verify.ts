/** Are the bytes of a checkpoint those that were written? By its own checksums, its sizes, and a manifest where there is one. */
import { readFile } from 'node:fs/promises';
import type { VerifyReport } from '../checkpoint';
import { asOutputError, partsFile } from '../convert/write';
import { CheckpointError, type ErrorCode, isCheckpointError } from '../errors';
import { open } from '../load';
import type { CheckpointSource } from '../source/open-source';
import type { OnProgress } from '../source/progress';
import { compareWithManifest, manifestOf, parseManifest } from './manifest';

/** Options of `verify` on a file. */
export interface FileVerifyOptions {
  /** Path of a manifest to compare with. */
  manifest?: string;
  /** Path to write a manifest to, when the rest is in order. */
  writeManifest?: string;
  /** Threads that compute checksums; default 2. */
  threads?: number;
  signal?: AbortSignal;
  onProgress?: OnProgress;
}

/** What `verify` found in a file. */
export interface FileVerifyReport extends VerifyReport {
  /** Tensors that were compared with a manifest; absent without one. */
  readonly manifestTensors?: number;
}

/** Failures of opening that answer the question: the file is damaged. Others (no such file, no checkpoint) do not. */
export const DAMAGE_CODES: ReadonlySet<ErrorCode> = new Set([
  'TRUNCATED',
  'EMPTY_FILE',
  'ZIP_CORRUPT',
  'LEGACY_CORRUPT',
  'SAFETENSORS_CORRUPT',
  'PICKLE_CORRUPT',
  'TENSOR_CORRUPT',
  'CRC_MISMATCH',
  'CHANGED',
]);

/**
 * Checks every record. A checkpoint that is cut short or contradicts itself is a report with `ok: false`, too; other
 * failures throw CheckpointError.
 */
export async function verify(source: CheckpointSource, options: FileVerifyOptions = {}): Promise<FileVerifyReport> {
  const { manifest, writeManifest, threads, signal, onProgress } = options;
  const expected = manifest === undefined ? undefined : parseManifest(await readText(manifest), manifest);
  const reading = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) };
  try {
    await using checkpoint = await open(source, { ...reading, io: 'read', unsafeGlobals: 'inert' });
    const report = await checkpoint.verify({ ...reading, ...(threads === undefined ? {} : { threads }) });
    const damaged = [...report.damaged, ...(expected ? await compareWithManifest(checkpoint, expected, signal) : [])];
    if (writeManifest !== undefined && damaged.length === 0)
      await write(writeManifest, `${JSON.stringify(await manifestOf(checkpoint, signal), undefined, 1)}\n`, signal);
    return {
      ok: damaged.length === 0,
      records: report.records,
      damaged,
      ...(expected ? { manifestTensors: expected.tensors.length } : {}),
    };
  } catch (error) {
    if (!isCheckpointError(error) || !DAMAGE_CODES.has(error.code)) throw error;
    const record = error.record ?? '';
    return {
      ok: false,
      records: record === '' ? [] : [{ name: record, status: 'corrupt' }],
      damaged: [{ record, reason: error.message }],
    };
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new CheckpointError(code === 'ENOENT' ? 'NOT_FOUND' : 'IO', message, { path, cause });
  }
}

/** Replaced as a whole: half a manifest would find damage everywhere. */
async function write(path: string, text: string, signal: AbortSignal | undefined): Promise<void> {
  const payload = Buffer.from(text);
  const file = partsFile(undefined, [{ payload, byteLength: payload.length }]);
  try {
    await file.write(path, { fsync: true, signal, onProgress: undefined });
  } catch (error) {
    throw asOutputError(error, path);
  }
}
