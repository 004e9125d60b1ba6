/** Storages as PyTorch prints them: an element on each line. */
import { isCheckpointError } from '../errors';
import { ElementReader } from './gather';
import { printOptions } from './print-elements';
import { floatRepr } from './print-number';
import type { Storage } from './storage';

export function storageText(storage: Storage): string {
  const { dtype, location } = storage;
  const size = dtype.numelIn(storage.nbytes);
  const info = storage.untyped
    ? `[torch.storage.UntypedStorage(device=${location}) of size ${size}]`
    : `[torch.storage.TypedStorage(dtype=${dtype}, device=${location}) of size ${size}]`;
  // PyTorch prints every element of the largest storage; nobody reads those.
  if (storage.isMeta || size > printOptions.threshold) return `...\n${info}`;
  try {
    const lines: string[] = [];
    const window = { dtype, shape: [size], stride: [1], storageOffset: 0, storage, conj: false, neg: false };
    new ElementReader(window).each((value) => {
      if (typeof value === 'number') lines.push(dtype.isFloatingPoint ? floatRepr(value) : String(value));
      else lines.push(typeof value === 'boolean' ? (value ? 'True' : 'False') : String(value));
    });
    return ` ${lines.join('\n ')}\n${info}`;
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
    return `...\n${info}`;
  }
}
