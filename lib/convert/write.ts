/** Files made of records: a header, then payloads one after another. */
import { existsSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Writable } from 'node:stream';
import { CheckpointError } from '../errors';
import type { SaveTarget } from '../save';
import { FileSink } from '../sink/file-sink';
import type { RecordSink, SinkCounts, SinkRecord } from '../sink/record-sink';
import { handleOutput, nodeOutput, StreamSink, webOutput } from '../sink/stream-sink';
import { pathOfFileUrl } from '../source/local-path';
import { compareFile, type Part } from './check';
import type { PlannedFile, WriteOptions } from './target';

/** A file of these parts, written when asked; its size is known now. */
export function partsFile(name: string | undefined, parts: readonly Part[]): PlannedFile {
  const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const records = parts.map(
    ({ payload, byteLength }): SinkRecord => ({ header: NOTHING, payload, byteLength, descriptor: 0 }),
  );
  return {
    name,
    bytes,
    write: async (output, options) => ({ ...(await writeRecords(records, bytes, output, options)), bytes }),
    verify: (path, signal) => compareFile(path, parts, signal),
  };
}

const NOTHING = new Uint8Array(0);

export async function writeRecords(
  records: readonly SinkRecord[],
  totalBytes: number,
  output: SaveTarget,
  options: WriteOptions,
): Promise<SinkCounts> {
  const { fsync, signal, onProgress } = options;
  signal?.throwIfAborted();
  const path = outputPath(output);
  const sink: RecordSink & { abort(error?: unknown): Promise<void> } =
    path === undefined
      ? new StreamSink(streamOutput(output, fsync), { totalBytes, crc32: false, signal, onProgress })
      : new FileSink(path, { totalBytes, crc32: false, fsync, signal, onProgress });
  try {
    await sink.write(records);
    await sink.commit();
  } catch (error) {
    await sink.abort(error);
    throw error;
  }
  return sink.counts;
}

/** The path of an output; undefined for streams. Throws TypeError for URLs of another scheme than file. */
export function outputPath(output: unknown): string | undefined {
  if (typeof output === 'string') return output.startsWith('file:') ? pathOfFileUrl(output) : output;
  if (!(output instanceof URL)) return undefined;
  if (output.protocol !== 'file:')
    throw new TypeError(`cannot write to a ${output.protocol} URL; write to a file or stream`);
  return pathOfFileUrl(output);
}

function streamOutput(output: SaveTarget, fsync: boolean) {
  if (output instanceof Writable) return nodeOutput(output);
  if (typeof output !== 'object' || output === null)
    throw new TypeError('an output is a path, URL, FileHandle, Writable or WritableStream');
  if ('getWriter' in output) return webOutput(output);
  if ('fd' in output && 'datasync' in output) return handleOutput(output as FileHandle, fsync);
  throw new TypeError('an output is a path, URL, FileHandle, Writable or WritableStream');
}

/** What cannot be found or opened while writing is the output, whatever the system calls it. */
export function asOutputError(error: unknown, path: string | undefined): unknown {
  if (!(error instanceof CheckpointError) || path === undefined || error.path !== path) return error;
  if (!existsSync(dirname(path)))
    return new CheckpointError('WRITE_FAILED', `there is no folder "${dirname(path)}"`, {
      path,
      hint: 'make it first',
      cause: error,
    });
  if (error.code !== 'NOT_FOUND' && error.code !== 'ACCESS_DENIED' && error.code !== 'IO') return error;
  return new CheckpointError('WRITE_FAILED', error.message, { cause: error });
}
