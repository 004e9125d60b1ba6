/** What the readers of damaged files give: a graph with the storages that are lost, or storages without a graph. */
import { isCheckpointError } from '../errors';
import type { PyValue } from '../pickle/values';
import type { Storage, StorageBytes } from '../tensor/storage';
import type { Found } from './found-storages';

/** A storage that is lost, wholly or from some byte on. */
export interface Lost {
  readonly record: string;
  readonly reason: string;
  /** The bytes from its beginning that are here; undefined where nothing of it can be trusted. */
  readonly part: StorageBytes | undefined;
}

export type Remains =
  | { readonly graph: { readonly root: PyValue; readonly lost: ReadonlyMap<Storage, Lost> } }
  | { readonly graph: undefined; readonly reason: string; readonly records: ReadonlyMap<string, Found> };

export function nothing(reason: string): Remains {
  return { graph: undefined, reason, records: new Map() };
}

/** The result, or the message of what a file can make go wrong. */
export function reading<T extends object>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
    return error.message;
  }
}
