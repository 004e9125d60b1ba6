/**
 * The fast path of the pickle machine: tensors as `torch.save` always writes them.
 *
 * A checkpoint is mostly this one run of opcodes, over and over (`hN` recalls a memo entry, `qN` stores one, `i` is an
 * integer):
 *
 *     ( ( h'storage' h<Class> X<key> q h'cpu' i<numel> t q Q i<offset> <size> <stride> F h<OrderedDict> ) R q t q R
 *
 * where the first use of a constant is written out instead of recalled, which the machine reads in its slow way. The run
 * is recognised here without making the tuples that it describes. They get memo numbers, but nothing PyTorch writes ever
 * recalls them; a pickle that does is read again from its start without this path.
 *
 * A process that opens one file runs all of this in V8's interpreter, where each call and each field that is set costs as
 * much as ten bytes that are looked at. So a run is read by one function that keeps its position to itself.
 *
 * Shapes and strides repeat from layer to layer: equal ones are one frozen array.
 */
import { Op } from './opcodes';

/** Thrown where a pickle recalls what the fast path did not make; the pickle is then read without that path. */
export class NotCanonical extends Error {}

/** Places for shapes and strides that were met; a hash that is taken is taken over. */
const DIMS_PLACES = 1024;
/** Tensors of more dimensions are left to the machine. */
const MAX_RANK = 16;
const MAX_TEXT_BYTES = 64;

/** What one run says. One object is used for all tensors of a pickle. */
export class CanonicalTensor {
  /** Memo indexes of the constants. */
  storageWord = 0;
  storageClass = 0;
  hooks = 0;
  /** Memo index of the location, or -1 when its text stands at `locationStart`. */
  location = 0;
  locationStart = 0;
  locationEnd = 0;
  /** Memo index of a key that was used before, or -1 when its text stands at `keyStart`: then it is the first to be stored. */
  key = 0;
  keyStart = 0;
  keyEnd = 0;
  numel = 0;
  storageOffset = 0;
  shape: readonly number[] = [];
  stride: readonly number[] = [];
  /** Of shape and stride together. */
  dimsHash = 0;
  requiresGrad = false;
  /** How many memo numbers the run stores. */
  puts = 0;
  /** Position of the REDUCE that makes the tensor. */
  end = 0;

  readonly #bytes: Buffer;
  readonly #view: DataView;
  /** The first `#rank` of these are the tuple that was read last: one array for all, of which none is made again. */
  readonly #dims = new Array<number>(MAX_RANK).fill(0);
  #rank = 0;
  /** Of that tuple. */
  #dimsHash = 0;
  readonly #dimsKnown: (readonly number[] | undefined)[] = [];

  constructor(bytes: Buffer, view: DataView) {
    this.#bytes = bytes;
    this.#view = view;
  }

  /**
   * Reads the run whose first MARK stands before `pos` and whose memo stores begin at `firstPut` and are consecutive, as
   * Python writes them. False when it is anything else; nothing is then to be used.
   */
  read(pos: number, firstPut: number): boolean {
    const bytes = this.#bytes;
    const view = this.#view;
    let put = firstPut;
    if (bytes[pos] !== Op.MARK) return false;
    let at = pos + 1;
    const storageWord = recalled(bytes, view, at);
    if (storageWord < 0) return false;
    at += bytes[at] === Op.BINGET ? 2 : 5;
    const storageClass = recalled(bytes, view, at);
    if (storageClass < 0) return false;
    at += bytes[at] === Op.BINGET ? 2 : 5;

    let key = -1;
    if (bytes[at] === Op.BINUNICODE) {
      this.keyStart = at + 5;
      at = afterText(view, at);
      this.keyEnd = at;
      at = afterPut(bytes, view, at, put++);
      if (at < 0) return false;
    } else {
      key = recalled(bytes, view, at);
      if (key < 0) return false;
      at += bytes[at] === Op.BINGET ? 2 : 5;
    }
    let location = -1;
    if (bytes[at] === Op.BINUNICODE) {
      this.locationStart = at + 5;
      at = afterText(view, at);
      this.locationEnd = at;
      at = afterPut(bytes, view, at, put++);
      if (at < 0) return false;
    } else {
      location = recalled(bytes, view, at);
      if (location < 0) return false;
      at += bytes[at] === Op.BINGET ? 2 : 5;
    }
    const numel = integer(bytes, view, at);
    if (numel < 0) return false;
    at = afterInteger(bytes, at);
    if (bytes[at] !== Op.TUPLE) return false;
    at = afterPut(bytes, view, at + 1, put++);
    if (bytes[at] !== Op.BINPERSID) return false;
    const storageOffset = integer(bytes, view, ++at);
    if (storageOffset < 0) return false;

    at = this.#readDims(afterInteger(bytes, at), put);
    if (at < 0) return false;
    // The empty tuple is not memoized.
    if (this.#rank > 0) put++;
    const shapeHash = this.#dimsHash;
    this.shape = this.#shared();
    at = this.#readDims(at, put);
    if (at < 0) return false;
    if (this.#rank > 0) put++;
    this.dimsHash = (Math.imul(shapeHash, 31) + this.#dimsHash) | 0;
    this.stride = this.#shared();

    const flag = bytes[at++];
    if (flag !== Op.NEWTRUE && flag !== Op.NEWFALSE) return false;
    const hooks = recalled(bytes, view, at);
    if (hooks < 0) return false;
    at += bytes[at] === Op.BINGET ? 2 : 5;
    if (bytes[at] !== Op.EMPTY_TUPLE || bytes[at + 1] !== Op.REDUCE) return false;
    at = afterPut(bytes, view, at + 2, put++);
    if (bytes[at] !== Op.TUPLE) return false;
    at = afterPut(bytes, view, at + 1, put++);
    if (bytes[at] !== Op.REDUCE) return false;

    this.storageWord = storageWord;
    this.storageClass = storageClass;
    this.hooks = hooks;
    this.key = key;
    this.location = location;
    this.numel = numel;
    this.storageOffset = storageOffset;
    this.requiresGrad = flag === Op.NEWTRUE;
    this.puts = put - firstPut;
    this.end = at;
    return true;
  }

  /** Reads a tuple of integers and its memo store into `#dims`; returns the position behind, or -1. */
  #readDims(pos: number, put: number): number {
    const bytes = this.#bytes;
    const view = this.#view;
    const dims = this.#dims;
    const first = bytes[pos];
    this.#rank = 0;
    if (first === Op.EMPTY_TUPLE) {
      this.#dimsHash = 0;
      return pos + 1;
    }
    let at = first === Op.MARK ? pos + 1 : pos;
    let rank = 0;
    let hash = 0;
    for (;;) {
      const dim = integer(bytes, view, at);
      if (dim < 0) break;
      if (rank === MAX_RANK) return -1;
      dims[rank++] = dim;
      hash = (Math.imul(hash, 31) + dim) | 0;
      at = afterInteger(bytes, at);
    }
    if (rank === 0 || (rank > 3 && first !== Op.MARK)) return -1;
    if (bytes[at] !== (first === Op.MARK ? Op.TUPLE : Op.TUPLE1 + rank - 1)) return -1;
    hash = (Math.imul(hash, 31) + rank) | 0;
    this.#rank = rank;
    this.#dimsHash = (hash ^ (hash >>> 10)) & (DIMS_PLACES - 1);
    return afterPut(bytes, view, at + 1, put);
  }

  /** The tuple that was read last, as one array for all that are equal. */
  #shared(): readonly number[] {
    const known = this.#dimsKnown[this.#dimsHash];
    if (known !== undefined && this.#isRead(known)) return known;
    const made = Object.freeze(this.#dims.slice(0, this.#rank));
    this.#dimsKnown[this.#dimsHash] = made;
    return made;
  }

  #isRead(known: readonly number[]): boolean {
    if (known.length !== this.#rank) return false;
    for (let d = 0; d < known.length; d++) if (known[d] !== this.#dims[d]) return false;
    return true;
  }
}

/** What stands between two tensors of a dict: `q X<key> q h<rebuild> (`. */
export class CanonicalEntry {
  keyStart = 0;
  keyEnd = 0;
  /** Memo index of the function that rebuilds the tensor. */
  rebuild = 0;
  /** Position after the MARK. */
  end = 0;

  /** Reads what begins at `pos`, with memo stores from `firstPut` on. False when it is anything else; nothing is then to be used. */
  read(bytes: Buffer, view: DataView, pos: number, firstPut: number): boolean {
    const key = afterPut(bytes, view, pos, firstPut);
    if (key < 0 || bytes[key] !== Op.BINUNICODE || key + 5 > bytes.length) return false;
    this.keyStart = key + 5;
    this.keyEnd = this.keyStart + view.getUint32(key + 1, true);
    const at = afterPut(bytes, view, this.keyEnd, firstPut + 1);
    if (at < 0) return false;
    this.rebuild = recalled(bytes, view, at);
    this.end = at + (bytes[at] === Op.BINGET ? 3 : 6);
    return this.rebuild >= 0 && bytes[this.end - 1] === Op.MARK;
  }
}

/** The memo index that is recalled at `at`; -1 where nothing is. */
function recalled(bytes: Buffer, view: DataView, at: number): number {
  const op = bytes[at];
  if (op === Op.BINGET) return bytes[at + 1] ?? -1;
  return op === Op.LONG_BINGET && at + 5 <= bytes.length ? view.getUint32(at + 1, true) : -1;
}

/** The position behind a memo store of this number at `at`; -1 where there is none. */
function afterPut(bytes: Buffer, view: DataView, at: number, number: number): number {
  const op = bytes[at];
  if (op === Op.LONG_BINPUT && at + 5 <= bytes.length) return view.getUint32(at + 1, true) === number ? at + 5 : -1;
  return op === Op.BINPUT && bytes[at + 1] === number ? at + 2 : -1;
}

/** The position behind the text of the BINUNICODE at `at`. Keys and locations are short; -1 for others, which the machine reads. */
function afterText(view: DataView, at: number): number {
  if (at + 5 > view.byteLength) return -1;
  const length = view.getUint32(at + 1, true);
  return length <= MAX_TEXT_BYTES && at + 5 + length <= view.byteLength ? at + 5 + length : -1;
}

/** The integer at `at` where it is one of 0 to 2^31 - 1; -1 for all else, which is rare enough for the machine. */
function integer(bytes: Buffer, view: DataView, at: number): number {
  const op = bytes[at];
  if (op === Op.BININT1) return bytes[at + 1] ?? -1;
  if (op === Op.BININT2) return (bytes[at + 1] as number) | ((bytes[at + 2] as number) << 8);
  return op === Op.BININT && at + 5 <= bytes.length ? view.getInt32(at + 1, true) : -1;
}

function afterInteger(bytes: Buffer, at: number): number {
  const op = bytes[at];
  return at + (op === Op.BININT1 ? 2 : op === Op.BININT2 ? 3 : 5);
}
