/** Promise: every file of fixtures/valid reads as PyTorch reads it, however its bytes are reached. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { open, openSync } from '../lib/load';
import { fixturePath, fixtureSuite, fixtures, sha256 } from './fixture-suite';

test('the files are those of the manifest', () => {
  expect(fixtures.length).toBeGreaterThan(40);
  for (const { file, size, sha256: digest } of fixtures) {
    const bytes = readFileSync(fixturePath(file));
    expect([file, bytes.length, sha256(bytes)]).toEqual([file, size, digest]);
  }
});

fixtureSuite('path', (path) => open(path));
fixtureSuite('path, synchronously', (path) => openSync(path));
fixtureSuite('path, mapped', (path) => open(path, { io: 'mmap' }));
fixtureSuite('path, read by position', (path) => open(path, { io: 'read' }));
fixtureSuite('bytes', (path) => open(readFileSync(path)));
fixtureSuite('bytes at an odd address', (path) => {
  const bytes = readFileSync(path);
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  return open(shifted.subarray(1));
});
