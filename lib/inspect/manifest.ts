/**
 * Hashes of the tensors of a checkpoint, to keep beside it: they say which tensor changed, whatever the container, and
 * hold where the container records no checksums.
 *
 * A hash is SHA-256 over the values as contiguous C-order little-endian bytes, the same for a tensor in any format.
 */
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Checkpoint } from '../checkpoint';
import { withAliases } from '../convert/model';
import { CheckpointError, isCheckpointError } from '../errors';
import type { PyValue } from '../pickle/values';
import { gather, gatherBlocks } from '../tensor/gather';
import type { Tensor } from '../tensor/tensor';
import { type AnyTensor, walkTensors } from '../walk';
import { atHand } from './find';
import { stridedParts } from './storage-use';

export interface ManifestEntry {
  readonly path: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly sha256: string;
}

export interface Manifest {
  /** Names this file kind. */
  readonly kind: 'torch-checkpoint manifest';
  readonly version: 1;
  readonly tensors: readonly ManifestEntry[];
}

/** Pieces between two looks at the event loop. */
const PIECES_BETWEEN_TURNS = 16;

/** The hash of a tensor's values; of a sparse tensor those of all its components. */
export async function sha256Of(tensor: AnyTensor, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for (const part of stridedParts(tensor)) {
    for await (const bytes of piecesOf(await atHand(part))) {
      hash.update(bytes);
      signal?.throwIfAborted();
    }
  }
  return hash.digest('hex');
}

/** The values in bounded pieces; each is overwritten by the next. */
async function* piecesOf(tensor: Tensor): AsyncGenerator<Uint8Array, void, undefined> {
  if (tensor.dtype.elementsPerByte > 1) {
    yield gather(tensor);
    return;
  }
  let pieces = 0;
  for (const { bytes } of gatherBlocks(tensor)) {
    yield bytes;
    if (++pieces % PIECES_BETWEEN_TURNS === 0) await setImmediate();
  }
}

export async function manifestOf(checkpoint: Checkpoint, signal?: AbortSignal): Promise<Manifest> {
  const tensors: ManifestEntry[] = [];
  for (const [path, tensor] of checkpoint.tensors()) {
    const values = stridedParts(tensor)[0] as Tensor;
    if (!values.isMeta) tensors.push({ path, ...shapeOf(tensor), sha256: await sha256Of(tensor, signal) });
  }
  return { kind: 'torch-checkpoint manifest', version: 1, tensors };
}

function shapeOf(tensor: AnyTensor): { dtype: string; shape: readonly number[] } {
  return { dtype: tensor.dtype.name, shape: tensor.shape };
}

/** The tensors of a checkpoint, and those of safetensors that its metadata names as aliases of stored ones. */
function namedTensors(checkpoint: Checkpoint): Iterable<[path: string, tensor: AnyTensor]> {
  if (checkpoint.format !== 'safetensors') return checkpoint.tensors();
  return walkTensors(withAliases(checkpoint.root as Map<PyValue, PyValue>, checkpoint.info.metadata).root);
}

/** What differs from the manifest, as verify reports it. */
export async function compareWithManifest(
  checkpoint: Checkpoint,
  manifest: Manifest,
  signal?: AbortSignal,
): Promise<{ record: string; reason: string }[]> {
  const damaged: { record: string; reason: string }[] = [];
  const expected = new Map(manifest.tensors.map((entry) => [entry.path, entry]));
  for (const [path, tensor] of namedTensors(checkpoint)) {
    const entry = expected.get(path);
    if (!entry) continue;
    expected.delete(path);
    const { dtype, shape } = shapeOf(tensor);
    if (dtype !== entry.dtype || String(shape) !== String(entry.shape)) {
      damaged.push({
        record: path,
        reason: `is ${dtype} [${shape.join(', ')}], the manifest has ${entry.dtype} [${entry.shape.join(', ')}]`,
      });
      continue;
    }
    try {
      if ((await sha256Of(tensor, signal)) !== entry.sha256)
        damaged.push({ record: path, reason: 'the values differ from those of the manifest' });
    } catch (error) {
      if (!isCheckpointError(error)) throw error;
      damaged.push({ record: path, reason: error.message });
    }
  }
  for (const path of expected.keys())
    damaged.push({ record: path, reason: 'the manifest has this tensor, the checkpoint has not' });
  return damaged;
}

/** Throws CheckpointError when the text is no manifest of ours. */
export function parseManifest(text: string, path: string): Manifest {
  const refuse = (what: string): CheckpointError => new CheckpointError('UNSUPPORTED', what, { path });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw refuse(`the manifest is not JSON: ${(error as Error).message}`);
  }
  const manifest = value as Partial<Manifest> | null;
  if (typeof manifest !== 'object' || manifest?.kind !== 'torch-checkpoint manifest')
    throw refuse('the file is no manifest of torch-checkpoint');
  if (manifest.version !== 1 || !Array.isArray(manifest.tensors))
    throw refuse(`version ${String(manifest.version)} of the manifest is not known`);
  for (const entry of manifest.tensors as readonly unknown[])
    if (!isEntry(entry)) throw refuse('an entry of the manifest has no path, dtype, shape or sha256');
  return manifest as Manifest;
}

function isEntry(value: unknown): value is ManifestEntry {
  const entry = value as Partial<ManifestEntry> | null;
  return (
    typeof entry === 'object' &&
    entry !== null &&
    typeof entry.path === 'string' &&
    typeof entry.dtype === 'string' &&
    Array.isArray(entry.shape) &&
    typeof entry.sha256 === 'string'
  );
}
