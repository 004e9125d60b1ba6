/**
 * The guard against regressions: ratios of now against recorded ones, with generous bounds. It is a bench, not a test.
 *
 * Absolute times belong to a machine, so ours are measured against what others took in the same run. A regression shows as
 * all of them gaining on us: their median gain must be more than `BOUND`, and it must be so again when it is measured anew.
 */
import { median } from './report.mjs';

/** A step that takes three times as long has another design; less is noise on a busy machine. */
export const BOUND = 3;

/** Rows of ours that are slower than recorded: `{ task, size, contender, factor }`. */
export function regressions(rows, recorded) {
  const found = [];
  for (const row of rows.filter(isOurs)) {
    const known = same(recorded, row);
    if (!known) continue;
    const factors = rows
      .filter((other) => !isOurs(other) && other.task === row.task && other.size === row.size)
      .flatMap((other) => {
        const before = same(recorded, other);
        return before ? [row.medianMs / other.medianMs / (known.medianMs / before.medianMs)] : [];
      });
    if (factors.length === 0) continue;
    const factor = median(factors);
    if (factor > BOUND) found.push({ task: row.task, size: row.size, contender: row.contender, factor });
  }
  return found;
}

export const isOurs = ({ contender }) => contender.startsWith('ours');

const same = (rows, { task, size, contender }) =>
  rows.find((row) => row.task === task && row.size === size && row.contender === contender);
