/** The legacy stream as PyTorch still writes it on request: five pickles, then each storage after its element count. */
import type { Payload, SinkRecord } from '../sink/record-sink';

export interface LegacyStorage {
  readonly key: string;
  /** Elements of the class it was mentioned with; bytes of an untyped one. */
  readonly numel: number;
  readonly payload: Payload;
  readonly byteLength: number;
}

/** The magic number, the protocol version and the facts about the machine, as pickled by 64-bit Linux. */
export const MAGIC_NUMBER = 0x1950a86a20f9469cfc6cn;
export const PROTOCOL_VERSION = 1001;
export const SYSTEM_INFO = {
  protocol_version: PROTOCOL_VERSION,
  little_endian: true,
  type_sizes: { short: 2, int: 4, long: 4 },
} as const;

/** The stream in order. `pickles`: magic, version, system, object and sorted key list. */
export function legacyRecords(pickles: readonly Uint8Array[], storages: readonly LegacyStorage[]): SinkRecord[] {
  const records: SinkRecord[] = [
    { header: Buffer.concat(pickles), payload: new Uint8Array(), byteLength: 0, descriptor: 0 },
  ];
  for (const { numel, payload, byteLength } of storages) {
    const header = Buffer.alloc(8);
    header.writeBigInt64LE(BigInt(numel));
    records.push({ header, payload, byteLength, descriptor: 0 });
  }
  return records;
}

/** PyTorch sorts the keys as strings. */
export function sortedKeys(keys: readonly string[]): string[] {
  return [...keys].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}
