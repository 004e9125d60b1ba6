/**
 * Storages that are parts of other storages: old files name a view of a storage by a key of its own.
 *
 * Only legacy streams and tars have them. Such parts are told by where their bytes lie in the file.
 */
import type { Checkpoint } from '../checkpoint';
import { isCheckpointError } from '../errors';
import { Storage } from '../tensor/storage';
import { isTensor, walk } from '../walk';
import { stridedParts } from './storage-use';

export interface RootPlace {
  readonly root: Storage;
  /** Where the part begins in its root. */
  readonly byteOffset: number;
}

/** By storage the largest other one that it is a part of; empty for all but old files. */
export function storageRoots(checkpoint: Checkpoint): ReadonlyMap<Storage, RootPlace> {
  const roots = new Map<Storage, RootPlace>();
  if (checkpoint.format !== 'legacy' && checkpoint.format !== 'tar') return roots;
  const placed: { storage: Storage; memory: unknown; start: number }[] = [];
  for (const storage of storagesOf(checkpoint)) {
    const place = placeOf(storage);
    if (place) placed.push({ storage, ...place });
  }
  placed.sort((a, b) => a.start - b.start || b.storage.nbytes - a.storage.nbytes);
  let top: (typeof placed)[number] | undefined;
  for (const next of placed) {
    const isPart =
      top &&
      next.memory === top.memory &&
      next.start + next.storage.nbytes <= top.start + top.storage.nbytes &&
      next.storage.nbytes > 0;
    if (isPart && top) roots.set(next.storage, { root: top.storage, byteOffset: next.start - top.start });
    else top = next;
  }
  return roots;
}

function storagesOf(checkpoint: Checkpoint): Set<Storage> {
  const storages = new Set<Storage>();
  for (const [, value] of walk(checkpoint.root)) {
    if (value instanceof Storage) storages.add(value);
    else if (isTensor(value)) for (const part of stridedParts(value)) storages.add(part.storage);
  }
  return storages;
}

/** The memory that holds the storage, and where in it; undefined without bytes, or where they are a copy. */
function placeOf(storage: Storage): { memory: unknown; start: number } | undefined {
  try {
    const span = storage.span();
    return span instanceof Uint8Array
      ? { memory: span.buffer, start: span.byteOffset }
      : { memory: span[0], start: span[1] };
  } catch (error) {
    if (isCheckpointError(error)) return undefined;
    throw error;
  }
}
