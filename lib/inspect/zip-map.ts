/**
 * A zip as it lies in the file, for looking at hostile ones: what the directory claims, what the local headers claim, and
 * what neither mentions. The reader that loads checkpoints refuses such files; here they are described.
 *
 * Field offsets are those of APPNOTE 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (ends).
 */
import type { ByteSource } from '../source/byte-source';

export interface ZipEntry {
  readonly name: string;
  readonly method: number;
  readonly encrypted: boolean;
  readonly crc32: number;
  readonly storedLength: number;
  readonly byteLength: number;
  /** Where the local header is claimed to be, and where the payload begins; -1 when there is no local header. */
  readonly headerOffset: number;
  readonly dataOffset: number;
  /** What the local header says of itself; undefined when there is none. */
  readonly localName: string | undefined;
}

export interface ZipMap {
  readonly entries: readonly ZipEntry[];
  /** Bytes before the archive, which shift every offset in it. */
  readonly prefixBytes: number;
  /** Bytes behind the end record and its comment, and those of the comment. */
  readonly trailingBytes: number;
  readonly commentBytes: number;
  readonly directoryStart: number;
  /** False where the directory breaks off. */
  readonly whole: boolean;
}

const END_BYTES = 22;
const MAX_COMMENT_BYTES = 0xffff;
const LOCATOR_BYTES = 20;
const END64_BYTES = 56;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const ZIP64_EXTRA = 1;
const SEE_ZIP64 = 0xffffffff;
/** The directory is read at once. */
const MAX_DIRECTORY_BYTES = 2 ** 30;

/** Undefined when no end of a central directory is in the file. */
export function mapZip(source: ByteSource): ZipMap | undefined {
  const tailStart = Math.max(0, source.byteLength - END_BYTES - MAX_COMMENT_BYTES - LOCATOR_BYTES - END64_BYTES);
  const tail = asBuffer(source.read(tailStart, source.byteLength - tailStart));
  for (
    let at = tail.lastIndexOf('PK\x05\x06', undefined, 'latin1');
    at >= 0;
    at = at === 0 ? -1 : tail.lastIndexOf('PK\x05\x06', at - 1, 'latin1')
  ) {
    if (at + END_BYTES > tail.length) continue;
    const map = mapFromEnd(source, tail, tailStart, at);
    if (map) return map;
  }
  return undefined;
}

function mapFromEnd(source: ByteSource, tail: Buffer, tailStart: number, at: number): ZipMap | undefined {
  let count = tail.readUInt16LE(at + 10);
  let directoryBytes = tail.readUInt32LE(at + 12);
  let directoryOffset = tail.readUInt32LE(at + 16);
  const commentBytes = tail.readUInt16LE(at + 20);
  let directoryEnd = tailStart + at;
  const locatorAt = at - LOCATOR_BYTES;
  if (locatorAt >= 0 && tail.toString('latin1', locatorAt, locatorAt + 4) === 'PK\x06\x07') {
    const end64 = readEnd64(source, Number(tail.readBigUInt64LE(locatorAt + 8)), tailStart + locatorAt);
    if (end64) ({ count, directoryBytes, directoryOffset, directoryEnd } = end64);
  }
  const directoryStart = directoryEnd - directoryBytes;
  if (directoryStart < 0 || directoryBytes > MAX_DIRECTORY_BYTES) return undefined;
  const prefixBytes = directoryStart - directoryOffset;
  const directory = asBuffer(source.read(directoryStart, directoryBytes));
  if (count > 0 && directory.toString('latin1', 0, 4) !== 'PK\x01\x02') return undefined;
  const entries = readEntries(source, directory, prefixBytes);
  const trailingBytes = source.byteLength - (tailStart + at + END_BYTES + commentBytes);
  return { entries, prefixBytes, trailingBytes, commentBytes, directoryStart, whole: entries.length >= count };
}

function readEnd64(source: ByteSource, claimed: number, locatorStart: number) {
  // A prefix shifts the file, but the record stands right before its locator.
  for (const at of [claimed, locatorStart - END64_BYTES]) {
    if (!Number.isSafeInteger(at) || at < 0 || at + END64_BYTES > source.byteLength) continue;
    const record = asBuffer(source.read(at, END64_BYTES));
    if (record.toString('latin1', 0, 4) !== 'PK\x06\x06') continue;
    return {
      count: Number(record.readBigUInt64LE(32)),
      directoryBytes: Number(record.readBigUInt64LE(40)),
      directoryOffset: Number(record.readBigUInt64LE(48)),
      directoryEnd: at,
    };
  }
  return undefined;
}

function readEntries(source: ByteSource, directory: Buffer, prefixBytes: number): ZipEntry[] {
  const entries: ZipEntry[] = [];
  for (let at = 0; at + ENTRY_BYTES <= directory.length; ) {
    if (directory.toString('latin1', at, at + 4) !== 'PK\x01\x02') break;
    const nameLength = directory.readUInt16LE(at + 28);
    const extraLength = directory.readUInt16LE(at + 30);
    const end = at + ENTRY_BYTES + nameLength + extraLength + directory.readUInt16LE(at + 32);
    if (end > directory.length) break;
    const extra = directory.subarray(at + ENTRY_BYTES + nameLength, at + ENTRY_BYTES + nameLength + extraLength);
    const [byteLength, storedLength, offset] = wideFields(
      extra,
      directory.readUInt32LE(at + 24),
      directory.readUInt32LE(at + 20),
      directory.readUInt32LE(at + 42),
    );
    const headerOffset = offset + prefixBytes;
    entries.push({
      name: directory.toString('utf8', at + ENTRY_BYTES, at + ENTRY_BYTES + nameLength),
      method: directory.readUInt16LE(at + 10),
      encrypted: (directory.readUInt16LE(at + 8) & 1) !== 0,
      crc32: directory.readUInt32LE(at + 16),
      storedLength,
      byteLength,
      headerOffset,
      ...readLocal(source, headerOffset),
    });
    at = end;
  }
  return entries;
}

/** Sizes and offset, from the zip64 extra field where they are saturated. */
function wideFields(extra: Buffer, ...fields: [number, number, number]): [number, number, number] {
  if (!fields.includes(SEE_ZIP64)) return fields;
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== ZIP64_EXTRA) continue;
    let field = at + 4;
    for (let i = 0; i < fields.length && field + 8 <= extra.length; i++) {
      if (fields[i] !== SEE_ZIP64) continue;
      fields[i] = Number(extra.readBigUInt64LE(field));
      field += 8;
    }
    break;
  }
  return fields;
}

/** A local header and its name, but for the longest names. */
const LOCAL_READ_BYTES = LOCAL_BYTES + 226;

function readLocal(source: ByteSource, headerOffset: number): { dataOffset: number; localName: string | undefined } {
  const missing = { dataOffset: -1, localName: undefined };
  if (headerOffset < 0 || headerOffset + LOCAL_BYTES > source.byteLength) return missing;
  const header = asBuffer(source.read(headerOffset, Math.min(LOCAL_READ_BYTES, source.byteLength - headerOffset)));
  if (header.toString('latin1', 0, 4) !== 'PK\x03\x04') return missing;
  const nameLength = header.readUInt16LE(26);
  const nameEnd = headerOffset + LOCAL_BYTES + nameLength;
  if (nameEnd > source.byteLength) return missing;
  const name =
    LOCAL_BYTES + nameLength <= header.length
      ? header.subarray(LOCAL_BYTES, LOCAL_BYTES + nameLength)
      : asBuffer(source.read(headerOffset + LOCAL_BYTES, nameLength));
  return { dataOffset: nameEnd + header.readUInt16LE(28), localName: name.toString('utf8') };
}

export interface LocalHeader {
  readonly name: string;
  readonly headerOffset: number;
  readonly dataOffset: number;
  readonly method: number;
  /** 0 where the size stands behind the payload. */
  readonly storedLength: number;
}

const CARVE_PIECE_BYTES = 4 << 20;
/** How much of a gap or of a file without a directory is searched. */
const MAX_CARVED_BYTES = 1 << 30;

/** Local headers between two places, found by their signature. */
export function* localHeaders(source: ByteSource, start: number, end: number): Generator<LocalHeader, void, undefined> {
  const stop = Math.min(end, source.byteLength, start + MAX_CARVED_BYTES);
  for (let at = start; at < stop; at += CARVE_PIECE_BYTES) {
    // Pieces overlap, so that a signature across two is found.
    const piece = asBuffer(source.read(at, Math.min(CARVE_PIECE_BYTES + 3, stop - at)));
    for (
      let hit = piece.indexOf('PK\x03\x04', 0, 'latin1');
      hit >= 0;
      hit = piece.indexOf('PK\x03\x04', hit + 4, 'latin1')
    ) {
      const headerOffset = at + hit;
      const { dataOffset, localName } = readLocal(source, headerOffset);
      if (localName === undefined || dataOffset > source.byteLength) continue;
      const header = asBuffer(source.read(headerOffset, LOCAL_BYTES));
      const stored = header.readUInt32LE(18);
      yield {
        name: localName,
        headerOffset,
        dataOffset,
        method: header.readUInt16LE(8),
        storedLength: stored === SEE_ZIP64 ? 0 : stored,
      };
    }
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
