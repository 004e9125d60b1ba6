/** A part of a checkpoint as a file of its own: one tensor for NumPy or bare, a tensor or sub-tree for everybody else. */
import { extname } from 'node:path';
import type { Checkpoint } from '../checkpoint';
import { npyHeader, numpyTypeString } from '../container/npy';
import { convert } from '../convert/convert';
import { payloadOf } from '../convert/payload';
import type { Dropped } from '../convert/target';
import { asOutputError, partsFile } from '../convert/write';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import type { LoadOptions } from '../load';
import { NdArray, type PyValue } from '../pickle/values';
import { save } from '../save';
import type { Payload } from '../sink/record-sink';
import type { CheckpointSource } from '../source/open-source';
import { gather } from '../tensor/gather';
import { Tensor } from '../tensor/tensor';
import { isTensor, walkTensors } from '../walk';
import { atHand, findValue } from './find';
import { openAny, told } from './opening';
import { unsafeWarnings } from './unsafe';

/** What `extract` wrote. */
export interface ExtractReport {
  readonly path: string;
  readonly output: string;
  /** Tensors and arrays in the output. */
  readonly tensors: number;
  /** Of a single one: as written, since NumPy has no bfloat16 and float8, which widen to float32. */
  readonly dtype?: string;
  readonly shape?: readonly number[];
  /** Size of the file. */
  readonly bytes: number;
  /** What is below the path and not in the output, which holds tensors only. */
  readonly dropped: readonly Dropped[];
  /** Loud words about the file: what would run where Python loads it. Absent where there is nothing to say. */
  readonly warnings?: readonly string[];
}

/** Options of `extract`. */
export interface ExtractOptions extends Pick<LoadOptions, 'io' | 'limits' | 'signal' | 'onProgress'> {
  /** Wait until the disk has the bytes; default true. */
  fsync?: boolean;
}

/** Of one tensor: `.npy` is NumPy's file, `.bin` the elements alone, contiguous, in C order, little-endian. */
const SINGLE: readonly string[] = ['.npy', '.bin'];
const PYTORCH: readonly string[] = ['.pt', '.pth', '.ckpt'];
const NAMED: readonly string[] = ['.safetensors', '.npz'];

/**
 * Writes the value at `path` to `output`, in the format that its extension names: a tensor or NumPy array to .npy or .bin;
 * a tensor, or everything below a path, to .safetensors, .npz or .pt. A path that is no value, but the beginning of names of
 * a state dict, stands for those. Names in the output are relative to the path, that of a single tensor is its path; in
 * .pt a value stays what it is, which is refused where the checkpoint names what would run in Python. Throws
 * CheckpointError (UNSAFE_GLOBAL for that, NOT_FOUND for an unknown path, UNSUPPORTED where the format
 * cannot hold the value, WRITE_FAILED or DISK_FULL for the output), TypeError for another extension.
 */
export async function extract(
  source: CheckpointSource,
  path: string,
  output: string,
  options: ExtractOptions = {},
): Promise<ExtractReport> {
  const format = extname(output).toLowerCase();
  const known = [...SINGLE, ...NAMED, ...PYTORCH];
  if (!known.includes(format))
    throw new TypeError(`cannot extract to "${output}": the name must end in one of ${known.join(', ')}`);
  const { fsync = true, signal, onProgress, ...reading } = options;
  const given = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) };
  const { checkpoint, warnings: leftOut } = await openAny(source, {
    io: 'read',
    ...reading,
    ...given,
    // A pickle is not to pass through here and stay dangerous; bare elements are harmless.
    unsafeGlobals: PYTORCH.includes(format) ? 'reject' : 'inert',
    classes: new Map(),
  });
  try {
    const job: Job = { checkpoint, path, output, format, writing: { fsync, ...given } };
    const warnings = told(unsafeWarnings([checkpoint.info.globals, 'this file']), leftOut);
    if (namesBelow(checkpoint, path) > 0) return { ...(await extractTree(job, undefined)), ...warnings };
    const value = findValue(checkpoint, path, typeof source === 'string' ? source : undefined);
    const report = await (SINGLE.includes(format) ? extractElements(job, value) : extractTree(job, value));
    return { ...report, ...warnings };
  } catch (error) {
    throw asOutputError(error, output);
  } finally {
    checkpoint.close();
  }
}

interface Job {
  readonly checkpoint: Checkpoint;
  readonly path: string;
  readonly output: string;
  readonly format: string;
  readonly writing: { readonly fsync: boolean } & Pick<ExtractOptions, 'signal' | 'onProgress'>;
}

/** How many names of a state dict begin with a path that is no value itself: `encoder` of `encoder.weight`. */
function namesBelow(checkpoint: Checkpoint, path: string): number {
  if (path === '' || checkpoint.get(path) !== undefined) return 0;
  let count = 0;
  for (const [name] of checkpoint.tensors()) if (name.startsWith(`${path}.`)) count++;
  return count;
}

async function extractElements(job: Job, value: PyValue): Promise<ExtractReport> {
  const { path, output, format, writing } = job;
  const parts =
    value instanceof NdArray
      ? arrayParts(value, format)
      : value instanceof Tensor
        ? tensorParts(value.dtype.elementsPerByte > 1 ? await atHand(value) : value, format)
        : undefined;
  if (!parts) {
    throw new CheckpointError('UNSUPPORTED', `"${path.slice(0, 500)}" is no strided tensor and no array`, {
      hint: 'torch-checkpoint show prints it; a .pt file holds any value, .safetensors and .npz the tensors below it',
    });
  }
  const { signal, onProgress, fsync } = writing;
  const { bytes } = await partsFile(undefined, parts.pieces).write(output, { fsync, signal, onProgress });
  return { path, output, tensors: 1, dtype: parts.dtype, shape: parts.shape, bytes, dropped: [] };
}

/** `value`: undefined for the names that begin with the path. */
async function extractTree(job: Job, value: PyValue | undefined): Promise<ExtractReport> {
  const { checkpoint, path, output, format, writing } = job;
  if (SINGLE.includes(format))
    throw new CheckpointError('UNSUPPORTED', `"${path.slice(0, 500)}" is several tensors, ${format} holds one`, {
      hint: 'extract it to a .safetensors, .npz or .pt file',
    });
  const single = value !== undefined && isTensor(value) ? value : undefined;
  const facts = single ? { dtype: single.dtype.name, shape: single.shape } : {};
  // The objects of TorchScript are of classes that no other program has: of those the tensors go over.
  const isPython = checkpoint.format !== 'safetensors' && checkpoint.format !== 'torchscript';
  if (PYTORCH.includes(format) && value !== undefined && (single || isPython)) {
    const { bytes } = await save(value, output, { compact: true, ...writing });
    const tensors = [...walkTensors(value)].length;
    return { path, output, tensors, ...facts, bytes, dropped: [] };
  }
  const choice =
    value === undefined
      ? { select: [`${path}.*`], stripPrefix: `${path}.` }
      : single
        ? { root: path, rename: () => path || 'tensor' }
        : { root: path };
  const planned = await convert(checkpoint, output, { ...choice, dryRun: true });
  if (planned.tensors === 0) {
    const reason = planned.dropped[0]?.reason;
    throw new CheckpointError(
      'UNSUPPORTED',
      `"${path.slice(0, 500)}" has nothing that a ${format} file could hold${reason === undefined ? '' : `: ${reason}`}`,
      isPython && !PYTORCH.includes(format) ? { hint: 'a .pt file holds any value' } : {},
    );
  }
  const { tensors, bytes, dropped } = await convert(checkpoint, output, { ...choice, ...writing });
  return { path, output, tensors, ...facts, bytes, dropped };
}

interface Parts {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly pieces: readonly { readonly payload: Payload; readonly byteLength: number }[];
}

function withHeader(format: string, typeString: string, shape: readonly number[]): Parts['pieces'] {
  if (format !== '.npy') return [];
  const header = npyHeader(typeString, shape);
  return [{ payload: header, byteLength: header.length }];
}

function arrayParts(array: NdArray, format: string): Parts {
  if (array.objects || !/^[<>|=][a-zA-Z]\d+$/.test(array.dtype)) {
    throw new CheckpointError('UNSUPPORTED', `an array of dtype ${array.dtype} has no plain elements to write`);
  }
  const typeString = array.dtype.replace('>', '<');
  const payload = array.toBytes();
  const pieces = [...withHeader(format, typeString, array.shape), { payload, byteLength: payload.length }];
  return { dtype: typeString, shape: array.shape, pieces };
}

function tensorParts(tensor: Tensor, format: string): Parts {
  const { dtype, shape } = tensor;
  // As NumPy has it, or the next wider type that NumPy has.
  const target =
    format === '.bin' || numpyTypeString(dtype)
      ? dtype
      : dtype.isFloatingPoint
        ? DType.float32
        : dtype === DType.complex32
          ? DType.complex64
          : undefined;
  const typeString = target && numpyTypeString(target);
  if (!target || (format === '.npy' && !typeString))
    throw new CheckpointError('UNSUPPORTED', `NumPy has no dtype for ${dtype.name}`, {
      hint: 'extract to a .bin file for the bytes',
    });
  // Packed elements may begin inside a byte.
  const payload = dtype.elementsPerByte > 1 ? gather(tensor) : payloadOf(tensor, target);
  const byteLength = target.byteLength(tensor.numel);
  return {
    dtype: target.name,
    shape,
    pieces: [...withHeader(format, typeString ?? '', shape), { payload, byteLength }],
  };
}
