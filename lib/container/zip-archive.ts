/**
 * The records of a zip as PyTorch names them: without the archive name that all of them share.
 *
 * The directory was proven by whoever read it (the addon, or `remote-zip.ts`): each record lies inside the file, apart
 * from the others. Here are PyTorch's own rules (format.md 1.10) and the reading of single records.
 */
import { native, type ZipDirectory } from '../binding';
import { CheckpointError, type ErrorDetails } from '../errors';
import type { Limits } from '../limits';
import type { ByteSource } from '../source/byte-source';
import type { StorageBytes } from '../tensor/storage';
import type { RecordInfo } from './container';
import { InflateBudget, InflatedBytes, inflate } from './inflated-bytes';
import { type RecordFolder, RecordNames } from './record-names';

const STORED = 0;
const DEFLATED = 8;

export class ZipArchive {
  readonly source: ByteSource;
  readonly directory: ZipDirectory;
  /** First path component of the first record; empty when there is none. */
  readonly archiveName: string;
  readonly #names: RecordNames;
  /** All but the storages, of which there may be a million: those are found through `folder`. */
  readonly #indexes = new Map<string, number>();
  readonly #folders = new Map<string, RecordFolder>();
  readonly #limits: Limits;
  readonly #budget: InflateBudget;
  #records: RecordInfo[] | undefined;

  constructor(source: ByteSource, limits: Limits) {
    this.source = source;
    this.#limits = limits;
    this.#budget = new InflateBudget(limits);
    this.directory = source.remoteZip?.directory ?? readDirectory(source, limits);
    this.#names = new RecordNames(this.directory);
    const first = this.#names.length > 0 ? this.#names.at(0) : '';
    this.archiveName = first.slice(0, Math.max(first.indexOf('/'), 0));
    // One walk over all names: an archive without a folder has no such records, and no data either.
    const data = this.#names.folder(`${this.archiveName}/data/`, (i) => this.#indexes.set(this.#names.at(i), i));
    this.#folders.set('data/', data);
  }

  /** Full names, in the order of the directory; made at each call. */
  get names(): string[] {
    return Array.from({ length: this.#names.length }, (_, i) => this.#names.at(i));
  }

  /** Throws unless all records are in one folder, as in every archive that PyTorch writes and reads. */
  checkFolder(): void {
    const names = this.#names;
    if (names.length === 0) throw this.#corrupt('archive does not contain any files');
    if (this.archiveName === '') throw this.#corrupt(`file in archive is not in a subdirectory: ${names.at(0)}`);
    const folder = `${this.archiveName}/`;
    for (const name of this.#indexes.keys()) {
      if (!name.startsWith(folder))
        throw this.#corrupt(`file in archive is not in a subdirectory ${folder}: ${name.slice(0, 500)}`);
    }
  }

  /** Names are matched exactly; PyTorch also finds `DATA.PKL` for `data.pkl`, which no writer needs. */
  find(record: string): number | undefined {
    if (this.archiveName === '') return this.#indexes.get(record);
    return record.startsWith('data/')
      ? this.folder('data/').get(record.slice(5))
      : this.#indexes.get(`${this.archiveName}/${record}`);
  }

  /** The records of one folder, such as `data/`, by their names in it: storages are looked up by their key as it stands. */
  folder(name: string): RecordFolder {
    let found = this.#folders.get(name);
    if (!found) this.#folders.set(name, (found = this.#names.folder(`${this.archiveName}/${name}`)));
    return found;
  }

  has(record: string): boolean {
    return this.find(record) !== undefined;
  }

  /** Every byte of a record that is needed now, such as a pickle. */
  read(record: string, maxBytes = this.#limits.maxPickleBytes): Uint8Array {
    const index = this.#demand(record);
    const byteLength = this.directory.byteLength[index] as number;
    const storedLength = this.directory.storedLength[index] as number;
    if (byteLength > maxBytes) {
      throw new CheckpointError(
        'LIMIT_EXCEEDED',
        `the record has ${byteLength} bytes, ${maxBytes} at most are accepted`,
        this.#at(record),
      );
    }
    if (byteLength === 0) return new Uint8Array(0);
    const byteOffset = this.directory.byteOffset[index] as number;
    if (byteOffset < 0)
      throw new CheckpointError('UNSUPPORTED', 'the record was not fetched with the directory', {
        ...this.#at(record),
        hint: 'use load() on the URL',
      });
    const stored = this.source.read(byteOffset, storedLength);
    if (!this.#isDeflated(index, record)) return stored;
    this.#budget.spendOnPickle(storedLength, byteLength, record);
    return inflate(stored, byteLength, record);
  }

  /** Bytes of a record in the file, before inflating. */
  storedLength(record: string): number {
    return this.directory.storedLength[this.#demand(record)] as number;
  }

  /** The record as text, for the short ones; undefined when there is none. */
  text(record: string): string | undefined {
    const MAX_TEXT_BYTES = 1 << 20;
    if (!this.has(record)) return undefined;
    const { buffer, byteOffset, byteLength } = this.read(record, MAX_TEXT_BYTES);
    return Buffer.from(buffer, byteOffset, byteLength).toString('utf8');
  }

  /** The bytes of a record, to be read when asked for. */
  bytes(record: string, alignment: number): StorageBytes {
    return this.bytesAt(this.#demand(record), record, alignment);
  }

  /** The same for a record whose place in the directory is known. */
  bytesAt(index: number, record: string, alignment: number): StorageBytes {
    const byteLength = this.directory.byteLength[index] as number;
    const deflated = this.#isDeflated(index, record);
    const stored = this.#storedBytes(index, deflated ? 1 : alignment);
    return deflated ? new InflatedBytes(stored, byteLength, record, this.#budget) : stored;
  }

  /** Whether the bytes of the record stand in the file as they are. */
  isPlain(index: number): boolean {
    const { method, byteLength, storedLength, encrypted } = this.directory;
    return method[index] === STORED && !encrypted[index] && byteLength[index] === storedLength[index];
  }

  /** Bytes of a record after inflating. */
  byteLength(record: string): number {
    return this.directory.byteLength[this.#demand(record)] as number;
  }

  /** All but folders. */
  get records(): readonly RecordInfo[] {
    this.#records ??= this.#listRecords();
    return this.#records;
  }

  /** How many `records` there are, without listing them. */
  get recordCount(): number {
    let folders = 0;
    for (let i = 0; i < this.#names.length; i++) if (this.#names.isFolder(i)) folders++;
    return this.#names.length - folders;
  }

  #listRecords(): RecordInfo[] {
    const { byteOffset, byteLength, storedLength, crc32, method } = this.directory;
    const folder = this.archiveName === '' ? 0 : this.archiveName.length + 1;
    const records: RecordInfo[] = [];
    for (let i = 0; i < this.#names.length; i++) {
      if (this.#names.isFolder(i)) continue;
      records.push({
        name: this.#names.at(i).slice(folder),
        byteOffset: byteOffset[i] as number,
        byteLength: byteLength[i] as number,
        storedLength: storedLength[i] as number,
        crc32: crc32[i] as number,
        compressed: method[i] !== STORED,
      });
    }
    return records;
  }

  #storedBytes(index: number, alignment: number): StorageBytes {
    const { byteOffset, storedLength } = this.directory;
    if (this.source.remoteZip) return this.source.remoteZip.recordBytes(index);
    return this.source.storageBytes(byteOffset[index] as number, storedLength[index] as number, alignment);
  }

  #isDeflated(index: number, record: string): boolean {
    const { method, byteLength, storedLength, encrypted } = this.directory;
    if (encrypted[index])
      throw new CheckpointError('UNSUPPORTED', 'the record is encrypted', {
        ...this.#at(record),
        hint: 'decrypt the archive first',
      });
    if (method[index] === DEFLATED) return true;
    if (method[index] !== STORED) {
      const what = `PytorchStreamReader failed retrieving file meta-data for ${record}: unsupported method (${method[index]}; 0 and 8 are known)`;
      throw new CheckpointError('UNSUPPORTED', what, this.#at(record));
    }
    if (byteLength[index] === storedLength[index]) return false;
    throw this.#corrupt(
      `a stored record has ${storedLength[index]} bytes in the file and ${byteLength[index]} in the directory`,
      record,
    );
  }

  #demand(record: string): number {
    const index = this.find(record);
    if (index === undefined)
      throw this.#corrupt(`PytorchStreamReader failed locating file ${record}: file not found`, record);
    return index;
  }

  #at(record: string): ErrorDetails {
    return { path: this.source.name, record };
  }

  #corrupt(what: string, record?: string): CheckpointError {
    return new CheckpointError('ZIP_CORRUPT', what, { path: this.source.name, record });
  }
}

function readDirectory(source: ByteSource, limits: Limits): ZipDirectory {
  return native({ path: source.name }, (addon) =>
    addon.zipDirectory(source.file ?? source.read(0, source.byteLength), limits.maxRecords),
  );
}
