/** Everything in one file that a Python reader might unpickle, whatever it is called and wherever it hides. */
import { gunzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import { native } from '../binding';
import { isZip, SNIFF_BYTES, safetensorsHeaderLength } from '../container/magic';
import { describeUnknown, sniff } from '../container/signatures';
import { isTarHeader, readTarMembers } from '../container/tar-members';
import { DEFAULT_LIMITS } from '../limits';
import type { ByteSource } from '../source/byte-source';
import { MemorySource } from '../source/memory';
import type { Blob } from './pickle-globals';
import type { Findings } from './scan-findings';
import { carvePickles, hasProtocol, type OnBlob, scanPickles } from './scan-pickles';
import { localHeaders, mapZip, type ZipEntry, type ZipMap } from './zip-map';

/** Checkpoints in checkpoints in checkpoints: real ones stop at two. */
const MAX_DEPTH = 6;
/** Compressed records are inflated in memory to look into them, up to this size in sum. */
const MAX_INFLATED_BYTES = 2 ** 30;
const PICKLE_NAME = /\.(?:pkl|pickle|joblib|dill|debug_pkl)$/i;
const NUMPY_MAGIC = Buffer.from('\x93NUMPY', 'latin1');
const STORED = 0;
const DEFLATED = 8;
/** Kinds of `sniff` that hold no pickle: to be told, not to be suspected. */
const HARMLESS_KINDS = new Set([
  'html',
  'git-lfs-pointer',
  'json',
  'xml',
  'text',
  'pdf',
  'png',
  'jpeg',
  'gif',
  'gguf',
  'empty',
  'zeros',
  'onnx',
  'parquet',
  'arrow',
  'executorch',
  'torch7',
  'darknet',
  'tensorboard',
  'matlab',
  'sentencepiece',
]);

export class SourceScanner {
  readonly #findings: Findings;
  #inflatedBytes = 0;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** `record` names where the bytes come from, when they are a part of a file. Throws what reading the source throws. */
  scan(source: ByteSource, record?: string, depth = 0): void {
    if (depth > MAX_DEPTH) {
      this.#findings.add({
        kind: 'too-deep',
        severity: 'warning',
        message: `checkpoints are nested deeper than ${MAX_DEPTH} levels`,
        ...named(record),
      });
      return;
    }
    const onBlob = this.#blobScanner(depth);
    const head = source.read(0, Math.min(SNIFF_BYTES, source.byteLength));
    const unpacked = this.#unpacked(source, head);
    if (unpacked) {
      this.scan(unpacked, `${record === undefined ? '' : `${record} > `}unpacked`, depth + 1);
      return;
    }
    if (!isZip(head) && safetensorsHeaderLength(head, DEFAULT_LIMITS.maxHeaderBytes) !== undefined) return;
    // A zip is found by its end: what stands before it may be a pickle of its own.
    const map = source.byteLength > 0 ? mapZip(source) : undefined;
    const isTar = isTarHeader(head);
    // A zip in a tar stands between the tar's own bytes: nothing odd about that.
    if (map) this.#scanZip(source, map, record, depth, !isTar);
    if (isZip(head)) {
      if (!map) this.#scanTornZip(source, record, onBlob);
      return;
    }
    if (isTar) this.#scanTar(source, record, depth);
    else if (isNpy(head)) this.#scanNpy(source, record, onBlob);
    else this.#scanStream(source, head, record, map !== undefined, onBlob);
  }

  /** What gzip and zlib hold, as joblib and others write pickles; undefined for other bytes and for more than is looked at. */
  #unpacked(source: ByteSource, head: Uint8Array): ByteSource | undefined {
    const isGzip = head[0] === 0x1f && head[1] === 0x8b && head[2] === 8;
    const isZlib = head[0] === 0x78 && head.length > 2 && ((head[0] << 8) | (head[1] as number)) % 31 === 0;
    const room = MAX_INFLATED_BYTES - this.#inflatedBytes;
    if (!(isGzip || isZlib) || source.byteLength > room) return undefined;
    try {
      const packed = source.read(0, source.byteLength);
      // RFC 1952: a gzip member ends with its length modulo 2^32.
      const [b0 = 0, b1 = 0, b2 = 0, b3 = 0] = isGzip ? packed.subarray(-4) : [];
      const options = inflating(b0 + b1 * 2 ** 8 + b2 * 2 ** 16 + b3 * 2 ** 24, room);
      const bytes = isGzip ? gunzipSync(packed, options) : inflateSync(packed, options);
      this.#inflatedBytes += bytes.length;
      return new MemorySource(bytes);
    } catch {
      return undefined;
    }
  }

  #blobScanner(depth: number): OnBlob {
    return ({ bytes }: Blob, record) => {
      const inner = `${record === undefined ? '' : `${record} > `}blob`;
      this.scan(new MemorySource(bytes), inner, depth + 1);
    };
  }

  #scanStream(
    source: ByteSource,
    head: Uint8Array,
    record: string | undefined,
    isZipToo: boolean,
    onBlob: OnBlob,
  ): void {
    const region = { source, start: 0, end: source.byteLength, record };
    const expected = hasProtocol(head) || (record !== undefined && PICKLE_NAME.test(record));
    const foreign = expected ? undefined : sniff(head, source.byteLength);
    const count = foreign && foreign.kind !== 'onnx' ? 0 : scanPickles(region, this.#findings, expected, onBlob);
    if (count > 0) {
      if (isZipToo)
        this.#findings.add({
          kind: 'hidden-pickle',
          severity: 'warning',
          message: 'a pickle stands before the zip: readers differ about what the file is',
          ...named(record),
        });
      return;
    }
    if (isZipToo || record !== undefined) return;
    // Text opcodes can be any text: only what is no known kind is walked as a pickle that may be broken.
    const unknown = foreign ?? describeUnknown(head);
    const severity = HARMLESS_KINDS.has(unknown.kind) ? 'note' : 'warning';
    this.#findings.add({ kind: 'unreadable', severity, message: unknown.message });
  }

  #scanTar(source: ByteSource, record: string | undefined, depth: number): void {
    for (const { name, byteOffset, byteLength } of readTarMembers(source)) {
      const inner = record === undefined ? name : `${record} > ${name}`;
      const bytes = new Section(source, byteOffset, byteLength);
      // Pickles and raw numbers take turns in these two.
      if (name === 'storages' || name === 'tensors')
        carvePickles(
          { source: bytes, start: 0, end: byteLength, record: inner },
          this.#findings,
          this.#blobScanner(depth),
        );
      else this.scan(bytes, inner, depth + 1);
    }
  }

  /** numpy/lib/format.py: an array of objects is a pickle behind the header. */
  #scanNpy(source: ByteSource, record: string | undefined, onBlob: OnBlob): void {
    const head = source.read(0, Math.min(12, source.byteLength));
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
    if (head.length < 12) return;
    const wide = (head[6] as number) >= 2;
    const start = wide ? 12 + view.getUint32(8, true) : 10 + view.getUint16(8, true);
    if (start >= source.byteLength) return;
    const text = Buffer.from(source.read(0, Math.min(start, SNIFF_BYTES))).toString('latin1');
    const holdsObjects = /'descr'[^}]*O/.test(text);
    scanPickles({ source, start, end: source.byteLength, record }, this.#findings, holdsObjects, onBlob);
  }

  #scanZip(source: ByteSource, map: ZipMap, record: string | undefined, depth: number, tellsOddities: boolean): void {
    if (tellsOddities) this.#tellOddities(source, map, record);
    let lastEnd = 0;
    const sorted = [...map.entries].sort((a, b) => a.headerOffset - b.headerOffset);
    for (const entry of sorted) {
      if (entry.headerOffset > lastEnd) this.#scanGap(source, lastEnd, entry.headerOffset, record, depth);
      if (entry.dataOffset >= 0) lastEnd = Math.max(lastEnd, entry.dataOffset + entry.storedLength);
      this.#scanEntry(source, entry, record, depth);
    }
    if (lastEnd < map.directoryStart) this.#scanGap(source, lastEnd, map.directoryStart, record, depth);
  }

  #tellOddities(source: ByteSource, map: ZipMap, record: string | undefined): void {
    const tell = (kind: string, message: string, name?: string, severity: 'warning' | 'note' = 'warning'): void =>
      this.#findings.add({ kind, severity, message, ...named(joined(record, name)) });
    if (map.prefixBytes > 0) tell('prefix-data', `${map.prefixBytes} bytes stand before the zip`);
    if (map.trailingBytes > 0) tell('trailing-data', `${map.trailingBytes} bytes follow the zip`);
    if (!map.whole) tell('unreadable', 'the directory of the zip breaks off');
    const seen = new Set<string>();
    for (const { name, localName, encrypted, dataOffset, storedLength } of map.entries) {
      if (seen.has(name))
        tell('duplicate-record', 'the zip has this name twice: readers differ about which one counts', name);
      seen.add(name);
      if (/^(?:[/\\]|[a-zA-Z]:)|(?:^|[/\\])\.\.(?:[/\\]|$)|\0/.test(name))
        tell('unsafe-name', 'the name leads out of the folder it is unpacked in', name);
      if (dataOffset < 0) tell('name-mismatch', 'the directory names a record where none begins', name);
      else if (localName !== name)
        tell(
          'name-mismatch',
          `the record calls itself "${(localName ?? '').slice(0, 200)}", the directory otherwise`,
          name,
        );
      if (dataOffset >= 0 && dataOffset + storedLength > source.byteLength)
        tell('size-mismatch', 'the record goes beyond the end of the file', name);
      if (encrypted) tell('encrypted', 'the record is encrypted and was not looked into', name);
    }
    if (map.entries.some(({ name }) => name.endsWith('.data/extern_modules')))
      tell('python-code', 'the file is a torch.package: it carries Python code that loading runs');
  }

  #scanEntry(source: ByteSource, entry: ZipEntry, record: string | undefined, depth: number): void {
    const { dataOffset, storedLength, byteLength, method, encrypted } = entry;
    if (dataOffset < 0 || encrypted || byteLength === 0 || entry.name.endsWith('/')) return;
    const name = joined(record, withoutFolder(entry.name)) as string;
    const available = Math.min(storedLength, source.byteLength - dataOffset);
    if (available <= 0) return;
    const stored = new Section(source, dataOffset, available);
    const bytes = method === STORED ? stored : method === DEFLATED ? this.#inflated(stored, entry, name) : undefined;
    if (!bytes) return;
    const before = this.#findings.pickles;
    this.#scanRecord(bytes, name, depth);
    if (this.#findings.pickles > before) this.#checkCrc(bytes, entry, name);
  }

  #scanRecord(bytes: ByteSource, name: string, depth: number): void {
    if (bytes.byteLength === 0) return;
    const head = bytes.read(0, Math.min(16, bytes.byteLength));
    const before = this.#findings.pickles;
    const expected = PICKLE_NAME.test(name);
    if (isZip(head) || isNpy(head)) this.scan(bytes, name, depth + 1);
    else
      scanPickles(
        { source: bytes, start: 0, end: bytes.byteLength, record: name },
        this.#findings,
        expected,
        this.#blobScanner(depth),
      );
    if (!expected && !isNpy(head) && this.#findings.pickles > before) {
      this.#findings.add({
        kind: 'hidden-pickle',
        severity: 'note',
        message: 'the record holds a pickle although it is not named like one',
        record: name,
      });
    }
  }

  #inflated(stored: ByteSource, { byteLength }: ZipEntry, name: string): ByteSource | undefined {
    const room = MAX_INFLATED_BYTES - this.#inflatedBytes;
    if (byteLength > room) {
      this.#findings.add({
        kind: 'unreadable',
        severity: 'warning',
        message: `inflates to ${byteLength} bytes and was not looked into`,
        record: name,
      });
      return undefined;
    }
    try {
      const bytes = inflateRawSync(stored.read(0, stored.byteLength), inflating(byteLength, room));
      this.#inflatedBytes += bytes.length;
      return new MemorySource(bytes);
    } catch (error) {
      this.#findings.add({
        kind: 'unreadable',
        severity: 'warning',
        message: `cannot be inflated: ${(error as Error).message}`,
        record: name,
      });
      return undefined;
    }
  }

  #checkCrc(bytes: ByteSource, { crc32 }: ZipEntry, record: string): void {
    if (crc32 === 0) return;
    const computed = native({}, (addon) => addon.crc32(bytes.read(0, bytes.byteLength), 0));
    if (computed === crc32) return;
    this.#findings.add({
      kind: 'crc-mismatch',
      severity: 'warning',
      message: 'the pickle differs from its checksum: readers that check it see another file than those that do not',
      record,
    });
  }

  /** Records between records, which no directory lists. */
  #scanGap(source: ByteSource, start: number, end: number, record: string | undefined, depth: number): void {
    // Data descriptors take up to 24 bytes; a local header with its name is longer.
    if (end - start < 30) return;
    for (const header of localHeaders(source, start, end)) {
      const name = joined(record, withoutFolder(header.name)) as string;
      this.#findings.add({
        kind: 'unlisted-record',
        severity: 'warning',
        message: 'stands in the file, but not in the directory of the zip',
        record: name,
      });
      this.#scanRecord(new Section(source, header.dataOffset, Math.max(0, end - header.dataOffset)), name, depth);
    }
  }

  /** A zip without its directory: what its local headers lead to. */
  #scanTornZip(source: ByteSource, record: string | undefined, onBlob: OnBlob): void {
    this.#findings.add({
      kind: 'unreadable',
      severity: 'warning',
      message: 'the zip has no directory: it is cut short or damaged',
      ...named(record),
    });
    for (const { name, dataOffset, method } of localHeaders(source, 0, source.byteLength)) {
      if (method !== STORED || dataOffset >= source.byteLength) continue;
      const inner = joined(record, withoutFolder(name));
      scanPickles({ source, start: dataOffset, end: source.byteLength, record: inner }, this.#findings, false, onBlob);
    }
  }
}

function named(record: string | undefined): { record?: string } {
  return record === undefined ? {} : { record };
}

function joined(record: string | undefined, name: string | undefined): string | undefined {
  return record === undefined || name === undefined ? (name ?? record) : `${record} > ${name}`;
}

const MIN_PIECE_BYTES = 64 << 10;

/** zlib gathers its output in pieces and joins them in the end: in one that is long enough, there is nothing to join. */
function inflating(expectedBytes: number, room: number): { maxOutputLength: number; chunkSize: number } {
  const most = Math.max(1, room);
  return { maxOutputLength: most, chunkSize: Math.max(MIN_PIECE_BYTES, Math.min(expectedBytes + 1, most)) };
}

/** Records are named as everywhere: without the archive name. */
function withoutFolder(name: string): string {
  return name.replace(/^[^/]+\/(?=.)/, '');
}

function isNpy(head: Uint8Array): boolean {
  return head.length >= NUMPY_MAGIC.length && NUMPY_MAGIC.equals(head.subarray(0, NUMPY_MAGIC.length));
}

/** A part of a source as a source of its own. */
class Section implements ByteSource {
  readonly byteLength: number;
  readonly name = undefined;
  readonly file = undefined;
  readonly #source: ByteSource;
  readonly #start: number;
  constructor(source: ByteSource, start: number, byteLength: number) {
    this.#source = source;
    this.#start = start;
    this.byteLength = byteLength;
  }
  get closed(): boolean {
    return this.#source.closed;
  }
  read(byteOffset: number, byteLength: number): Uint8Array {
    return this.#source.read(this.#start + byteOffset, byteLength);
  }
  storageBytes(byteOffset: number, byteLength: number, alignment?: number): ReturnType<ByteSource['storageBytes']> {
    return this.#source.storageBytes(this.#start + byteOffset, byteLength, alignment);
  }
  close(): void {
    // The whole source belongs to somebody else.
  }
}
