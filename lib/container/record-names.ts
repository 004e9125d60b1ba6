/**
 * The names of the records of a zip, as bytes: an archive of a hundred thousand storages is opened without making as many
 * strings of which nobody looks at one.
 */
import { native, type ZipDirectory } from '../binding';
import { workingBytes } from '../tensor/fresh-bytes';

const SLASH = 0x2f;

/** What the index by number may hold. */
const DECIMAL = /^(?:0|[1-9]\d{0,8})$/;

export class RecordNames {
  readonly length: number;
  readonly #bytes: Buffer;
  /** Where each name ends in the bytes; it begins where the one before ends. */
  readonly #ends: Uint32Array;

  constructor({ nameBytes, nameEnds }: ZipDirectory) {
    this.length = nameEnds.length;
    this.#bytes = Buffer.from(nameBytes.buffer, nameBytes.byteOffset, nameBytes.byteLength);
    this.#ends = nameEnds;
  }

  /** The name of record `index`. */
  at(index: number): string {
    return this.#bytes.toString('utf8', this.#start(index), this.#ends[index]);
  }

  /** Whether the name of record `index` ends as those of folders do. */
  isFolder(index: number): boolean {
    const end = this.#ends[index] as number;
    return end > this.#start(index) && this.#bytes[end - 1] === SLASH;
  }

  /** Whether the name of record `index` begins with `prefix`, in UTF-8. */
  startsWith(index: number, prefix: Uint8Array): boolean {
    const start = this.#start(index);
    if ((this.#ends[index] as number) - start < prefix.length) return false;
    for (let i = 0; i < prefix.length; i++) if (this.#bytes[start + i] !== prefix[i]) return false;
    return true;
  }

  /** The records below `folder` (`archive/data/`) by the rest of their names; `others` is told of all the others. */
  folder(folder: string, others?: (index: number) => void): RecordFolder {
    const prefix = Buffer.from(folder);
    // Numbers are dense in what PyTorch writes; a wild one must not cost an array of its size.
    const limit = this.length + 1;
    const { buffer, byteOffset } = workingBytes(limit * 4);
    const byNumber = new Int32Array(buffer, byteOffset, limit).fill(-1);
    const named = native({}, (addon) => addon.numberedNames(this.#bytes, this.#ends, prefix, byNumber));
    const byName = new Map<string, number>();
    for (const i of named) {
      if (this.startsWith(i, prefix))
        byName.set(this.#bytes.toString('utf8', this.#start(i) + prefix.length, this.#ends[i]), i);
      else others?.(i);
    }
    return new RecordFolder(byNumber, byName);
  }

  #start(index: number): number {
    return index === 0 ? 0 : (this.#ends[index - 1] as number);
  }
}

/** The records of one folder by their names in it. */
export class RecordFolder {
  readonly #byNumber: Int32Array;
  readonly #byName: ReadonlyMap<string, number>;

  constructor(byNumber: Int32Array, byName: ReadonlyMap<string, number>) {
    this.#byNumber = byNumber;
    this.#byName = byName;
  }

  /** The record whose name is this number in decimal; undefined when there is none. */
  at(number: number): number | undefined {
    const index = this.#byNumber[number];
    return index === undefined || index < 0 ? this.#byName.get(String(number)) : index;
  }

  get(name: string): number | undefined {
    return DECIMAL.test(name) ? this.at(Number(name)) : this.#byName.get(name);
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }
}
