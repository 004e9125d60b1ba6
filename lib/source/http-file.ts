/**
 * One file on a web server, read by ranges.
 *
 * Every answer is checked against the first one: same entity tag, same total length, exactly the range that was asked
 * for. Bytes of two versions of a file are never mixed (CHANGED instead).
 */
import { CheckpointError, type ErrorCode } from '../errors';
import { type HttpTarget, s3Target } from './s3';
import { abortable } from './spool';

/** Small reads take this much at once, because they come in runs. */
const READ_AHEAD_BYTES = 256 << 10;
/** Recent small reads that are kept, besides those that were pinned. */
const RECENT_SEGMENTS = 4;

interface Segment {
  readonly start: number;
  readonly bytes: Uint8Array;
}

interface Validators {
  readonly etag: string | null;
  readonly lastModified: string | null;
}

export function httpTarget(url: string): HttpTarget {
  if (/^s3:/i.test(url)) return s3Target(url);
  const parsed = new URL(url);
  const { username, password } = parsed;
  parsed.username = '';
  parsed.password = '';
  parsed.hash = '';
  const secret = username || password ? `${decodeURIComponent(username)}:${decodeURIComponent(password)}` : undefined;
  const authorization =
    secret === undefined ? {} : { authorization: `Basic ${Buffer.from(secret).toString('base64')}` };
  return { url: parsed.href, headers: (wanted) => ({ ...wanted, ...authorization }) };
}

/** The URL for error messages: without a password. */
export function shownUrl(url: string): string {
  return url.replace(/^(\w+:\/\/[^/@:]*):[^/@]*@/, '$1:***@');
}

/** One GET whose status is 200 or 206; every other answer is an error that names the URL. */
export async function get(
  target: HttpTarget,
  name: string,
  wanted: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
  accept: readonly number[] = [200, 206],
): Promise<Response> {
  let response: Response;
  try {
    // A body that was compressed for the journey could not be counted. With a range, fetch asks for that itself.
    const headers = target.headers('range' in wanted ? wanted : { ...wanted, 'accept-encoding': 'identity' });
    response = await fetch(target.url, { headers, redirect: 'follow', signal: signal ?? null });
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    const cause = (error as Error).cause as Error | undefined;
    throw new CheckpointError('IO', `the request failed: ${cause?.message || (error as Error).message}`, {
      path: name,
      cause: error,
    });
  }
  if (accept.includes(response.status)) return response;
  drop(response);
  throw statusError(response, name);
}

function statusError(response: Response, name: string): CheckpointError {
  const { status, statusText } = response;
  const what = `the server answered ${status}${statusText ? ` ${statusText}` : ''}`;
  const codes: Record<number, ErrorCode> = {
    401: 'ACCESS_DENIED',
    403: 'ACCESS_DENIED',
    404: 'NOT_FOUND',
    410: 'NOT_FOUND',
    412: 'CHANGED',
  };
  const code = codes[status] ?? 'IO';
  const region = response.headers.get('x-amz-bucket-region');
  if (status === 301 && region)
    return new CheckpointError(code, what, { path: name, hint: `the bucket is in region "${region}": set AWS_REGION` });
  return new CheckpointError(code, what, {
    path: name,
    hint: code === 'ACCESS_DENIED' ? 'the URL may need credentials, or may have expired' : undefined,
  });
}

/** Lets the connection go without reading the body. */
export function drop(response: Response): void {
  response.body?.cancel().catch(() => {});
}

function isEncoded(response: Response): boolean {
  const encoding = response.headers.get('content-encoding');
  return encoding !== null && encoding.toLowerCase() !== 'identity';
}

interface ContentRange {
  readonly start: number;
  readonly end: number;
  readonly total: number;
}

/** `bytes 0-99/1234`; undefined when there is none or the total is not told. */
function contentRange(response: Response): ContentRange | undefined {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/i.exec(response.headers.get('content-range') ?? '');
  if (!match) return undefined;
  const [start, last, total] = [Number(match[1]), Number(match[2]), Number(match[3])];
  if (!Number.isSafeInteger(total) || start > last || last >= total) return undefined;
  return { start, end: last + 1, total };
}

export class HttpFile {
  readonly name: string;
  readonly byteLength: number;
  readonly #target: HttpTarget;
  readonly #validators: Validators;
  #pinned: Segment[] = [];
  #recent: Segment[] = [];
  #closed = false;

  private constructor(target: HttpTarget, name: string, byteLength: number, validators: Validators) {
    this.#target = target;
    this.name = name;
    this.byteLength = byteLength;
    this.#validators = validators;
  }

  /**
   * Asks for the first `headBytes`. A server that does not give ranges answers with the whole body: then that response
   * comes back, for the caller to read to its end.
   */
  static async open(
    target: HttpTarget,
    name: string,
    headBytes: number,
    signal: AbortSignal | undefined,
  ): Promise<HttpFile | Response> {
    const response = await get(target, name, { range: `bytes=0-${headBytes - 1}` }, signal, [200, 206, 416]);
    if (response.status === 200) return response;
    const range = contentRange(response);
    if (response.status !== 206 || isEncoded(response) || range?.start !== 0 || range.end > headBytes) {
      // An empty file has no first byte (416), a multipart or encoded part cannot be used.
      drop(response);
      return get(target, name, {}, signal, [200]);
    }
    const validators = { etag: response.headers.get('etag'), lastModified: response.headers.get('last-modified') };
    const file = new HttpFile(target, name, range.total, validators);
    file.#pinned.push({ start: 0, bytes: await file.#body(response, range.end, signal) });
    return file;
  }

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
    this.#pinned = [];
    this.#recent = [];
  }

  /** The range if it is here already. */
  cached(start: number, end: number): Uint8Array | undefined {
    for (const segments of [this.#pinned, this.#recent]) {
      for (const { start: from, bytes } of segments) {
        if (start >= from && end <= from + bytes.byteLength) return bytes.subarray(start - from, end - from);
      }
    }
    return undefined;
  }

  /** Throws TRUNCATED for a range that the file does not have. */
  #checkRange(start: number, end: number): void {
    if (end <= this.byteLength) return;
    throw new CheckpointError('TRUNCATED', `the file has ${this.byteLength} bytes, ${end} are needed`, {
      path: this.name,
      byteOffset: start,
    });
  }

  /** Fetches the range unless it is here, and keeps it until `close`. */
  async pin(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    this.#checkRange(start, end);
    const here = this.cached(start, end);
    const bytes =
      here ?? (await this.fetch(start, Math.min(this.byteLength, Math.max(end, start + READ_AHEAD_BYTES)), signal));
    if (!this.#pinned.some((segment) => segment.bytes.buffer === bytes.buffer)) this.#pinned.push({ start, bytes });
    return bytes.subarray(0, end - start);
  }

  /** Fills `target`. Runs of small reads cost one request each `READ_AHEAD_BYTES`. */
  async readInto(start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = start + target.byteLength;
    this.#checkRange(start, end);
    let bytes = this.cached(start, end);
    if (!bytes) {
      const ahead = Math.min(this.byteLength, Math.max(end, start + READ_AHEAD_BYTES));
      bytes = await this.fetch(start, ahead, signal);
      if (target.byteLength < READ_AHEAD_BYTES) {
        this.#recent.unshift({ start, bytes });
        this.#recent.length = Math.min(this.#recent.length, RECENT_SEGMENTS);
      }
    }
    target.set(bytes.subarray(0, target.byteLength));
  }

  /** One request. */
  async fetch(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    if (start >= end) return new Uint8Array(0);
    const { etag, lastModified } = this.#validators;
    // Only a strong entity tag may guard a range (RFC 9110, 13.1.5).
    const guard: Record<string, string> = etag && !etag.startsWith('W/') ? { 'if-range': etag } : {};
    const response = await get(
      this.#target,
      this.name,
      { range: `bytes=${start}-${end - 1}`, ...guard },
      signal,
      [200, 206, 416],
    );
    const range = response.status === 206 && !isEncoded(response) ? contentRange(response) : undefined;
    const same =
      range !== undefined &&
      range.total === this.byteLength &&
      response.headers.get('etag') === etag &&
      response.headers.get('last-modified') === lastModified;
    if (!same) {
      drop(response);
      throw new CheckpointError(
        'CHANGED',
        `the file on the server is not the one that was opened (it had ${this.byteLength} bytes)`,
        {
          path: this.name,
          hint: 'open it again',
        },
      );
    }
    if (range.start !== start || range.end !== end) {
      drop(response);
      throw new CheckpointError(
        'IO',
        `the server gave bytes ${range.start}-${range.end - 1} instead of ${start}-${end - 1}`,
        { path: this.name },
      );
    }
    return this.#body(response, end - start, signal);
  }

  /** Reads exactly `byteLength` bytes of a body. */
  async #body(response: Response, byteLength: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const bytes = new Uint8Array(byteLength);
    let done = 0;
    const reader = response.body?.getReader();
    try {
      while (reader) {
        const { value } = await abortable(reader.read(), signal);
        if (!value) break;
        if (done + value.byteLength > byteLength)
          throw new CheckpointError('IO', `the server gave more than the ${byteLength} bytes asked for`);
        bytes.set(value, done);
        done += value.byteLength;
      }
    } catch (error) {
      reader?.cancel().catch(() => {});
      if (signal?.aborted) throw signal.reason;
      if (error instanceof CheckpointError) throw error.located({ path: this.name });
      const cause = (error as Error).cause as Error | undefined;
      throw new CheckpointError(
        'IO',
        `the connection failed after ${done} of ${byteLength} bytes: ${cause?.message || (error as Error).message}`,
        {
          path: this.name,
          cause: error,
        },
      );
    }
    if (done < byteLength)
      throw new CheckpointError('TRUNCATED', `the server gave ${done} bytes where ${byteLength} were promised`, {
        path: this.name,
      });
    return bytes;
  }
}
