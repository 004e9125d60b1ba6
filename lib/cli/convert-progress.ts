/** Progress of a conversion on standard error, where a person looks: the total, the rate, the time left, the file at hand. */
import type { BatchProgress } from '../convert/directory';
import { columnsOf, humanBytes, printable, shorten } from './text';

type Told = { readonly bytes: number; readonly totalBytes: number | undefined } & Partial<BatchProgress>;

export interface Meter {
  readonly onProgress: ((progress: Told) => void) | undefined;
  /** Takes the line away. */
  end(): void;
}

const INTERVAL_MILLISECONDS = 100;
/** What is done sooner needs no progress. */
const QUIET_MILLISECONDS = 300;
/** The first pieces tell nothing of how long the rest takes. */
const SETTLED_SECONDS = 1;

export function progressMeter(): Meter {
  const stream = process.stderr;
  if (!stream.isTTY) return { onProgress: undefined, end: () => undefined };
  const start = Date.now();
  let last = start + QUIET_MILLISECONDS - INTERVAL_MILLISECONDS;
  let shown = false;
  return {
    onProgress: (progress) => {
      const now = Date.now();
      if (now - last < INTERVAL_MILLISECONDS) return;
      last = now;
      shown = true;
      stream.write(`\r\x1b[K${progressText(progress, (now - start) / 1000, (stream.columns || 80) - 1)}`);
    },
    end: () => {
      if (shown) stream.write('\r\x1b[K');
    },
  };
}

/** One line of at most so many columns; the name of the file is what gets shorter. */
export function progressText(progress: Told, seconds: number, columns: number): string {
  const { bytes, totalBytes, file, fileBytes, fileTotalBytes, filesDone, files } = progress;
  const rate = seconds > 0 ? bytes / seconds : 0;
  const parts = [
    totalBytes
      ? `${humanBytes(bytes)} of ${humanBytes(totalBytes)} (${percent(bytes, totalBytes)})`
      : humanBytes(bytes),
    `${humanBytes(rate)}/s`,
  ];
  if (totalBytes && rate > 0 && seconds >= SETTLED_SECONDS) parts.push(`${duration((totalBytes - bytes) / rate)} left`);
  if (files !== undefined) parts.push(`file ${Math.min((filesDone ?? 0) + 1, files)} of ${files}`);
  // Where there is no room for all of it, the rate is what is missed least.
  if (columnsOf(parts.join(', ')) > columns) parts.splice(1, 1);
  const text = parts.join(', ');
  if (file === undefined) return shorten(text, columns);
  const share = fileBytes !== undefined && fileTotalBytes ? ` ${percent(fileBytes, fileTotalBytes)}` : '';
  const room = columns - columnsOf(text) - share.length - 2;
  return room < 8 ? shorten(text, columns) : `${text}: ${shorten(printable(file), room)}${share}`;
}

function percent(part: number, whole: number): string {
  return `${Math.floor((100 * part) / whole)} %`;
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  return whole < 100 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
