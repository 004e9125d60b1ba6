/** The Python with torch that TORCH_PYTHON names, for the tests that ask it. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

export const python = process.env['TORCH_PYTHON'];
export const SKIPPED = 'SKIPPED: set TORCH_PYTHON to a Python with torch';

/** The JSON lines that a command of checkpoints.py prints. */
export function ask<T>(command: string, ...args: string[]): T[] {
  const script = join(__dirname, 'checkpoints.py');
  const output = execFileSync(python as string, [script, command, ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
}

/** Whether the installed PyTorch is one whose behaviour the fixtures and messages describe: 2.6 or later. */
export function isRecent(): boolean {
  if (!python) return false;
  const [major, minor] = (ask<{ version: string }>('version')[0] as { version: string }).version
    .split('.')
    .map(Number) as [number, number];
  return major > 2 || (major === 2 && minor >= 6);
}
