/** The container of torch.save since PyTorch 1.6: a zip of `data.pkl` and one record per storage (format.md 1 and 2.3). */
import { CheckpointError } from '../errors';
import type { ContainerContents, ReadContext, RecordInfo } from './container';

export { isBigEndianUntyped } from './byte-order';

import { type NameDigits, nameDigitsOf, SERIALIZATION_ID } from './serialization-id';
import type { ZipArchive } from './zip-archive';
import { DATA_FOLDER, ZipStorages } from './zip-storages';

/** Versions that PyTorch's reader takes (caffe2/serialize/versions.h). */
const MIN_VERSION = 1;
const MAX_VERSION = 10;
/** The record is `.data/version` from version 6 on. */
const VERSION_RECORDS = ['.data/version', 'version'];

export interface ZipFacts {
  readonly byteOrder: 'little' | 'big';
  readonly formatVersion: string | undefined;
  readonly storageAlignment: number | undefined;
  readonly archiveName: string;
  readonly writer: string | undefined;
  readonly checksums: boolean;
  readonly nameDigits: NameDigits | undefined;
}

export function readZip(archive: ZipArchive, context: ReadContext, keyPrefix = ''): ContainerContents {
  const facts = readFacts(archive);
  const storages = new ZipStorages(archive, context, facts.byteOrder === 'big', keyPrefix);
  const { value } = context.unpickle(archive.read('data.pkl'), {
    record: 'data.pkl',
    storedLength: archive.storedLength('data.pkl'),
    persistentLoad: (pid) => storages.load(pid, [DATA_FOLDER]),
    numberedStorages: storages,
  });
  return {
    root: value,
    ...facts,
    get records(): readonly RecordInfo[] {
      return archive.records;
    },
    get recordCount(): number {
      return archive.recordCount;
    },
  };
}

/** Checks the archive's form and reads its one-line records. */
export function readFacts(archive: ZipArchive): ZipFacts {
  archive.checkFolder();
  const formatVersion = readVersion(archive);
  return {
    byteOrder: readByteOrder(archive),
    formatVersion,
    storageAlignment: readAlignment(archive),
    archiveName: archive.archiveName,
    writer: writerOf(archive, formatVersion),
    nameDigits: readNameDigits(archive),
    checksums: archive.directory.crc32.some((checksum) => checksum !== 0),
  };
}

/** PyTorch demands the record; archives of other writers go without and are read all the same. */
function readVersion(archive: ZipArchive): string | undefined {
  const record = VERSION_RECORDS.find((name) => archive.has(name));
  if (record === undefined) return undefined;
  const text = archive.text(record) as string;
  // As stoull does: leading space and sign are taken, what follows the digits is not looked at.
  const digits = /^\s*([+-]?\d+)/.exec(text)?.[1]?.replace('+', '');
  const at = { path: archive.source.name, record };
  if (digits === undefined)
    throw new CheckpointError(
      'ZIP_CORRUPT',
      `Couldn't parse the version ${text.slice(0, 40).trimEnd()} as Long Long.`,
      at,
    );
  const version = Number(digits);
  if (version < MIN_VERSION) {
    throw new CheckpointError(
      'UNSUPPORTED',
      `Attempted to read a PyTorch file with version ${digits}, but the minimum supported version for reading is ${MIN_VERSION}. ` +
        'Your PyTorch script module file is too old. Please regenerate it with latest version of PyTorch to mitigate this issue.',
      at,
    );
  }
  if (version > MAX_VERSION) {
    throw new CheckpointError(
      'UNSUPPORTED',
      `Attempted to read a PyTorch file with version ${digits.slice(0, 40)}, but the maximum supported version for reading is ${MAX_VERSION}. ` +
        'The version of your PyTorch installation may be too old, please upgrade PyTorch to latest version to mitigate this issue.',
      at,
    );
  }
  return digits;
}

/** Missing in archives before PyTorch 2.1: little (format.md 5.2). */
function readByteOrder(archive: ZipArchive): 'little' | 'big' {
  const order = archive.text('byteorder');
  if (order === undefined || order === 'little') return 'little';
  if (order === 'big') return 'big';
  throw new CheckpointError('ZIP_CORRUPT', `Unknown endianness type: ${order.slice(0, 40)}`, {
    path: archive.source.name,
    record: 'byteorder',
  });
}

function readAlignment(archive: ZipArchive): number | undefined {
  const text = archive.text('.storage_alignment');
  return text !== undefined && /^\d{1,9}\s*$/.test(text) ? Number(text) : undefined;
}

function readNameDigits(archive: ZipArchive): NameDigits | undefined {
  const id = archive.text(SERIALIZATION_ID);
  const start = archive.archiveName.length + 1;
  return id === undefined
    ? undefined
    : nameDigitsOf(id, () =>
        archive.names.map((name) => name.slice(start)).filter((name) => name !== SERIALIZATION_ID),
      );
}

/** By the records that each release added (format.md 0). */
function writerOf(archive: ZipArchive, formatVersion: string | undefined): string | undefined {
  if (archive.has('.format_version')) return '2.7+';
  if (archive.has('.data/serialization_id') || archive.has('byteorder')) return '2.1-2.6';
  if (formatVersion === undefined) return undefined;
  return Number(formatVersion) < 3 ? '1.4-1.5' : '1.6-2.0';
}
