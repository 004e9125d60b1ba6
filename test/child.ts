/** Runs a script in a process of its own, with the compiled package as `tc`. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';

export const root = join(__dirname, '..');
export const packageMain = join(root, 'dist', 'index.js');

export interface ChildOptions {
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
}

export interface ChildResult {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The body may await; what it returns is printed as JSON on the last line of stdout. */
export function runChild(body: string, { flags = [], env = {}, args = [] }: ChildOptions = {}): Promise<ChildResult> {
  const script = `
    const tc = require(${JSON.stringify(packageMain)});
    const fs = require('node:fs');
    const assert = require('node:assert');
    const { setTimeout: sleep } = require('node:timers/promises');
    const collect = async () => { for (let i = 0; i < 4; i++) { globalThis.gc?.(); await sleep(5); } };
    const codeOf = async (work) => { try { await work(); } catch (error) { return tc.isCheckpointError(error) ? error.code : String(error.stack); } return 'nothing thrown'; };
    (async () => { ${body} })().then((result) => console.log(JSON.stringify(result ?? null)), (error) => { console.error(error); process.exitCode = 1; });`;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [...flags, '-e', script, ...args],
      { env: { ...process.env, ...env }, timeout: 50_000 },
      (error, stdout, stderr) => {
        resolve({
          code: error ? (typeof error.code === 'number' ? error.code : null) : 0,
          signal: error?.signal ?? null,
          stdout,
          stderr,
        });
      },
    );
  });
}

/** What the body returned; throws with its stderr when it failed or was killed. */
export async function childResult<T>(body: string, options?: ChildOptions): Promise<T> {
  const { code, signal, stdout, stderr } = await runChild(body, options);
  if (code !== 0) throw new Error(`the process ended with ${signal ?? code}: ${stderr}${stdout}`);
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) as string) as T;
}
