/** Risk: memory used after it is gone: views and their checkpoint, close, garbage collection, workers, files that change. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { childResult, packageMain, root } from './child';
import { dict, floats, py, tensor, zipCheckpoint } from './container-samples';
import { sha256 } from './expected';

const folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-lifetime-'));
const small = join(root, 'test', 'fixtures', 'valid', 'zip-lenet-training.pt');
/** A megabyte of floats, so that a truncation takes whole pages away. */
const big = join(folder, 'big.pt');
const MEGABYTE = 1 << 20;

beforeAll(() => {
  const values = Float32Array.from({ length: MEGABYTE / 4 }, (_, i) => i % 1000);
  const entries = { w: tensor({ key: '0', numel: values.length }), v: tensor({ key: '1', numel: 4 }) };
  writeFileSync(
    big,
    zipCheckpoint({
      'data.pkl': py.pickle(dict(entries)),
      'data/0': new Uint8Array(values.buffer),
      'data/1': floats(1, 2, 3, 4),
    }),
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

let copies = 0;
function copyOf(path: string): string {
  const copy = join(folder, `copy-${copies++}.pt`);
  copyFileSync(path, copy);
  return copy;
}
const text = JSON.stringify;
const GC = { flags: ['--expose-gc'] };
const electron = { TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS: '1' };

describe.each([
  ['', {}],
  [' without external buffers', electron],
])('views%s', (_name, env) => {
  test('outlive the checkpoint, the storage and the file name', async () => {
    const path = copyOf(big);
    const sums = await childResult<number[]>(
      `
      const sum = (array) => array.reduce((total, x) => total + x, 0);
      let view = (await tc.load(${text(path)})).get('w').asTypedArray();
      const first = sum(view);
      await collect();
      fs.unlinkSync(${text(path)});
      await collect();
      const again = sum(view);
      let part = tc.openSync(${text(big)}).get('w').narrow(0, 1000, 2000).asTypedArray();
      await collect();
      const rest = sum(part);
      view = part = undefined;
      await collect();
      return [first, again, rest];`,
      { ...GC, env },
    );
    const expected = Array.from({ length: MEGABYTE / 4 }, (_, i) => i % 1000);
    const total = expected.reduce((a, b) => a + b);
    expect(sums).toEqual([total, total, expected.slice(1000, 3000).reduce((a, b) => a + b)]);
  });

  test('writing to one is seen by all views of the storage and never by the file', async () => {
    const path = copyOf(big);
    const before = sha256(readFileSync(path));
    const seen = await childResult<number[]>(
      `
      const ck = tc.openSync(${text(path)});
      const w = ck.get('w');
      w.asTypedArray()[5] = 42;
      const other = w.narrow(0, 5, 1);
      const result = [w.asTypedArray()[5], other.item(), w.toFloat32Array()[5], new Float32Array(w.toBytes().buffer)[5], new Float32Array(w.storage.bytes().slice().buffer)[5]];
      const target = new Uint8Array(4);
      await w.storage.read(target, 20);
      result.push(new Float32Array(target.buffer)[0], tc.openSync(${text(path)}).get('w').asTypedArray()[5]);
      ck.close();
      return result;`,
      { ...GC, env },
    );
    expect(seen).toEqual([42, 42, 42, 42, 42, 42, 5]);
    expect(sha256(readFileSync(path))).toBe(before);
  });
});

describe('close', () => {
  test.each([{ io: 'auto' }, { io: 'read' }] as const)(
    '%j: what comes after is CLOSED, and closing again is nothing',
    async (options) => {
      const codes = await childResult<Record<string, string>>(
        `
      const ck = tc.openSync(${text(big)}, ${text(options)});
      const t = ck.get('w'), untouched = ck.get('v');
      t.storage.bytes();
      ck.close();
      ck.close();
      await collect();
      ck.close();
      const result = { root: ck.root instanceof Map ? 'kept' : 'lost', shape: String(t.shape) };
      const work = {
        bytes: () => untouched.storage.bytes(), toBytes: () => untouched.toBytes(), toFloat32Array: () => untouched.toFloat32Array(),
        asTypedArray: () => untouched.asTypedArray(), read: () => untouched.storage.read(new Uint8Array(4)), verify: () => ck.verify(),
        equal: () => untouched.equal(untouched.clone()), chunks: async () => { for await (const chunk of untouched.storage.chunks()) return chunk; },
      };
      for (const [name, call] of Object.entries(work)) result[name] = await codeOf(call);
      return result;`,
        GC,
      );
      const { root: kept, shape, ...rest } = codes;
      expect([kept, shape]).toEqual(['kept', String(MEGABYTE / 4)]);
      expect([...new Set(Object.values(rest))]).toEqual(['CLOSED']);
    },
  );

  test('views become empty and a read of them is undefined, never a crash', async () => {
    const lengths = await childResult<(number | null)[]>(
      `
      const ck = tc.openSync(${text(big)});
      const view = ck.get('w').asTypedArray(), bytes = ck.get('w').storage.bytes();
      const copy = ck.get('w').toFloat32Array();
      const before = [view.length, bytes.length];
      ck.close();
      await collect();
      view[3] = 1;
      return [...before, view.length, bytes.length, view[3] ?? null, copy.length];`,
      GC,
    );
    expect(lengths).toEqual([MEGABYTE / 4, MEGABYTE, 0, 0, null, MEGABYTE / 4]);
  });

  test('using closes', async () => {
    const codes = await childResult<string[]>(`
      const one = tc.openSync(${text(small)}); one[Symbol.dispose]?.();
      const two = await tc.open(${text(small)}); await two[Symbol.asyncDispose]?.();
      return [await codeOf(() => one.verify()), await codeOf(() => two.verify())];`);
    expect(codes).toEqual(['CLOSED', 'CLOSED']);
  });

  test('a verification under way ends in a report or CLOSED', async () => {
    const outcome = await childResult<string>(`
      const ck = await tc.open(${text(big)});
      const running = ck.verify();
      ck.close();
      return running.then((report) => String(report.ok), (error) => error.code);`);
    expect(['true', 'CLOSED']).toContain(outcome);
  });
});

test('what a save reads lives until it ends: views of a closed checkpoint, buffers that shrink', async () => {
  const outcomes = await childResult<string[]>(
    `
    const target = ${text(join(folder, 'saved-while-closing.pt'))};
    const source = ${text(join(folder, 'large.pt'))};
    tc.saveSync(tc.Tensor.from(new Uint8Array(60e6).fill(3)), source, { fsync: false });
    const seen = new Set();
    for (let i = 0; i < 12; i++) {
      const ck = tc.openSync(source), view = tc.Tensor.from(ck.root.asTypedArray());
      const saving = tc.save(view, target, { fsync: false });
      await sleep(i);
      ck.close();
      await saving;
      const saved = tc.loadSync(target).asTypedArray();
      seen.add([saved.length, saved[0], saved[59999999]].join());
    }
    for (let i = 0; i < 8; i++) {
      const buffer = new ArrayBuffer(60e6, { maxByteLength: 60e6 }), tensor = tc.Tensor.from(new Uint8Array(buffer));
      const saving = tc.save(tensor, target, { fsync: false });
      await sleep(i);
      buffer.resize(10);
      const outcome = await codeOf(() => saving);
      if (outcome !== 'nothing thrown' && outcome !== 'TRUNCATED') seen.add(outcome);
    }
    return [...seen];`,
  );
  expect(outcomes).toEqual(['60000000,3,3']);
});

// Regression: close freed the memory that a stream was read to, under the thread that wrote it out.
test('what a save reads lives until it ends: memory of a closed checkpoint that came as a stream', async () => {
  const outcomes = await childResult<string[]>(
    `
    const target = ${text(join(folder, 'saved-while-closing.pt'))};
    const bytes = new Blob([await tc.toBytes(tc.Tensor.from(new Uint8Array(20e6).fill(3)))]);
    const seen = new Set();
    for (let i = 0; i < 8; i++) {
      const ck = await tc.open(bytes.stream());
      const saving = codeOf(() => tc.save(ck.root, target, { fsync: false }));
      await sleep(i);
      ck.close();
      await collect();
      for (let n = 0; n < 4; n++) new Uint8Array(20e6).fill(7);
      const outcome = await saving;
      if (outcome !== 'nothing thrown') seen.add(outcome);
      else seen.add(Buffer.from(tc.loadSync(target).asTypedArray()).equals(Buffer.alloc(20e6, 3)) ? 'what there was' : 'something else');
    }
    return [...seen];`,
    GC,
  );
  expect(outcomes).toEqual(['what there was']);
});

test('opening and closing 50 times leaves no descriptors, mappings or memory behind', async () => {
  const [descriptors, mappings, megabytes] = await childResult<number[]>(
    `
    const count = () => [fs.readdirSync('/proc/self/fd').length, fs.readFileSync('/proc/self/maps', 'utf8').split('\\n').length, process.memoryUsage().rss / 2 ** 20];
    const round = async (close) => {
      const ck = await tc.open(${text(big)}, { io: close % 2 ? 'mmap' : 'read' });
      ck.get('w').storage.bytes();
      if (close < 50) ck.close();
    };
    for (let i = 0; i < 10; i++) await round(i);
    await collect();
    const before = count();
    for (let i = 0; i < 50; i++) await round(i);
    // Without close, garbage collection has to do.
    for (let i = 0; i < 10; i++) { await round(50 + i); await collect(); }
    await collect();
    return count().map((n, i) => n - before[i]);`,
    GC,
  );
  expect(descriptors).toBeLessThanOrEqual(2);
  expect(mappings).toBeLessThan(20);
  expect(megabytes).toBeLessThan(40);
}, 60_000);

describe('a file that changes', () => {
  const damage = (change: string, options: object, work: string): string => `
    const path = process.argv[1];
    const ck = await tc.open(path, ${text(options)});
    const t = ck.get('w'), whole = (await tc.load(${text(big)})).get('w');
    ${change}
    const work = {
      read: async () => { const target = new Uint8Array(${MEGABYTE}); let at = 0; while (at < target.length) at += await t.storage.read(target.subarray(at), at); },
      toFloat32Array: () => t.toFloat32Array(), toBytes: () => t.toBytes(), equal: () => t.equal(whole), reverse: () => whole.equal(t),
      item: () => t.select(0, ${MEGABYTE / 4 - 1}).item(), gather: () => t.reshape(512, -1).t().toBytes(),
      chunks: async () => { for await (const chunk of t.storage.chunks(65536)) chunk.length; },
      verify: async () => { await ck.verify(); },
      ${work}
    };
    const result = {};
    for (const [name, call] of Object.entries(work)) result[name] = await codeOf(call);
    return result;`;

  test.each([{ io: 'mmap' }, { io: 'read' }] as const)(
    'cut short after opening, %j: TRUNCATED from everything, not a signal',
    async (options) => {
      const codes = await childResult<Record<string, string>>(damage('fs.truncateSync(path, 4096);', options, ''), {
        args: [copyOf(big)],
      });
      expect(Object.keys(codes)).toHaveLength(9);
      expect(new Set(Object.values(codes))).toEqual(new Set(['TRUNCATED']));
    },
  );

  test('cut to nothing', async () => {
    const codes = await childResult<Record<string, string>>(damage('fs.truncateSync(path, 0);', { io: 'mmap' }, ''), {
      args: [copyOf(big)],
    });
    expect(new Set(Object.values(codes))).toEqual(new Set(['TRUNCATED']));
  });

  test('cut short after a view was made: native calls still give TRUNCATED', async () => {
    const codes = await childResult<Record<string, string>>(
      damage('t.storage.bytes(); fs.truncateSync(path, 4096);', { io: 'mmap' }, ''),
      { args: [copyOf(big)] },
    );
    expect(new Set(Object.values(codes))).toEqual(new Set(['TRUNCATED']));
  });

  test.each([{ io: 'mmap' }, { io: 'read' }] as const)(
    'replaced by rename, %j: the opened one is read on',
    async (options) => {
      const path = copyOf(big);
      const values = await childResult<number[]>(
        `
      const path = process.argv[1];
      const ck = await tc.open(path, ${text(options)});
      fs.copyFileSync(${text(small)}, path + '.new');
      fs.renameSync(path + '.new', path);
      return [...ck.get('w').toFloat32Array().subarray(998, 1002), (await ck.verify()).ok ? 1 : 0];`,
        { args: [path] },
      );
      expect(values).toEqual([998, 999, 0, 1, 1]);
    },
  );
});

describe('worker threads', () => {
  const worker = (body: string): string =>
    text(`
    const { parentPort } = require('node:worker_threads');
    const tc = require(${text(packageMain)});
    ${body}`);

  test('load in several at once', async () => {
    const sums = await childResult<number[]>(`
      const { Worker } = require('node:worker_threads');
      const source = ${worker(`
        const ck = tc.openSync(${text(big)});
        const sum = ck.get('w').asTypedArray().reduce((a, b) => a + b, 0) + ck.get('w').toFloat32Array()[999];
        parentPort.postMessage(sum);`)};
      const one = () => new Promise((resolve, reject) => new Worker(source, { eval: true }).once('message', resolve).once('error', reject));
      const here = (await tc.load(${text(big)})).get('w').asTypedArray().reduce((a, b) => a + b, 0) + 999;
      return [here, ...(await Promise.all([one(), one(), one()]))];`);
    expect(sums).toHaveLength(4);
    expect(new Set(sums).size).toBe(1);
  });

  test('arrays are posted and transferred out of one, which keeps its tensors', async () => {
    const [messages, different, right] = await childResult<unknown[]>(`
      const { Worker } = require('node:worker_threads');
      const source = ${worker(`
        (async () => {
          const t = (await tc.load(${text(big)})).get('v');
          const view = t.asTypedArray(), copy = t.toFloat32Array();
          parentPort.postMessage(view);
          parentPort.postMessage(copy, [copy.buffer]);
          // Whether memory of a mapping can be transferred is the host's to say.
          try { parentPort.postMessage(view, [view.buffer]); } catch (error) { if (!(error instanceof TypeError)) throw error; parentPort.postMessage(view); }
          parentPort.postMessage(t.toFloat32Array());
        })();`)};
      const received = [];
      await new Promise((resolve, reject) => new Worker(source, { eval: true }).on('message', (array) => received.push(array.join())).once('error', reject).once('exit', resolve));
      return [received.length, new Set(received).size, received[3] === '1,2,3,4'];`);
    expect([messages, different, right]).toEqual([4, 1, true]);
  });

  test('one that is terminated while it works, or ends with views alive, harms nobody', async () => {
    const ended = await childResult<string[]>(
      `
      const { Worker } = require('node:worker_threads');
      const source = ${worker(`
        const ck = tc.openSync(${text(big)});
        globalThis.kept = [ck, ck.get('w').asTypedArray(), ck.get('v').storage.bytes()];
        parentPort.postMessage('open');
        (async () => { for (;;) await ck.verify(); })();`)};
      const ended = [];
      for (let i = 0; i < 8; i++) {
        const thread = new Worker(source, { eval: true });
        await new Promise((resolve, reject) => thread.once('message', resolve).once('error', reject));
        await sleep(i * 3);
        await thread.terminate();
        ended.push('ended');
      }
      await collect();
      const t = (await tc.load(${text(big)})).get('v');
      return [...ended, String([...t.asTypedArray()])];`,
      GC,
    );
    expect(ended).toEqual([...Array<string>(8).fill('ended'), '1,2,3,4']);
  });
});

test('a load that is aborted rejects with the reason and closes the file', async () => {
  const [name, descriptors] = await childResult<[string, number]>(`
    const before = fs.readdirSync('/proc/self/fd').length;
    const reason = new DOMException('enough', 'AbortError');
    const name = await tc.load(${text(big)}, { signal: AbortSignal.abort(reason) }).then(() => 'loaded', (error) => (error === reason ? error.name : String(error)));
    return [name, fs.readdirSync('/proc/self/fd').length - before];`);
  expect([name, descriptors]).toEqual(['AbortError', 0]);
});
