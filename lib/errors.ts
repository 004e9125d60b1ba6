/**
 * The one error class of the package.
 *
 * Everything that a file or the environment causes is a `CheckpointError` whose `code` says which kind of trouble it
 * is; a wrong argument is a `TypeError` or `RangeError`, and an abort rejects with the signal's own reason. Messages
 * read *where: what was found, what was expected, what to do*.
 */

/** Every code with its one-line meaning; the list is part of the public contract. */
export const ERROR_CODES = {
  NOT_FOUND: 'the file, record or path inside the checkpoint does not exist',
  ACCESS_DENIED: 'the operating system refuses to open or write the file',
  IO: 'the operating system reported an error while reading or writing',
  TRUNCATED: 'the file ends before the bytes it promises',
  CHANGED: 'the file was replaced or modified after it was opened',
  EMPTY_FILE: 'the file has no bytes',
  HTML_PAGE: 'the file is a web page, usually a login or error page saved by a download',
  GIT_LFS_POINTER: 'the file is a Git LFS pointer, not the file it points to',
  COMPRESSED: 'the file is a gzip, xz, zstd, 7z or bzip2 archive that must be unpacked first',
  NOT_A_CHECKPOINT: 'the bytes are of a kind that holds no PyTorch checkpoint',
  UNSUPPORTED: 'a known format or feature that this package does not read or write',
  ZIP_CORRUPT: 'the zip container contradicts itself or the file it is in',
  LEGACY_CORRUPT: 'the legacy stream or tar container contradicts itself',
  SAFETENSORS_CORRUPT: 'the safetensors header contradicts itself or the file it is in',
  PICKLE_CORRUPT: 'a pickle cannot be followed to its end',
  TENSOR_CORRUPT: 'a tensor or storage claims bytes that its record does not have',
  LIMIT_EXCEEDED: 'the file asks for more than the limits allow; see the `limits` option',
  UNSAFE_GLOBAL: 'the pickle names a global that has no place in a checkpoint; nothing was run',
  WEIGHTS_ONLY: 'the file needs more than weightsOnly allows',
  LOCATION: 'a storage cannot be placed on the device it asks for',
  CRC_MISMATCH: 'bytes differ from the checksum recorded beside them',
  CLOSED: 'the checkpoint was closed',
  ARRAY_TOO_LARGE: 'the bytes do not fit in one array on this host',
  NO_DATA: 'the tensor has no bytes to give (meta device, or a stream that was consumed)',
  STATE_DICT: 'a state dict does not fit the module or optimizer it is loaded into',
  UNSAVABLE: 'a value cannot be written to a checkpoint',
  DISK_FULL: 'the disk has no room for the output',
  WRITE_FAILED: 'the output could not be written',
  NATIVE_MISSING: 'the native addon of the package could not be loaded',
} as const;

/** One of `ERROR_CODES`. */
export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorDetails {
  /** The file, as the caller named it. */
  path?: string | undefined;
  /** The record of the container, without the archive name: `data.pkl`, `data/7`. */
  record?: string | undefined;
  /** Byte offset in the record if there is one, else in the file. */
  byteOffset?: number | undefined;
  /** What the user can do about it. */
  hint?: string | undefined;
  cause?: unknown;
}

const BRAND = Symbol.for('torch-checkpoint.CheckpointError');

/** What every failure that a file or the environment causes is thrown as; `code` tells which kind it is. */
export class CheckpointError extends Error {
  readonly code: ErrorCode;
  readonly path?: string;
  readonly record?: string;
  readonly byteOffset?: number;
  readonly hint?: string;

  /** `what` is the message without its place; the place is put in front from `details`. */
  constructor(code: ErrorCode, what: string, details: ErrorDetails = {}) {
    const { path, record, byteOffset, hint, cause } = details;
    const at = [path, record && `record "${record}"`].filter(Boolean).join(': ');
    const where = byteOffset === undefined ? at : `${at}${at ? ' ' : ''}at byte ${byteOffset}`;
    super(`${where}${where ? ': ' : ''}${what}${hint ? `; ${hint}` : ''}`, cause === undefined ? {} : { cause });
    this.name = 'CheckpointError';
    this.code = code;
    if (path !== undefined) this.path = path;
    if (record !== undefined) this.record = record;
    if (byteOffset !== undefined) this.byteOffset = byteOffset;
    if (hint !== undefined) this.hint = hint;
    Object.defineProperty(this, BRAND, { value: true });
    this.#what = what;
  }

  readonly #what: string;

  /** The same error with places filled in that an inner stage could not know. */
  located(details: ErrorDetails): CheckpointError {
    return new CheckpointError(this.code, this.#what, {
      path: this.path ?? details.path,
      record: this.record ?? details.record,
      byteOffset: this.byteOffset ?? details.byteOffset,
      hint: this.hint ?? details.hint,
      cause: this.cause,
    });
  }
}

/** True for errors of this package, also across two copies of it in one process. */
export function isCheckpointError(error: unknown): error is CheckpointError {
  return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[BRAND] === true;
}

/** Runs `work`, filling in `details` on any CheckpointError that leaves it. */
export function locating<T>(details: ErrorDetails, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof CheckpointError ? error.located(details) : error;
  }
}
