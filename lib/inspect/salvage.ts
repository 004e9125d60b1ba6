/**
 * Everything of a damaged checkpoint that is still whole, as a checkpoint that loads.
 *
 * A download that broke off has its beginning: in a PyTorch zip the pickle and the first storages, though not the
 * directory by which all readers find them. What is found is checked, storage by storage; a tensor of which any part is
 * lost is left out and named.
 */
import { resolve } from 'node:path';
import { Checkpoint } from '../checkpoint';
import { looksLikePickle } from '../container/detect';
import { isLegacyStream, isZip, SNIFF_BYTES, safetensorsHeaderLength } from '../container/magic';
import { isTarHeader } from '../container/tar-members';
import { convert } from '../convert/convert';
import { denseParts, retyper } from '../convert/retype';
import { rewrite } from '../convert/rewrite';
import { DType } from '../dtype';
import { DEFAULT_LIMITS } from '../limits';
import { OrderedDict, type PyValue } from '../pickle/values';
import type { ByteSource } from '../source/byte-source';
import { type CheckpointSource, openSource } from '../source/open-source';
import type { OnProgress } from '../source/progress';
import { Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { childrenOf, joinPath, walk } from '../walk';
import { type Found, Loss } from './found-storages';
import { PaddedBytes } from './padded-bytes';
import type { Lost, Remains } from './remains';
import { remainsOfPickle } from './salvage-pickle';
import { remainsOfLegacy, remainsOfSafetensors } from './salvage-stream';
import { remainsOfTar } from './salvage-tar';
import { remainsOfZip } from './salvage-zip';

/** Something that `salvage` could not recover, or not as it was. */
export interface LostTensor {
  /** Of the tensor; the record itself where tensors have no names any more. */
  readonly path: string;
  /** `data/7`; the key of the storage in a legacy stream. */
  readonly record: string;
  readonly reason: string;
  /** Bytes of the tensor, and how many of them are missing or not to be trusted, where that is known. */
  readonly bytes?: number;
  readonly missingBytes?: number;
  /** True where it is in the output, with zeros in place of the missing bytes. */
  readonly zeroFilled?: boolean;
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
  /** Keep tensors that are cut short or missing, zeros in place of their bytes; damaged ones are left out all the same. */
  zeroFill?: boolean;
  signal?: AbortSignal;
  onProgress?: OnProgress;
}

/**
 * Writes what is whole of a damaged PyTorch zip, legacy stream, tar, safetensors file or pickle to `output`, in the format
 * that its extension names (.pt, .safetensors, .npz). In lists, None takes the place of a lost tensor; in dicts its key is
 * gone. A tensor whose own bytes are here is whole, also where the storage around it is cut.
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
    const { root, lost } = remains.graph
      ? withoutLost(remains.graph, options.zeroFill ?? false)
      : asStorages(remains.records);
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
  if (isTarHeader(head)) return remainsOfTar(bytes);
  if (!isZip(head) && safetensorsHeaderLength(head, DEFAULT_LIMITS.maxHeaderBytes) !== undefined)
    return remainsOfSafetensors(bytes);
  // Also without its first bytes: records are found wherever they are.
  const remains = await remainsOfZip(bytes, options);
  if (remains.graph || remains.records.size > 0 || isZip(head)) return remains;
  if (looksLikePickle(head, bytes, DEFAULT_LIMITS)) return remainsOfPickle(bytes);
  return { ...remains, reason: 'it holds no part of a checkpoint that could be told from other bytes' };
}

function withoutLost(
  { root, lost }: { root: PyValue; lost: ReadonlyMap<Storage, Lost> },
  zeroFill: boolean,
): { root: PyValue; lost: LostTensor[] } {
  const losses = new Losses(lost, zeroFill);
  const named: LostTensor[] = [];
  const keys = new Set<string>();
  for (const [path, value] of walk(root)) {
    const loss = losses.of(value);
    if (loss) named.push({ path, ...loss });
    if (!(value instanceof Map)) continue;
    for (const [key, item, isFloat] of childrenOf(value) ?? [])
      if (losses.isGone(item)) keys.add(joinPath(path, key, isFloat));
  }
  if (lost.size === 0) return { root, lost: named };
  const remade = retyper(root, undefined, (storage) => losses.standIn(storage));
  const kept = rewrite(root, {
    drops: (path) => keys.has(path),
    replace: (value) => (losses.isGone(value) ? null : remade(value)),
    replaceStorage: (storage) => (losses.isGone(storage) ? null : losses.standIn(storage)),
  });
  return { root: kept, lost: named };
}

/** What a graph has lost, value by value. */
class Losses {
  readonly #lost: ReadonlyMap<Storage, Lost>;
  readonly #zeroFill: boolean;
  readonly #standIns = new Map<Storage, Storage>();

  constructor(lost: ReadonlyMap<Storage, Lost>, zeroFill: boolean) {
    this.#lost = lost;
    this.#zeroFill = zeroFill;
  }

  /** Undefined for values of which nothing is lost. */
  of(value: unknown): Omit<LostTensor, 'path'> | undefined {
    const windows =
      value instanceof Storage
        ? [{ storage: value, start: 0, end: value.nbytes }]
        : denseParts(value).map((tensor) => ({ storage: tensor.storage, ...reach(tensor) }));
    let [bytes, missingBytes] = [0, 0];
    let first: Lost | undefined;
    for (const { storage, start, end } of windows) {
      bytes += end - start;
      const lost = this.#lost.get(storage);
      const missing = lost ? Math.max(0, end - Math.max(start, lost.part?.byteLength ?? 0)) : 0;
      missingBytes += missing;
      // An empty tensor is whole wherever its storage is.
      if (missing > 0) first ??= lost;
    }
    if (!first) return undefined;
    const { record, reason, part } = first;
    // Sizes and indices that are zeros would not be those of the tensor.
    const zeroFilled = this.#zeroFill && part !== undefined && windows.length === 1;
    return { record, reason, bytes, missingBytes, ...(zeroFilled ? { zeroFilled } : {}) };
  }

  isGone(value: unknown): boolean {
    const loss = this.of(value);
    return loss !== undefined && !loss.zeroFilled;
  }

  /** The storage that takes the place of one that is lost, as long as what is here of it, or padded with zeros. */
  standIn(storage: Storage): Storage {
    const { part } = this.#lost.get(storage) ?? {};
    if (!part) return storage;
    let made = this.#standIns.get(storage);
    if (!made) {
      const bytes = this.#zeroFill ? new PaddedBytes(part, storage.nbytes) : part;
      made = new Storage(storage.key, storage.location, storage.dtype, bytes, storage.untyped);
      this.#standIns.set(storage, made);
    }
    return made;
  }
}

/** From the first byte of a tensor to behind its last, in its storage. */
function reach({ dtype, shape, stride, storageOffset, numel }: Tensor): { start: number; end: number } {
  if (numel === 0) return { start: 0, end: 0 };
  const last = shape.reduce((sum, size, d) => sum + (size - 1) * (stride[d] as number), storageOffset);
  const per = dtype.elementsPerByte;
  return {
    start: Math.floor(storageOffset / per) * dtype.itemsize,
    end: (Math.floor(last / per) + 1) * dtype.itemsize,
  };
}

/** Bytes without names, dtypes and shapes: a dict of uint8 tensors by record. */
function asStorages(records: ReadonlyMap<string, Found>): { root: PyValue; lost: LostTensor[] } {
  const root = new OrderedDict<PyValue>();
  const lost: LostTensor[] = [];
  for (const [name, found] of records) {
    if (found instanceof Loss) lost.push({ path: name, record: name, reason: found.reason });
    else {
      const storage = new Storage(name, 'cpu', DType.uint8, found, true);
      root.set(name, new Tensor(storage, DType.uint8, [found.byteLength], [1], 0, false));
    }
  }
  return { root, lost };
}
