/**
 * Storages of big-endian files whose byte order is not settled yet.
 *
 * The record of an untyped storage does not say what its elements are, so they cannot be swapped when it is opened;
 * PyTorch leaves them as they are (format.md 5.2). Each tensor over one knows its dtype: the stage that builds tensors
 * asks here, and swaps then.
 */
import type { Storage, StorageBytes } from '../tensor/storage';

const unswapped = new WeakSet<StorageBytes>();

export function markBigEndian(bytes: StorageBytes): void {
  unswapped.add(bytes);
}

/** True for an untyped storage of a big-endian file, wherever it was placed: its bytes are as in the file. */
export function isBigEndianUntyped(storage: Storage): boolean {
  return unswapped.has(storage.source);
}
