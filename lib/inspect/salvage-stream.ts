/** What is left of the containers that begin with everything but the elements: safetensors, and the legacy stream. */
import { safetensorsHeaderLength } from '../container/magic';
import { keyText } from '../container/persistent-id';
import { PickleStream } from '../container/pickle-stream';
import { parseSafetensorsHeader } from '../container/safetensors-header';
import { isCheckpointError } from '../errors';
import { DEFAULT_LIMITS } from '../limits';
import { readContext } from '../load';
import { OrderedDict, type PyValue } from '../pickle/values';
import { verdictOf } from '../pickle/verdicts';
import { type ByteSource, WIDEST_ITEM_BYTES } from '../source/byte-source';
import { contiguousStride } from '../tensor/geometry';
import { MemoryBytes, MetaBytes, Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { FoundStorages } from './found-storages';
import type { Lost, Remains } from './salvage';

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
    const start = dataStart + byteOffset;
    const here = Math.max(0, Math.min(byteLength, source.byteLength - start));
    const isWhole = here === byteLength;
    // An empty tensor may stand behind the cut.
    const bytes = !isWhole
      ? new MetaBytes(byteLength)
      : byteLength > 0
        ? source.storageBytes(start, byteLength, dtype.swapWidth)
        : new MemoryBytes(new Uint8Array(0));
    const storage = new Storage(name, 'cpu', dtype, bytes);
    if (!isWhole) lost.set(storage, { record: name, reason: cut(here, byteLength) });
    root.set(name, new Tensor(storage, dtype, shape, contiguousStride(shape), 0, false));
  }
  return { graph: { root, lost } };
}

/** Five pickles, then the storages one after another: all before the cut are whole. */
export function remainsOfLegacy(source: ByteSource): Remains {
  const context = readContext(source);
  const storages = new FoundStorages(() => 'missing');
  const stream = new PickleStream(source, context);
  const graph = reading(() => {
    for (let i = 0; i < 3; i++) stream.unpickle({ plain: true });
    const root = stream.unpickle({ persistentLoad: (pid) => storages.load(pid) });
    const keys = stream.unpickle({ plain: true });
    return { root, keys: Array.isArray(keys) ? keys : [] };
  });
  if (typeof graph === 'string') return nothing(`its pickles, which name the tensors, cannot be read: ${graph}`);
  const dangerous = context.globals.find(({ global }) => verdictOf(global) === 'dangerous');
  if (dangerous) return nothing(`it names ${dangerous.global}, which would run in Python`);
  let at = stream.position;
  for (const item of graph.keys) {
    const key = keyText(item) ?? '';
    const id = storages.get(key);
    // Where one is unknown, so is the place of all that follow.
    if (!id) break;
    const start = at + COUNT_BYTES;
    const here = Math.max(0, Math.min(id.byteLength, source.byteLength - start));
    const isWhole = start <= source.byteLength && here === id.byteLength;
    storages.settle(
      key,
      isWhole ? source.storageBytes(start, id.byteLength, WIDEST_ITEM_BYTES) : cut(here, id.byteLength),
    );
    at = start + id.byteLength;
  }
  const lost = new Map([...storages.lost].map(([storage, { key, reason }]) => [storage, { record: key, reason }]));
  return { graph: { root: graph.root, lost } };
}

function cut(here: number, needed: number): string {
  return here === 0 ? 'missing' : `cut short: ${here} of ${needed} bytes are here`;
}

function nothing(reason: string): Remains {
  return { graph: undefined, reason, records: new Map() };
}

/** The result, or the message of what a file can make go wrong. */
function reading<T extends object>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
    return error.message;
  }
}
