/**
 * Everything of a damaged checkpoint that is still whole, as a checkpoint that loads.
 *
 * A download that broke off has its beginning: in a PyTorch zip the pickle and the first storages, though not the
 * directory by which all readers find them. What is found is checked, storage by storage; a tensor of which any part is
 * lost is left out and named.
 */
import { resolve } from 'node:path';
import { Checkpoint } from '../checkpoint';
import { isLegacyStream, isZip, SNIFF_BYTES, safetensorsHeaderLength } from '../container/magic';
import { convert } from '../convert/convert';
import { rewrite } from '../convert/rewrite';
import { DType } from '../dtype';
import { DEFAULT_LIMITS } from '../limits';
import { OrderedDict, type PyValue } from '../pickle/values';
import type { ByteSource } from '../source/byte-source';
import { type CheckpointSource, openSource } from '../source/open-source';
import type { OnProgress } from '../source/progress';
import { Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { childrenOf, isTensor, joinPath, walk } from '../walk';
import type { Found } from './found-storages';
import { remainsOfLegacy, remainsOfSafetensors } from './salvage-stream';
import { remainsOfZip } from './salvage-zip';
import { stridedParts } from './storage-use';

/** Something that `salvage` could not recover. */
export interface LostTensor {
  /** Of the tensor; the record itself where tensors have no names any more. */
  readonly path: string;
  /** `data/7`; the key of the storage in a legacy stream. */
  readonly record: string;
  readonly reason: string;
}

/** What `salvage` recovered. */
export interface SalvageReport {
  /**
   * `checkpoint`: names, structure and other values survived. `storages`: they did not, and the output holds the bytes of
   * each storage as a uint8 tensor that is named like its record. `nothing`: no output was written.
   */
  readonly kind: 'checkpoint' | 'storages' | 'nothing';
  /** Why it is not a checkpoint. */
  readonly reason?: string;
  readonly output?: string;
  /** Tensors in the output, and bytes of it. */
  readonly tensors: number;
  readonly bytes: number;
  readonly lost: readonly LostTensor[];
}

/** Options of `salvage`. */
export interface SalvageOptions {
  signal?: AbortSignal;
  onProgress?: OnProgress;
}

/** @internal */
export interface Lost {
  readonly record: string;
  readonly reason: string;
}

/** @internal */
export type Remains =
  | { readonly graph: { readonly root: PyValue; readonly lost: ReadonlyMap<Storage, Lost> } }
  | { readonly graph: undefined; readonly reason: string; readonly records: ReadonlyMap<string, Found> };

/**
 * Writes what is whole of a damaged PyTorch zip, legacy stream or safetensors file to `output`, in the format that its
 * extension names (.pt, .safetensors, .npz). In lists, None takes the place of a lost tensor; in dicts its key is gone.
 * Throws CheckpointError for an input that is not there and an output that cannot be written.
 */
export async function salvage(
  source: CheckpointSource,
  output: string,
  options: SalvageOptions = {},
): Promise<SalvageReport> {
  if (typeof source === 'string' && resolve(source) === resolve(output))
    throw new TypeError('the damaged file is kept as it is: give another name for what is salvaged');
  const { signal, onProgress } = options;
  const bytes = await openSource(source, { limits: DEFAULT_LIMITS, signal, onProgress });
  try {
    const remains = await remainsOf(bytes, options);
    const { root, lost } = remains.graph ? withoutLost(remains.graph) : asStorages(remains.records);
    const reason = remains.graph ? undefined : remains.reason;
    const told = reason === undefined ? {} : { reason };
    // The root is None where the file was a single tensor, and a dict without storages where the pickle is lost.
    const isGone = root === null && lost.length > 0;
    if (isGone || (remains.graph === undefined && (root as OrderedDict).size === 0))
      return { kind: 'nothing', reason: reason ?? 'its only tensor is lost', tensors: 0, bytes: 0, lost };
    const contents = { root, byteOrder: 'little', records: [] } as const;
    const whole = new Checkpoint(bytes, 'zip', root, contents, []);
    const report = await convert(whole, output, {
      ...(signal ? { signal } : {}),
      ...(onProgress ? { onProgress } : {}),
    });
    return {
      kind: remains.graph ? 'checkpoint' : 'storages',
      ...told,
      output,
      tensors: report.tensors,
      bytes: report.bytes,
      lost: [...lost, ...report.dropped.map(({ path, reason: why }) => ({ path, record: '', reason: why }))],
    };
  } finally {
    bytes.close();
  }
}

async function remainsOf(bytes: ByteSource, options: SalvageOptions): Promise<Remains> {
  const head = bytes.read(0, Math.min(SNIFF_BYTES, bytes.byteLength));
  if (isLegacyStream(head)) return remainsOfLegacy(bytes);
  if (!isZip(head) && safetensorsHeaderLength(head, DEFAULT_LIMITS.maxHeaderBytes) !== undefined)
    return remainsOfSafetensors(bytes);
  // Also without its first bytes: records are found wherever they are.
  const remains = await remainsOfZip(bytes, options);
  if (remains.graph || remains.records.size > 0 || isZip(head)) return remains;
  return { ...remains, reason: 'it holds no part of a checkpoint that could be told from other bytes' };
}

function withoutLost({ root, lost }: { root: PyValue; lost: ReadonlyMap<Storage, Lost> }): {
  root: PyValue;
  lost: LostTensor[];
} {
  const named: LostTensor[] = [];
  const keys = new Set<string>();
  const lostPart = (value: unknown): Lost | undefined => {
    if (value instanceof Storage) return lost.get(value);
    if (!isTensor(value)) return undefined;
    for (const { storage } of stridedParts(value)) if (lost.has(storage)) return lost.get(storage);
    return undefined;
  };
  for (const [path, value] of walk(root)) {
    const part = lostPart(value);
    if (part) named.push({ path, ...part });
    if (!(value instanceof Map)) continue;
    for (const [key, item, isFloat] of childrenOf(value) ?? [])
      if (lostPart(item)) keys.add(joinPath(path, key, isFloat));
  }
  if (named.length === 0) return { root, lost: named };
  const kept = rewrite(root, {
    drops: (path) => keys.has(path),
    replace: (value) => (lostPart(value) ? null : value),
  });
  return { root: kept, lost: named };
}

/** Bytes without names, dtypes and shapes: a dict of uint8 tensors by record. */
function asStorages(records: ReadonlyMap<string, Found>): { root: PyValue; lost: LostTensor[] } {
  const root = new OrderedDict<PyValue>();
  const lost: LostTensor[] = [];
  for (const [name, found] of records) {
    if (typeof found === 'string') lost.push({ path: name, record: name, reason: found });
    else {
      const storage = new Storage(name, 'cpu', DType.uint8, found, true);
      root.set(name, new Tensor(storage, DType.uint8, [found.byteLength], [1], 0, false));
    }
  }
  return { root, lost };
}
