/** Arrays of NumPy as a model: `.npz` is a zip of `.npy` members, and each of those a header before the elements. */

import { isZip, startsWith } from '../container/magic';
import { numpyTypeString } from '../container/npy';
import { ZipArchive } from '../container/zip-archive';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { DEFAULT_LIMITS } from '../limits';
import type { PyValue } from '../pickle/values';
import { openSource } from '../source/open-source';
import { checkBounds, contiguousStride, numelOf } from '../tensor/geometry';
import { Storage, type StorageBytes, SwappedBytes } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { type Model, type ModelOptions, namedModel } from './model';
import type { Dropped } from './target';

const MAGIC = '\x93NUMPY';
/** NumPy itself refuses headers above 10,000 characters unless told otherwise. */
const MAX_HEADER_BYTES = 65_535;

/** Undefined when the file is neither. Object arrays are pickles and are left unread. */
export async function openNumpy(
  input: string | Uint8Array | ArrayBuffer,
  options: ModelOptions,
): Promise<Model | undefined> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const source = await openSource(input, { io: options.io, limits, signal: options.signal });
  try {
    const head = source.read(0, Math.min(source.byteLength, 8));
    const root = new Map<PyValue, PyValue>();
    const unread: Dropped[] = [];
    const add = async (name: string, bytes: StorageBytes): Promise<void> => {
      const array = await readArray(name, bytes, source.name);
      if (array instanceof Tensor) root.set(name, array);
      else unread.push({ path: name, reason: array });
    };
    if (startsWith(head, MAGIC)) await add('', source.storageBytes(0, source.byteLength));
    else if (isZip(head)) {
      const archive = new ZipArchive(source, limits);
      if (!archive.names.every((name) => name.endsWith('.npy'))) {
        source.close();
        return undefined;
      }
      for (const [i, name] of archive.names.entries()) await add(name.slice(0, -4), archive.bytesAt(i, name, 8));
    } else {
      source.close();
      return undefined;
    }
    return namedModel(source.name, root, { metadata: new Map(), unread, close: () => source.close() });
  } catch (error) {
    source.close();
    throw error;
  }
}

/** The tensor over the elements, or why there is none. */
async function readArray(name: string, bytes: StorageBytes, path: string | undefined): Promise<Tensor | string> {
  const corrupt = (what: string): CheckpointError =>
    new CheckpointError('TENSOR_CORRUPT', `the array ${what}`, {
      path,
      record: name === '' ? undefined : `${name}.npy`,
    });
  const head = new Uint8Array(Math.min(bytes.byteLength, MAX_HEADER_BYTES));
  await bytes.read(head, 0);
  const view = new DataView(head.buffer);
  if (head.length < 12 || !startsWith(head, MAGIC)) throw corrupt('has no header of NumPy');
  const wide = (head[6] as number) >= 2;
  const start = wide ? 12 : 10;
  const dataStart = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  if (dataStart > head.length) throw corrupt(`has a header of ${dataStart} bytes, ${head.length} at most are read`);
  const text = Buffer.from(head.subarray(start, dataStart)).toString('latin1');
  const descr = /'descr':\s*'([^']*)'/.exec(text)?.[1];
  const shapeText = /'shape':\s*\(([\d,\s]*)\)/.exec(text)?.[1];
  const order = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
  if (shapeText === undefined || order === undefined) throw corrupt('has a header without shape or order');
  const dtype = descr === undefined ? undefined : dtypeOf(descr);
  if (!dtype) return `numpy dtype ${descr ?? 'with fields'} has no dtype in PyTorch`;
  const shape = (shapeText.match(/\d+/g) ?? []).map(Number);
  const stride = order === 'True' ? contiguousStride([...shape].reverse()).reverse() : contiguousStride(shape);
  const data = bytes.slice(dataStart, Math.min(bytes.byteLength - dataStart, dtype.byteLength(numelOf(shape))));
  checkBounds(data.byteLength, dtype, shape, stride, 0);
  const source = descr?.startsWith('>') && dtype.swapWidth > 1 ? new SwappedBytes(data, dtype.swapWidth) : data;
  return new Tensor(new Storage(name, 'cpu', dtype, source, dtype.storageClass === undefined), dtype, shape, stride, 0);
}

const DTYPES: ReadonlyMap<string, DType> = new Map(
  DType.all().flatMap((dtype): [string, DType][] => {
    const type = numpyTypeString(dtype);
    return type === undefined ? [] : [[type.slice(1), dtype]];
  }),
);

function dtypeOf(descr: string): DType | undefined {
  return /^[<>|=]/.test(descr) ? DTYPES.get(descr.slice(1)) : undefined;
}
