// Promise: a save reaches every kind of target, follows its pace, and stops cleanly when the target fails or the caller aborts.
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readdirSync, readFileSync, rmSync, type WriteStream } from 'node:fs';
import { open as openFile, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DType, load, OrderedDict, type Progress, save, saveSync, Tensor, toBytes } from '../lib/index';

let dir: string;
let path: string;
let count = 0;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'save-targets-'));
});
afterAll(() => rmSync(dir, { recursive: true }));
beforeEach(() => {
  path = join(dir, `t${count++}.pt`);
});

/** Some storages below and some above the size that is written in one piece. */
function sample(): OrderedDict<Tensor> {
  const dict = new OrderedDict<Tensor>();
  for (let i = 0; i < 20; i++) dict.set(`small${i}`, Tensor.from(Float32Array.of(i, i + 1)));
  for (let i = 0; i < 3; i++) dict.set(`large${i}`, Tensor.from(new Float32Array(700_000 + i).fill(i + 0.5)));
  dict.set('empty', Tensor.from(new Float32Array(0)));
  return dict;
}

const leftovers = (): string[] => readdirSync(dir).filter((name) => name.startsWith('.torch-checkpoint'));

describe('every target gets the same bytes', () => {
  let whole: Uint8Array;
  beforeAll(async () => {
    whole = await toBytes(sample(), { recordPrefix: 'model' });
  });

  test('path', async () => {
    const report = await save(sample(), path, { recordPrefix: 'model' });
    expect(readFileSync(path).equals(whole)).toBe(true);
    expect(report).toMatchObject({
      bytes: whole.length,
      storages: 24,
      storageBytes: 20 * 8 + 4 * 2_100_003,
      sparedBytes: 0,
    });
  });
  test('file URL, as object and as string', async () => {
    await save(sample(), pathToFileURL(path), { recordPrefix: 'model' });
    expect(readFileSync(path).equals(whole)).toBe(true);
    await save(sample(), pathToFileURL(path).href, { recordPrefix: 'model' });
    expect(readFileSync(path).equals(whole)).toBe(true);
    // Regression: as a string such a URL was taken for the name of a file.
    for (const url of ['https://example.com/x.pt', 's3://bucket/x.pt'])
      for (const target of [url, new URL(url)]) await expect(save(sample(), target)).rejects.toThrow(TypeError);
  });
  test('synchronously', () => {
    saveSync(sample(), path, { recordPrefix: 'model' });
    expect(readFileSync(path).equals(whole)).toBe(true);
  });
  test('FileHandle, from its position on, and left open', async () => {
    await using handle = await openFile(path, 'w+');
    await handle.write('head');
    await save(sample(), handle, { recordPrefix: 'model', fsync: true });
    await handle.write('tail');
    const bytes = await readFile(path);
    expect(bytes.subarray(0, 4).toString()).toBe('head');
    expect(bytes.subarray(4, -4).equals(whole)).toBe(true);
    expect(bytes.subarray(-4).toString()).toBe('tail');
  });
  test('Node stream', async () => {
    const pieces: Buffer[] = [];
    const stream = new Writable({
      write(chunk: Buffer, _, done) {
        pieces.push(chunk);
        setImmediate(done);
      },
    });
    await save(sample(), stream, { recordPrefix: 'model' });
    expect(Buffer.concat(pieces).equals(whole)).toBe(true);
    expect(stream.writableFinished).toBe(true);
  });
  test('web stream', async () => {
    const pieces: Uint8Array[] = [];
    let closed = false;
    const stream = new WritableStream<Uint8Array>({
      write: (chunk) => void pieces.push(chunk),
      close: () => {
        closed = true;
      },
    });
    await save(sample(), stream, { recordPrefix: 'model' });
    expect(Buffer.concat(pieces).equals(whole)).toBe(true);
    expect(closed).toBe(true);
  });
  test('anything else is a TypeError', async () => {
    for (const target of [null, undefined, 5, {}, []])
      await expect(save(1, target as never)).rejects.toThrow(TypeError);
  });
});

test('what a stream was given does not change when the tensors do', async () => {
  const value = sample();
  const stream = new PassThrough({ highWaterMark: 1 << 30 });
  const done = save(value, stream);
  await done;
  const large = value.get('large0') as Tensor;
  large.asTypedArray().fill(99 as never);
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece as Buffer);
  const back = await load<OrderedDict<Tensor>>(Buffer.concat(pieces));
  expect((back.get('large0') as Tensor).asTypedArray()[5]).toBe(0.5);
});

test('a slow consumer holds the save back', async () => {
  let pending = 0;
  let most = 0;
  let writes = 0;
  const stream = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _, done) {
      pending += chunk.length;
      most = Math.max(most, pending + stream.writableLength);
      writes++;
      setTimeout(() => {
        pending -= chunk.length;
        done();
      }, 2);
    },
  });
  await save({ x: Tensor.from(new Uint8Array(40 << 20)) }, stream);
  expect(writes).toBeGreaterThan(9);
  // One piece under way and the same again in the stream's own count.
  expect(most).toBeLessThanOrEqual(8 << 20);
});

describe('a target that fails', () => {
  test('an error of a stream is the cause of ours', async () => {
    let bytes = 0;
    const stream = new Writable({
      write(chunk: Buffer, _, done) {
        bytes += chunk.length;
        done(bytes > 1_000_000 ? new Error('the disk caught fire') : null);
      },
    });
    const failure = save(sample(), stream);
    await expect(failure).rejects.toMatchObject({ code: 'WRITE_FAILED', cause: { message: 'the disk caught fire' } });
    await expect(failure).rejects.toThrow('the disk caught fire');
  });
  test('a full disk behind a stream', async () => {
    const stream = new Writable({
      write: (_chunk, _, done) => done(Object.assign(new Error('no space'), { code: 'ENOSPC' })),
    });
    await expect(save(sample(), stream)).rejects.toMatchObject({ code: 'DISK_FULL' });
  });
  test('a stream that is closed under way', async () => {
    const stream: Writable = new Writable({ write: () => void stream.destroy() });
    await expect(save(sample(), stream)).rejects.toMatchObject({ code: 'WRITE_FAILED' });
  });
  test('a stream that fails when it ends', async () => {
    const stream = new Writable({
      write: (_chunk, _, done) => done(),
      final: (done) => done(new Error('not flushed')),
    });
    await expect(save(sample(), stream)).rejects.toThrow('not flushed');
  });
  test('streams that were closed or ended before', async () => {
    await expect(save(sample(), new Writable({ write: (_c, _e, done) => done() }).destroy())).rejects.toMatchObject({
      code: 'WRITE_FAILED',
    });
    const ended = new Writable({ write: (_c, _e, done) => done() });
    ended.end();
    await expect(save(sample(), ended)).rejects.toMatchObject({ code: 'WRITE_FAILED' });
    const web = new WritableStream<Uint8Array>();
    await web.close();
    await expect(save(sample(), web)).rejects.toMatchObject({ code: 'WRITE_FAILED' });
  });
  test('a web stream that errors, and one that is locked', async () => {
    const stream = new WritableStream<Uint8Array>({ write: () => Promise.reject(new Error('gone')) });
    await expect(save(sample(), stream)).rejects.toMatchObject({ code: 'WRITE_FAILED', cause: { message: 'gone' } });
    const locked = new WritableStream<Uint8Array>();
    locked.getWriter();
    await expect(save(sample(), locked)).rejects.toThrow(TypeError);
  });
  // Regression: the file was written over while the values were read from it, and no error told so.
  test.each(['mmap', 'read'] as const)(
    'a FileHandle on the very file that the values come from, io: %s',
    async (io) => {
      await save(sample(), path);
      const before = readFileSync(path);
      const loaded = await load<Map<string, Tensor>>(path, { io });
      await using handle = await openFile(path, 'r+');
      await expect(save(loaded, handle)).rejects.toMatchObject({
        code: 'WRITE_FAILED',
        hint: expect.stringContaining('path'),
      });
      expect(readFileSync(path).equals(before)).toBe(true);
      await save(sample(), handle);
      expect(await load(path)).toHaveProperty('size', 24);
    },
  );
  test.each([
    ['opened', async (stream: WriteStream) => void (await once(stream, 'open'))],
    ['yet to be opened', () => Promise.resolve()],
  ])('a file stream on it, %s; one on another file is fine', async (_name, settle) => {
    await save(sample(), path);
    const before = readFileSync(path);
    const loaded = await load<Map<string, Tensor>>(path);
    const stream = createWriteStream(path, { flags: 'r+' });
    await settle(stream);
    await expect(save(loaded, stream)).rejects.toMatchObject({
      code: 'WRITE_FAILED',
      message: expect.stringContaining('the file that the values are read from'),
    });
    expect(readFileSync(path).equals(before)).toBe(true);
    await save(loaded, createWriteStream(`${path}.copy`));
    expect(await load(`${path}.copy`)).toHaveProperty('size', 24);
    // The stream's own error comes while its file is looked at.
    await expect(save(loaded, createWriteStream(join(dir, 'no', 'folder.pt')))).rejects.toMatchObject({
      code: 'WRITE_FAILED',
    });
  });
  test('a FileHandle that is closed or read-only', async () => {
    await writeFile(path, 'x');
    const handle = await openFile(path, 'r');
    await expect(save(sample(), handle)).rejects.toMatchObject({ code: 'WRITE_FAILED' });
    await handle.close();
    await expect(save(sample(), handle)).rejects.toMatchObject({ code: 'WRITE_FAILED' });
  });
  test('an error thrown by onProgress ends the save', async () => {
    await writeFile(path, 'old');
    const onProgress = (): never => {
      throw new RangeError('seen enough');
    };
    await expect(save(sample(), path, { onProgress })).rejects.toThrow('seen enough');
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(leftovers()).toEqual([]);
  });
});

describe('aborting', () => {
  const reason = new Error('changed my mind');

  test('before it begins', async () => {
    for (const target of [path, new PassThrough(), new WritableStream<Uint8Array>()]) {
      await expect(save(sample(), target, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    }
    await expect(toBytes(sample(), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(leftovers()).toEqual([]);
  });
  test.each([1, 2, 3, 4])('at report %i of progress, the old file stays', async (moment) => {
    await writeFile(path, 'old');
    const controller = new AbortController();
    let reports = 0;
    // Enough tensors for several calls of native code.
    const value = Array.from({ length: 9000 }, (_, i) => Tensor.from(Float32Array.of(i)));
    const onProgress = (): void => {
      if (++reports === moment) controller.abort(reason);
    };
    await expect(save(value, path, { signal: controller.signal, onProgress })).rejects.toBe(reason);
    expect(reports).toBe(moment);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(leftovers()).toEqual([]);
  });
  test('at the last report, when every byte is written', async () => {
    await writeFile(path, 'old');
    const controller = new AbortController();
    const onProgress = ({ bytes, totalBytes }: Progress): void => {
      if (bytes === totalBytes) controller.abort(reason);
    };
    await expect(save(sample(), path, { signal: controller.signal, onProgress })).rejects.toBe(reason);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(leftovers()).toEqual([]);
  });
  test('while a Node stream takes nothing', async () => {
    const controller = new AbortController();
    const stream = new Writable({ write: () => undefined });
    const saving = save(sample(), stream, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 20);
    await expect(saving).rejects.toBe(reason);
    expect(stream.destroyed).toBe(true);
  });
  test('while a web stream takes nothing', async () => {
    const controller = new AbortController();
    const stream = new WritableStream<Uint8Array>({ write: () => new Promise(() => undefined) });
    const saving = save(sample(), stream, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 20);
    await expect(saving).rejects.toBe(reason);
  });
  test('while a tensor stream gives nothing', async () => {
    for (const target of [path, new PassThrough()]) {
      const controller = new AbortController();
      const silent = Tensor.fromStream({ dtype: DType.float32, shape: [4] }, async function* () {
        yield new Uint8Array(4);
        await new Promise(() => undefined);
      });
      const saving = save([silent], target, { signal: controller.signal });
      setTimeout(() => controller.abort(reason), 20);
      await expect(saving).rejects.toBe(reason);
    }
    expect(leftovers()).toEqual([]);
  });
  test('a timeout is its own reason', async () => {
    const stream = new Writable({ write: () => undefined });
    await expect(save(sample(), stream, { signal: AbortSignal.timeout(10) })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
  });
});

test.each(['path', 'stream', 'bytes', 'sync', 'legacy'])(
  'progress of a save to %s rises to the total',
  async (kind) => {
    const seen: Progress[] = [];
    const options = { onProgress: (progress: Progress): void => void seen.push(progress) };
    if (kind === 'path') await save(sample(), path, options);
    else if (kind === 'legacy') await save(sample(), path, { ...options, format: 'legacy' });
    else if (kind === 'stream') await save(sample(), new PassThrough().resume(), options);
    else if (kind === 'sync') saveSync(sample(), path, options);
    else await toBytes(sample(), options);
    expect(seen.length).toBeGreaterThan(1);
    const total = seen[0]?.totalBytes as number;
    let last = 0;
    for (const { stage, bytes, totalBytes } of seen) {
      expect(stage).toBe('save');
      expect(bytes).toBeGreaterThanOrEqual(last);
      expect(totalBytes).toBe(total);
      last = bytes;
    }
    expect(last).toBe(total);
  },
);
