/** Are the bytes of a checkpoint those that were written? By its own checksums, its sizes, and a manifest where there is one. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { VerifyOptions, VerifyReport } from '../checkpoint';
import { checkShard, readShardIndex } from '../convert/shards-model';
import { asOutputError, partsFile } from '../convert/write';
import { CheckpointError, type ErrorCode, isCheckpointError } from '../errors';
import type { LoadOptions } from '../load';
import type { CheckpointSource } from '../source/open-source';
import type { OnProgress } from '../source/progress';
import { compareWithManifest, manifestOf, parseManifest } from './manifest';
import { indexAt, openAny, openFile, placeOf } from './opening';

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

const NO_SHARD_CODES: ReadonlySet<ErrorCode> = new Set([
  'NOT_FOUND',
  'NOT_A_CHECKPOINT',
  'HTML_PAGE',
  'GIT_LFS_POINTER',
  'COMPRESSED',
]);

/**
 * Checks every record; of a model in several files, by its folder or its index, those of every shard, and that index and
 * shards name the same tensors. A checkpoint that is cut short or contradicts itself is a report with `ok: false`, too; other
 * failures throw CheckpointError.
 */
export async function verify(source: CheckpointSource, options: FileVerifyOptions = {}): Promise<FileVerifyReport> {
  const { manifest, writeManifest, threads, signal, onProgress } = options;
  const expected = manifest === undefined ? undefined : parseManifest(await readText(manifest), manifest);
  const reading = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) };
  const opening = { ...reading, io: 'read', unsafeGlobals: 'inert' } as const;
  const checking = { ...reading, ...(threads === undefined ? {} : { threads }) };
  const place = placeOf(source);
  const index = indexAt(place);
  const shards = index === undefined ? undefined : await verifyShards(index, opening, checking);
  if (shards && (!shards.ok || (expected === undefined && writeManifest === undefined))) return shards;
  try {
    await using checkpoint = (await openAny(place, opening)).checkpoint;
    const report = shards ?? (await checkpoint.verify(checking));
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

/** Every shard, and the index against each both ways; records are called `SHARD: RECORD`. */
async function verifyShards(path: string, opening: LoadOptions, checking: VerifyOptions): Promise<VerifyReport> {
  const index = readShardIndex(path);
  const records: { name: string; status: 'ok' | 'corrupt' | 'not-recorded' }[] = [];
  const damaged: { record: string; reason: string }[] = [];
  for (const file of index.files) {
    try {
      await using checkpoint = (await openFile(join(dirname(path), file), opening)).checkpoint;
      const report = await checkpoint.verify(checking);
      for (const { name, status } of report.records) records.push({ name: `${file}: ${name}`, status });
      for (const { record, reason } of report.damaged) damaged.push({ record: `${file}: ${record}`, reason });
      checkShard(
        index,
        file,
        Array.from(checkpoint.tensors(), ([name]) => name),
      );
    } catch (error) {
      // Another file in place of a shard, or none, is a model that does not load.
      const isAnswer = isCheckpointError(error) && (DAMAGE_CODES.has(error.code) || NO_SHARD_CODES.has(error.code));
      if (!isAnswer) throw error;
      damaged.push({ record: file, reason: error.message });
    }
  }
  return { ok: damaged.length === 0, records, damaged };
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
