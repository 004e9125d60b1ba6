/**
 * The records of a zip that lost its directory, found by what stands around them: a local header before, and behind a
 * payload whose length was not known beforehand, as PyTorch writes them, a descriptor that says how long it was.
 *
 * One pass over the file. A descriptor belongs to the record that begins exactly as many bytes before it as it counts;
 * what looks like a record inside of another one (a checkpoint in a storage) is given up when the outer one is closed.
 * Field offsets are those of APPNOTE 4.3.7 (local header) and 4.3.9 (descriptor).
 */
import { setImmediate } from 'node:timers/promises';
import { CheckpointError } from '../errors';
import type { ByteSource } from '../source/byte-source';
import type { OnProgress } from '../source/progress';
import { localHeaders, mapZip } from './zip-map';

export interface FoundRecord {
  /** With the archive name. */
  readonly name: string;
  /** 0 stored, 8 deflated. */
  readonly method: number;
  readonly dataOffset: number;
  /** As the file says; undefined where the descriptor is gone. */
  readonly storedLength: number | undefined;
  readonly byteLength: number | undefined;
  /** 0 or undefined: not recorded. */
  readonly crc32: number | undefined;
  /** Bytes up to the next record or the end of the file. */
  readonly availableBytes: number;
}

export interface FindOptions {
  readonly maxRecords: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

const LOCAL_BYTES = 30;
const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR64_BYTES = 24;
const HAS_DESCRIPTOR = 0x08;
const ENCRYPTED = 0x01;
const ZIP64_EXTRA = 1;
const SEE_ZIP64 = 0xffffffff;
const PIECE_BYTES = 4 << 20;
/** Behind a signature at the end of a piece: more than the longest of what is read there. */
const OVERLAP_BYTES = 32;

/** In the order of the file. A directory that is whole is believed; else the file is searched. */
export async function findRecords(source: ByteSource, options: FindOptions): Promise<FoundRecord[]> {
  return directoryRecords(source) ?? new Search(source, options).run();
}

function directoryRecords(source: ByteSource): FoundRecord[] | undefined {
  const map = mapZip(source);
  if (!map?.whole || map.entries.length === 0) return undefined;
  const entries = map.entries.filter(
    ({ dataOffset, name, localName, encrypted }) => dataOffset >= 0 && name === localName && !encrypted,
  );
  const first = entries.reduce((least, { headerOffset }) => Math.min(least, headerOffset), source.byteLength);
  // The directory of a zip inside of a record outlives that of the zip around it.
  if (!localHeaders(source, 0, first).next().done) return undefined;
  return entries.map(({ name, method, dataOffset, storedLength, byteLength, crc32 }) => ({
    name,
    method,
    dataOffset,
    storedLength,
    byteLength,
    crc32,
    availableBytes: source.byteLength - dataOffset,
  }));
}

interface Candidate extends FoundRecord {
  readonly headerOffset: number;
}

class Search {
  readonly #source: ByteSource;
  readonly #options: FindOptions;
  readonly #records: Candidate[] = [];
  /** Those whose end is not known yet, by where their payload begins; the value is the place in the list. */
  readonly #open = new Map<number, number>();
  #folder: string | undefined;

  constructor(source: ByteSource, options: FindOptions) {
    this.#source = source;
    this.#options = options;
  }

  async run(): Promise<FoundRecord[]> {
    const { byteLength } = this.#source;
    let at = 0;
    while (at < byteLength) {
      const count = Math.min(PIECE_BYTES + OVERLAP_BYTES, byteLength - at);
      const piece = asBuffer(this.#source.read(at, count));
      const stop = Math.min(PIECE_BYTES, count);
      let next = at + stop;
      for (let hit = piece.indexOf('PK', 0, 'latin1'); hit >= 0 && hit < stop; ) {
        const resume = this.#look(piece, hit, at + hit);
        if (resume >= at + stop) {
          next = resume;
          break;
        }
        hit = piece.indexOf('PK', resume - at, 'latin1');
      }
      at = next;
      this.#options.onProgress?.({ stage: 'search', bytes: Math.min(at, byteLength), totalBytes: byteLength });
      await setImmediate();
      this.#options.signal?.throwIfAborted();
    }
    return this.#records.map((record, i) => {
      if (record.storedLength !== undefined) return record;
      const end = this.#records[i + 1]?.headerOffset ?? byteLength;
      return { ...record, availableBytes: end - record.dataOffset };
    });
  }

  /** What stands at a `PK`; returns where to go on. */
  #look(piece: Buffer, hit: number, byteOffset: number): number {
    const kind = hit + 4 <= piece.length ? piece.readUInt16BE(hit + 2) : 0;
    if (kind === 0x0304) return this.#header(byteOffset);
    if (kind === 0x0708) this.#descriptor(piece, hit, byteOffset);
    return byteOffset + 2;
  }

  #header(headerOffset: number): number {
    const skip = headerOffset + 4;
    const record = readHeader(this.#source, headerOffset);
    if (!record) return skip;
    // All records of a checkpoint are in one folder; what chance or another archive put here is not.
    const folder = record.name.slice(0, record.name.indexOf('/') + 1);
    this.#folder ??= folder;
    if (folder !== this.#folder) return skip;
    const { maxRecords } = this.#options;
    if (this.#records.length >= maxRecords)
      throw new CheckpointError('LIMIT_EXCEEDED', `the file has more than limits.maxRecords (${maxRecords}) records`);
    if (record.storedLength === undefined) {
      this.#open.set(record.dataOffset, this.#records.length);
      this.#records.push(record);
      return record.dataOffset;
    }
    this.#records.push(record);
    // A length that leads out of the file may be a wrong one.
    return record.storedLength <= record.availableBytes ? record.dataOffset + record.storedLength : record.dataOffset;
  }

  /** Closes the record that it counts the bytes of; those found inside of it are none. */
  #descriptor(piece: Buffer, hit: number, byteOffset: number): void {
    for (const wide of [true, false]) {
      if (hit + (wide ? DESCRIPTOR64_BYTES : DESCRIPTOR_BYTES) > piece.length) continue;
      const storedLength = wide ? Number(piece.readBigUInt64LE(hit + 8)) : piece.readUInt32LE(hit + 8);
      const byteLength = wide ? Number(piece.readBigUInt64LE(hit + 16)) : piece.readUInt32LE(hit + 12);
      const index = this.#open.get(byteOffset - storedLength);
      const record = index === undefined ? undefined : this.#records[index];
      if (index === undefined || !record || (record.method === 0 && byteLength !== storedLength)) continue;
      for (const inner of this.#records.splice(index + 1)) this.#open.delete(inner.dataOffset);
      this.#open.delete(record.dataOffset);
      this.#records[index] = { ...record, storedLength, byteLength, crc32: piece.readUInt32LE(hit + 4) };
      return;
    }
  }
}

/** Undefined where these are not the bytes of a header. */
function readHeader(source: ByteSource, headerOffset: number): Candidate | undefined {
  if (headerOffset + LOCAL_BYTES > source.byteLength) return undefined;
  const header = asBuffer(source.read(headerOffset, LOCAL_BYTES));
  const flags = header.readUInt16LE(6);
  const method = header.readUInt16LE(8);
  const nameLength = header.readUInt16LE(26);
  const extraLength = header.readUInt16LE(28);
  const dataOffset = headerOffset + LOCAL_BYTES + nameLength + extraLength;
  if (nameLength === 0 || dataOffset > source.byteLength || (method !== 0 && method !== 8)) return undefined;
  if ((flags & ENCRYPTED) !== 0) return undefined;
  const names = asBuffer(source.read(headerOffset + LOCAL_BYTES, nameLength + extraLength));
  const name = names.toString('utf8', 0, nameLength);
  if (name.includes('\0')) return undefined;
  const record = { name, method, headerOffset, dataOffset };
  const [byteLength, storedLength] = wideLengths(
    names.subarray(nameLength),
    header.readUInt32LE(22),
    header.readUInt32LE(18),
  );
  const availableBytes = source.byteLength - dataOffset;
  if ((flags & HAS_DESCRIPTOR) !== 0 && storedLength === 0)
    return { ...record, storedLength: undefined, byteLength: undefined, crc32: undefined, availableBytes };
  return { ...record, storedLength, byteLength, crc32: header.readUInt32LE(14), availableBytes };
}

/** From the zip64 extra field where they are saturated. */
function wideLengths(extra: Buffer, byteLength: number, storedLength: number): [number, number] {
  if (byteLength !== SEE_ZIP64 && storedLength !== SEE_ZIP64) return [byteLength, storedLength];
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== ZIP64_EXTRA || at + 20 > extra.length) continue;
    return [Number(extra.readBigUInt64LE(at + 4)), Number(extra.readBigUInt64LE(at + 12))];
  }
  return [byteLength, storedLength];
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
