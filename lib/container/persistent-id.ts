/**
 * Persistent ids of torch.save: `('storage', StorageClass, key, location, numel)` in zips, with view metadata as a sixth
 * item in legacy streams, and `('module', class, source file, source text)` there (format.md 2.3 and 3.1).
 */
import type { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { StorageClass } from '../pickle/rules';
import { kindOf, PyGlobal, type PyValue, Tuple } from '../pickle/values';
import type { RecordInfo } from './container';

export interface StorageId {
  readonly dtype: DType;
  readonly untyped: boolean;
  readonly key: string;
  readonly location: string;
  /** Elements, or bytes of an untyped storage. */
  readonly numel: number;
  /** What they take: checked to be a safe integer. */
  readonly byteLength: number;
}

/** The first item of a persistent id: `storage` or `module`. */
export function persistentKind(pid: PyValue): string {
  const kind = pid instanceof Tuple ? asciiText(pid[0]) : undefined;
  if (kind === undefined)
    throw corrupt(`a persistent id must be a tuple that begins with a string, found ${describe(pid)}`);
  return kind;
}

/** `pid` must have been found to be of kind `storage`. */
export function parseStorageId(pid: PyValue): StorageId {
  const items = pid as Tuple;
  if (items.length < 5) throw corrupt(`a storage id has 5 items or more, found ${items.length}`);
  const storageClass = items[1];
  if (!(storageClass instanceof StorageClass))
    throw corrupt(`the second item of a storage id must be a storage class, found ${describe(storageClass)}`);
  const key = keyText(items[2]);
  if (key === undefined) throw corrupt(`the key of a storage must be a string, found ${describe(items[2])}`);
  const location = asciiText(items[3]);
  if (location === undefined)
    throw corrupt(`the location of storage "${key}" must be a string, found ${describe(items[3])}`);
  return sizedStorage(storageClass, key, location, count(items[4], `the size of storage "${key}"`));
}

export function sizedStorage(storageClass: StorageClass, key: string, location: string, numel: number): StorageId {
  const { dtype, untyped } = storageClass;
  const byteLength = numel * dtype.itemsize;
  if (!Number.isSafeInteger(byteLength))
    throw corrupt(`storage "${key}" claims ${numel} elements of ${dtype.itemsize} bytes`);
  return { dtype, untyped, key, location, numel, byteLength };
}

/** The record of a storage that lies in the file as it is. */
export function storageRecord({ key, byteLength }: StorageId, byteOffset: number): RecordInfo {
  return { name: key, byteOffset, byteLength, storedLength: byteLength, crc32: 0, compressed: false };
}

/** The class as PyTorch names it in messages: `Float`; `Byte` for an untyped storage. */
export function className({ dtype, untyped }: StorageId): string {
  return dtype.storageClass && !untyped ? dtype.storageClass.replace(/Storage$/, '') : 'Byte';
}

/** A count from a file: a safe integer that is not negative. */
export function count(value: PyValue | undefined, what: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw corrupt(`${what} must be a count, found ${describe(value)}`);
}

/** A string, or the bytes that Python 2 wrote for one. */
export function asciiText(value: PyValue | undefined): string | undefined {
  if (typeof value === 'string') return value;
  return value instanceof Uint8Array
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1')
    : undefined;
}

/** Keys are decimal strings; the oldest files have the numbers themselves. */
export function keyText(value: PyValue | undefined): string | undefined {
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : asciiText(value);
}

/** A value for an error message; never long, never walked. */
export function describe(value: PyValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}...` : value);
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return typeof value === 'object' ? kindOf(value) : String(value).slice(0, 100);
}

export interface ModuleSource {
  readonly className: string;
  readonly file: string;
  readonly source: string;
}

/** Source texts of module classes: shown, never run. A pickle that is read twice gives them twice. */
export class ModuleSources {
  readonly all: ModuleSource[] = [];

  /** What stands for the persistent id of a module: the class. */
  load([cls, file, source]: readonly (PyValue | undefined)[]): PyValue {
    this.#add(cls, file, source);
    return cls ?? null;
  }

  #add(cls: PyValue | undefined, file: PyValue | undefined, source: PyValue | undefined): void {
    const fileText = asciiText(file);
    // Python 2 wrote the bytes of the file.
    const sourceText = source instanceof Uint8Array ? new TextDecoder().decode(source) : asciiText(source);
    if (!(cls instanceof PyGlobal) || fileText === undefined || sourceText === undefined) return;
    if (this.all.some(({ className, file: known }) => className === cls.global && known === fileText)) return;
    this.all.push({ className: cls.global, file: fileText, source: sourceText });
  }
}

function corrupt(what: string): CheckpointError {
  return new CheckpointError('PICKLE_CORRUPT', what);
}
