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
 * Shapes and strides repeat from layer to layer: equal ones are one frozen array.
 */
import { Op } from './opcodes';

/** Thrown where a pickle recalls what the fast path did not make; the pickle is then read without that path. */
export class NotCanonical extends Error {}

/** Places for shapes and strides that were met; a hash that is taken is taken over. */
const DIMS_PLACES = 1024;
/** Tensors of more dimensions are left to the machine. */
const MAX_RANK = 16;

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
  /** The last memo number that the run stores, and how many it stores. */
  lastPut = 0;
  puts = 0;
  /** Position of the REDUCE that makes the tensor. */
  end = 0;

  #pos = 0;
  #failed = false;
  /** The first `#rank` of these are the tuple that is being read: one array for all, of which none is made again. */
  readonly #dims = new Array<number>(MAX_RANK).fill(0);
  #rank = 0;
  /** Of the tuple that was read last. */
  #dimsHash = 0;
  readonly #dimsKnown: (readonly number[] | undefined)[] = [];

  /** Reads the run whose first MARK stands before `pos`. False when it is anything else; nothing is then to be used. */
  read(bytes: Buffer, pos: number): boolean {
    this.#pos = pos;
    this.#failed = false;
    this.puts = 0;
    if (bytes[this.#pos++] !== Op.MARK) return false;
    this.storageWord = this.#recall(bytes);
    this.storageClass = this.#recall(bytes);
    if (bytes[this.#pos] === Op.BINUNICODE) {
      this.key = -1;
      this.keyStart = this.#pos + 5;
      this.keyEnd = this.#text(bytes);
    } else this.key = this.#recall(bytes);
    if (bytes[this.#pos] === Op.BINUNICODE) {
      this.location = -1;
      this.locationStart = this.#pos + 5;
      this.locationEnd = this.#text(bytes);
    } else this.location = this.#recall(bytes);
    this.numel = this.#integer(bytes);
    this.#expect(bytes, Op.TUPLE);
    this.#put(bytes);
    this.#expect(bytes, Op.BINPERSID);
    this.storageOffset = this.#integer(bytes);
    this.shape = this.#readDims(bytes);
    const shapeHash = this.#dimsHash;
    this.stride = this.#readDims(bytes);
    this.dimsHash = (Math.imul(shapeHash, 31) + this.#dimsHash) | 0;
    const flag = bytes[this.#pos++];
    this.requiresGrad = flag === Op.NEWTRUE;
    if (flag !== Op.NEWTRUE && flag !== Op.NEWFALSE) return false;
    this.hooks = this.#recall(bytes);
    this.#expect(bytes, Op.EMPTY_TUPLE);
    this.#expect(bytes, Op.REDUCE);
    this.#put(bytes);
    this.#expect(bytes, Op.TUPLE);
    this.#put(bytes);
    this.end = this.#pos;
    return !this.#failed && bytes[this.#pos] === Op.REDUCE;
  }

  #expect(bytes: Buffer, op: Op): void {
    if (bytes[this.#pos++] !== op) this.#failed = true;
  }

  #u32(bytes: Buffer): number {
    this.#pos += 4;
    return u32(bytes, this.#pos - 4);
  }

  #recall(bytes: Buffer): number {
    const op = bytes[this.#pos++];
    if (op === Op.BINGET) return bytes[this.#pos++] as number;
    if (op === Op.LONG_BINGET) return this.#u32(bytes);
    this.#failed = true;
    return 0;
  }

  #put(bytes: Buffer): void {
    const op = bytes[this.#pos++];
    if (op === Op.BINPUT) this.lastPut = bytes[this.#pos++] as number;
    else if (op === Op.LONG_BINPUT) this.lastPut = this.#u32(bytes);
    else this.#failed = true;
    this.puts++;
  }

  /** A BINUNICODE and its store; returns where the text ends. */
  #text(bytes: Buffer): number {
    this.#pos++;
    const length = this.#u32(bytes);
    // Keys and locations are short; anything else is left to the machine.
    if (length > 64) this.#failed = true;
    const end = Math.min(this.#pos + length, bytes.length);
    this.#pos = end;
    this.#put(bytes);
    return end;
  }

  #integer(bytes: Buffer): number {
    const op = bytes[this.#pos++];
    if (op === Op.BININT1) return bytes[this.#pos++] as number;
    if (op === Op.BININT2) {
      this.#pos += 2;
      return (bytes[this.#pos - 2] as number) | ((bytes[this.#pos - 1] as number) << 8);
    }
    if (op === Op.BININT) return this.#u32(bytes) | 0;
    // Larger ones are rare enough for the machine.
    this.#failed = true;
    return 0;
  }

  #readDims(bytes: Buffer): readonly number[] {
    this.#rank = 0;
    const first = bytes[this.#pos];
    if (first === Op.EMPTY_TUPLE) this.#pos++;
    else if (first === Op.MARK) {
      this.#pos++;
      while (!this.#failed && bytes[this.#pos] !== Op.TUPLE) this.#dim(bytes);
      this.#pos++;
      this.#put(bytes);
    } else {
      this.#dim(bytes);
      if (!this.#closes(bytes, Op.TUPLE1)) {
        this.#dim(bytes);
        if (!this.#closes(bytes, Op.TUPLE2)) {
          this.#dim(bytes);
          if (!this.#closes(bytes, Op.TUPLE3)) this.#failed = true;
        }
      }
    }
    return this.#shared();
  }

  #dim(bytes: Buffer): void {
    if (this.#rank === MAX_RANK) this.#failed = true;
    else this.#dims[this.#rank++] = this.#integer(bytes);
  }

  #shared(): readonly number[] {
    let hash = this.#rank;
    for (let i = 0; i < this.#rank; i++) hash = (Math.imul(hash, 31) + (this.#dims[i] as number)) | 0;
    const place = (hash ^ (hash >>> 10)) & (DIMS_PLACES - 1);
    this.#dimsHash = place;
    const known = this.#dimsKnown[place];
    if (known !== undefined && this.#isRead(known)) return known;
    const made = Object.freeze(this.#dims.slice(0, this.#rank));
    this.#dimsKnown[place] = made;
    return made;
  }

  #isRead(known: readonly number[]): boolean {
    if (known.length !== this.#rank) return false;
    for (let d = 0; d < known.length; d++) if (known[d] !== this.#dims[d]) return false;
    return true;
  }

  #closes(bytes: Buffer, op: Op): boolean {
    if (bytes[this.#pos] !== op) return false;
    this.#pos++;
    this.#put(bytes);
    return true;
  }
}

/** What stands between two tensors of a dict: `q X<key> q h<rebuild> (`. */
export class CanonicalEntry {
  /** Memo index of the tensor before, and of the key. */
  tensorPut = 0;
  keyPut = 0;
  keyStart = 0;
  keyEnd = 0;
  /** Memo index of the function that rebuilds the tensor. */
  rebuild = 0;
  /** Position after the MARK. */
  end = 0;

  /** False when there is anything else; nothing is then to be used. */
  read(bytes: Buffer, pos: number): boolean {
    // A short pickle ends before its last field would.
    if (pos + 20 > bytes.length) return false;
    this.end = pos;
    this.tensorPut = this.#index(bytes, Op.BINPUT, Op.LONG_BINPUT);
    if (this.tensorPut < 0 || bytes[this.end] !== Op.BINUNICODE) return false;
    this.keyStart = this.end + 5;
    this.keyEnd = this.keyStart + u32(bytes, this.end + 1);
    if (this.keyEnd + 12 > bytes.length) return false;
    this.end = this.keyEnd;
    this.keyPut = this.#index(bytes, Op.BINPUT, Op.LONG_BINPUT);
    this.rebuild = this.#index(bytes, Op.BINGET, Op.LONG_BINGET);
    return this.keyPut >= 0 && this.rebuild >= 0 && bytes[this.end++] === Op.MARK;
  }

  /** A memo index after one of two opcodes; -1 when there is neither. */
  #index(bytes: Buffer, short: Op, long: Op): number {
    const op = bytes[this.end++];
    if (op === short) return bytes[this.end++] as number;
    if (op !== long) return -1;
    this.end += 4;
    return u32(bytes, this.end - 4);
  }
}

/** `readUInt32LE` without its checks: four or more for each tensor, in code that is seldom compiled yet. Bytes beyond the end count as 0. */
function u32(bytes: Buffer, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}
