/**
 * Tensors, and dicts of them, that are read in one step instead of opcode by opcode. What such a run looks like is said in
 * `canonical-tensor.ts`; here the machine is told what came of it.
 */
import { CanonicalEntry, CanonicalTensor } from './canonical-tensor';
import { decimal, decodeUtf8 } from './decode';
import type { Machine } from './machine';
import { rebuildOnShelf, rebuildPlainTensor } from './rebuild';
import type { StorageClass } from './rules';
import { isRebuild, TensorConstants } from './tensor-constants';
import { type PyValue, Tuple } from './values';

/** Opcodes of a dict entry that is read in one step, about: they count against the limit like all others. */
const CANONICAL_OPCODES = 25;

export class FastPath {
  readonly #machine: Machine;
  readonly #load: (pid: PyValue) => PyValue;
  readonly #constants: TensorConstants;
  readonly #view: DataView;
  readonly #run: CanonicalTensor;
  readonly #entry = new CanonicalEntry();
  /** The persistent id of a storage: one tuple for all, since whoever resolves it does not keep it. */
  readonly #scratchId = Tuple.of<PyValue>('storage', null, '', '', 0);

  /** `load`: what the machine asks for the storage of a persistent id. */
  constructor(machine: Machine, load: (pid: PyValue) => PyValue) {
    this.#machine = machine;
    this.#load = load;
    this.#constants = new TensorConstants(machine.memo);
    const { buffer, byteOffset, length } = machine.bytes;
    this.#view = new DataView(buffer, byteOffset, length);
    this.#run = new CanonicalTensor(machine.bytes, this.#view);
  }

  /**
   * Reads a tensor in one step when the run after a MARK is the canonical one, leaving it on the stack in the place of
   * the function that rebuilds it, and then what follows of a dict of such tensors. False, with nothing changed, when the
   * run is another one.
   */
  readTensors(): boolean {
    const m = this.#machine;
    const run = this.#run;
    // A frame may end inside the run; who writes frames writes other opcodes.
    if (m.frame.isOpen || !isRebuild(m.stack[m.depth - 1])) return false;
    const tensor = this.#tensorAt(m.pos, m.memo.next);
    if (tensor === undefined) return false;
    const keyText = run.key < 0 ? run.keyStart : -1;
    m.passOver(run.puts, keyText, -1, keyText < 0 ? 0 : ++m.strings);
    m.stack[m.depth - 1] = tensor;
    // Past the REDUCE: the memo store that may follow is an opcode of its own.
    m.pos = run.end + 1;
    while (this.#readEntry());
    return true;
  }

  /** After a tensor: its memo store, and the next key and tensor of a dict. False, with nothing changed, for anything else. */
  #readEntry(): boolean {
    const m = this.#machine;
    const entry = this.#entry;
    const firstPut = m.memo.next;
    if (!entry.read(m.bytes, this.#view, m.pos, firstPut) || !this.#constants.isRebuild(entry.rebuild)) return false;
    const tensor = this.#tensorAt(entry.end, firstPut + 2);
    if (tensor === undefined) return false;
    const run = this.#run;
    m.memo.put(firstPut, m.stack[m.depth - 1] as PyValue, 0);
    m.pos = entry.keyStart;
    m.pushText(entry.keyEnd - entry.keyStart);
    const keyId = m.strings;
    const keyText = run.key < 0 ? run.keyStart : -1;
    if (keyText >= 0) m.strings++;
    m.passOver(1 + run.puts, entry.keyStart, keyText, keyId);
    m.push(tensor);
    m.opcodes += CANONICAL_OPCODES;
    m.pos = run.end + 1;
    return true;
  }

  /** The tensor of the run whose MARK stands before `pos` and whose memo stores begin at `firstPut`. */
  #tensorAt(pos: number, firstPut: number): PyValue | undefined {
    const run = this.#run;
    // What was stored ahead would be recalled in place of what the run stores under the same number.
    if (this.#machine.memo.isAhead || !run.read(pos, firstPut)) return undefined;
    const constants = this.#constants;
    const storageClass = constants.storageClassAt(run.storageClass);
    if (storageClass === undefined || !constants.areUsual(run.storageWord, run.hooks)) return undefined;
    const location =
      run.location < 0
        ? decodeUtf8(this.#machine.bytes, run.locationStart, run.locationEnd)
        : constants.locationAt(run.location);
    return location === undefined ? undefined : this.#rebuild(storageClass, location);
  }

  /** The tensor of the run that was just read; undefined when the key of its storage is no string. */
  #rebuild(storageClass: StorageClass, location: string): PyValue | undefined {
    const run = this.#run;
    const { bytes, memo, numberedStorages: numbered } = this.#machine;
    if (run.key < 0 && numbered) {
      const number = decimal(bytes, run.keyStart, run.keyEnd);
      const place = number < 0 ? -1 : numbered.find(storageClass, number, location, run.numel);
      if (place >= 0) return rebuildOnShelf(numbered, place, run);
    }
    const key = run.key < 0 ? decodeUtf8(bytes, run.keyStart, run.keyEnd) : memo.valueAt(run.key);
    if (typeof key !== 'string') return undefined;
    const id = this.#scratchId;
    id[1] = storageClass;
    id[2] = key;
    id[3] = location;
    id[4] = run.numel;
    return rebuildPlainTensor(this.#load(id), run);
  }
}
