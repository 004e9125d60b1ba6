/** Progress on standard error: only where a person looks at it, and never more than ten times a second. */
import type { OnProgress } from '../source/progress';
import { humanBytes } from './text';

const INTERVAL_MILLISECONDS = 100;
/** What is done sooner needs no progress. */
const QUIET_MILLISECONDS = 300;

export interface ProgressLine {
  readonly onProgress: OnProgress | undefined;
  /** Takes the line away. */
  end(): void;
}

export function progressLine(): ProgressLine {
  const stream = process.stderr;
  if (!stream.isTTY) return { onProgress: undefined, end: () => undefined };
  let last = Date.now() + QUIET_MILLISECONDS - INTERVAL_MILLISECONDS;
  let shown = false;
  return {
    onProgress: ({ stage, bytes, totalBytes }) => {
      const now = Date.now();
      if (now - last < INTERVAL_MILLISECONDS) return;
      last = now;
      shown = true;
      const share = totalBytes ? ` of ${humanBytes(totalBytes)} (${Math.floor((100 * bytes) / totalBytes)} %)` : '';
      stream.write(`\r\x1b[K${stage}: ${humanBytes(bytes)}${share}`);
    },
    end: () => {
      if (shown) stream.write('\r\x1b[K');
    },
  };
}
