/** Checkpoints made by hand, byte by byte, for tests that need no PyTorch and no corpus. */
import { deflateRawSync, crc32 as zlibCrc32 } from 'node:zlib';

const bytesOf = (...parts: (string | number | readonly number[] | Uint8Array)[]): Buffer =>
  Buffer.concat(
    parts.map((part) =>
      typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(typeof part === 'number' ? [part] : part),
    ),
  );
const u16 = (value: number): Buffer => Buffer.from([value & 255, (value >> 8) & 255]);
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const i64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(value));
  return bytes;
};

export { bytesOf, i64, u32 };

/** Opcodes as Python's C pickler writes them. */
export const py = {
  proto: '\x80\x02',
  stop: '.',
  text: (value: string): Buffer => bytesOf('X', u32(Buffer.byteLength(value)), Buffer.from(value)),
  bytes: (value: Uint8Array): Buffer => bytesOf('B', u32(value.byteLength), value),
  bytes2: (value: string): Buffer => bytesOf('U', value.length, value),
  int: (value: number): Buffer => (value < 256 && value >= 0 ? bytesOf('K', value) : bytesOf('J', u32(value >>> 0))),
  global: (module: string, name: string): string => `c${module}\n${name}\n`,
  tuple: (...items: (string | Uint8Array)[]): Buffer => bytesOf('(', ...items, 't'),
  list: (...items: (string | Uint8Array)[]): Buffer => bytesOf('](', ...items, 'e'),
  pickle: (...items: (string | Uint8Array)[]): Buffer => bytesOf('\x80\x02', ...items, '.'),
};

export interface StorageSample {
  readonly key: string;
  readonly cls?: string;
  readonly location?: string;
  readonly numel: number;
  /** The sixth item of legacy ids. */
  readonly view?: Buffer | 'N';
  readonly module?: string;
}

export function storageId({
  key,
  cls = 'FloatStorage',
  location = 'cpu',
  numel,
  view,
  module = 'torch',
}: StorageSample): Buffer {
  const items = [py.text('storage'), py.global(module, cls), py.text(key), py.text(location), py.int(numel)];
  return bytesOf(py.tuple(...items, ...(view === undefined ? [] : [view])), 'Q');
}

/** `_rebuild_tensor_v2` of a one-dimensional tensor over all of a storage. */
export function tensor(storage: StorageSample, numel = storage.numel): Buffer {
  return bytesOf(
    py.global('torch._utils', '_rebuild_tensor_v2'),
    py.tuple(
      storageId(storage),
      py.int(0),
      py.tuple(py.int(numel)),
      py.tuple(py.int(1)),
      '\x89',
      bytesOf(py.global('collections', 'OrderedDict'), ')R'),
    ),
    'R',
  );
}

export function dict(entries: Readonly<Record<string, Uint8Array>>): Buffer {
  return bytesOf('}', '(', ...Object.entries(entries).flatMap(([key, value]) => [py.text(key), value]), 'u');
}

export interface RecordSample {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly deflate?: boolean;
  readonly method?: number;
  /** What the directory claims, if not the truth. */
  readonly byteLength?: number;
  readonly flags?: number;
  readonly localName?: string;
}

/** A zip as Python's zipfile writes it: sizes in the local headers, no descriptors. Payloads are 64-byte aligned. */
export function zip(records: readonly RecordSample[], comment = ''): Buffer {
  const body: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const record of records) {
    const stored = record.deflate ? deflateRawSync(record.bytes) : Buffer.from(record.bytes);
    const name = Buffer.from(record.name);
    const localName = Buffer.from(record.localName ?? record.name);
    const pad = (64 - ((offset + 30 + localName.length + 4) % 64)) % 64;
    const crc = crc32(record.bytes);
    const method = record.method ?? (record.deflate ? 8 : 0);
    const byteLength = record.byteLength ?? record.bytes.byteLength;
    const flags = record.flags ?? 0x800;
    const common = bytesOf(u16(20), u16(flags), u16(method), u32(0), u32(crc), u32(stored.length), u32(byteLength));
    const local = bytesOf(
      'PK\x03\x04',
      common,
      u16(localName.length),
      u16(4 + pad),
      localName,
      'FB',
      u16(pad),
      'Z'.repeat(pad),
      stored,
    );
    directory.push(
      bytesOf(
        'PK\x01\x02',
        u16(20),
        common,
        u16(name.length),
        u16(0),
        u16(0),
        u16(0),
        u16(0),
        u32(0),
        u32(offset),
        name,
      ),
    );
    body.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const end = bytesOf(
    'PK\x05\x06',
    u16(0),
    u16(0),
    u16(records.length),
    u16(records.length),
    u32(central.length),
    u32(offset),
    u16(comment.length),
    comment,
  );
  return Buffer.concat([...body, central, end]);
}

function crc32(bytes: Uint8Array): number {
  if (typeof zlibCrc32 === 'function') return zlibCrc32(bytes);
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

export const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

/** `{'w': tensor([1, 2, 3, 4])}` as torch.save writes it, by default; records may be replaced or removed. */
export function zipCheckpoint(
  changes: Readonly<Record<string, Uint8Array | string | null | Partial<RecordSample>>> = {},
  folder = 'archive/',
): Buffer {
  const records = new Map<string, RecordSample>(
    [
      { name: 'data.pkl', bytes: py.pickle(dict({ w: tensor({ key: '0', numel: 4 }) })) },
      { name: 'byteorder', bytes: Buffer.from('little') },
      { name: 'data/0', bytes: floats(1, 2, 3, 4) },
      { name: 'version', bytes: Buffer.from('3\n') },
    ].map((record) => [record.name, record]),
  );
  for (const [name, change] of Object.entries(changes)) {
    if (change === null) records.delete(name);
    else if (typeof change === 'string' || change instanceof Uint8Array)
      records.set(name, { name, bytes: Buffer.from(change as Uint8Array) });
    else records.set(name, { name, bytes: Buffer.alloc(0), ...records.get(name), ...change });
  }
  return zip([...records.values()].map((record) => ({ ...record, name: folder + record.name })));
}

export const LEGACY_MAGIC = bytesOf(
  '\x80\x02\x8a\x0a',
  [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19],
  '.',
);

/** A legacy stream; `data` holds what follows the list of keys: counts and bytes. */
export function legacyCheckpoint(
  object: Uint8Array,
  data: readonly { key: string; numel: number; bytes: Uint8Array }[],
  version = 1001,
): Buffer {
  return bytesOf(
    LEGACY_MAGIC,
    py.pickle(bytesOf('M', u16(version))),
    py.pickle(dict({ protocol_version: bytesOf('M', u16(version)), little_endian: Buffer.from('\x88', 'latin1') })),
    py.pickle(object),
    py.pickle(py.list(...data.map(({ key }) => py.text(key)))),
    ...data.flatMap(({ numel, bytes }) => [i64(numel), bytes]),
  );
}

/** An uncompressed ustar of regular files. */
export function tar(members: Readonly<Record<string, Uint8Array>>): Buffer {
  const blocks: Buffer[] = [];
  for (const [name, bytes] of Object.entries(members)) {
    const header = Buffer.alloc(512);
    header.write(name, 0);
    header.write('0000644\0', 100);
    header.write(`${bytes.byteLength.toString(8).padStart(11, '0')}\0`, 124);
    header.write('        ', 148);
    header.write('0ustar\x0000', 156, 'latin1');
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    blocks.push(header, Buffer.from(bytes), Buffer.alloc((512 - (bytes.byteLength % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

export function safetensors(header: unknown, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  return Buffer.concat([i64(text.length), text, data]);
}
