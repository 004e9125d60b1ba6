/**
 * The directory of a zip on a server, by yauzl over ranges.
 *
 * A torch.save archive is opened with two requests: the head, where `data.pkl` is, and the tail, where the directory
 * is. Local headers are read only for records that are needed: each costs a request unless its neighbour was read.
 */
import { type Entry, fromRandomAccessReader, RandomAccessReader, type ZipFile } from 'yauzl';
import type { ZipDirectory } from '../binding';
import { CheckpointError } from '../errors';
import type { Limits } from '../limits';
import type { RemoteZip } from './byte-source';
import type { HttpFile } from './http-file';
import { RemoteBytes } from './remote-bytes';

/** The end record may stand 64 KiB before the end, after a comment; what is left covers a thousand records. */
const TAIL_BYTES = 128 << 10;
/** Fixed part of a local header (APPNOTE 4.3.7), and room for the padding that aligns payloads to 64 bytes. */
const LOCAL_HEADER_BYTES = 30;
const USUAL_EXTRA_BYTES = 128;
/** More `.py` files than any TorchScript archive has. */
const MAX_PREFETCHED_RECORDS = 100_000;

/** What containers read while opening: pickles, single-line records, and the sources of TorchScript. */
const PREFETCHED =
  /(?:^|\/)(?:[^/]+\.pkl|model\.json|(?:\.data\/)?version|byteorder|\.storage_alignment|\.data\/serialization_id|code\/.*\.py)$/;

export async function openRemoteZip(
  http: HttpFile,
  limits: Limits,
  signal: AbortSignal | undefined,
): Promise<RemoteZip> {
  await http.pin(Math.max(0, http.byteLength - TAIL_BYTES), http.byteLength, signal);
  const reader = new RangeReader(http, signal);
  const zip = await openZip(reader, http);
  const entries = await readEntries(zip, limits);
  checkExtents(entries, http.byteLength);
  const directory = toDirectory(entries);
  const locate = async (index: number): Promise<number> => {
    const known = directory.byteOffset[index] as number;
    if (known >= 0) return known;
    const found = await payloadOffset(zip, entries[index] as Entry);
    directory.byteOffset[index] = found;
    return found;
  };
  let prefetched = 0;
  for (const [index, entry] of entries.entries()) {
    if (!PREFETCHED.test(entry.fileName) || entry.compressedSize > limits.maxPickleBytes) continue;
    if (++prefetched > MAX_PREFETCHED_RECORDS) break;
    const start = entry.relativeOffsetOfLocalHeader;
    const guess = start + LOCAL_HEADER_BYTES + entry.fileNameLength + USUAL_EXTRA_BYTES + entry.compressedSize;
    await http.pin(start, Math.min(guess, http.byteLength), signal);
    const payload = await locate(index);
    await http.pin(payload, payload + entry.compressedSize, signal);
  }
  // The signal belongs to the opening; later reads have none.
  reader.signal = undefined;
  return {
    directory,
    recordBytes: (index) => new RemoteBytes(http, () => locate(index), directory.storedLength[index] as number),
  };
}

/** What yauzl reads through: the cache of the file, then the network. */
class RangeReader extends RandomAccessReader {
  readonly #http: HttpFile;
  signal: AbortSignal | undefined;

  constructor(http: HttpFile, signal: AbortSignal | undefined) {
    super();
    this.#http = http;
    this.signal = signal;
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    this.#http.readInto(position, buffer.subarray(offset, offset + length), this.signal).then(
      () => callback(null),
      (error: Error) => callback(error),
    );
  }
}

function openZip(reader: RangeReader, http: HttpFile): Promise<ZipFile> {
  return new Promise((resolve, reject) => {
    const options = { lazyEntries: true, decodeStrings: true, autoClose: false };
    fromRandomAccessReader(reader, http.byteLength, options, (error, zip) =>
      error ? reject(zipError(error)) : resolve(zip),
    );
  });
}

function readEntries(zip: ZipFile, limits: Limits): Promise<Entry[]> {
  if (zip.entryCount > limits.maxRecords) {
    throw new CheckpointError(
      'LIMIT_EXCEEDED',
      `the archive has ${zip.entryCount} records, maxRecords is ${limits.maxRecords}`,
    );
  }
  return new Promise((resolve, reject) => {
    const entries: Entry[] = [];
    zip.on('entry', (entry: Entry) => {
      entries.push(entry);
      zip.readEntry();
    });
    zip.on('end', () => resolve(entries));
    zip.on('error', (error: Error) => reject(zipError(error)));
    zip.readEntry();
  });
}

/** yauzl throws plain errors; what the network threw through it stays as it is. */
function zipError(error: Error): Error {
  if (error instanceof CheckpointError || error.name === 'AbortError' || error.name === 'TimeoutError') return error;
  const missing = error.message.includes('End of central directory record signature not found');
  return missing
    ? new CheckpointError(
        'TRUNCATED',
        'PytorchStreamReader failed reading zip archive: failed finding central directory',
        {
          hint: 'the upload was cut short, or is still going on',
          cause: error,
        },
      )
    : new CheckpointError('ZIP_CORRUPT', `PytorchStreamReader failed reading zip archive: ${error.message}`, {
        cause: error,
      });
}

function toDirectory(entries: readonly Entry[]): ZipDirectory {
  const names = entries.map((entry) => Buffer.from(entry.fileName));
  let end = 0;
  return {
    nameBytes: Buffer.concat(names),
    nameEnds: Uint32Array.from(names, (name) => (end += name.length)),
    byteOffset: new Float64Array(entries.length).fill(-1),
    storedLength: Float64Array.from(entries, (entry) => entry.compressedSize),
    byteLength: Float64Array.from(entries, (entry) => entry.uncompressedSize),
    crc32: Uint32Array.from(entries, (entry) => entry.crc32),
    method: Uint8Array.from(entries, (entry) => Math.min(entry.compressionMethod, 255)),
    encrypted: Uint8Array.from(entries, (entry) => (entry.isEncrypted() ? 1 : 0)),
  };
}

/** The promise that the addon gives for local files: names are unique, every record is in the file, apart from the others. */
function checkExtents(entries: readonly Entry[], byteLength: number): void {
  const names = new Set<string>();
  for (const { fileName } of entries) {
    if (names.has(fileName)) throw new CheckpointError('ZIP_CORRUPT', `two records have the name "${fileName}"`);
    names.add(fileName);
  }
  const byOffset = [...entries].sort((a, b) => a.relativeOffsetOfLocalHeader - b.relativeOffsetOfLocalHeader);
  for (const [i, entry] of byOffset.entries()) {
    const end = entry.relativeOffsetOfLocalHeader + LOCAL_HEADER_BYTES + entry.fileNameLength + entry.compressedSize;
    const next = byOffset[i + 1]?.relativeOffsetOfLocalHeader ?? byteLength;
    if (end <= next) continue;
    throw new CheckpointError(
      'ZIP_CORRUPT',
      `the record ends at byte ${end}, after the start of what follows at ${next}`,
      { record: entry.fileName },
    );
  }
}

/** From the local header, which must be of the same record. */
function payloadOffset(zip: ZipFile, entry: Entry): Promise<number> {
  return new Promise((resolve, reject) => {
    zip.readLocalFileHeader(entry, {}, (error, header) => {
      if (error) return reject(zipError(error));
      if (!header.fileName.equals(entry.fileNameRaw)) {
        const found = header.fileName.toString('latin1').slice(0, 200);
        return reject(
          new CheckpointError('ZIP_CORRUPT', `its local header is that of "${found}"`, { record: entry.fileName }),
        );
      }
      resolve(header.fileDataStart);
    });
  });
}
