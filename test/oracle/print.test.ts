// Promise: thousands of random tensors print exactly as the installed PyTorch prints them.
// Runs where TORCH_PYTHON names a Python with torch; TORCH_SEED and TORCH_COUNT choose the tensors.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { repr } from '../../lib/repr';
import { setPrintOptions } from '../../lib/tensor/print';
import { type PrintCase, build } from './print-case';

const python = process.env['TORCH_PYTHON'];
const seed = process.env['TORCH_SEED'] ?? '1';
const count = process.env['TORCH_COUNT'] ?? '3000';

afterEach(() => setPrintOptions({ profile: 'default' }));

test.skipIf(!python)(
  python ? `${count} random tensors, seed ${seed}` : 'SKIPPED: set TORCH_PYTHON to a Python with torch',
  () => {
    const script = join(__dirname, 'print.py');
    const lines = execFileSync(python as string, [script, 'random', seed, count], { encoding: 'utf8', maxBuffer: 2 ** 30 });
    const cases = lines.trimEnd().split('\n').map((line) => JSON.parse(line) as PrintCase);
    expect(cases).toHaveLength(Number(count));
    const wrong = cases.flatMap(({ options, tensor, text }) => {
      setPrintOptions({ ...options, sciMode: options.sci_mode ?? undefined });
      const ours = repr(build(tensor));
      return ours === text ? [] : [{ ours, text, options, tensor: JSON.stringify(tensor).slice(0, 500) }];
    });
    expect(wrong.slice(0, 5), `${wrong.length} of ${count} differ`).toEqual([]);
  },
  600_000,
);
