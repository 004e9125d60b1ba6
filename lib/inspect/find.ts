/** One value of a checkpoint by its path, or an error that says what stands nearby. */
import type { Checkpoint } from '../checkpoint';
import { CheckpointError } from '../errors';
import type { PyValue } from '../pickle/values';
import { MemoryBytes, Storage } from '../tensor/storage';
import { checkBounds, Tensor } from '../tensor/tensor';
import { walk } from '../walk';
import { leavesOf } from './leaves';

const MAX_SUGGESTIONS = 3;
/** Longer paths are no one's typing error; those of a nest of a million levels have a terabyte together. */
const MAX_LIKENESS = 4096;

/** Throws NOT_FOUND with the paths that look like it. */
export function findValue(checkpoint: Checkpoint, path: string, file?: string): PyValue {
  const value = checkpoint.get(path);
  if (value !== undefined) return value;
  const near = nearPaths(checkpoint, path);
  throw new CheckpointError('NOT_FOUND', `nothing in the checkpoint has the path "${path.slice(0, 500)}"`, {
    path: file,
    hint:
      near.length > 0
        ? `did you mean ${near.map((name) => `"${name.slice(0, 200)}"`).join(' or ')}?`
        : 'torch-checkpoint inspect lists the paths',
  });
}

/** Whether the integral number at `path` is a float in Python. */
export function isFloatAt(checkpoint: Checkpoint, path: string): boolean {
  for (const leaf of leavesOf(checkpoint)) if (leaf.path === path && leaf.isFloat) return true;
  return false;
}

function nearPaths(checkpoint: Checkpoint, path: string): string[] {
  const wanted = path.toLowerCase();
  const last = wanted.split('.').at(-1) as string;
  const found: [score: number, path: string][] = [];
  for (const [candidate] of walk(checkpoint.root)) {
    if (candidate.length > MAX_LIKENESS) continue;
    const text = candidate.toLowerCase();
    if (text === '') continue;
    // The same letters in another case, a missing prefix, a part of it, or at least the same end.
    const score =
      text === wanted
        ? 0
        : text.endsWith(wanted) || wanted.endsWith(text)
          ? 1
          : text.includes(wanted)
            ? 2
            : last.length > 2 && text.endsWith(last)
              ? 3
              : 4;
    if (score < 4) found.push([score - commonPrefix(text, wanted) / (wanted.length + 1), candidate]);
  }
  return found
    .sort((a, b) => a[0] - b[0])
    .slice(0, MAX_SUGGESTIONS)
    .map(([, candidate]) => candidate);
}

function commonPrefix(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

/**
 * The tensor with bytes that can be read at once: itself, except that the window of one on a server is fetched whole.
 * Throws ARRAY_TOO_LARGE when that does not fit in memory.
 */
export async function atHand(tensor: Tensor): Promise<Tensor> {
  const { storage, dtype, shape, stride, storageOffset } = tensor;
  if (!storage.source.asyncOnly || storage.isMeta || tensor.numel === 0) return tensor;
  let last = storageOffset;
  for (let d = 0; d < shape.length; d++) last += ((shape[d] as number) - 1) * (stride[d] as number);
  const per = dtype.elementsPerByte;
  const start = Math.floor(storageOffset / per) * dtype.itemsize;
  const end = (Math.floor(last / per) + 1) * dtype.itemsize;
  const bytes = fresh(end - start);
  for (let at = 0; at < bytes.length; ) {
    const count = await storage.read(bytes.subarray(at), start + at);
    if (count === 0) throw new CheckpointError('TRUNCATED', `storage "${storage.key}" ends after ${start + at} bytes`);
    at += count;
  }
  const held = new Storage(storage.key, storage.location, storage.dtype, new MemoryBytes(bytes), storage.untyped);
  const offset = storageOffset - Math.floor(storageOffset / per) * per;
  checkBounds(held.nbytes, dtype, shape, stride, offset);
  const copy = new Tensor(held, dtype, shape, stride, offset, tensor.requiresGrad);
  copy.conj = tensor.conj;
  copy.neg = tensor.neg;
  return copy;
}

function fresh(byteLength: number): Uint8Array {
  try {
    return new Uint8Array(byteLength);
  } catch {
    throw new CheckpointError('ARRAY_TOO_LARGE', `a window of ${byteLength} bytes on a server does not fit in memory`, {
      hint: 'download the file first',
    });
  }
}
