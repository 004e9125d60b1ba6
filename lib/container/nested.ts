/** A whole checkpoint as bytes inside a pickle: what `torch.storage._load_from_bytes` is given. */
import { CheckpointError } from '../errors';
import type { PyValue } from '../pickle/values';
import type { ByteSource } from '../source/byte-source';
import { MemorySource } from '../source/memory';
import type { ReadContext } from './container';
import { readLegacy } from './legacy';
import { isLegacyStream, isZip } from './magic';
import { readZip } from './zip';
import { ZipArchive } from './zip-archive';

/** Blobs inside blobs come from saving what was loaded that way; each level is a call inside a call here. */
const MAX_LEVELS = 16;

const levels = new WeakMap<ReadContext, number>();

/**
 * Reads a zip or a legacy stream that came from `within`, and is closed with it. Its storages get keys that begin with
 * `keyPrefix`: `nested0/`.
 */
export function readNested(bytes: Uint8Array, context: ReadContext, keyPrefix: string, within: ByteSource): PyValue {
  const level = (levels.get(context) ?? 0) + 1;
  if (level > MAX_LEVELS)
    throw new CheckpointError('LIMIT_EXCEEDED', `checkpoints are nested deeper than ${MAX_LEVELS} levels`);
  levels.set(context, level);
  try {
    const source = new MemorySource(bytes, undefined, false, within);
    if (isZip(bytes)) return readZip(new ZipArchive(source, context.limits), context, keyPrefix).root;
    if (isLegacyStream(bytes)) return readLegacy(source, context, { keyPrefix }).root;
    throw new CheckpointError(
      'PICKLE_CORRUPT',
      `a torch.save blob of ${bytes.byteLength} bytes was expected, these are neither a zip nor a legacy stream`,
    );
  } finally {
    levels.set(context, level - 1);
  }
}
