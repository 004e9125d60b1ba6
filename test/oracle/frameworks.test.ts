// Promise: folders that transformers wrote become folders that transformers loads, value for value, tied weights tied.
// Runs where TORCH_PYTHON names a Python with torch and transformers.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { convertDirectory } from '../../lib/convert/directory';
import { isRecent, python, SKIPPED } from './torch';

let folder = '';
let made: readonly string[] = [];
const SECONDS = 300_000;

function ask(...args: string[]): string[] {
  const text = execFileSync(python as string, [join(__dirname, 'frameworks.py'), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return JSON.parse(text.trimEnd().split('\n').at(-1) as string) as string[];
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-frameworks-'));
  if (isRecent()) made = ask('make', join(folder, 'in'));
}, SECONDS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.skipIf(!isRecent()).each(['safetensors', 'bin'])(
  python ? 'shards of transformers, saved as %s' : SKIPPED,
  async (form) => {
    if (!made.includes(form)) return;
    const input = join(folder, 'in', form);
    const output = join(folder, 'out', form);
    const report = await convertDirectory(input, output, { fsync: false, verify: true });
    expect([report.failed, report.skipped]).toEqual([0, 0]);
    expect(ask('check', output)).toEqual([]);
    for (const name of readdirSync(output).filter((one) => !one.startsWith('.'))) {
      const index = (from: string): Record<string, unknown> =>
        JSON.parse(readFileSync(join(from, name, 'model.safetensors.index.json'), 'utf8')) as Record<string, unknown>;
      // The very index that transformers writes beside its own shards.
      if (form === 'safetensors') expect(index(output)).toEqual(index(input));
      else expect(index(output)['weight_map']).toEqual(index(join(folder, 'in', 'safetensors'))['weight_map']);
    }
  },
  SECONDS,
);
