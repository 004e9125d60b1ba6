/** Waiting that an AbortSignal ends at once, even where what is waited for never comes. */

/** As `promise`, or rejects with the signal's reason when that is sooner. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** The chunks of `source`. On an abort the source is told to end, but not waited for. */
export async function* abortableChunks(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  let done = false;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const next = await abortable(iterator.next(), signal);
      if (next.done) {
        done = true;
        return;
      }
      yield next.value;
    }
  } finally {
    if (!done) {
      const ended = iterator.return?.(undefined)?.catch(() => undefined);
      if (!signal?.aborted) await ended;
    }
  }
}
