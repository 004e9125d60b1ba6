/**
 * The memo of the pickle machine: what PUT stores and GET recalls, by number.
 *
 * Numbers are consecutive in what Python writes, and a state dict of a hundred thousand tensors stores eight for each of
 * them and recalls none. So the numbers that the fast path passes over are not stored but noted as a run, and the entries
 * are a list in which the runs take no room:
 *
 *   values, origins   the entries of the numbers #base, #base + 1, ... without those in runs
 *   runs              first number, count, numbers of all runs up to and with this one, the texts at its beginning
 *   #far              entries out of order, which come before all others: an index costs nothing itself
 */

import { NotCanonical } from './canonical-tensor';
import { decodeUtf8 } from './decode';
import { ChunkedList, grown, IntegerList } from './lists';
import type { PyValue } from './values';

/** Numbers of one run: its first, how many, and how many there are in all runs up to it. */
const RUN_FIELDS = 6;
const FIRST = 0;
const COUNT = 1;
const SKIPPED = 2;
/** Of the first entry, where it is a string: where the text stands, and the number of the string object. */
const TEXT = 3;
const TEXT_ID = 4;
/** Where the text of the second entry stands: its string object is the one after the first's. */
const SECOND_TEXT = 5;

export class Memo {
  /** What `find` found, and its origin (see machine.ts). */
  value: PyValue = null;
  origin = 0;
  /** Numbers under which something is stored, those of runs included: MEMOIZE takes this one next, as Python does. */
  count = 0;
  /** How often one was out of order, or took the place of one that was: what was found before may be replaced. */
  strays = 0;

  readonly #bytes: Buffer;
  readonly #values = new ChunkedList<PyValue>();
  readonly #origins = new IntegerList();
  #base = 0;
  #next = 0;
  #runs = new Int32Array(64 * RUN_FIELDS);
  #runCount = 0;
  #skipped = 0;
  readonly #far = new Map<number, readonly [value: PyValue, origin: number]>();
  #furthest = -1;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** The number that continues the order. */
  get next(): number {
    return this.#next;
  }

  /** Whether a number that the order has yet to reach may be taken: the order then stores something else under it. */
  get isAhead(): boolean {
    return this.#furthest >= this.#next;
  }

  put(index: number, value: PyValue, origin: number): void {
    // cPickle of Python 2 counts from 1.
    if (this.#next === 0 && this.#runCount === 0 && index === 1) this.#base = this.#next = 1;
    if (index !== this.#next) {
      if (!this.#far.has(index) && (index < this.#base || index > this.#next)) this.count++;
      this.strays++;
      this.#far.set(index, [value, origin]);
      this.#furthest = Math.max(this.#furthest, index);
      return;
    }
    // What was stored last under a number is what it recalls.
    if (this.isAhead && this.#far.delete(index)) this.strays++;
    else this.count++;
    this.#values.push(value);
    this.#origins.push(origin);
    this.#next++;
  }

  /**
   * Passes over `count` numbers from `next` on; not where `isAhead`. The first two may be texts, -1 where one is something
   * else; `firstId` is the number of the first's string object, and the second's is the next.
   */
  skip(count: number, firstText: number, secondText: number, firstId: number): void {
    this.count += count;
    this.#skipped += count;
    const at = this.#runCount++ * RUN_FIELDS;
    if (at === this.#runs.length) this.#runs = grown(this.#runs);
    const runs = this.#runs;
    runs[at + FIRST] = this.#next;
    runs[at + COUNT] = count;
    runs[at + SKIPPED] = this.#skipped;
    runs[at + TEXT] = firstText;
    runs[at + TEXT_ID] = firstId;
    runs[at + SECOND_TEXT] = secondText;
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

  /** What was stored there; undefined where nothing was. Throws NotCanonical as `find`. */
  valueAt(index: number): PyValue | undefined {
    return this.find(index) ? this.value : undefined;
  }

  #field(run: number, field: number): number {
    return this.#runs[run * RUN_FIELDS + field] as number;
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
    const start = inRun > 1 ? -1 : this.#field(run, inRun === 0 ? TEXT : SECOND_TEXT);
    if (start < 0) throw new NotCanonical();
    this.value = decodeUtf8(this.#bytes, start, start + this.#bytes.readUInt32LE(start - 4));
    this.origin = this.#field(run, TEXT_ID) + inRun;
    return true;
  }
}
