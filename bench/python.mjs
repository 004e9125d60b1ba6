/** The Python with torch that contenders run in: TORCH_PYTHON, or the first of the usual ones that can import it. */
import { spawnSync } from 'node:child_process';

let found;
export function python() {
  if (found !== undefined) return found || undefined;
  const candidates = process.env.TORCH_PYTHON ? [process.env.TORCH_PYTHON] : ['.oracle/bin/python', 'python3'];
  found = candidates.find((name) => spawnSync(name, ['-c', 'import torch']).status === 0) ?? '';
  return found || undefined;
}

/** Runs a script that prints one line of JSON. The script finds its arguments in `sys.argv[1:]`. */
export function runPython(script, args) {
  const { stdout, stderr, status } = spawnSync(python(), ['-c', script, ...args], { maxBuffer: 1 << 24 });
  if (status !== 0) throw new Error(`python ended with ${status}: ${stderr}`);
  return JSON.parse(stdout.toString().trim().split('\n').at(-1));
}
