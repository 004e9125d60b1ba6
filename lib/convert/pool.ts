/** Threads that convert files, so many at a time as their number and one budget of memory allow. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { OnProgress, Progress } from '../source/progress';
import { type Outcome, runTask, type Task } from './job';
import type { ToWorker } from './worker';

type FromWorker =
  | { readonly kind: 'progress'; readonly progress: Progress }
  | { readonly kind: 'outcome'; readonly outcome: Outcome }
  | { readonly kind: 'aborted' };

export interface PoolOptions {
  readonly threads: number;
  /** Bytes that all running tasks together are expected to take at most; one task always runs. */
  readonly memoryBytes: number;
  readonly signal: AbortSignal | undefined;
}

interface Waiting {
  readonly bytes: number;
  start(): void;
}

export class Pool {
  readonly #options: PoolOptions;
  readonly #idle: Worker[] = [];
  readonly #all: Worker[] = [];
  readonly #waiting: Waiting[] = [];
  #running = 0;
  #takenBytes = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Runs a task when there is room for it, in order. Rejects with the signal's reason when it is aborted. */
  async run(task: Task, bytes: number, onProgress: OnProgress): Promise<Outcome> {
    await this.#admit(bytes);
    try {
      this.#options.signal?.throwIfAborted();
      const worker = this.#worker(task);
      return await (worker ? this.#send(worker, task, onProgress) : runTask(task, this.#options.signal, onProgress));
    } finally {
      this.#running--;
      this.#takenBytes -= bytes;
      this.#next();
    }
  }

  #admit(bytes: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ bytes, start: resolve });
      this.#next();
    });
  }

  #next(): void {
    const { threads, memoryBytes } = this.#options;
    for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
      const fits = this.#running === 0 || (this.#running < threads && this.#takenBytes + first.bytes <= memoryBytes);
      if (!fits) return;
      this.#waiting.shift();
      this.#running++;
      this.#takenBytes += first.bytes;
      first.start();
    }
  }

  /** Undefined where the task is done on this thread: it is the only one, or has functions among its options. */
  #worker(task: Task): Worker | undefined {
    const file = join(__dirname, 'worker.js');
    // Where the sources run uncompiled there is no file that a thread could run.
    if (this.#options.threads === 1 || !canBeSent(task) || !existsSync(file)) return undefined;
    const idle = this.#idle.pop();
    if (idle) return idle;
    const worker = new Worker(file);
    this.#all.push(worker);
    return worker;
  }

  #send(worker: Worker, task: Task, onProgress: OnProgress): Promise<Outcome> {
    const { signal } = this.#options;
    return new Promise((resolve, reject) => {
      const post = (message: ToWorker): void => worker.postMessage(message);
      const onAbort = (): void => post({ kind: 'abort' });
      const end = (): void => {
        worker.off('message', onMessage);
        worker.off('error', onError);
        signal?.removeEventListener('abort', onAbort);
      };
      const onMessage = (message: FromWorker): void => {
        if (message.kind === 'progress') return onProgress(message.progress);
        end();
        this.#idle.push(worker);
        if (message.kind === 'outcome') resolve(message.outcome);
        else reject(signal?.reason as Error);
      };
      // A thread that ran out of memory is gone, and its file has failed.
      const onError = (error: Error): void => {
        end();
        resolve({ kind: 'failed', code: 'INTERNAL', message: error.message });
      };
      worker.on('message', onMessage);
      worker.on('error', onError);
      signal?.addEventListener('abort', onAbort, { once: true });
      post({ kind: 'task', task });
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((worker) => worker.terminate()));
  }
}

function canBeSent({ options }: Task): boolean {
  const { rename, mapLocation } = options;
  const rules = Array.isArray(rename) ? rename : [rename];
  return (
    !rules.some((rule) => typeof rule === 'function') &&
    typeof mapLocation !== 'function' &&
    typeof mapLocation !== 'object' &&
    typeof options.dtype !== 'object'
  );
}
