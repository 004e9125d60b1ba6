/**
 * The zip container as PyTorch writes it, byte for byte (caffe2/serialize/inline_container.cc over miniz).
 *
 * All sizes are known before the first byte is written, so that the whole layout is; only checksums come while the
 * payloads pass. The writer is a generator: it yields records, is given back their checksums, and at last yields the
 * directory that needs them. Who drives it decides where the bytes go.
 */
import type { Payload, SinkRecord } from '../sink/record-sink';
import { type NameDigits, SERIALIZATION_ID, serializationId } from './serialization-id';

const LOCAL_HEADER_BYTES = 30;
const CENTRAL_HEADER_BYTES = 46;
const LOCAL_SIGNATURE = 0x04034b50;
const CENTRAL_SIGNATURE = 0x02014b50;
const ZIP64_END_SIGNATURE = 0x06064b50;
const ZIP64_LOCATOR_SIGNATURE = 0x07064b50;
const END_SIGNATURE = 0x06054b50;
/** Bit 3: sizes stand in a descriptor behind the payload. Bit 11: names are UTF-8. An empty record has no descriptor. */
const FLAGS = 0x0808;
const FLAGS_EMPTY = 0x0800;
const U32_MAX = 0xffffffff;
/** Extra field that pads a payload to its alignment: 'FB', a length, and that many 'Z'. */
const PADDING_ID = 0x4246;
const PADDING_BYTE = 0x5a;
const ZIP64_ID = 0x0001;
const MAX_EXTRA_BYTES = 0xffff;
const NO_EXTRA = Buffer.alloc(0);

export interface ZipRecord {
  /** Without the archive name. */
  readonly name: string;
  readonly payload: Payload;
  readonly byteLength: number;
}

export interface ZipLayoutOptions {
  archiveName: string;
  /** Payloads start at multiples of this many bytes. */
  alignment: number;
  /** False: every checksum is written as 0. */
  crc32: boolean;
  /** Append the record that identifies the contents, as since PyTorch 2.1. */
  serializationId: boolean;
  /** Digits of the file that the values came from. */
  nameDigits: NameDigits | undefined;
}

interface Placed {
  readonly name: Buffer;
  readonly byteLength: number;
  readonly headerOffset: number;
  crc32: number;
}

/** What passed for one record: its CRC-32, and the word that a payload beginning with `PK\7\8` smuggles into the id. */
export interface Checksum {
  readonly crc32: number;
  readonly descriptorLike: number | undefined;
}

export type ZipSteps = Generator<readonly SinkRecord[], void, readonly Checksum[]>;

/** Records written in one go, so that progress and cancellation have a chance in between. */
const BATCH_RECORDS = 4096;

/** Yields the records in order, then the directory. The driver answers each yield with the checksums of its records. */
export function* zipSteps(records: readonly ZipRecord[], options: ZipLayoutOptions): ZipSteps {
  const placed: Placed[] = [];
  const words: number[] = [];
  let cursor = 0;

  function place(record: ZipRecord): SinkRecord {
    const name = Buffer.from(`${options.archiveName}/${record.name}`, 'utf8');
    const { byteLength } = record;
    const zip64 = byteLength >= U32_MAX || cursor >= U32_MAX;
    const header = localHeader(name, byteLength, cursor, options.alignment);
    placed.push({ name, byteLength, headerOffset: cursor, crc32: 0 });
    const descriptor = byteLength === 0 ? 0 : zip64 ? 24 : 16;
    cursor += header.length + byteLength + descriptor;
    return { header, payload: record.payload, byteLength, descriptor };
  }
  function take(checksums: readonly Checksum[], from: number): void {
    checksums.forEach(({ crc32, descriptorLike }, i) => {
      const record = placed[from + i] as Placed;
      record.crc32 = crc32;
      if (record.byteLength === 0) return;
      // The archive's write hook takes any block that starts like a descriptor for one.
      if (descriptorLike !== undefined) words.push(descriptorLike);
      words.push(crc32);
    });
  }

  for (let i = 0; i < records.length; i += BATCH_RECORDS) {
    const from = placed.length;
    take(yield records.slice(i, i + BATCH_RECORDS).map(place), from);
  }
  if (options.serializationId) {
    const id = Buffer.from(
      serializationId(
        records.map(({ name }) => name),
        words,
        options.nameDigits,
      ),
      'latin1',
    );
    const from = placed.length;
    take(yield [place({ name: SERIALIZATION_ID, payload: id, byteLength: id.length })], from);
  }
  const directory = Buffer.concat(placed.map(centralHeader));
  yield [
    {
      header: Buffer.concat([directory, tail(placed.length, directory.length, cursor)]),
      payload: new Uint8Array(),
      byteLength: 0,
      descriptor: 0,
    },
  ];
}

/** Bytes of the whole archive, for reserving the space. */
export function zipByteLength(records: readonly ZipRecord[], options: ZipLayoutOptions): number {
  const all = options.serializationId ? [...records, { name: SERIALIZATION_ID, byteLength: 40 }] : records;
  let cursor = 0;
  let directory = 0;
  for (const { name, byteLength } of all) {
    const nameBytes = Buffer.byteLength(options.archiveName) + 1 + Buffer.byteLength(name);
    const extra = zip64Bytes(byteLength, cursor);
    directory += CENTRAL_HEADER_BYTES + nameBytes + extra;
    const descriptor = byteLength === 0 ? 0 : extra ? 24 : 16;
    cursor +=
      LOCAL_HEADER_BYTES +
      nameBytes +
      extra +
      4 +
      padding(nameBytes, byteLength, cursor, options.alignment) +
      byteLength +
      descriptor;
  }
  return cursor + directory + 56 + 20 + 22;
}

/** Bytes of the zip64 extra field: sizes from 2^32-1 on, and the offset likewise. */
function zip64Bytes(byteLength: number, headerOffset: number): number {
  const fields = (byteLength >= U32_MAX ? 16 : 0) + (headerOffset >= U32_MAX ? 8 : 0);
  return fields ? 4 + fields : 0;
}

function padding(nameBytes: number, byteLength: number, headerOffset: number, alignment: number): number {
  const start = headerOffset + LOCAL_HEADER_BYTES + nameBytes + 4 + zip64Bytes(byteLength, headerOffset);
  const pad = (alignment - (start % alignment)) % alignment;
  // The whole extra field is counted in 16 bits: where that is too little, the payload starts 64 bytes early.
  return pad + 4 + zip64Bytes(byteLength, headerOffset) > MAX_EXTRA_BYTES ? pad - 64 : pad;
}

function zip64Extra(byteLength: number, headerOffset: number, storedLength: number): Buffer {
  const extraBytes = zip64Bytes(byteLength, headerOffset);
  if (extraBytes === 0) return NO_EXTRA;
  const extra = Buffer.alloc(extraBytes);
  extra.writeUInt16LE(ZIP64_ID, 0);
  extra.writeUInt16LE(extra.length - 4, 2);
  let at = 4;
  if (byteLength >= U32_MAX) {
    at = extra.writeBigUInt64LE(BigInt(byteLength), at);
    at = extra.writeBigUInt64LE(BigInt(storedLength), at);
  }
  if (headerOffset >= U32_MAX) extra.writeBigUInt64LE(BigInt(headerOffset), at);
  return extra;
}

function localHeader(name: Buffer, byteLength: number, headerOffset: number, alignment: number): Buffer {
  // PyTorch does not know the compressed size yet when it writes this, and leaves 0 there.
  const zip64 = zip64Extra(byteLength, headerOffset, 0);
  const pad = padding(name.length, byteLength, headerOffset, alignment);
  const header = Buffer.alloc(LOCAL_HEADER_BYTES + name.length + zip64.length + 4 + pad, PADDING_BYTE);
  header.fill(0, 0, LOCAL_HEADER_BYTES);
  header.writeUInt32LE(LOCAL_SIGNATURE, 0);
  header.writeUInt16LE(byteLength === 0 ? FLAGS_EMPTY : FLAGS, 6);
  header.writeUInt16LE(name.length, 26);
  header.writeUInt16LE(zip64.length + 4 + pad, 28);
  let at = LOCAL_HEADER_BYTES;
  at += name.copy(header, at);
  at += zip64.copy(header, at);
  at = header.writeUInt16LE(PADDING_ID, at);
  header.writeUInt16LE(pad, at);
  return header;
}

function centralHeader({ name, byteLength, headerOffset, crc32 }: Placed): Buffer {
  const extra = zip64Extra(byteLength, headerOffset, byteLength);
  const header = Buffer.alloc(CENTRAL_HEADER_BYTES + name.length + extra.length);
  header.writeUInt32LE(CENTRAL_SIGNATURE, 0);
  header.writeUInt16LE(byteLength === 0 ? FLAGS_EMPTY : FLAGS, 8);
  header.writeUInt32LE(crc32, 16);
  header.writeUInt32LE(Math.min(byteLength, U32_MAX), 20);
  header.writeUInt32LE(Math.min(byteLength, U32_MAX), 24);
  header.writeUInt16LE(name.length, 28);
  header.writeUInt16LE(extra.length, 30);
  header.writeUInt32LE(Math.min(headerOffset, U32_MAX), 42);
  name.copy(header, CENTRAL_HEADER_BYTES);
  extra.copy(header, CENTRAL_HEADER_BYTES + name.length);
  return header;
}

/** The three records behind the directory; the 64-bit two are always there. */
function tail(count: number, directoryBytes: number, directoryOffset: number): Buffer {
  const bytes = Buffer.alloc(56 + 20 + 22);
  bytes.writeUInt32LE(ZIP64_END_SIGNATURE, 0);
  bytes.writeBigUInt64LE(44n, 4);
  bytes.writeUInt16LE(0x031e, 12);
  bytes.writeUInt16LE(0x002d, 14);
  bytes.writeBigUInt64LE(BigInt(count), 24);
  bytes.writeBigUInt64LE(BigInt(count), 32);
  bytes.writeBigUInt64LE(BigInt(directoryBytes), 40);
  bytes.writeBigUInt64LE(BigInt(directoryOffset), 48);
  bytes.writeUInt32LE(ZIP64_LOCATOR_SIGNATURE, 56);
  bytes.writeBigUInt64LE(BigInt(directoryOffset + directoryBytes), 64);
  bytes.writeUInt32LE(1, 72);
  bytes.writeUInt32LE(END_SIGNATURE, 76);
  bytes.writeUInt16LE(Math.min(count, 0xffff), 84);
  bytes.writeUInt16LE(Math.min(count, 0xffff), 86);
  bytes.writeUInt32LE(Math.min(directoryBytes, U32_MAX), 88);
  bytes.writeUInt32LE(Math.min(directoryOffset, U32_MAX), 92);
  return bytes;
}
