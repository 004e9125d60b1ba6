/** How a command ends: its exit code, and how a failure is told. */
import { type ErrorCode, isCheckpointError } from '../errors';
import { isClosedPipe, Output } from './output';
import { jsonText, printable } from './text';

export const EXIT = {
  done: 0,
  /** The answer is no: differs, corrupt, unsafe, a diagnosed problem. */
  no: 1,
  usage: 2,
  /** The input cannot be read, or has no such path. */
  input: 3,
  /** The output cannot be written. */
  output: 4,
  interrupted: 130,
  terminated: 143,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A wrong use that commander cannot see. */
export class UsageError extends Error {}

export interface CommonOptions {
  readonly json?: boolean;
  readonly width?: number;
}

/** What a command is given besides its own arguments. */
export interface Run {
  readonly out: Output;
  readonly json: boolean;
  readonly signal: AbortSignal;
  /** One loud line on standard error, which neither `--json` nor a pipe hides. */
  warn(text: string): Promise<void>;
  /** Prints a value as JSON, for `--json`. */
  printJson(value: unknown): Promise<void>;
}

const OUTPUT_CODES: ReadonlySet<ErrorCode> = new Set(['DISK_FULL', 'WRITE_FAILED', 'UNSAVABLE']);

/** True for codes that tell of the output, and not of the input. */
export function isOutputFailure(code: string): boolean {
  return OUTPUT_CODES.has(code as ErrorCode) && code !== 'UNSAVABLE';
}

/** Runs a command to its end and leaves with its exit code. */
export async function runCommand(options: CommonOptions, work: (run: Run) => Promise<ExitCode>): Promise<void> {
  const out = new Output(process.stdout, options.width);
  const json = options.json ?? false;
  const abort = new AbortController();
  const interrupts = listenForSignals(abort);
  const err = new Output(process.stderr, options.width);
  const run: Run = {
    out,
    json,
    signal: abort.signal,
    warn: async (text) => {
      await err.line(err.paint(text.startsWith('UNSAFE') ? 'red' : 'yellow', `! ${printable(text)}`));
      // Nobody listening to warnings is no reason to stop.
      await err.flush().catch((error: unknown) => {
        if (!isClosedPipe(error)) throw error;
      });
    },
    printJson: async (value) => out.line(jsonText(value, 2)),
  };
  try {
    process.exitCode = await work(run);
    await out.flush();
  } catch (error) {
    const interrupted = interrupts.exitCode;
    if (isClosedPipe(error)) process.exitCode = EXIT.done;
    else if (interrupted !== undefined) process.exitCode = interrupted;
    else process.exitCode = await tellFailure(error, out, json);
  } finally {
    interrupts.stop();
  }
}

/** The first signal lets the work clean up; a second one ends the process at once. */
function listenForSignals(abort: AbortController): { readonly exitCode: ExitCode | undefined; stop(): void } {
  const state: { exitCode: ExitCode | undefined; stop(): void } = { exitCode: undefined, stop };
  const onInterrupt = (): void => end(EXIT.interrupted);
  const onTerminate = (): void => end(EXIT.terminated);
  /** Work that does not look at the signal is not waited for longer than this; a sink needs it to remove its file. */
  const GRACE_MILLISECONDS = 3000;
  function end(code: ExitCode): void {
    if (state.exitCode !== undefined) process.exit(code);
    state.exitCode = code;
    abort.abort();
    setTimeout(() => process.exit(code), GRACE_MILLISECONDS).unref();
  }
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onTerminate);
  function stop(): void {
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onTerminate);
  }
  return state;
}

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly exitCode: ExitCode;
}

function failureOf(error: unknown): Failure {
  if (isCheckpointError(error)) {
    return {
      code: error.code,
      message: error.message,
      exitCode: OUTPUT_CODES.has(error.code) ? EXIT.output : EXIT.input,
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof UsageError || error instanceof TypeError || error instanceof RangeError)
    return { code: 'USAGE', message, exitCode: EXIT.usage };
  const { code } = error as NodeJS.ErrnoException;
  return { code: typeof code === 'string' ? code : 'INTERNAL', message, exitCode: EXIT.input };
}

export async function tellFailure(error: unknown, out: Output, json: boolean): Promise<ExitCode> {
  const { code, message, exitCode } = failureOf(error);
  if (json) {
    await out.line(jsonText({ error: { code, message } }, 2));
    await out.flush();
  } else {
    await out.flush();
    process.stderr.write(`torch-checkpoint: ${printable(message)}\n`);
  }
  return exitCode;
}
