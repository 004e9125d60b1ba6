/** Averaged weights (EMA) that stand beside the trained ones in one state dict. */
import { CheckpointError } from '../errors';
import type { Named } from './aliases';

/**
 * The averaged weights under the names of the trained ones. Two customs are known: latent diffusion's `model_ema.` with
 * the dots of the names left out, for what is below `model.`, and a prefix before otherwise equal names. What has no
 * average stays as it is. Throws NOT_FOUND where there are none at all.
 */
export function useAverages(entries: readonly Named[], already: boolean): Named[] {
  if (already) return [...entries];
  const squeezed = replaced(entries, 'model_ema.', (name) =>
    name.startsWith('model.') ? `model_ema.${name.slice(6).replaceAll('.', '')}` : undefined,
  );
  if (squeezed) return squeezed;
  for (const prefix of ['ema_model.', 'model_ema.', 'ema.']) {
    const found =
      replaced(entries, prefix, (name) => `${prefix}${name}`) ??
      replaced(entries, prefix, (name) => `${prefix}${name.slice(name.indexOf('.') + 1)}`);
    if (found) return found;
  }
  throw new CheckpointError('NOT_FOUND', 'no averaged (EMA) weights are in the checkpoint', {
    hint: 'name their root if they stand somewhere unusual',
  });
}

function replaced(
  entries: readonly Named[],
  prefix: string,
  averageOf: (name: string) => string | undefined,
): Named[] | undefined {
  const averages = new Map(entries.filter(({ name }) => name.startsWith(prefix)).map((entry) => [entry.name, entry]));
  if (averages.size === 0) return undefined;
  let count = 0;
  const result: Named[] = [];
  for (const entry of entries) {
    if (averages.has(entry.name)) continue;
    const average = averages.get(averageOf(entry.name) ?? '');
    if (average) count++;
    result.push(average ? { ...average, name: entry.name } : entry);
  }
  return count > 0 ? result : undefined;
}
