/**
 * What is left of a pickle that torch.save did not write: `pickle.dump` puts the elements of each tensor into the pickle
 * as a checkpoint of its own, and those before the damage are whole. Which tensor they were of stands behind them.
 */
import { isLegacyStream, isZip } from '../container/magic';
import { readNested } from '../container/nested';
import { DEFAULT_LIMITS } from '../limits';
import { readContext } from '../load';
import type { ByteSource } from '../source/byte-source';
import { Storage, type StorageBytes } from '../tensor/storage';
import { pickleGlobals } from './pickle-globals';
import { nothing, type Remains, reading } from './remains';

export function remainsOfPickle(source: ByteSource): Remains {
  const pickle = source.read(0, Math.min(source.byteLength, DEFAULT_LIMITS.maxPickleBytes));
  const { globals, blobs } = pickleGlobals(pickle);
  const dangerous = globals.find(({ verdict }) => verdict === 'dangerous');
  if (dangerous) return nothing(`it names ${dangerous.name}, which would run in Python`);
  const records = new Map<string, StorageBytes>();
  for (const { bytes } of blobs) {
    if (!isZip(bytes) && !isLegacyStream(bytes)) continue;
    const found = reading(() => ({ root: readNested(bytes, readContext(source), '', source) }));
    if (typeof found !== 'string' && found.root instanceof Storage)
      records.set(`storage${records.size}`, found.root.source);
  }
  return { graph: undefined, reason: 'the pickle, which names the tensors, cannot be followed to its end', records };
}
