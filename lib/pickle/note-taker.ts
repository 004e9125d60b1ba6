/**
 * Gathers the strings of one pickle while it is read, and writes the notes that turn out to be needed at its end: those on
 * strings that have an equal twin among the other string objects (see notes.ts).
 *
 * A state dict is one string after another, and hardly ever two equal ones. The keys of a dict differ among themselves,
 * so that nothing is remembered of each: a run of them is the dict and the numbers of its string objects, which are evenly
 * spaced. The dict with the most keys is itself the set in which the other strings are looked up; of these the hashes are
 * remembered, and only texts whose hash was met under another string object are looked at again.
 */
import { ChunkedList, IntegerList } from './lists';
import { noteKey, noteString, StringIdentity } from './notes';
import type { PyValue } from './values';

/** Keys that came to a dict one after another, and whose string objects have the numbers firstId, firstId + step, ... */
interface KeyRun {
  readonly dict: Map<PyValue, PyValue>;
  /** How many keys the dict had before. */
  readonly start: number;
  readonly firstId: number;
  step: number;
  count: number;
}

export class NoteTaker {
  readonly #runs: KeyRun[] = [];
  /** Parallel: a slot that is no such key, and the id of the string there, negative where the string is the key. */
  readonly #slots = new ChunkedList<PyValue>();
  readonly #ids = new IntegerList();
  /** Whose slots they are: the container from each of these positions on. */
  readonly #containers: object[] = [];
  readonly #begins: number[] = [];
  /** Texts that PyTorch takes from a constant of its own, with the id of that object. */
  readonly #constants = new Map<string, number>();
  readonly #suspects = new Set<string>();
  readonly #hashes: HashSet;
  /** One bit for each string object whose hash was entered. */
  #entered = new Uint32Array(64);

  /** `byteLength`: of the pickle, which bounds how many strings there are. */
  constructor(byteLength: number) {
    this.#hashes = new HashSet(byteLength);
  }

  /** A string with the given id has just become the last key of the dict. */
  key(dict: Map<PyValue, PyValue>, id: number): void {
    const start = dict.size - 1;
    const run = this.#runs[this.#runs.length - 1];
    if (run !== undefined && run.dict === dict && run.start + run.count === start) {
      if (run.count === 1) run.step = id - run.firstId;
      if (id === run.firstId + run.count * run.step) {
        run.count++;
        return;
      }
    }
    this.#runs.push({ dict, start, firstId: id, step: 0, count: 1 });
  }

  /** A string with the given id sits in the value slot, or is the key itself where `isKey`. */
  string(container: object, slot: PyValue, text: string, id: number, isKey: boolean): void {
    this.#enter(text, id);
    const at = this.#slots.length;
    if (this.#containers[this.#containers.length - 1] !== container) {
      this.#containers.push(container);
      this.#begins.push(at);
    }
    this.#slots.push(slot);
    this.#ids.push(isKey ? -id : id);
  }

  /** The string object that PyTorch itself uses for a constant such as 'cpu': it is the one that is shared by value. */
  constant(text: string, id: number): void {
    if (this.#constants.get(text) === id) return;
    this.#constants.set(text, id);
    this.#enter(text, id);
  }

  #enter(text: string, id: number): void {
    const word = id >>> 5;
    if (word >= this.#entered.length) {
      const grown = new Uint32Array(word * 2);
      grown.set(this.#entered);
      this.#entered = grown;
    }
    const bit = 1 << (id & 31);
    const bits = this.#entered[word] as number;
    if (bits & bit) return;
    this.#entered[word] = bits | bit;
    if (!this.#hashes.add(text)) this.#suspects.add(text);
  }

  finish(): void {
    this.#compareKeys();
    if (this.#suspects.size === 0) return;
    // The object that stands for a text without a note: PyTorch's own, else the first one met.
    const canonical = new Map(this.#constants);
    const identities = new Map<number, StringIdentity>();
    /** The identity of the object that needs a note. */
    const identityOf = (text: string, id: number): StringIdentity | undefined => {
      const first = canonical.get(text);
      if (first === undefined) canonical.set(text, id);
      if (first === undefined || first === id) return undefined;
      let identity = identities.get(id);
      if (!identity) identities.set(id, (identity = new StringIdentity(text)));
      return identity;
    };
    this.#eachKey(undefined, (dict, key, id) => {
      const identity = this.#suspects.has(key) ? identityOf(key, id) : undefined;
      if (identity) noteKey(dict, key, identity);
    });
    this.#eachSlot((container, slot, isKey, text, id) => {
      const identity = this.#suspects.has(text) ? identityOf(text, id) : undefined;
      if (!identity) return;
      if (isKey) noteKey(container, slot, identity);
      else noteString(container, slot, identity);
    });
  }

  /** Keys of dicts against those of other dicts and all other strings. */
  #compareKeys(): void {
    let longest = this.#runs[0];
    if (!longest) return;
    for (const run of this.#runs) if (run.count > longest.count) longest = run;
    const { dict } = longest;
    const suspect = (text: string): void => {
      if (dict.has(text)) this.#suspects.add(text);
    };
    for (const text of this.#constants.keys()) suspect(text);
    this.#eachSlot((_container, _slot, _isKey, text) => suspect(text));
    this.#eachKey(dict, (_dict, key, id) => {
      this.#enter(key, id);
      suspect(key);
    });
  }

  /** The keys of all dicts but `except`. Nothing takes a key away from a dict while a pickle is read. */
  #eachKey(except: object | undefined, use: (dict: Map<PyValue, PyValue>, key: string, id: number) => void): void {
    // Of dicts that have more keys than those of the run.
    const walks = new Map<object, { readonly keys: Iterator<PyValue>; passed: number }>();
    for (const { dict, start, firstId, step, count } of this.#runs) {
      if (dict === except) continue;
      const walk = walks.get(dict) ?? { keys: dict.keys(), passed: 0 };
      if (start + count < dict.size) walks.set(dict, walk);
      for (; walk.passed < start; walk.passed++) walk.keys.next();
      for (let i = 0; i < count; i++, walk.passed++) {
        const key = walk.keys.next().value;
        if (typeof key === 'string') use(dict, key, firstId + i * step);
      }
    }
  }

  #eachSlot(use: (container: object, slot: PyValue, isKey: boolean, text: string, id: number) => void): void {
    for (let i = 0, next = 0; i < this.#slots.length; i++) {
      while (next < this.#begins.length && (this.#begins[next] as number) <= i) next++;
      const container = this.#containers[next - 1] as object;
      const slot = this.#slots.at(i);
      const signed = this.#ids.at(i);
      const text = signed < 0 ? slot : slotValue(container, slot);
      if (typeof text === 'string') use(container, slot, signed < 0, text, Math.abs(signed));
    }
  }
}

/** At most this many bits: they must stay in the caches, since each string meets another of them. */
const MAX_HASH_BITS = 1 << 24;
const MIN_HASH_BITS = 1 << 12;

/** Which hashes were met, one bit for each. Other strings have the same one now and then; they are compared in the end. */
class HashSet {
  readonly #byteLength: number;
  #bits: Uint32Array | undefined;

  constructor(byteLength: number) {
    this.#byteLength = byteLength;
  }

  /** Enters the text; false when its hash was met before. */
  add(text: string): boolean {
    // FNV-1a over UTF-16 units.
    let hash = 0x811c9dc5;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    this.#bits ??= this.#empty();
    const at = (hash ^ (hash >>> 15)) & (this.#bits.length * 32 - 1);
    const word = this.#bits[at >>> 5] as number;
    const bit = 1 << (at & 31);
    if (word & bit) return false;
    this.#bits[at >>> 5] = word | bit;
    return true;
  }

  #empty(): Uint32Array {
    let size = MIN_HASH_BITS;
    while (size < this.#byteLength && size < MAX_HASH_BITS) size *= 2;
    return new Uint32Array(size / 32);
  }
}

function slotValue(container: object, slot: PyValue): unknown {
  if (container instanceof Map) return container.get(slot);
  if (Array.isArray(container)) return container[slot as number];
  return slot === 'state' ? (container as { state?: unknown }).state : undefined;
}
