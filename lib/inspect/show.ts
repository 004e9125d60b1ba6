/** One value of a checkpoint as Python prints it; for a tensor with numbers about its elements. */
import type { LoadOptions } from '../load';
import { pyFloat } from '../pickle/values';
import { repr } from '../repr';
import type { CheckpointSource } from '../source/open-source';
import { NestedTensor } from '../tensor/nested';
import { QuantizedTensor } from '../tensor/quantized';
import type { Tensor } from '../tensor/tensor';
import { type AnyTensor, isTensor } from '../walk';
import { atHand, findValue, isFloatAt } from './find';
import { factsOf, type TensorFacts } from './inspect';
import { openAny, told } from './opening';
import { type Statistics, statisticsOf } from './statistics';
import { stridedParts } from './storage-use';
import { summarise } from './summary';
import { unsafeWarnings } from './unsafe';

/** What `show` tells about a value. */
export interface Shown {
  readonly path: string;
  /** Python's name of the type; `tensor` for tensors. */
  readonly kind: string;
  /** What Python prints. */
  readonly text: string;
  readonly tensor?: TensorFacts;
  /** Of the elements; of a sparse tensor those it stores, of a quantized one the integers. */
  readonly statistics?: Statistics;
  /** Loud words about the file: what would run where Python loads it. Absent where there is nothing to say. */
  readonly warnings?: readonly string[];
}

/** Options of `show`. */
export interface ShowOptions extends Pick<LoadOptions, 'io' | 'limits' | 'signal' | 'onProgress' | 'encoding'> {
  /** Read all elements for their statistics; default true. */
  statistics?: boolean;
  /** Rows of the histogram; default 12. */
  bins?: number;
}

/**
 * The value at `path`; the empty path is the whole checkpoint. Elements are read in bounded pieces, whatever the size.
 * Dangerous globals stay inert and are told in `warnings`. Throws CheckpointError, NOT_FOUND where there is no such path.
 */
export async function show(source: CheckpointSource, path: string, options: ShowOptions = {}): Promise<Shown> {
  // By position rather than by mapping: a sweep over a large tensor would make all of it resident.
  const { statistics = true, bins, io = 'read', ...others } = options;
  const reading = { ...others, io };
  const { checkpoint, warnings: leftOut } = await openAny(source, { ...reading, unsafeGlobals: 'inert' });
  try {
    const value = findValue(checkpoint, path, typeof source === 'string' ? source : undefined);
    const warnings = told(unsafeWarnings([checkpoint.info.globals, 'this file']), leftOut);
    if (!isTensor(value)) {
      const isFloat = typeof value === 'number' && Number.isInteger(value) && isFloatAt(checkpoint, path);
      return { path, kind: summarise(value, isFloat).kind, text: repr(isFloat ? pyFloat(value) : value), ...warnings };
    }
    const numbers = statistics
      ? await statisticsOf(await atHand(valuesOf(value)), {
          signal: options.signal,
          onProgress: options.onProgress,
          ...(bins === undefined ? {} : { bins }),
        })
      : undefined;
    const text = repr(await printed(value));
    return {
      path,
      kind: 'tensor',
      text,
      tensor: factsOf(path, value, undefined),
      ...(numbers ? { statistics: numbers } : {}),
      ...warnings,
    };
  } finally {
    checkpoint.close();
  }
}

function valuesOf(tensor: AnyTensor): Tensor {
  return stridedParts(tensor)[0] as Tensor;
}

/** Printing reads at once, which only a plain tensor on a server is prepared for here. */
async function printed(tensor: AnyTensor): Promise<AnyTensor> {
  const isPlain = !(tensor instanceof NestedTensor || tensor instanceof QuantizedTensor) && tensor === valuesOf(tensor);
  return isPlain ? atHand(valuesOf(tensor)) : tensor;
}
