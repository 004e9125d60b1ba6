/** One tensor of a checkpoint as a file of its own, streamed in bounded pieces and put in place when it is whole. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open as openFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { type LoadOptions, open } from '../load';
import { NdArray } from '../pickle/values';
import type { CheckpointSource } from '../source/open-source';
import { castElements } from '../tensor/elements';
import { gather, gatherBlocks } from '../tensor/gather';
import { Tensor } from '../tensor/tensor';
import { atHand, findValue } from './find';
import { npyHeader, numpyTypeString } from './npy';

/** What `extract` wrote. */
export interface ExtractReport {
  readonly path: string;
  readonly output: string;
  /** Of the elements as written: NumPy has no bfloat16 and float8, they widen to float32. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Size of the file. */
  readonly bytes: number;
}

/** Options of `extract`. */
export type ExtractOptions = Pick<LoadOptions, 'io' | 'limits' | 'signal' | 'onProgress'>;

/** `.npy` is NumPy's file, `.bin` the elements alone: contiguous, C order, little-endian. */
const FORMATS: readonly string[] = ['.npy', '.bin'];

/**
 * Writes the tensor or NumPy array at `path` to `output`, in the format that its extension names. Throws CheckpointError
 * (NOT_FOUND for an unknown path, WRITE_FAILED or DISK_FULL for the output), TypeError for another extension.
 */
export async function extract(
  source: CheckpointSource,
  path: string,
  output: string,
  options: ExtractOptions = {},
): Promise<ExtractReport> {
  const format = extname(output).toLowerCase();
  if (!FORMATS.includes(format))
    throw new TypeError(`cannot extract to "${output}": the name must end in ${FORMATS.join(' or ')}`);
  const checkpoint = await open(source, { io: 'read', ...options, unsafeGlobals: 'inert' });
  try {
    const value = findValue(checkpoint, path, typeof source === 'string' ? source : undefined);
    const parts =
      value instanceof NdArray
        ? arrayParts(value, format)
        : value instanceof Tensor
          ? tensorParts(await atHand(value), format)
          : undefined;
    if (!parts) {
      throw new CheckpointError('UNSUPPORTED', `"${path.slice(0, 500)}" is no strided tensor and no array`, {
        hint: 'torch-checkpoint show prints it',
      });
    }
    const bytes = await writeWhole(output, parts.pieces, options);
    return { path, output, dtype: parts.dtype, shape: parts.shape, bytes };
  } finally {
    checkpoint.close();
  }
}

interface Parts {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly pieces: Iterable<Uint8Array>;
}

function arrayParts(array: NdArray, format: string): Parts {
  if (array.objects || !/^[<>|=][a-zA-Z]\d+$/.test(array.dtype)) {
    throw new CheckpointError('UNSUPPORTED', `an array of dtype ${array.dtype} has no plain elements to write`);
  }
  const typeString = array.dtype.replace('>', '<');
  const header = format === '.npy' ? [npyHeader(typeString, array.shape)] : [];
  return { dtype: typeString, shape: array.shape, pieces: [...header, array.toBytes()] };
}

function tensorParts(tensor: Tensor, format: string): Parts {
  const { dtype, shape } = tensor;
  if (format === '.bin') return { dtype: dtype.name, shape, pieces: elementPieces(tensor, dtype) };
  // As NumPy has it, or the next wider type that NumPy has.
  const target = numpyTypeString(dtype)
    ? dtype
    : dtype.isFloatingPoint
      ? DType.float32
      : dtype === DType.complex32
        ? DType.complex64
        : undefined;
  const typeString = target && numpyTypeString(target);
  if (!target || !typeString)
    throw new CheckpointError('UNSUPPORTED', `NumPy has no dtype for ${dtype.name}`, {
      hint: 'extract to a .bin file for the bytes',
    });
  return { dtype: target.name, shape, pieces: withHeader(npyHeader(typeString, shape), elementPieces(tensor, target)) };
}

function* withHeader(header: Uint8Array, pieces: Iterable<Uint8Array>): Generator<Uint8Array, void, undefined> {
  yield header;
  yield* pieces;
}

function* elementPieces(tensor: Tensor, target: DType): Generator<Uint8Array, void, undefined> {
  if (tensor.dtype.elementsPerByte > 1) {
    yield gather(tensor);
    return;
  }
  for (const { bytes, numel } of gatherBlocks(tensor)) {
    if (target === tensor.dtype) yield bytes;
    else {
      const cast = new Uint8Array(target.byteLength(numel));
      castElements(tensor.dtype, bytes, target, cast, numel);
      yield cast;
    }
  }
}

/** Writes beside the target and renames: whatever happens, no half file has its name. */
async function writeWhole(
  output: string,
  pieces: Iterable<Uint8Array>,
  { signal, onProgress }: ExtractOptions,
): Promise<number> {
  const temporary = join(dirname(output), `.torch-checkpoint-${basename(output)}-${randomBytes(4).toString('hex')}`);
  let file: FileHandle | undefined;
  let bytes = 0;
  const writing = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      const full = code === 'ENOSPC' || code === 'EDQUOT';
      throw new CheckpointError(full ? 'DISK_FULL' : 'WRITE_FAILED', full ? 'no space left for the output' : message, {
        path: output,
        cause,
      });
    }
  };
  try {
    file = await writing(() => openFile(temporary, 'wx'));
    for (const piece of pieces) {
      signal?.throwIfAborted();
      for (let at = 0; at < piece.length; ) {
        const { bytesWritten } = await writing(() => (file as FileHandle).write(piece, at));
        at += bytesWritten;
      }
      bytes += piece.length;
      onProgress?.({ stage: 'extract', bytes, totalBytes: undefined });
    }
    await writing(() => (file as FileHandle).sync());
    await file.close();
    file = undefined;
    await writing(() => rename(temporary, output));
    return bytes;
  } catch (error) {
    await file?.close();
    await rm(temporary, { force: true });
    throw error;
  }
}
