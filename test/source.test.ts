/** Risk: the same checkpoint read differently, or never to its end, depending on where its bytes come from. */
import { createReadStream, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { addon } from '../lib/binding';
import { CheckpointError } from '../lib/errors';
import { DEFAULT_LIMITS } from '../lib/limits';
import { open } from '../lib/load';
import { save } from '../lib/save';
import type { ByteSource } from '../lib/source/byte-source';
import { LocalFile } from '../lib/source/local-file';
import { MemorySource } from '../lib/source/memory';
import { type CheckpointSource, openSource, openSourceSync } from '../lib/source/open-source';
import type { Progress } from '../lib/source/progress';
import { s3Target, signedHeaders } from '../lib/source/s3';
import { holds, planWindows } from '../lib/source/windows';
import type { Tensor } from '../lib/tensor/tensor';
import { dict, floats, legacyCheckpoint, py, tensor, zip, zipCheckpoint } from './container-samples';

const folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-source-'));
const path = join(folder, 'model.pt');
const checkpoint = zipCheckpoint();
const options = { limits: DEFAULT_LIMITS };

beforeAll(() => writeFileSync(path, checkpoint));
afterAll(() => rmSync(folder, { recursive: true }));

async function failure(work: Promise<unknown>): Promise<CheckpointError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  return error as CheckpointError;
}

/** Every byte of the source, and that it ends there. */
function contents(source: ByteSource): Buffer {
  expect(() => source.read(0, source.byteLength + 1)).toThrow(expect.objectContaining({ code: 'TRUNCATED' }));
  return Buffer.from(source.read(0, source.byteLength));
}

async function* pieces(
  bytes: Uint8Array,
  size: number,
  failAfter = Number.POSITIVE_INFINITY,
): AsyncGenerator<Uint8Array> {
  // One buffer for all, as a careful producer does.
  const buffer = new Uint8Array(size);
  for (let at = 0, i = 0; at < bytes.length; at += size, i++) {
    if (i === failAfter) throw new Error('the disk fell off');
    const part = bytes.subarray(at, at + size);
    buffer.set(part);
    yield buffer.subarray(0, part.length);
  }
}

/** For streams, which read ahead: each chunk is its own. */
function* slices(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

const givers: Record<string, (bytes: Uint8Array) => CheckpointSource | Promise<CheckpointSource>> = {
  Uint8Array: (bytes) => new Uint8Array(bytes),
  Buffer: (bytes) => Buffer.from(bytes),
  ArrayBuffer: (bytes) => new Uint8Array(bytes).buffer,
  'misaligned subarray': (bytes) => {
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    return shifted.subarray(3);
  },
  Blob: (bytes) => new Blob([new Uint8Array(bytes)]),
  'node stream': (bytes) => Readable.from(slices(bytes, 100)),
  'file stream': () => createReadStream(path, { highWaterMark: 64 }),
  'web stream': (bytes) => Readable.toWeb(Readable.from(slices(bytes, 100))) as ReadableStream<Uint8Array>,
  'byte stream': (bytes) => new Blob([new Uint8Array(bytes)]).stream(),
  'async iterable': (bytes) => pieces(bytes, 100),
  path: () => path,
  'file: URL': () => pathToFileURL(path),
  'file: string': () => pathToFileURL(path).href,
};

describe.each(Object.entries(givers))('%s', (_name, give) => {
  test('gives the bytes of the file', async () => {
    const source = await openSource(await give(checkpoint), options);
    expect(contents(source).equals(checkpoint)).toBe(true);
    source.close();
    source.close();
    expect(() => source.read(0, 1)).toThrow(expect.objectContaining({ code: 'CLOSED' }));
  });

  test('gives its tensors', async () => {
    using opened = await open(await give(checkpoint));
    const w = opened.get('w') as Tensor;
    expect([...w.asTypedArray()]).toEqual([1, 2, 3, 4]);
    expect(w.storage.bytes()).toBe(w.storage.bytes());
    const target = new Uint8Array(6);
    expect(await w.storage.read(target, 12)).toBe(4);
    expect(target).toEqual(new Uint8Array([...floats(4), 0, 0]));
  });
});

test('a FileHandle is read from its start and stays open', async () => {
  const handle = await openFile(path);
  await handle.read(Buffer.alloc(10), 0, 10);
  const source = await openSource(handle, options);
  expect(contents(source).equals(checkpoint)).toBe(true);
  source.close();
  const { buffer } = await handle.read(Buffer.alloc(4), 0, 4);
  expect(Buffer.from(buffer).equals(checkpoint.subarray(10, 14))).toBe(true);
  await handle.close();
});

// Regression: these were the errors of Node.js.
test('a FileHandle that was closed, and a URL whose path is no text, are CheckpointErrors', async () => {
  const handle = await openFile(path);
  await handle.close();
  expect(await failure(openSource(handle, options))).toMatchObject({
    code: 'IO',
    message: expect.stringMatching(/^the FileHandle cannot be read: .*; open the file again/),
  });
  const url = 'file:///tmp/%ff.pt';
  for (const source of [url, new URL(url)]) {
    const refused = { code: 'UNSUPPORTED', path: url, hint: expect.stringContaining('FileHandle') };
    expect(await failure(openSource(source, options))).toMatchObject(refused);
    expect(() => openSourceSync(source)).toThrow(expect.objectContaining(refused));
    await expect(save([], source)).rejects.toMatchObject(refused);
  }
});

test('what is no source is a TypeError', async () => {
  for (const wrong of [undefined, null, 5, {}, '', 'ftp://host/x'.length]) {
    await expect(openSource(wrong as never, options)).rejects.toBeInstanceOf(TypeError);
  }
  await expect(openSource(new URL('ftp://host/x'), options)).rejects.toThrow('scheme "ftp:"');
  await expect(openSource(Readable.from(['text']), options)).rejects.toBeInstanceOf(TypeError);
  expect(() => openSourceSync('https://host/x')).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
});

test('missing files and folders are CheckpointErrors with the path as given', async () => {
  const missing = await failure(openSource(join(folder, 'none.pt'), options));
  expect(missing).toMatchObject({ code: 'NOT_FOUND', path: join(folder, 'none.pt') });
  expect((await failure(openSource(folder, options))).path).toBe(folder);
  // A drive letter is no scheme.
  expect((await failure(openSource('C:\\models\\none.pt', options))).code).toBe('NOT_FOUND');
});

test('a file inside an Electron archive is refused, unless it was unpacked beside it', () => {
  const archive = join(folder, 'app.asar');
  writeFileSync(archive, 'asar');
  expect(() => LocalFile.open(join(archive, 'model.pt'))).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED', hint: expect.stringContaining('asarUnpack') }),
  );
});

describe('streams that do not end well', () => {
  test.each([0, 1, 3])('an error after %i chunks', async (count) => {
    const error = await failure(openSource(pieces(checkpoint, 100, count), options));
    expect(error.code).toBe('IO');
    expect(error.message).toContain('the disk fell off');
    expect(error.message).toContain(`after ${count * 100} bytes`);
  });

  test('an error of a node stream, which is destroyed', async () => {
    const stream = Readable.from(pieces(checkpoint, 100, 2));
    expect((await failure(openSource(stream, options))).code).toBe('IO');
    expect(stream.destroyed).toBe(true);
  });

  test('longer than the limit: refused, and the producer is told', async () => {
    let cancelled: unknown;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(1000)),
      cancel: (reason) => {
        cancelled = reason;
      },
    });
    const limits = { ...DEFAULT_LIMITS, maxSpoolBytes: 10_000 };
    expect((await failure(openSource(endless, { limits }))).code).toBe('LIMIT_EXCEEDED');
    expect(cancelled).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    expect((await failure(openSource(new Blob([new Uint8Array(20_000)]), { limits }))).code).toBe('LIMIT_EXCEEDED');
  });

  test('an abort rejects with its reason at once, also while the producer is silent', async () => {
    const silent = new Readable({ read() {} });
    const reason = new Error('enough');
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 20);
    await expect(openSource(silent, { ...options, signal: controller.signal })).rejects.toBe(reason);
    expect(silent.destroyed).toBe(true);
    await expect(openSource(path, { ...options, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

test('what is longer than memory is for goes through a file that nobody can see', async () => {
  const chunk = new Uint8Array(8 << 20).fill(7);
  const progress: Progress[] = [];
  async function* large(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 9; i++) yield chunk.fill(i);
  }
  const source = await openSource(large(), { ...options, onProgress: (p) => progress.push(p) });
  expect(source).toBeInstanceOf(LocalFile);
  expect(source.byteLength).toBe(9 * chunk.length);
  for (let i = 0; i < 9; i++) expect(source.read(i * chunk.length, 1)[0]).toBe(i);
  expect(source.read(source.byteLength - 1, 1)[0]).toBe(8);
  expect(progress.at(-1)).toEqual({ stage: 'spool', bytes: source.byteLength, totalBytes: source.byteLength });
  source.close();
});

describe('memory', () => {
  test('aligned bytes are given as they are, misaligned ones as a copy made once', () => {
    const bytes = new Uint8Array(64);
    const source = new MemorySource(bytes);
    const view = source.storageBytes(16, 16);
    expect(view.zeroCopy).toBe(true);
    view.bytes()[0] = 5;
    expect(bytes[16]).toBe(5);
    const shifted = source.storageBytes(4, 16);
    expect(shifted.zeroCopy).toBe(false);
    expect(shifted.bytes().byteOffset % 8).toBe(0);
    expect(shifted.bytes()).toBe(shifted.bytes());
    expect(source.storageBytes(4, 16, 4).zeroCopy).toBe(true);
    source.close();
    expect(() => view.bytes()).toThrow(expect.objectContaining({ code: 'CLOSED' }));
    expect(bytes.length).toBe(64);
  });

  test('close detaches what was spooled', async () => {
    const source = await openSource(pieces(checkpoint, 1000), options);
    const view = source.storageBytes(0, 16).bytes();
    source.close();
    expect(view.length).toBe(0);
  });
});

describe('windows', () => {
  const range = (byteOffset: number, byteLength: number, alignment = 8) => ({ byteOffset, byteLength, alignment });

  test('aligned ranges share page-aligned windows, cut between ranges', () => {
    const ranges = [range(10_000, 3000, 4), range(64, 5000), range(20_480, 4000)];
    const windows = planWindows(ranges, 16_000, 4096);
    expect(windows.map(({ byteOffset, byteLength }) => [byteOffset, byteLength])).toEqual([
      [0, 13_000],
      [20_480, 4000],
    ]);
    for (const window of windows) expect(window.pageAligned).toBe(true);
  });

  test('a range longer than a window has one of its own', () => {
    const windows = planWindows([range(64, 100), range(4096, 50_000), range(60_000, 8)], 10_000, 4096);
    expect(windows).toHaveLength(3);
    expect(windows[1]).toMatchObject({ byteOffset: 4096, byteLength: 50_000 });
  });

  test('misaligned ranges of equal residue share a window that starts at one of them', () => {
    const ranges = [range(13, 16), range(37, 16), range(46, 16), range(52, 8, 4)];
    const windows = planWindows(ranges, 1 << 20, 4096);
    const shown = windows.map((window) => [
      window.byteOffset,
      ranges.filter((one) => holds(window, one)).map(({ byteOffset }) => byteOffset),
      window.pageAligned,
    ]);
    expect(shown).toEqual([
      [13, [13, 37], false],
      [46, [46], false],
      [0, [52], true],
    ]);
  });
});

describe('a local file', () => {
  test.each(['auto', 'mmap', 'read'] as const)(
    'io %s: writes are seen by every reader and never reach the file',
    async (io) => {
      const file = LocalFile.open(path, io);
      const bytes = file.storageBytes(64, 32);
      const part = bytes.slice(8, 8);
      const view = bytes.bytes();
      expect(Buffer.from(view).equals(checkpoint.subarray(64, 96))).toBe(true);
      view[8] = 0xaa;
      expect(part.bytes()[0]).toBe(0xaa);
      const target = new Uint8Array(2);
      expect(await bytes.read(target, 8)).toBe(2);
      expect(target[0]).toBe(0xaa);
      expect(await part.read(target, 7)).toBe(1);
      expect(bytes.zeroCopy).toBe(file.info.mapped);
      expect(readFileSync(path).equals(checkpoint)).toBe(true);
      file.close();
      expect(() => bytes.bytes()).toThrow(expect.objectContaining({ code: 'CLOSED' }));
      await expect(bytes.read(target, 0)).rejects.toMatchObject({ code: 'CLOSED' });
      if (addon().capabilities().externalBuffers && io !== 'read') expect(view.length).toBe(0);
    },
  );

  test('a misaligned storage still gives every typed array', () => {
    const file = LocalFile.open(path);
    const bytes = file.storageBytes(67, 32).bytes();
    expect(bytes.byteOffset % 8).toBe(0);
    expect(Buffer.from(bytes).equals(checkpoint.subarray(67, 99))).toBe(true);
    file.close();
  });

  test('a file cut short after opening is an error, not a signal', async () => {
    const short = join(folder, 'short.pt');
    writeFileSync(short, Buffer.alloc(100_000, 1));
    const file = LocalFile.open(short);
    const bytes = file.storageBytes(64, 90_000);
    truncateSync(short, 4096);
    expect(() => bytes.bytes()).toThrow(expect.objectContaining({ code: 'TRUNCATED', path: short }));
    await expect(bytes.read(new Uint8Array(90_000), 0)).rejects.toMatchObject({ code: 'TRUNCATED' });
    expect(() => file.read(50_000, 10)).toThrow(expect.objectContaining({ code: 'TRUNCATED' }));
    file.close();
  });

  test('a tensor whose file was cut short says which file', async () => {
    // With several checkpoints open, the offset alone told nothing.
    const short = join(folder, 'short-tensor.pt');
    writeFileSync(short, checkpoint);
    using opened = await open(short);
    const w = opened.get('w') as Tensor;
    truncateSync(short, 100);
    const failure = expect.objectContaining({ code: 'TRUNCATED', path: short });
    for (const read of [() => w.toBytes(), () => w.toFloat32Array(), () => w.toArray()]) expect(read).toThrow(failure);
  });

  test('100,000 storages cost nothing until one is looked at', () => {
    const large = join(folder, 'large.bin');
    writeFileSync(large, Buffer.alloc(1_600_000, 3));
    const file = LocalFile.open(large);
    const all = Array.from({ length: 100_000 }, (_, i) => file.storageBytes(i * 16, 16));
    expect(all[99_999]?.bytes().byteLength).toBe(16);
    expect(all[5]?.bytes()[0]).toBe(3);
    if (all[5]?.zeroCopy) expect(all[5].bytes().buffer).toBe(all[99_999]?.bytes().buffer);
    file.close();
  });
});

describe('a web server', () => {
  interface Site {
    url: string;
    requests: IncomingMessage[];
    bytesSent: number;
  }
  let server: Server | undefined;
  afterEach(async () => {
    server?.closeAllConnections();
    await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
    server = undefined;
  });

  async function serve(
    answer: (request: IncomingMessage, response: ServerResponse, site: Site) => void,
  ): Promise<Site> {
    const site: Site = { url: '', requests: [], bytesSent: 0 };
    server = createServer((request, response) => {
      site.requests.push(request);
      answer(request, response, site);
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    site.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.pt`;
    return site;
  }

  /** A file with ranges and an entity tag. */
  const ranged =
    (bytes: () => Uint8Array, etag = () => '"1"') =>
    (request: IncomingMessage, response: ServerResponse, site: Site): void => {
      const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
      const whole = bytes();
      const guard = request.headers['if-range'];
      if (!match || (guard !== undefined && guard !== etag())) {
        response.writeHead(200, { 'content-length': whole.length, etag: etag() }).end(whole);
        return;
      }
      const start = Number(match[1]);
      const end = Math.min(whole.length, Number(match[2]) + 1);
      if (start >= end) {
        response.writeHead(416, { 'content-range': `bytes */${whole.length}` }).end();
        return;
      }
      site.bytesSent += end - start;
      response.writeHead(206, {
        'content-range': `bytes ${start}-${end - 1}/${whole.length}`,
        'content-length': end - start,
        etag: etag(),
      });
      response.end(whole.subarray(start, end));
    };

  const big = new Uint8Array(3_000_000).map((_, i) => i);
  const bigCheckpoint = zip([
    {
      name: 'm/data.pkl',
      bytes: py.pickle(
        dict({
          a: tensor({ key: '0', numel: 750_000 }),
          b: tensor({ key: '1', numel: 2 }),
          z: tensor({ key: '2', numel: 500 }),
        }),
      ),
    },
    { name: 'm/byteorder', bytes: Buffer.from('little') },
    { name: 'm/data/0', bytes: big },
    { name: 'm/data/1', bytes: floats(5, 6) },
    { name: 'm/data/2', bytes: new Uint8Array(2000).fill(1), deflate: true },
    { name: 'm/version', bytes: Buffer.from('3\n') },
  ]);

  test('open fetches the head and the tail of a zip, and a tensor when it is read', async () => {
    const site = await serve(ranged(() => bigCheckpoint));
    const opened = await open(site.url);
    expect(site.requests.length).toBe(2);
    expect(site.bytesSent).toBeLessThan(300_000);
    const { storage } = opened.get('b') as Tensor;
    const target = new Uint8Array(8);
    expect(await storage.read(target)).toBe(8);
    expect(target).toEqual(floats(5, 6));
    const { storage: deflated } = opened.get('z') as Tensor;
    const inflated = new Uint8Array(2000);
    expect(await deflated.read(inflated)).toBe(2000);
    expect(inflated.every((byte) => byte === 1)).toBe(true);
    const parts: Uint8Array[] = [];
    for await (const part of (opened.get('a') as Tensor).storage.chunks(1 << 20)) parts.push(part);
    expect(Buffer.concat(parts).equals(Buffer.from(big))).toBe(true);
    expect(() => storage.bytes()).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', hint: expect.stringContaining('read()') }),
    );
    opened.close();
    await expect(storage.read(target)).rejects.toMatchObject({ code: 'CLOSED' });
  });

  test('every record that opening reads is fetched with the directory', async () => {
    // The serialization id was not: no archive of PyTorch 2.1 or later could be opened by parts.
    const file = join(__dirname, 'fixtures/valid/zip-lenet-training.pt');
    const site = await serve(ranged(() => readFileSync(file)));
    using remote = await open(site.url);
    using local = await open(file);
    expect(site.requests.length).toBe(2);
    const { records: _remote, ...facts } = remote.info;
    const { records: _local, ...expected } = local.info;
    expect(facts).toEqual(expected);
    expect([...remote.tensors()].map(([path]) => path)).toEqual([...local.tensors()].map(([path]) => path));
  });

  test('load, and servers without ranges, give the whole body', async () => {
    const site = await serve((_request, response) => response.writeHead(200).end(bigCheckpoint));
    const source = await openSource(site.url, options);
    expect(contents(source).equals(bigCheckpoint)).toBe(true);
    source.close();
    using opened = await open(site.url);
    expect([...(opened.get('b') as Tensor).asTypedArray()]).toEqual([5, 6]);
    expect(site.requests.every(({ headers }) => headers['accept-encoding'] === 'identity')).toBe(true);
  });

  test('small files, legacy streams and redirects', async () => {
    const legacy = legacyCheckpoint(dict({ w: tensor({ key: '7', numel: 50_000, view: 'N' }) }), [
      { key: '7', numel: 50_000, bytes: new Uint8Array(200_000) },
    ]);
    const site = await serve((request, response, site) => {
      if (request.url === '/model.pt') response.writeHead(302, { location: '/moved' }).end();
      else ranged(() => (request.url === '/moved' ? checkpoint : legacy))(request, response, site);
    });
    using small = await open(site.url);
    expect([...(small.get('w') as Tensor).asTypedArray()]).toEqual([1, 2, 3, 4]);
    using large = await open(site.url.replace('model.pt', 'legacy'));
    expect(large.format).toBe('legacy');
    expect((large.get('w') as Tensor).nbytes).toBe(200_000);
  });

  test('s3: URLs at the endpoint of the environment', async () => {
    const site = await serve(ranged(() => bigCheckpoint));
    vi.stubEnv('AWS_ENDPOINT_URL', new URL(site.url).origin);
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'id');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret');
    using opened = await open('s3://bucket/folder/model.pt');
    vi.unstubAllEnvs();
    const target = new Uint8Array(8);
    await (opened.get('b') as Tensor).storage.read(target);
    expect(target).toEqual(floats(5, 6));
    expect(site.requests[0]).toMatchObject({ url: '/bucket/folder/model.pt' });
    for (const { headers } of site.requests) expect(headers.authorization).toContain('SignedHeaders=host;range;x-amz-');
  });

  test('a file that changes between two reads is not mixed', async () => {
    let version = 1;
    const site = await serve(
      ranged(
        () => bigCheckpoint,
        () => `"${version}"`,
      ),
    );
    using opened = await open(site.url);
    version = 2;
    const { storage } = opened.get('a') as Tensor;
    await expect(storage.read(new Uint8Array(100), 1_000_000)).rejects.toMatchObject({
      code: 'CHANGED',
      path: site.url,
    });
  });

  test.each([
    [401, 'ACCESS_DENIED'],
    [403, 'ACCESS_DENIED'],
    [404, 'NOT_FOUND'],
    [410, 'NOT_FOUND'],
    [500, 'IO'],
  ])('status %i', async (status, code) => {
    const site = await serve((_request, response) => response.writeHead(status).end('no'));
    for (const remote of ['whole', 'ranges'] as const) {
      const error = await failure(openSource(site.url, { ...options, remote }));
      expect(error).toMatchObject({ code, path: site.url });
      expect(error.message).toContain(String(status));
    }
  });

  test('a connection that breaks, and a server that is not there', async () => {
    const site = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 1000 }).write('PK');
      setTimeout(() => response.destroy(), 10);
    });
    expect(await failure(openSource(site.url, options))).toMatchObject({ code: 'IO', path: site.url });
    expect(await failure(openSource('http://127.0.0.1:1/model.pt', options))).toMatchObject({ code: 'IO' });
  });

  test('a range cut short or of other bytes', async () => {
    const wrong = await serve((_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 5-9/100000', 'content-length': 5 }).end('12345');
    });
    // Not the range that was asked for: the whole is tried instead, and that is no 200 either.
    expect((await failure(openSource(wrong.url, { ...options, remote: 'ranges' }))).code).toBe('IO');
  });

  test('an empty body, and one that a lying server never ends', async () => {
    const site = await serve(ranged(() => new Uint8Array(0)));
    const error = await failure(open(site.url));
    expect(error.code).toBe('EMPTY_FILE');
    server?.close();
    const lying = await serve((_request, response) => {
      const timer = setInterval(() => response.write(Buffer.alloc(10_000)), 1);
      response.on('close', () => clearInterval(timer));
    });
    expect((await failure(openSource(lying.url, { limits: { ...DEFAULT_LIMITS, maxSpoolBytes: 50_000 } }))).code).toBe(
      'LIMIT_EXCEEDED',
    );
  });

  test('an abort while waiting for the server', async () => {
    const site = await serve(() => {});
    await expect(openSource(site.url, { ...options, signal: AbortSignal.timeout(30) })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
  });

  test('an upload cut short, or whose directory lies, is a CheckpointError', async () => {
    let bytes = bigCheckpoint.subarray(0, 2_000_000);
    const site = await serve(ranged(() => bytes));
    expect((await failure(open(site.url))).code).toBe('TRUNCATED');
    bytes = zip([{ name: 'm/data.pkl', bytes: big, localName: 'm/other.pk' }]);
    expect((await failure(open(site.url))).code).toBe('ZIP_CORRUPT');
  });
});

describe('s3', () => {
  test('signs as the example of the S3 documentation (GET Object)', () => {
    const credentials = {
      accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
      secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
      sessionToken: undefined,
      region: 'us-east-1',
    };
    const url = 'https://examplebucket.s3.amazonaws.com/test.txt';
    const { authorization } = signedHeaders(url, { range: 'bytes=0-9' }, credentials, new Date('2013-05-24T00:00:00Z'));
    expect(authorization).toBe(
      'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,' +
        'SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,' +
        'Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
    );
  });

  test('goes where the environment says', () => {
    expect(s3Target('s3://b/a b/c', { AWS_ENDPOINT_URL: 'http://localhost:9000/' }).url).toBe(
      'http://localhost:9000/b/a%20b/c',
    );
    expect(s3Target('s3://dots.in.name/k', { AWS_REGION: 'eu-west-1' }).url).toBe(
      'https://s3.eu-west-1.amazonaws.com/dots.in.name/k',
    );
    expect(s3Target('s3://b/k', {}).headers({ range: 'bytes=0-1' })).toEqual({ range: 'bytes=0-1' });
    expect(() => s3Target('s3://bucket-only', {})).toThrow(TypeError);
  });
});
