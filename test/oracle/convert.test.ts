// Promise: what we convert is what PyTorch, safetensors, NumPy and gguf read, bit for bit, casts included.
// Runs where TORCH_PYTHON names a Python with torch; gguf and safetensors are used where they are installed.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ConvertReport, convert } from '../../lib/convert/convert';
import { fixturePath } from '../fixture-suite';
import { isRecent, python, SKIPPED } from './torch';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-convert-oracle-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Answer {
  readonly compared?: number;
  readonly wrong?: readonly string[];
  readonly missing?: string;
}

const SOURCES = [
  'zip-mixed-every-dtype.pt',
  'zip-float32-views.pt',
  'zip-lenet-training.pt',
  'legacy-mixed-dtypes.pt',
  'zip-mixed-big-endian.pt',
  'zip-mixed-empty-and-scalar.pt',
  'zip-float32-tied.pt',
];
const CASES: readonly (readonly [
  target: 'safetensors' | 'pt' | 'npz' | 'gguf',
  dtypes: readonly (string | undefined)[],
])[] = [
  ['safetensors', [undefined, 'float16', 'bfloat16', 'float8_e4m3fn', 'float64']],
  ['pt', [undefined, 'float16', 'bfloat16', 'float8_e5m2']],
  ['npz', [undefined, 'float16']],
  ['gguf', [undefined, 'float16', 'q8_0']],
];

test.skipIf(!isRecent()).each(CASES.flatMap(([target, dtypes]) => dtypes.map((dtype) => ({ target, dtype }))))(
  python ? 'to $target as $dtype' : SKIPPED,
  async ({ target, dtype }) => {
    for (const name of SOURCES) {
      const output = join(folder, `out.${target}`);
      const report: ConvertReport = await convert(fixturePath(name), output, { dtype, fsync: false });
      const script = join(__dirname, 'convert.py');
      const args = [script, fixturePath(name), target, output, ...(dtype === undefined ? [] : [dtype])];
      const answer = JSON.parse(
        execFileSync(python as string, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
      ) as Answer;
      if (answer.missing !== undefined) return;
      expect(answer.wrong, name).toEqual([]);
      if (target !== 'pt') expect(answer.compared, name).toBe(report.tensors);
    }
  },
);
