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

const RUNS = CASES.flatMap(([target, dtypes]) => dtypes.map((dtype) => ({ target, dtype })));

/** What each run wrote of each source, and what Python says of it. */
interface Checked {
  readonly source: string;
  readonly report: ConvertReport;
  readonly answer: Answer;
}
const checked: Checked[][] = [];

/** One process for all files: importing torch takes longer than everything else. */
function ask(jobs: readonly (readonly [source: string, target: string, file: string, dtype: string | null])[]) {
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

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-convert-oracle-'));
  if (!isRecent()) return;
  const jobs: [string, string, string, string | null][] = [];
  const reports: ConvertReport[] = [];
  for (const { target, dtype } of RUNS) {
    for (const source of SOURCES) {
      const file = join(folder, `${jobs.length}.${target}`);
      reports.push(await convert(fixturePath(source), file, { dtype, fsync: false }));
      jobs.push([fixturePath(source), target, file, dtype ?? null]);
    }
  }
  const answers = ask(jobs);
  for (let at = 0; at < jobs.length; at += SOURCES.length) {
    checked.push(
      SOURCES.map((source, i) => ({
        source,
        report: reports[at + i] as ConvertReport,
        answer: answers[at + i] as Answer,
      })),
    );
  }
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.skipIf(!isRecent()).each(RUNS.map((run, i) => ({ ...run, i })))(
  python ? 'to $target as $dtype' : SKIPPED,
  ({ target, i }) => {
    for (const { source, report, answer } of checked[i] as Checked[]) {
      if (answer.missing !== undefined) continue;
      expect(answer.wrong, source).toEqual([]);
      if (target !== 'pt') expect(answer.compared, source).toBe(report.tensors);
    }
  },
);
