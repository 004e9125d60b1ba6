/**
 * A pickle that torch.save did not write: `pickle.dump` of arrays, lists or tensors, in any protocol.
 *
 * Tensors in it are torch.save blobs inside the pickle; the rule of `torch.storage._load_from_bytes` reads them with
 * `readNested`. Bytes behind the STOP are ignored, as Python does.
 */
import type { ByteSource } from '../source/byte-source';
import type { ContainerContents, ReadContext } from './container';
import { PickleStream } from './pickle-stream';

export function readBarePickle(source: ByteSource, context: ReadContext): ContainerContents {
  const stream = new PickleStream(source, context);
  const root = stream.unpickle({});
  return { root, byteOrder: 'little', records: [], byteEnd: stream.position };
}
