/** What is left of a PyTorch zip: records that are whole, the object graph if its pickle is one of them. */
import { native } from '../binding';
import { InflateBudget, InflatedBytes } from '../container/inflated-bytes';
import type { StorageId } from '../container/persistent-id';
import { walkPickle } from '../container/pickle-stream';
import { isCheckpointError } from '../errors';
import { DEFAULT_LIMITS } from '../limits';
import { readContext } from '../load';
import type { PyValue } from '../pickle/values';
import { type ByteSource, WIDEST_ITEM_BYTES } from '../source/byte-source';
import { MetaBytes, type Storage, type StorageBytes } from '../tensor/storage';
import { type Found, FoundStorages, Loss } from './found-storages';
import type { Lost, Remains } from './remains';
import type { SalvageOptions } from './salvage';
import { type FoundRecord, findRecords } from './torn-zip';
import { dangerousNames } from './unsafe';

const STORED = 0;
const DAMAGED = 'damaged: its checksum does not fit its bytes';
/** A descriptor at the end of a payload, whole or cut. */
const MAX_DESCRIPTOR_BYTES = 24;
const THREADS = 2;
/** Checksums of so many bytes are computed between two looks at the signal. */
const BATCH_BYTES = 256 << 20;

export async function remainsOfZip(source: ByteSource, options: SalvageOptions): Promise<Remains> {
  const { maxRecords } = DEFAULT_LIMITS;
  const found = await findRecords(source, { maxRecords, signal: options.signal, onProgress: options.onProgress });
  const records = new Records(source, found);
  await records.check(options);
  const graph = graphOf(records);
  if (typeof graph !== 'string') return graph;
  return { graph: undefined, reason: graph, records: records.storages() };
}

/** The object graph, or why there is none. */
function graphOf(records: Records): Remains | string {
  if (records.has('constants.pkl') || records.hasFolder('code/'))
    return 'it is a TorchScript archive, a program that nothing less than all of its records makes up';
  const pickle = records.pickle('data.pkl');
  if (typeof pickle === 'string') return `data.pkl, which names the tensors, is ${pickle}`;
  const order = records.bytes('byteorder', undefined);
  const bigEndian = !(order instanceof Loss) && Buffer.from(order.bytes()).toString('latin1') === 'big';
  const storages = new FoundStorages((id) => records.storage(id), bigEndian);
  const context = readContext(records.source);
  let root: PyValue;
  try {
    root = context.unpickle(pickle, { record: 'data.pkl', persistentLoad: (pid) => storages.load(pid) }).value;
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
    return `data.pkl, which names the tensors, cannot be read: ${error.message}`;
  }
  const [dangerous] = dangerousNames(context.globals);
  if (dangerous !== undefined) return `data.pkl names ${dangerous}, which would run in Python`;
  const lost = new Map(
    [...storages.lost].map(([storage, { key, reason, part }]) => [storage, { record: `data/${key}`, reason, part }]),
  );
  return { graph: { root, lost } };
}

/**
 * How many bytes a zip that was cut has had at least: its records, the storages that its pickle names, and its directory.
 * Nothing is checked.
 */
export async function leastBytes(source: ByteSource, signal: AbortSignal | undefined): Promise<number> {
  const found = await findRecords(source, { maxRecords: DEFAULT_LIMITS.maxRecords, signal });
  const records = new Records(source, found);
  const graph = graphOf(records);
  const lost = typeof graph === 'string' || !graph.graph ? new Map<Storage, Lost>() : graph.graph.lost;
  let [recordsEnd, directory] = [0, END_BYTES];
  for (const { name, dataOffset, storedLength, availableBytes } of found) {
    directory += DIRECTORY_ENTRY_BYTES + Buffer.byteLength(name);
    recordsEnd = Math.max(recordsEnd, dataOffset + (storedLength ?? availableBytes));
  }
  for (const [{ nbytes, key }, { record }] of lost) {
    const here = records.availableBytes(record);
    recordsEnd += Math.max(0, nbytes - here);
    if (here > 0) continue;
    const nameBytes = key.length + MIN_NAME_BYTES;
    recordsEnd += LOCAL_HEADER_BYTES + nameBytes;
    directory += DIRECTORY_ENTRY_BYTES + nameBytes;
  }
  return Math.max(recordsEnd + directory, source.byteLength + 1);
}

/** What a record takes at least in the directory and before its payload, without its name; the end record. */
const DIRECTORY_ENTRY_BYTES = 46;
const LOCAL_HEADER_BYTES = 30;
const END_BYTES = 22;
/** `a/data/` before the key. */
const MIN_NAME_BYTES = 7;

class Records {
  readonly source: ByteSource;
  /** By name without the archive name. */
  readonly #records = new Map<string, FoundRecord>();
  /** Of those whose checksum was computed and is another one. */
  readonly #damaged = new Set<string>();
  readonly #budget = new InflateBudget(DEFAULT_LIMITS);

  constructor(source: ByteSource, found: readonly FoundRecord[]) {
    this.source = source;
    for (const record of found) {
      const name = record.name.slice(record.name.indexOf('/') + 1);
      // Of two under one name the first counts, as in the reader of PyTorch.
      if (name !== '' && !name.endsWith('/') && !this.#records.has(name)) this.#records.set(name, record);
    }
  }

  has(name: string): boolean {
    return this.#records.has(name);
  }

  hasFolder(folder: string): boolean {
    for (const name of this.#records.keys()) if (name.startsWith(folder)) return true;
    return false;
  }

  /** Bytes of the record that are in the file; 0 where it is missing. */
  availableBytes(name: string): number {
    return this.#records.get(name)?.availableBytes ?? 0;
  }

  /** Compares every stored record that is here with its checksum. */
  async check({ signal, onProgress }: SalvageOptions): Promise<void> {
    const checked = [...this.#records].filter(
      ([, { method, crc32, storedLength, availableBytes }]) =>
        method === STORED && crc32 && storedLength !== undefined && storedLength <= availableBytes,
    );
    const totalBytes = checked.reduce((sum, [, { storedLength = 0 }]) => sum + storedLength, 0);
    let bytes = 0;
    for (let i = 0; i < checked.length; ) {
      signal?.throwIfAborted();
      const start = i;
      for (let size = 0; i < checked.length && (i === start || size < BATCH_BYTES); i++)
        size += (checked[i] as (typeof checked)[number])[1].storedLength ?? 0;
      const batch = checked.slice(start, i);
      const sums = await this.#checksums(batch.map(([, record]) => record));
      for (const [j, [name, { crc32, storedLength = 0 }]] of batch.entries()) {
        if (sums[j] !== crc32) this.#damaged.add(name);
        bytes += storedLength;
      }
      onProgress?.({ stage: 'check', bytes, totalBytes });
    }
  }

  async #checksums(records: readonly FoundRecord[]): Promise<ArrayLike<number>> {
    const { file, name } = this.source;
    if (!file) {
      return records.map(({ dataOffset, storedLength = 0 }) => {
        const bytes = this.source.read(dataOffset, storedLength);
        return native({ path: name }, (addon) => addon.crc32(bytes, 0));
      });
    }
    const ranges = Float64Array.from(records.flatMap(({ dataOffset, storedLength = 0 }) => [dataOffset, storedLength]));
    return native({ path: name }, (addon) => addon.crc32Ranges(file, ranges, THREADS));
  }

  /** The bytes of a record, or why they are lost. `needed`: how many it must have, where somebody else knows. */
  bytes(name: string, needed: number | undefined): Found {
    const record = this.#records.get(name);
    if (!record) return Loss.missing();
    const { method, dataOffset, storedLength, byteLength, availableBytes } = record;
    if (this.#damaged.has(name)) return new Loss(DAMAGED);
    const part = (): StorageBytes => this.source.storageBytes(dataOffset, availableBytes, WIDEST_ITEM_BYTES);
    if (storedLength === undefined) {
      // Cut inside its descriptor, or the descriptor was overwritten: what the pickle says decides.
      const isWhole =
        method === STORED &&
        needed !== undefined &&
        needed <= availableBytes &&
        availableBytes <= needed + MAX_DESCRIPTOR_BYTES;
      if (isWhole) return this.source.storageBytes(dataOffset, needed, WIDEST_ITEM_BYTES);
      return method === STORED && needed !== undefined && availableBytes < needed
        ? Loss.cutShort(part(), needed)
        : new Loss('cut short');
    }
    if (storedLength > availableBytes) {
      return method === STORED && needed === storedLength
        ? Loss.cutShort(part(), needed)
        : new Loss(`cut short: ${availableBytes} of ${storedLength} bytes are here`);
    }
    if (needed !== undefined && byteLength !== needed)
      return new Loss(`of another size: ${byteLength} bytes are stored, ${needed} needed`);
    const stored = this.source.storageBytes(dataOffset, storedLength, method === STORED ? WIDEST_ITEM_BYTES : 1);
    return method === STORED ? stored : this.#inflated(name, stored, byteLength ?? 0, record.crc32);
  }

  #inflated(name: string, stored: StorageBytes, byteLength: number, crc32: number | undefined): Found {
    const inflated = new InflatedBytes(stored, byteLength, name, this.#budget);
    try {
      const bytes = inflated.bytes();
      if (!crc32 || native({}, (addon) => addon.crc32(bytes, 0)) === crc32) return inflated;
      return new Loss(DAMAGED);
    } catch (error) {
      if (!isCheckpointError(error)) throw error;
      return new Loss(`damaged: ${error.message}`);
    }
  }

  storage({ key, location, byteLength }: StorageId): Found {
    const name = `data/${key}`;
    return location === 'meta' && !this.has(name) ? new MetaBytes(byteLength) : this.bytes(name, byteLength);
  }

  /** The bytes of a pickle, whose own opcodes say where it ends. */
  pickle(name: string): Uint8Array | string {
    const record = this.#records.get(name);
    const known = record?.storedLength;
    if (!record || known !== undefined) {
      const found = this.bytes(name, undefined);
      return found instanceof Loss ? found.reason : found.bytes();
    }
    const { dataOffset, availableBytes } = record;
    const end = dataOffset + availableBytes;
    const extent = walkPickle(this.source, dataOffset, end, DEFAULT_LIMITS.maxPickleBytes);
    return extent.kind === 'whole' ? this.source.read(dataOffset, extent.byteEnd - dataOffset) : 'cut short';
  }

  /** Every record of a storage, by name. */
  storages(): Map<string, Found> {
    const storages = new Map<string, Found>();
    for (const name of this.#records.keys())
      if (/^(?:data|constants)\/[^/]+$/.test(name)) storages.set(name, this.bytes(name, undefined));
    return storages;
  }
}
