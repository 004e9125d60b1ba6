/** What `onProgress` is called with, from time to time and once more at the end of a stage. */
export interface Progress {
  /** What is being done; `spool` while a stream, Blob or URL is taken in. */
  readonly stage: string;
  readonly bytes: number;
  /** Undefined while the total is not known. */
  readonly totalBytes: number | undefined;
}

/** Called as work goes on; what it throws ends the work. */
export type OnProgress = (progress: Progress) => void;
