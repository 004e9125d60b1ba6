import { getHeapStatistics } from 'node:v8';

/**
 * Budgets that keep a hostile file from exhausting the process. Each default is far above any real checkpoint and far
 * below what would hurt; a file that goes over one is refused with LIMIT_EXCEEDED naming the limit.
 */
export interface Limits {
  /** Records of a zip container. Real ones have one per storage: a million at the very most. */
  maxRecords: number;
  /** Bytes of one pickle. 100,000 tensors take about 20 MB. */
  maxPickleBytes: number;
  /** Opcodes of one pickle: a tensor takes about 25. */
  maxOpcodes: number;
  /** Memo entries of one pickle: a tensor takes about 8. The memo is no array, so the index itself may be anything. */
  maxMemoEntries: number;
  /** Values on the pickle's stack: a dict of a million items is built in batches of 1,000, a tuple of a million is not. */
  maxStackDepth: number;
  /** Marks on it at one time, one for each level of nesting at most. Python writes no more than some 10,000. */
  maxMarks: number;
  /**
   * Bytes of memory that the dicts, lists, tuples, sets and objects of one pickle may take, beside those of the pickle
   * itself: about 256 for each, and what calls copy. A byte of a pickle can ask for a dict, so that 20 MB would fill the
   * heap. Default: half of the largest heap of this process; `--max-old-space-size` raises both. Unless the limit is given,
   * it is also no more than 128 MiB and 128 times what the pickle takes in the file; and what calls copy, 32 MiB and 32 times.
   */
  maxObjectBytes: number;
  /** Bytes of all strings of one pickle, after decoding. */
  maxStringBytes: number;
  /** Bytes of one big integer. Python itself refuses to print more than 4,300 digits, about 1,800 bytes. */
  maxIntegerBytes: number;
  /**
   * Bytes that all deflated records of one checkpoint may inflate to; and the ratio one record may reach. Unless it is given,
   * that of a pickle which inflates to more than 32 MiB is 100.
   */
  maxInflatedBytes: number;
  maxInflateRatio: number;
  /** Nested torch.save blobs inside a bare pickle, counted over the whole file. */
  maxNestedCheckpoints: number;
  /** Bytes that a stream or Blob may spool, in memory first and then in a temporary file. */
  maxSpoolBytes: number;
  /** Bytes of a safetensors header; the format's own limit. */
  maxHeaderBytes: number;
}

/** Half of the largest heap of this process. */
let heapShare: number | undefined;

/** The limits that hold where none are given. */
export const DEFAULT_LIMITS: Limits = {
  maxRecords: 4_000_000,
  maxPickleBytes: 2 ** 31 - 1,
  maxOpcodes: 400_000_000,
  maxMemoEntries: 50_000_000,
  maxStackDepth: 20_000_000,
  maxMarks: 1_000_000,
  // Asked for when it matters: few pickles take much memory beside their own bytes, and `node:v8` takes long to load.
  get maxObjectBytes() {
    heapShare ??= Math.floor(getHeapStatistics().heap_size_limit / 2);
    return heapShare;
  },
  maxStringBytes: 2 ** 31 - 1,
  maxIntegerBytes: 65_536,
  maxInflatedBytes: 16 * 2 ** 30,
  // Raw deflate cannot exceed 1032:1; real weights reach 2:1, tensors of zeros come close to the maximum.
  maxInflateRatio: 1100,
  maxNestedCheckpoints: 1_000_000,
  maxSpoolBytes: 64 * 2 ** 30,
  maxHeaderBytes: 100_000_000,
};

/** The defaults with what the caller sets; an undefined budget is the default one. */
export function limitsOf(given: Partial<Limits> = {}): Limits {
  const limits: Limits = Object.create(DEFAULT_LIMITS);
  for (const [name, value] of Object.entries(given))
    if (value !== undefined) Object.defineProperty(limits, name, { value, enumerable: true });
  return limits;
}
