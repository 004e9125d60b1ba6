/** What is left of the containers that begin with everything but the elements: safetensors, and the legacy stream. */
import { safetensorsHeaderLength } from '../container/magic';
import { keyText } from '../container/persistent-id';
import { PickleStream } from '../container/pickle-stream';
import { parseSafetensorsHeader } from '../container/safetensors-header';
import { DEFAULT_LIMITS } from '../limits';
import { readContext } from '../load';
import { OrderedDict, type PyValue } from '../pickle/values';
import { type ByteSource, WIDEST_ITEM_BYTES } from '../source/byte-source';
import { contiguousStride } from '../tensor/geometry';
import { MemoryBytes, MetaBytes, Storage, type StorageBytes } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { type Found, FoundStorages, Loss } from './found-storages';
import { type Lost, nothing, type Remains, reading } from './remains';
import { dangerousNames } from './unsafe';

const PREFIX_BYTES = 8;
/** Bytes of the element count before each storage of a legacy stream. */
const COUNT_BYTES = 8;

export function remainsOfSafetensors(source: ByteSource): Remains {
  const head = source.read(0, Math.min(source.byteLength, PREFIX_BYTES + 1));
  const headerBytes = safetensorsHeaderLength(head, DEFAULT_LIMITS.maxHeaderBytes) ?? 0;
  const dataStart = PREFIX_BYTES + headerBytes;
  if (dataStart > source.byteLength) return nothing('its header, which names the tensors, is cut short');
  const header = reading(() => parseSafetensorsHeader(source.read(PREFIX_BYTES, headerBytes)));
  if (typeof header === 'string') return nothing(`its header, which names the tensors, cannot be read: ${header}`);
  const root = new OrderedDict<PyValue>();
  const lost = new Map<Storage, Lost>();
  for (const { name, dtype, shape, byteOffset, byteLength } of header.entries) {
    const found = bytesAt(source, dataStart + byteOffset, byteLength, dtype.swapWidth);
    const storage = new Storage(name, 'cpu', dtype, found instanceof Loss ? new MetaBytes(byteLength) : found);
    if (found instanceof Loss) lost.set(storage, { record: name, reason: found.reason, part: found.part });
    root.set(name, new Tensor(storage, dtype, shape, contiguousStride(shape), 0, false));
  }
  return { graph: { root, lost } };
}

/** Five pickles, then the storages one after another: all before the cut are whole. */
export function remainsOfLegacy(source: ByteSource): Remains {
  const context = readContext(source);
  const storages = new FoundStorages(Loss.missing);
  const stream = new PickleStream(source, context);
  const graph = reading(() => {
    for (let i = 0; i < 3; i++) stream.unpickle({ plain: true });
    const root = stream.unpickle({ persistentLoad: (pid) => storages.load(pid) });
    const keys = stream.unpickle({ plain: true });
    return { root, keys: Array.isArray(keys) ? keys : [] };
  });
  if (typeof graph === 'string') return nothing(`its pickles, which name the tensors, cannot be read: ${graph}`);
  const [dangerous] = dangerousNames(context.globals);
  if (dangerous !== undefined) return nothing(`it names ${dangerous}, which would run in Python`);
  let at = stream.position;
  for (const item of graph.keys) {
    const key = keyText(item) ?? '';
    const id = storages.get(key);
    // Where one is unknown, so is the place of all that follow.
    if (!id) break;
    storages.settle(key, bytesAt(source, at + COUNT_BYTES, id.byteLength, WIDEST_ITEM_BYTES));
    at += COUNT_BYTES + id.byteLength;
  }
  const lost = new Map(
    [...storages.lost].map(([storage, { key, reason, part }]) => [storage, { record: key, reason, part }]),
  );
  return { graph: { root: graph.root, lost } };
}

/** What stands at a place of a file that may end before it, or inside of it. */
export function bytesAt(source: ByteSource, byteOffset: number, byteLength: number, alignment: number): Found {
  // What is empty is whole, even behind the cut.
  if (byteLength === 0) return new MemoryBytes(new Uint8Array(0));
  const here = Math.max(0, Math.min(byteLength, source.byteLength - byteOffset));
  const part = (): StorageBytes => source.storageBytes(byteOffset, here, alignment);
  if (here === byteLength) return part();
  return here === 0 ? Loss.missing() : Loss.cutShort(part(), byteLength);
}
