/**
 * Numbers about the elements of a tensor, in passes over bounded pieces: the first finds range and moments, the second
 * fills the histogram. NaN and infinities are counted and left out of everything else.
 */
import { setImmediate } from 'node:timers/promises';
import type { DType } from '../dtype';
import type { OnProgress } from '../source/progress';
import { gatherBlocks } from '../tensor/gather';
import type { Tensor } from '../tensor/tensor';
import { Numbers } from './numbers';

/** Statistics of the elements of a tensor. */
export interface Statistics {
  readonly numel: number;
  readonly nan: number;
  readonly inf: number;
  readonly zeros: number;
  /** Of the finite elements; undefined when there are none. */
  readonly min?: number;
  readonly max?: number;
  readonly mean?: number;
  /** With Bessel's correction, as torch.std; undefined for a single element. */
  readonly std?: number;
  /** Equal steps from min to max; absent where all elements are equal. */
  readonly histogram?: readonly { readonly from: number; readonly to: number; readonly count: number }[];
}

export interface StatisticsOptions {
  signal?: AbortSignal | undefined;
  onProgress?: OnProgress | undefined;
  /** Rows of the histogram; default 12, 0 for none. */
  bins?: number;
}

const DEFAULT_BINS = 12;
/** Pieces between two looks at the event loop: a fraction of a second. */
const PIECES_BETWEEN_TURNS = 32;

/** Undefined for what has no order or no bytes: complex and packed dtypes, meta tensors. */
export async function statisticsOf(tensor: Tensor, options: StatisticsOptions = {}): Promise<Statistics | undefined> {
  const { dtype, numel } = tensor;
  if (tensor.isMeta || dtype.isComplex || dtype.elementsPerByte > 1 || dtype.kind === 'bits') return undefined;
  const { bins = DEFAULT_BINS } = options;
  const moments = new Moments();
  await eachPiece(tensor, 'range', options, (values) => moments.add(values));
  const { nan, inf, zeros, count, min, max, mean } = moments;
  const counts = { numel, nan, inf, zeros };
  if (count === 0) return counts;
  const facts = {
    ...counts,
    min,
    max,
    mean,
    ...(count > 1 ? { std: Math.sqrt(Math.max(0, moments.squares) / (count - 1)) } : {}),
  };
  if (bins < 1 || min === max) return facts;
  const rows = histogramRows(dtype, min, max, bins);
  const filled = new Float64Array(rows);
  const scale = rows / (max / 2 - min / 2) / 2;
  await eachPiece(tensor, 'histogram', options, (values) => {
    for (let i = 0; i < values.length; i++) {
      const value = values[i] as number;
      if (!(value >= min && value <= max)) continue;
      filled[Math.min(rows - 1, Math.floor((value - min) * scale))]!++;
    }
  });
  const step = (max / 2 - min / 2) / rows;
  const edge = (i: number): number => (i === rows ? max : min + 2 * step * i);
  return { ...facts, histogram: Array.from(filled, (count, i) => ({ from: edge(i), to: edge(i + 1), count })) };
}

/** A few integers get a row each. */
function histogramRows(dtype: DType, min: number, max: number, bins: number): number {
  return dtype.isFloatingPoint ? bins : Math.max(1, Math.min(bins, max - min));
}

class Moments {
  nan = 0;
  inf = 0;
  zeros = 0;
  count = 0;
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  mean = 0;
  /** Sum of squared distances from the mean. */
  squares = 0;

  add(values: ArrayLike<number>): void {
    let { min, max } = this;
    let [sum, finite, nan, inf, zeros] = [0, 0, 0, 0, 0];
    for (let i = 0; i < values.length; i++) {
      const value = values[i] as number;
      // False for NaN and infinities alike.
      if (value - value === 0) {
        finite++;
        sum += value;
        if (value < min) min = value;
        if (value > max) max = value;
        if (value === 0) zeros++;
      } else if (value !== value) nan++;
      else inf++;
    }
    Object.assign(this, { min, max });
    this.nan += nan;
    this.inf += inf;
    this.zeros += zeros;
    if (finite === 0) return;
    const mean = sum / finite;
    let squares = 0;
    for (let i = 0; i < values.length; i++) {
      const distance = (values[i] as number) - mean;
      if (distance - distance === 0) squares += distance * distance;
    }
    // Chan's formula joins the moments of two samples without losing the digits that sums of squares lose.
    const total = this.count + finite;
    const between = mean - this.mean;
    this.squares += squares + (between * between * this.count * finite) / total;
    this.mean += (between * finite) / total;
    this.count = total;
  }
}

async function eachPiece(
  tensor: Tensor,
  stage: string,
  options: StatisticsOptions,
  visit: (values: ArrayLike<number>) => void,
): Promise<void> {
  const { dtype, numel, nbytes } = tensor;
  if (numel === 0) return;
  const numbers = new Numbers(dtype);
  let pieces = 0;
  for (const { bytes, numel: count, start } of gatherBlocks(tensor)) {
    visit(numbers.in(bytes, count));
    if (++pieces % PIECES_BETWEEN_TURNS !== 0) continue;
    options.onProgress?.({ stage, bytes: (start + count) * dtype.itemsize, totalBytes: nbytes });
    await setImmediate();
    options.signal?.throwIfAborted();
  }
}
