/** Other programs as contenders. */
import { spawn } from 'node:child_process';

/** What a program prints. Rejects when its status is not the expected one. */
export function capture(program, args, { env, status = 0 } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    let complaints = '';
    child.stdout.setEncoding('utf8').on('data', (data) => {
      text += data;
    });
    child.stderr.setEncoding('utf8').on('data', (data) => {
      complaints += data;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === status) resolve(text);
      else reject(new Error(`${program} ended with ${code ?? signal}: ${complaints || text}`));
    });
  });
}

/** A contender that is a command line; `after` gives its bytes and proof. */
export function inProgram(commandOf, after, others = {}) {
  return {
    outside: true,
    ...others,
    run: (context) =>
      context.timed(async () => {
        const [program, ...args] = commandOf(context);
        const text = await capture(program, args, { status: others.status });
        return after(context, text);
      }),
  };
}
