// Promise: thousands of random tensors print exactly as the installed PyTorch prints them.
// Runs where TORCH_PYTHON names a Python with torch; TORCH_SEED and TORCH_COUNT choose the tensors.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { NdArray, NumpyScalar } from '../../lib/pickle/values';
import { repr } from '../../lib/repr';
import { setPrintOptions } from '../../lib/tensor/print';
import { build, type PrintCase } from './print-case';

const python = process.env['TORCH_PYTHON'];
const skipped = 'SKIPPED: set TORCH_PYTHON to a Python with torch';
const seed = process.env['TORCH_SEED'] ?? '1';
const count = process.env['TORCH_COUNT'] ?? '3000';

afterEach(() => setPrintOptions({ profile: 'default' }));

function recorded<T>(...args: string[]): T[] {
  const script = join(__dirname, 'print.py');
  const lines = execFileSync(python as string, [script, ...args], { encoding: 'utf8', maxBuffer: 2 ** 30 });
  return lines
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
}

test.skipIf(!python)(
  python ? `${count} random tensors, seed ${seed}` : skipped,
  () => {
    const cases = recorded<PrintCase>('random', seed, count);
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

interface NumpyCase {
  array: { dtype: string; shape: number[]; bytes: string; scalar: boolean };
  text: string;
}

test.skipIf(!python)(
  python ? '1000 random NumPy arrays and scalars' : skipped,
  () => {
    const wrong = recorded<NumpyCase>('numpy', seed, '1000').flatMap(({ array, text }) => {
      const bytes = new Uint8Array(Buffer.from(array.bytes, 'base64'));
      const ours = repr(
        array.scalar ? new NumpyScalar(array.dtype, bytes) : new NdArray(array.dtype, array.shape, bytes),
      );
      return ours === text ? [] : [{ ours, text, ...array, bytes: array.bytes.slice(0, 200) }];
    });
    expect(wrong.slice(0, 5), `${wrong.length} differ`).toEqual([]);
  },
  600_000,
);
