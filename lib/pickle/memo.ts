/**
 * The memo of the pickle machine: what PUT stores and GET recalls, by number.
 *
 * Numbers are consecutive in what Python writes, and a state dict of a hundred thousand tensors stores eight for each of
 * them and recalls none. So the numbers that the fast path passes over are not stored but noted as a run, and the entries
 * are a list in which the runs take no room:
 *
 *   values, origins   the entries of the numbers #base, #base + 1, ... without those in runs
 *   runs              first number, count, numbers of all runs up to and with this one, the texts at its beginning
 *   #far              entries out of order: an index costs nothing itself
 */
import { NotCanonical } from './canonical-tensor';
import { ChunkedList } from './chunked-list';
import { decodeUtf8 } from './decode';
import type { PyValue } from './values';

/** Numbers of one run: its first, how many, and how many there are in all runs up to it. */
const RUN_FIELDS = 7;
const FIRST = 0;
const COUNT = 1;
const SKIPPED = 2;
/** Of the first and the second entry, where they are strings: where the text stands, and the number of the string object. */
const TEXTS = 3;
/** Runs stand in blocks of this many: a list that doubles would copy megabytes. */
const BLOCK_RUNS = 512;

export class Memo {
  /** What `find` found, and its origin (see machine.ts). */
  value: PyValue = null;
  origin = 0;
  /** Entries stored, those of runs included. */
  count = 0;

  readonly #bytes: Buffer;
  readonly #values = new ChunkedList<PyValue>();
  readonly #origins = new ChunkedList<number>();
  #base = 0;
  #next = 0;
  readonly #blocks: Int32Array[] = [];
  #runCount = 0;
  #skipped = 0;
  readonly #far = new Map<number, readonly [value: PyValue, origin: number]>();

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** The number that continues the order. */
  get next(): number {
    return this.#next;
  }

  put(index: number, value: PyValue, origin: number): void {
    this.count++;
    // cPickle of Python 2 counts from 1.
    if (this.#next === 0 && this.#runCount === 0 && index === 1) this.#base = this.#next = 1;
    if (index !== this.#next) {
      this.#far.set(index, [value, origin]);
      return;
    }
    this.#values.push(value);
    this.#origins.push(origin);
    this.#next++;
  }

  /** Passes over `count` numbers from `next` on, of which the first two may be texts: -1 where one is something else. */
  skip(count: number, firstText: number, firstId: number, secondText: number, secondId: number): void {
    this.count += count;
    this.#skipped += count;
    const within = this.#runCount % BLOCK_RUNS;
    if (within === 0) this.#blocks.push(new Int32Array(BLOCK_RUNS * RUN_FIELDS));
    const block = this.#blocks[this.#blocks.length - 1] as Int32Array;
    const at = within * RUN_FIELDS;
    block[at + FIRST] = this.#next;
    block[at + COUNT] = count;
    block[at + SKIPPED] = this.#skipped;
    block[at + TEXTS] = firstText;
    block[at + TEXTS + 1] = firstId;
    block[at + TEXTS + 2] = secondText;
    block[at + TEXTS + 3] = secondId;
    this.#runCount++;
    this.#next += count;
  }

  /** Sets `value` and `origin`; false when nothing was stored there. Throws NotCanonical for what a run passed over. */
  find(index: number): boolean {
    const far = this.#far.size > 0 ? this.#far.get(index) : undefined;
    if (far) [this.value, this.origin] = far;
    else if (index < this.#base || index >= this.#next) return false;
    else {
      const run = this.#runBefore(index);
      const inRun = run < 0 ? 0 : index - this.#field(run, FIRST);
      if (run >= 0 && inRun < this.#field(run, COUNT)) return this.#findText(run, inRun);
      const position = index - this.#base - (run < 0 ? 0 : this.#field(run, SKIPPED));
      this.value = this.#values.at(position);
      this.origin = this.#origins.at(position);
    }
    return true;
  }

  #field(run: number, field: number): number {
    const block = this.#blocks[Math.floor(run / BLOCK_RUNS)] as Int32Array;
    return block[(run % BLOCK_RUNS) * RUN_FIELDS + field] as number;
  }

  /** The last run that begins at or before the number; -1 when there is none. */
  #runBefore(index: number): number {
    // What is recalled most, PyTorch's constants, stands before all tensors.
    if (this.#runCount === 0 || index < this.#field(0, FIRST)) return -1;
    let low = 0;
    let high = this.#runCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#field(middle, FIRST) <= index) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Strings of a run are recalled: a storage key where two tensors share it, the key of a dict by another dict. */
  #findText(run: number, inRun: number): true {
    const start = inRun > 1 ? -1 : this.#field(run, TEXTS + inRun * 2);
    if (start < 0) throw new NotCanonical();
    this.value = decodeUtf8(this.#bytes, start, start + this.#bytes.readUInt32LE(start - 4));
    this.origin = this.#field(run, TEXTS + inRun * 2 + 1);
    return true;
  }
}
