/** From whatever the user calls a checkpoint to bytes that can be read at random. */
import { createReadStream, type Stats, statSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { CheckpointError } from '../errors';
import type { Limits } from '../limits';
import type { ByteSource } from './byte-source';
import { type IoMode, LocalFile } from './local-file';
import { pathOfFileUrl } from './local-path';
import { MemorySource } from './memory';
import type { OnProgress } from './progress';
import { openRemote } from './remote';
import { iterableReader, type SpoolOptions, spool, tooLong, webStreamReader } from './spool';

/** A path, a `file:`, `http:`, `https:` or `s3:` URL, bytes, or anything that gives bytes. */
export type CheckpointSource =
  | string
  | URL
  | Uint8Array
  | ArrayBuffer
  | Blob
  | FileHandle
  | ReadableStream<Uint8Array>
  | NodeJS.ReadableStream
  | AsyncIterable<Uint8Array>;

export interface OpenSourceOptions {
  readonly io?: IoMode | undefined;
  readonly limits: Limits;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** 'ranges': of a URL only the parts that are needed, if its server gives parts. For `open`; default 'whole'. */
  readonly remote?: 'whole' | 'ranges' | undefined;
}

export async function openSource(source: CheckpointSource, options: OpenSourceOptions): Promise<ByteSource> {
  const { io, limits, signal, onProgress } = options;
  signal?.throwIfAborted();
  const spooling: SpoolOptions = { maxBytes: limits.maxSpoolBytes, io, signal, onProgress };
  if (typeof source === 'string' || source instanceof URL) {
    const place = parsePlace(source);
    if (place.url !== undefined) return openRemote(place.url, options);
    if (!isStreamFile(place.path)) return LocalFile.open(place.path, io, place.name);
    const { name } = place;
    return spool(iterableReader(createReadStream(place.path)), { ...spooling, name });
  }
  const bytes = heldBytes(source);
  if (bytes) return new MemorySource(bytes);
  if (typeof source !== 'object' || source === null) throw notASource(source);
  if (source instanceof Blob) {
    if (source.size > limits.maxSpoolBytes) throw tooLong(limits.maxSpoolBytes, undefined);
    return spool(webStreamReader(source.stream()), { ...spooling, expectedBytes: source.size });
  }
  if (isFileHandle(source)) {
    const isFile = (await statsOf(source)).isFile();
    // On Windows a descriptor belongs to the C runtime of Node.js, and the addon has one of its own.
    if (isFile && process.platform !== 'win32') return LocalFile.open(source.fd, io, undefined);
    const bytes = source.createReadStream({ autoClose: false, ...(isFile && { start: 0 }) });
    return spool(iterableReader(bytes), spooling);
  }
  if (isWebStream(source)) return spool(webStreamReader(source), spooling);
  if (isAsyncIterable(source)) return spool(iterableReader(source), spooling);
  throw notASource(source);
}

/** For what can be opened without waiting: local files and bytes. */
export function openSourceSync(
  source: string | URL | Uint8Array | ArrayBuffer,
  options: { readonly io?: IoMode | undefined } = {},
): ByteSource {
  if (typeof source === 'string' || source instanceof URL) {
    const place = parsePlace(source);
    const hint = 'use the asynchronous load() or open()';
    if (place.url !== undefined)
      throw new CheckpointError('UNSUPPORTED', 'a URL cannot be read synchronously', { path: place.name, hint });
    if (isStreamFile(place.path))
      throw new CheckpointError('UNSUPPORTED', 'a pipe cannot be read synchronously', { path: place.name, hint });
    return LocalFile.open(place.path, options.io, place.name);
  }
  const bytes = heldBytes(source);
  if (bytes) return new MemorySource(bytes);
  throw notASource(source);
}

type Place =
  | { readonly url?: undefined; readonly path: string; readonly name: string }
  | { readonly url: string; readonly name: string };

/** Only these schemes make a URL: `C:\model.pt` and a file called `a:b` are paths. */
function parsePlace(source: string | URL): Place {
  const text = String(source);
  if (source instanceof URL || /^(?:file|https?|s3):\/\//i.test(text)) {
    const scheme = text.slice(0, text.indexOf(':')).toLowerCase();
    if (scheme === 'file') return { path: pathOfFileUrl(text), name: text };
    if (scheme === 'http' || scheme === 'https' || scheme === 's3') return { url: text, name: text };
    throw new TypeError(`URLs of scheme "${scheme}:" are not supported; file:, http:, https: and s3: are`);
  }
  if (text === '') throw new TypeError('the path of the checkpoint is empty');
  return { path: text, name: text };
}

/** Pipes and terminals have no positions to read at. Anything odd is left for the opening to report. */
function isStreamFile(path: string): boolean {
  let stats: Stats | undefined;
  try {
    stats = statSync(path, { throwIfNoEntry: false });
  } catch {
    return false;
  }
  return stats !== undefined && (stats.isFIFO() || stats.isCharacterDevice() || stats.isSocket());
}

function heldBytes(source: unknown): Uint8Array | undefined {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer || source instanceof SharedArrayBuffer) return new Uint8Array(source);
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  return undefined;
}

function isFileHandle(source: object): source is FileHandle {
  const handle = source as { fd?: unknown; stat?: unknown; createReadStream?: unknown };
  return (
    typeof handle.fd === 'number' && typeof handle.stat === 'function' && typeof handle.createReadStream === 'function'
  );
}

/** Throws IO for a handle that was closed. */
async function statsOf(handle: FileHandle): Promise<Stats> {
  try {
    return await handle.stat();
  } catch (cause) {
    throw new CheckpointError('IO', `the FileHandle cannot be read: ${(cause as Error).message}`, {
      hint: 'open the file again, and keep the handle open until the checkpoint is',
      cause,
    });
  }
}

function isWebStream(source: object): source is ReadableStream<Uint8Array> {
  return typeof (source as { getReader?: unknown }).getReader === 'function';
}

function isAsyncIterable(source: object): source is AsyncIterable<Uint8Array> {
  return typeof (source as { [Symbol.asyncIterator]?: unknown })[Symbol.asyncIterator] === 'function';
}

function notASource(source: unknown): TypeError {
  const what =
    source === null
      ? 'null'
      : typeof source === 'object'
        ? `an object of ${source.constructor?.name ?? 'no class'}`
        : typeof source;
  return new TypeError(`a checkpoint is a path, a URL, bytes, a Blob, a FileHandle or a stream, not ${what}`);
}
