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
 */
import { Op } from './opcodes';

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
  /** Memo index of a key that was used before, or -1 when its text stands at `keyStart`, to be stored at `keyPut`. */
  key = 0;
  keyStart = 0;
  keyEnd = 0;
  keyPut = 0;
  numel = 0;
  storageOffset = 0;
  shape: number[] = [];
  stride: number[] = [];
  requiresGrad = false;
  /** The last memo number that the run stores, and how many it stores. */
  lastPut = 0;
  puts = 0;
  /** Position of the REDUCE that makes the tensor. */
  end = 0;

  #pos = 0;
  #failed = false;

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
      [this.keyStart, this.keyEnd] = this.#text(bytes);
      this.keyPut = this.lastPut;
    } else this.key = this.#recall(bytes);
    if (bytes[this.#pos] === Op.BINUNICODE) {
      this.location = -1;
      [this.locationStart, this.locationEnd] = this.#text(bytes);
    } else this.location = this.#recall(bytes);
    this.numel = this.#integer(bytes);
    this.#expect(bytes, Op.TUPLE);
    this.#put(bytes);
    this.#expect(bytes, Op.BINPERSID);
    this.storageOffset = this.#integer(bytes);
    this.shape = this.#dims(bytes);
    this.stride = this.#dims(bytes);
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
    const at = this.#pos;
    this.#pos += 4;
    return (
      ((bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24)) >>>
      0
    );
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

  #text(bytes: Buffer): [start: number, end: number] {
    this.#pos++;
    const length = this.#u32(bytes);
    const start = this.#pos;
    // Keys and locations are short; anything else is left to the machine.
    if (length > 64) this.#failed = true;
    this.#pos = Math.min(start + length, bytes.length);
    const end = this.#pos;
    this.#put(bytes);
    return [start, end];
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

  #dims(bytes: Buffer): number[] {
    const first = bytes[this.#pos];
    if (first === Op.EMPTY_TUPLE) {
      this.#pos++;
      return [];
    }
    if (first === Op.MARK) {
      this.#pos++;
      const dims: number[] = [];
      while (!this.#failed && bytes[this.#pos] !== Op.TUPLE) dims.push(this.#integer(bytes));
      this.#pos++;
      this.#put(bytes);
      return dims;
    }
    // Literals, because a list that grows by pushing reserves room for many more items: twice per tensor, that counts.
    const a = this.#integer(bytes);
    if (this.#closes(bytes, Op.TUPLE1)) return [a];
    const b = this.#integer(bytes);
    if (this.#closes(bytes, Op.TUPLE2)) return [a, b];
    const c = this.#integer(bytes);
    if (!this.#closes(bytes, Op.TUPLE3)) this.#failed = true;
    return [a, b, c];
  }

  #closes(bytes: Buffer, op: Op): boolean {
    if (bytes[this.#pos] !== op) return false;
    this.#pos++;
    this.#put(bytes);
    return true;
  }
}
