/** safetensors: a JSON header, then the tensors one after another. The root is a dict of tensors by name. */
import { CheckpointError, locating } from '../errors';
import type { PyValue } from '../pickle/values';
import type { ByteSource } from '../source/byte-source';
import { contiguousStride } from '../tensor/geometry';
import { Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import type { ContainerContents, ReadContext, RecordInfo } from './container';
import { safetensorsHeaderLength } from './magic';
import { parseSafetensorsHeader } from './safetensors-header';

/** The length of the header, before it. */
const PREFIX_BYTES = 8;

export function readSafetensors(source: ByteSource, context: ReadContext): ContainerContents {
  const path = source.name;
  const { maxHeaderBytes } = context.limits;
  const headerBytes = safetensorsHeaderLength(
    source.read(0, Math.min(source.byteLength, PREFIX_BYTES + 1)),
    maxHeaderBytes,
  );
  if (headerBytes === undefined)
    throw new CheckpointError('SAFETENSORS_CORRUPT', `no header of at most ${maxHeaderBytes} bytes at the start`, {
      path,
    });
  const dataStart = PREFIX_BYTES + headerBytes;
  checkLength(source, dataStart, 'its header');
  const { entries, metadata, dataBytes } = locating({ path }, () =>
    parseSafetensorsHeader(source.read(PREFIX_BYTES, headerBytes)),
  );
  checkLength(source, dataStart + dataBytes, 'its tensors');
  if (source.byteLength > dataStart + dataBytes) {
    throw new CheckpointError(
      'SAFETENSORS_CORRUPT',
      `${source.byteLength - dataStart - dataBytes} bytes follow the last tensor`,
      { path, byteOffset: dataStart + dataBytes },
    );
  }
  const root = new Map<PyValue, PyValue>();
  const records: RecordInfo[] = [];
  for (const { name, dtype, shape, byteOffset, byteLength } of entries) {
    const start = dataStart + byteOffset;
    const bytes = source.storageBytes(start, byteLength, dtype.swapWidth);
    const storage = context.place(new Storage(name, 'cpu', dtype, bytes));
    root.set(name, new Tensor(storage, dtype, shape, contiguousStride(shape), 0, false));
    records.push({ name, byteOffset: start, byteLength, storedLength: byteLength, crc32: 0, compressed: false });
  }
  return { root, byteOrder: 'little', records, metadata };
}

function checkLength(source: ByteSource, needed: number, what: string): void {
  if (source.byteLength >= needed) return;
  throw new CheckpointError(
    'TRUNCATED',
    `the safetensors file has ${source.byteLength} bytes, ${needed} are needed for ${what}`,
    { path: source.name },
  );
}
