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

/** One process for all files: importing torch takes longer than everything else. */
function ask(
  jobs: readonly (readonly [source: string, target: string, file: string, dtype: string | null])[],
): Answer[] {
  const output = execFileSync(python as string, [join(__dirname, 'convert.py')], {
    input: JSON.stringify(jobs),
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  return output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Answer);
}

test.skipIf(!isRecent()).each(CASES.flatMap(([target, dtypes]) => dtypes.map((dtype) => ({ target, dtype }))))(
  python ? 'to $target as $dtype' : SKIPPED,
  async ({ target, dtype }) => {
    const reports: ConvertReport[] = [];
    const output = (i: number): string => join(folder, `${i}.${target}`);
    for (const [i, name] of SOURCES.entries())
      reports.push(await convert(fixturePath(name), output(i), { dtype, fsync: false }));
    for (const [i, answer] of ask(
      SOURCES.map((name, at) => [fixturePath(name), target, output(at), dtype ?? null]),
    ).entries()) {
      if (answer.missing !== undefined) continue;
      expect(answer.wrong, SOURCES[i]).toEqual([]);
      if (target !== 'pt') expect(answer.compared, SOURCES[i]).toBe(reports[i]?.tensors);
    }
  },
);
