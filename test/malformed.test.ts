/** Risk: a damaged or hostile file that crashes, hangs or exhausts the process, or is read as if it were whole. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type CheckpointError, ERROR_CODES, isCheckpointError } from '../lib/errors';
import { type LoadOptions, load, open, openSync } from '../lib/load';
import { repr } from '../lib/repr';
import { Tensor } from '../lib/tensor/tensor';
import { childResult } from './child';
import { fixturePath, fixtures } from './fixture-suite';

const malformed = join(__dirname, 'fixtures', 'malformed');
const folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-malformed-'));
afterAll(() => rmSync(folder, { recursive: true }));

const codeIn = (file: string): string => /^[A-Z0-9_]+/.exec(file)?.[0] ?? '';

test.each(readdirSync(malformed))('%s', async (file) => {
  const code = codeIn(file);
  expect(Object.keys(ERROR_CODES)).toContain(code);
  const path = join(malformed, file);
  const failure = expect.objectContaining({ name: 'CheckpointError', code });
  const options: LoadOptions[] = [{}, { io: 'read' }];
  for (const option of options) {
    await expect(open(path, option)).rejects.toEqual(failure);
    await expect(load(path, option)).rejects.toMatchObject({ code, path });
  }
  await expect(open(readFileSync(path))).rejects.toEqual(failure);
  const { message, hint } = await open(path).then(
    () => expect.fail('it opened'),
    (error: CheckpointError) => error,
  );
  expect(message.startsWith(path)).toBe(true);
  expect(message).not.toMatch(/undefined|\[object/);
  // Damage was named without a word on what to do about it.
  if (/^TRUNCATED|_CORRUPT$/.test(code)) expect(hint).toMatch(/again/);
});

/** Opens and reads everything there is. True when the file was read to its end. */
function outcome(source: string | Uint8Array, what: string): boolean {
  try {
    const checkpoint = openSync(source, { io: 'auto' });
    try {
      for (const [, tensor] of checkpoint.tensors()) {
        if (tensor instanceof Tensor && !tensor.isMeta && tensor.nbytes < 1 << 20) tensor.toBytes();
      }
      repr(checkpoint.root);
    } finally {
      checkpoint.close();
    }
    return true;
  } catch (error) {
    // A RangeError, a TypeError or a stack overflow would be a bug of ours that a file can reach.
    if (!isCheckpointError(error)) throw new Error(`${what}: ${String((error as Error).stack)}`);
    return false;
  }
}

const TEN = [
  'zip-float32-state-dict.pt',
  'zip-float32-deflated.pt',
  'zip-float32-zip64-extras.pt',
  'zip-python-kitchen-sink.pt',
  'zip-quint8-quantized.pt',
  'legacy-float32-views.pt',
  'legacy-float32-module-custom.pt',
  'tar-mixed-views.pt',
  'safetensors-mixed-dtypes.safetensors',
  'torchscript-float32-mlp.pt',
];

test.each(TEN)('every prefix of %s', (file) => {
  const bytes = readFileSync(fixturePath(file));
  const step = Math.max(1, Math.floor(bytes.length / 400));
  let loaded = 0;
  for (let length = 0; length < bytes.length; length += step) {
    if (outcome(bytes.subarray(0, length), `first ${length} bytes`)) loaded++;
  }
  // The padding at the end of a tar may be cut; of the others nothing may be missing.
  if (!file.startsWith('tar')) expect(loaded).toBe(0);
  expect(outcome(bytes, 'whole file')).toBe(true);

  const path = join(folder, file);
  for (let i = 0; i < 40; i++) {
    const length = Math.floor((bytes.length * i) / 40);
    writeFileSync(path, bytes.subarray(0, length));
    expect(outcome(path, `file of ${length} bytes`)).toBe(outcome(bytes.subarray(0, length), 'the same in memory'));
  }
});

/** A small generator with a fixed seed (mulberry32), so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

test('random damage to every fixture', () => {
  const before = process.resourceUsage().maxRSS;
  const next = random(20_240_229);
  let loaded = 0;
  let refused = 0;
  for (const { file } of fixtures) {
    const original = readFileSync(fixturePath(file));
    if (original.length > 50_000) continue;
    for (let round = 0; round < 150; round++) {
      const bytes = Buffer.from(original);
      const places: string[] = [];
      for (let flips = 1 + next(4); flips > 0; flips--) {
        const at = next(bytes.length);
        // Interesting values are likelier to get somewhere than random ones.
        bytes[at] = [0x00, 0xff, 0x7f, 0x80, (bytes[at] as number) ^ (1 << next(8)), next(256)][next(6)] as number;
        places.push(`${at}=${bytes[at]}`);
      }
      if (outcome(bytes, `${file} with ${places.join(' ')}`)) loaded++;
      else refused++;
    }
  }
  expect(loaded).toBeGreaterThan(500);
  expect(refused).toBeGreaterThan(500);
  // maxRSS is in KiB: no damaged length may have become an allocation of its size.
  expect(process.resourceUsage().maxRSS - before).toBeLessThan(400 * 1024);
});

test('pickle opcodes in random order', () => {
  const next = random(7);
  const opcodes = Buffer.from(
    '(.012FIJKLMNQRSTUVX]a}ebcdGghijlopqrstu)\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8f\x90\x91\x92\x93\x94\x95BC',
    'latin1',
  );
  let loaded = 0;
  for (let round = 0; round < 20_000; round++) {
    const length = 3 + next(40);
    const bytes = Buffer.alloc(length + 3);
    bytes.set([0x80, 2]);
    for (let i = 0; i < length; i++) bytes[2 + i] = next(3) ? (opcodes[next(opcodes.length)] as number) : next(256);
    bytes[length + 2] = 0x2e;
    if (outcome(bytes, bytes.toString('hex'))) loaded++;
  }
  expect(loaded).toBeGreaterThan(0);
});

// Regression: 20 MB of empty dicts filled the heap, and 30 MB of marks took most of a minute.
test.each([
  ['dicts', '}', 'maxObjectBytes'],
  ['marks', '(', 'maxMarks'],
])('a pickle of nothing but %s is refused before it fills the heap', async (_name, opcode, limit) => {
  const [code, message] = await childResult<[string, string]>(
    `
    const bytes = Buffer.concat([Buffer.from([0x80, 2]), Buffer.alloc(5_000_000, ${JSON.stringify(opcode)}), Buffer.from('.')]);
    try { tc.loadSync(bytes); } catch (error) { return [error.code, error.message]; }`,
    { flags: ['--max-old-space-size=128'] },
  );
  expect(code).toBe('LIMIT_EXCEEDED');
  expect(message).toContain(`limits.${limit}`);
});

// Regression: a stack of a hundred million values ended the process, for which 390 KB were enough in a deflated record.
test('a scan follows no more values than the reader does', async () => {
  const places = await childResult<number[]>(`
    const ends = async (opcode) => (await tc.scan(Buffer.concat([Buffer.from([0x80, 2]), Buffer.alloc(21_000_000, opcode)]))).findings;
    return (await Promise.all(['N', '('].map(ends))).map((findings) => findings[0].byteOffset);`);
  expect(places).toEqual([20_000_002, 1_000_002]);
});
