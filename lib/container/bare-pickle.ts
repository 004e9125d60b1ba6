/**
 * A pickle that torch.save did not write: `pickle.dump` of arrays, lists or tensors, in any protocol.
 *
 * Tensors in it are torch.save blobs inside the pickle; the rule of `torch.storage._load_from_bytes` reads them with
 * `readNested`. Bytes behind the STOP are ignored, as Python does.
 */
import { CheckpointError } from '../errors';
import type { ByteSource } from '../source/byte-source';
import type { ContainerContents, ReadContext } from './container';
import { PickleStream } from './pickle-stream';

export function readBarePickle(source: ByteSource, context: ReadContext): ContainerContents {
  const stream = new PickleStream(source, context);
  const root = told(source, () => stream.unpickle({}));
  return { root, byteOrder: 'little', records: [], byteEnd: stream.position };
}

/** joblib writes the bytes of an array behind the opcode that makes it, where no other reader expects them. */
const BROKEN: ReadonlySet<string> = new Set(['PICKLE_CORRUPT', 'TRUNCATED']);
const JOBLIB = 'joblib.numpy_pickle';

function told<T>(source: ByteSource, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof CheckpointError) || !BROKEN.has(error.code)) throw error;
    const before = source.read(0, Math.min(source.byteLength, error.byteOffset ?? 0));
    if (!Buffer.from(before.buffer, before.byteOffset, before.byteLength).includes(JOBLIB)) throw error;
    throw new CheckpointError(
      'NOT_A_CHECKPOINT',
      'the file is a dump of joblib: raw arrays stand between the opcodes of its pickle',
      {
        path: source.name,
        cause: error,
        hint: 'load it with joblib in Python, and save its arrays with numpy.savez or torch.save',
      },
    );
  }
}
