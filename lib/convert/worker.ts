/** The far side of `pool.ts`: does one task at a time and tells how far it is. */
import { parentPort } from 'node:worker_threads';
import { runTask, type Task } from './job';

export type ToWorker = { readonly kind: 'task'; readonly task: Task } | { readonly kind: 'abort' };

/** Messages that say no more than "a little further" would only fill the queue. */
const PROGRESS_MILLISECONDS = 100;

const port = parentPort;
let abort = new AbortController();
port?.on('message', (message: ToWorker) => {
  if (message.kind === 'abort') {
    abort.abort();
    return;
  }
  abort = new AbortController();
  let last = 0;
  runTask(message.task, abort.signal, (progress) => {
    if (Date.now() - last < PROGRESS_MILLISECONDS) return;
    last = Date.now();
    port.postMessage({ kind: 'progress', progress });
  }).then(
    (outcome) => port.postMessage({ kind: 'outcome', outcome }),
    () => port.postMessage({ kind: 'aborted' }),
  );
});
