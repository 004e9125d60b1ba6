/** Promise: where the host refuses external buffers, as Electron does, every fixture still reads the same. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { addon } from '../lib/binding';
import { load, open, openSync } from '../lib/load';
import { save } from '../lib/save';
import { Tensor } from '../lib/tensor/tensor';
import { fixtureSuite } from './fixture-suite';

// The addon looks at it when it is loaded, which nothing in this process has done yet.
process.env['TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS'] = '1';

test('external buffers are refused', () => {
  expect(addon().capabilities().externalBuffers).toBe(false);
});

fixtureSuite('path', (path) => open(path));
fixtureSuite('path, read by position', (path) => openSync(path, { io: 'read' }));

test('a window of megabytes shows its bytes, and native code sees what is written there', async () => {
  // It may begin anywhere in its buffer, as far from a huge page as its bytes are in the file.
  const path = join(mkdtempSync(join(tmpdir(), 'electron-')), 'large.pt');
  const state = new Map(
    ['a', 'b', 'c'].map((key, i) => [key, Tensor.from(Float32Array.from({ length: 1 << 20 }, (_, at) => at + i))]),
  );
  await save(state, path);
  using checkpoint = openSync(path);
  for (const [key, tensor] of state) {
    const mapped = checkpoint.get(key) as Tensor;
    expect(Buffer.compare(mapped.storage.bytes(), tensor.storage.bytes())).toBe(0);
    expect(mapped.storage.bytes().buffer).toBeInstanceOf(SharedArrayBuffer);
  }
  const last = checkpoint.get('c') as Tensor;
  last.asTypedArray()[(1 << 20) - 1] = -7;
  expect(last.to('float64').asTypedArray().at(-1)).toBe(-7);
  expect((await load<Map<string, Tensor>>(path)).get('c')?.asTypedArray().at(-1)).toBe((1 << 20) + 1);
  rmSync(dirname(path), { recursive: true });
});
