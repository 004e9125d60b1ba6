/** Arrays of NumPy as a model: `.npz` is a zip of `.npy` members, and each of those a header before the elements. */
import { basename } from 'node:path';
import { Checkpoint } from '../checkpoint';
import type { RecordInfo } from '../container/container';
import { isZip, startsWith } from '../container/magic';
import { numpyTypeString } from '../container/npy';
import { ZipArchive } from '../container/zip-archive';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { limitsOf } from '../limits';
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

/** Arrays of NumPy, taken for a checkpoint of named tensors. */
export interface Arrays {
  readonly checkpoint: Checkpoint;
  /** The path as the caller wrote it. */
  readonly name: string | undefined;
  /** Arrays of objects are pickles, and some dtypes are none of PyTorch: those are left unread. */
  readonly unread: readonly Dropped[];
}

/** NumPy's own name for an array that was saved without one, for bytes without a file name. */
const UNNAMED = 'arr_0';

/** Undefined when the file is neither. A .npy file is one tensor, named after the file. */
export async function openArrays(
  input: string | Uint8Array | ArrayBuffer,
  options: Pick<ModelOptions, 'io' | 'limits' | 'signal'>,
): Promise<Arrays | undefined> {
  const limits = limitsOf(options.limits);
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
    const made = (format: 'npy' | 'npz', records: readonly RecordInfo[]): Arrays => ({
      checkpoint: new Checkpoint(source, format, root, { root, byteOrder: 'little', records }, []),
      name: source.name,
      unread,
    });
    if (startsWith(head, MAGIC)) {
      const name = source.name === undefined ? UNNAMED : basename(source.name).replace(/\.npy$/i, '');
      await add(name, source.storageBytes(0, source.byteLength));
      return made('npy', []);
    }
    const archive = isZip(head) ? new ZipArchive(source, limits) : undefined;
    if (archive && archive.names.length > 0 && archive.names.every((name) => name.endsWith('.npy'))) {
      const { names } = archive;
      for (const [i, name] of names.entries()) await add(name.slice(0, -4), archive.bytesAt(i, name, 8));
      const records = archive.records.map((record, i) => ({ ...record, name: names[i] as string }));
      return made('npz', records);
    }
    source.close();
    return undefined;
  } catch (error) {
    source.close();
    throw error;
  }
}

/** The same as something to convert. */
export async function openNumpy(
  input: string | Uint8Array | ArrayBuffer,
  options: ModelOptions,
): Promise<Model | undefined> {
  const arrays = await openArrays(input, options);
  if (!arrays) return undefined;
  const { checkpoint, name, unread } = arrays;
  const root = checkpoint.root as Map<PyValue, PyValue>;
  return namedModel(name, root, { metadata: new Map(), unread, checkpoint, close: () => checkpoint.close() });
}

/** The tensor over the elements, or why there is none. */
async function readArray(name: string, bytes: StorageBytes, path: string | undefined): Promise<Tensor | string> {
  const corrupt = (what: string): CheckpointError =>
    new CheckpointError('TENSOR_CORRUPT', `the array ${what}`, {
      path,
      record: `${name}.npy`,
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
