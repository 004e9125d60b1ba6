// Promise: tensors larger than memory are saved from a stream, in order, when their turn comes, and never held whole.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DType, load, type OrderedDict, save, saveSync, Tensor, toBytes } from '../lib/index';
import { childResult } from './child';

let dir: string;
let path: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'save-streams-'));
  path = join(dir, 'x.pt');
});
afterAll(() => rmSync(dir, { recursive: true }));

const leftovers = (): string[] => readdirSync(dir).filter((name) => name.startsWith('.torch-checkpoint'));

/** A float32 tensor of this value, whose stream notes when it is opened, ends and is cut off. */
function streamed(value: number, count: number, log: string[] = [], chunkElements = 1000): Tensor {
  return Tensor.fromStream({ dtype: DType.float32, shape: [count] }, async function* () {
    log.push(`open ${value}`);
    try {
      // One array for all chunks: whoever keeps one of them sees the next.
      const chunk = new Float32Array(chunkElements);
      for (let left = count; left > 0; left -= chunkElements) {
        chunk.fill(value);
        yield new Uint8Array(chunk.buffer, 0, Math.min(left, chunkElements) * 4);
        chunk.fill(-1);
      }
    } finally {
      log.push(`end ${value}`);
    }
  });
}

test.each(['path', 'stream', 'bytes', 'legacy'])('streams are pulled one after another: %s', async (kind) => {
  const log: string[] = [];
  const value = {
    a: streamed(1, 5000, log),
    plain: Tensor.from(Float32Array.of(9)),
    b: streamed(2, 50_000, log, 20_000),
    c: streamed(3, 1, log),
  };
  expect(log).toEqual([]);
  // Twice: the function is called anew for each save.
  for (let i = 0; i < 2; i++) {
    log.length = 0;
    if (kind === 'path') await save(value, path);
    else if (kind === 'legacy') await save(value, path, { format: 'legacy' });
    else if (kind === 'bytes') writeFileSync(path, await toBytes(value));
    else {
      const stream = new PassThrough({ highWaterMark: 1 << 28 });
      await save(value, stream);
      const pieces: Buffer[] = [];
      for await (const piece of stream) pieces.push(piece as Buffer);
      writeFileSync(path, Buffer.concat(pieces));
    }
    expect(log).toEqual(['open 1', 'end 1', 'open 2', 'end 2', 'open 3', 'end 3']);
    const back = await load<OrderedDict<Tensor>>(path);
    for (const [key, expected, count] of [
      ['a', 1, 5000],
      ['b', 2, 50_000],
      ['c', 3, 1],
      ['plain', 9, 1],
    ] as const) {
      const values = (back.get(key) as Tensor).toFloat32Array();
      expect(values.length).toBe(count);
      expect(values.every((x) => x === expected)).toBe(true);
    }
    expect(
      Buffer.from(await toBytes(back, { recordPrefix: 'x' })).equals(
        await toBytes(value, { recordPrefix: 'x', format: 'zip' }),
      ),
    ).toBe(true);
  }
});

describe('a stream that does not keep its word', () => {
  const bad: [name: string, chunks: unknown[], error: object][] = [
    ['too short', [new Uint8Array(8)], { code: 'TENSOR_CORRUPT' }],
    ['too long', [new Uint8Array(16), new Uint8Array(1)], { code: 'TENSOR_CORRUPT' }],
    ['nothing', [], { code: 'TENSOR_CORRUPT' }],
    ['strings', ['abcd'], { name: 'TypeError' }],
  ];
  test.each(bad)('%s', async (_, chunks, error) => {
    const tensor = Tensor.fromStream({ dtype: DType.float32, shape: [4] }, async function* () {
      for (const chunk of chunks) yield chunk as Uint8Array;
    });
    writeFileSync(path, 'old');
    await expect(save([tensor], path)).rejects.toMatchObject(error);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(leftovers()).toEqual([]);
    await expect(save([tensor], new PassThrough().resume())).rejects.toMatchObject(error);
    await expect(toBytes([tensor], { format: 'legacy' })).rejects.toMatchObject(error);
  });
  test('one that throws is ended, and its error is the one that is seen', async () => {
    const failure = new Error('the network is down');
    const log: string[] = [];
    const tensor = Tensor.fromStream({ dtype: DType.float32, shape: [4] }, async function* () {
      try {
        yield new Uint8Array(4);
        throw failure;
      } finally {
        log.push('closed');
      }
    });
    writeFileSync(path, 'old');
    await expect(save([tensor], path)).rejects.toBe(failure);
    await expect(toBytes([tensor])).rejects.toBe(failure);
    expect(log).toEqual(['closed', 'closed']);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(leftovers()).toEqual([]);
  });
  test('the rest of a stream is not read after a failure elsewhere', async () => {
    const log: string[] = [];
    const stream = new PassThrough({ highWaterMark: 1 });
    const saving = save([streamed(1, 10_000_000, log, 100_000)], stream);
    stream.once('data', () => stream.destroy(new Error('enough')));
    await expect(saving).rejects.toThrow('enough');
    expect(log).toEqual(['open 1', 'end 1']);
  });
  test('synchronously there are no streams', () => {
    expect(() => saveSync([streamed(1, 10)], path)).toThrow(expect.objectContaining({ code: 'UNSAVABLE' }));
    expect(leftovers()).toEqual([]);
  });
});

test('1 GiB in a process of 32 MiB of heap, and again from the file', { timeout: 120_000 }, async () => {
  const script = `
    const chunk = new Uint8Array(1 << 20).fill(7);
    const tensor = tc.Tensor.fromStream({ dtype: tc.DType.uint8, shape: [1 << 30] }, async function* () { for (let i = 0; i < 1024; i++) yield chunk; });
    let most = 0;
    const onProgress = () => { most = Math.max(most, Number(/RssAnon:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) / 1024); };
    await tc.save({ tensor }, process.argv[1], { fsync: false, onProgress });
    const value = await tc.load(process.argv[1]);
    await tc.save(value, process.argv[1], { fsync: false, onProgress });
    let piped = 0;
    await tc.save(value, new (require('node:stream').Writable)({ write(c, _, done) { piped += c.length; setImmediate(done); } }), { onProgress });
    return { most, size: fs.statSync(process.argv[1]).size, piped };`;
  const large = join(dir, 'large.pt');
  const { most, size, piped } = await childResult<{ most: number; size: number; piped: number }>(script, {
    flags: ['--max-old-space-size=32'],
    args: [large],
  });
  rmSync(large);
  expect(size).toBeGreaterThan(2 ** 30);
  expect(piped).toBeGreaterThan(2 ** 30);
  expect(most).toBeLessThan(200);
});
