/** Where records go: a file through native code, or a stream. Writers yield records; a sink takes them in order. */
import type { Checksum } from '../container/zip-writer';
import type { StorageBytes } from '../tensor/storage';

/** What a record holds: bytes at hand, or a storage that is read when its turn comes. */
export type Payload = Uint8Array | StorageBytes;

export interface SinkRecord {
  /** Bytes before the payload. */
  readonly header: Uint8Array;
  readonly payload: Payload;
  readonly byteLength: number;
  /** Bytes of the zip data descriptor behind the payload: 24 with 64-bit sizes; 0 for none, and then no checksum either. */
  readonly descriptor: 0 | 16 | 24;
}

export interface SinkCounts {
  /** Bytes that the kernel copied by reference, and bytes that were written. */
  kernelBytes: number;
  writtenBytes: number;
}

export interface RecordSink {
  readonly counts: SinkCounts;
  /** Appends the records; resolves with a checksum for each. */
  write(records: readonly SinkRecord[]): Promise<Checksum[]>;
  /** Makes the output what it is to be, and ends the sink. */
  commit(): Promise<void>;
  /** Leaves nothing behind. Idempotent. */
  abort(): Promise<void>;
}

export const NO_CHECKSUM: Checksum = { crc32: 0, descriptorLike: undefined };
const DESCRIPTOR_SIGNATURE = 0x08074b50;

/** The data descriptor behind a zip payload. */
export function descriptorBytes(crc32: number, byteLength: number, size: 16 | 24): Buffer {
  const bytes = Buffer.alloc(size);
  bytes.writeUInt32LE(DESCRIPTOR_SIGNATURE, 0);
  bytes.writeUInt32LE(crc32, 4);
  if (size === 16) {
    bytes.writeUInt32LE(byteLength, 8);
    bytes.writeUInt32LE(byteLength, 12);
  } else {
    bytes.writeBigUInt64LE(BigInt(byteLength), 8);
    bytes.writeBigUInt64LE(BigInt(byteLength), 16);
  }
  return bytes;
}

/** The word that PyTorch's write hook takes from a payload of 8 bytes or more that begins like a descriptor. */
export function descriptorLikeWord(head: Uint8Array, byteLength: number): number | undefined {
  if (byteLength < 8 || head[0] !== 0x50 || head[1] !== 0x4b || head[2] !== 7 || head[3] !== 8) return undefined;
  return new DataView(head.buffer, head.byteOffset, head.byteLength).getUint32(4, true);
}
