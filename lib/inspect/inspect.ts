/** What a checkpoint holds, from its headers and object graph alone: no tensor byte is read. */
import type { Checkpoint } from '../checkpoint';
import type { Format } from '../container/container';
import type { LoadOptions } from '../load';
import type { Verdict } from '../pickle/verdicts';
import type { CheckpointSource } from '../source/open-source';
import { NestedTensor } from '../tensor/nested';
import { QuantizedTensor } from '../tensor/quantized';
import { Storage } from '../tensor/storage';
import { Parameter, Tensor } from '../tensor/tensor';
import { type AnyTensor, isTensor } from '../walk';
import { isFlat, isScalar, leavesOf } from './leaves';
import { openAny } from './opening';
import { storageRoots } from './storage-roots';
import { StorageUse, stridedParts } from './storage-use';
import { type Summary, summarise } from './summary';
import { unsafeWarnings } from './unsafe';

/** A tensor as `inspect` lists it. */
export interface TensorFacts {
  readonly path: string;
  /** Without `torch.`: `float32`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** In elements; empty for sparse and nested tensors. */
  readonly stride: readonly number[];
  readonly storageOffset: number;
  /** Bytes of the elements when contiguous; of a sparse tensor all its components. */
  readonly bytes: number;
  /** As the file says: `cpu`, `cuda:0`, `meta`. */
  readonly location: string;
  readonly requiresGrad: boolean;
  readonly isParameter: boolean;
  /** `strided`, `sparse_coo`, ..., `nested`. */
  readonly layout: string;
  readonly storageKey: string;
  /** The first tensor over the same storage, where this is a later one. */
  readonly sharedWith?: string;
  /** `per_tensor_affine` and the like, of a quantized tensor. */
  readonly qscheme?: string;
}

/** A value that is no tensor, as `inspect` lists it. */
export interface ValueFacts extends Summary {
  readonly path: string;
}

/** What `inspect` found: tensors, sharing, other values. */
export interface Inspection {
  readonly format: Format;
  readonly fileBytes: number;
  /** The releases of PyTorch that write such files: `2.7+`, `1.6-2.0`. */
  readonly writer?: string;
  readonly byteOrder: 'little' | 'big';
  readonly formatVersion?: string;
  readonly pickleProtocol?: number;
  readonly records: number;
  /** In file order. */
  readonly tensors: readonly TensorFacts[];
  /** Elements of all tensors; aliases count once. */
  readonly parameters: number;
  /** Bytes of those elements. */
  readonly tensorBytes: number;
  /** Bytes of whole storages; those that no tensor reaches are stored all the same. */
  readonly storageBytes: number;
  readonly unreachableBytes: number;
  /** Tensors by dtype. */
  readonly dtypes: Readonly<Record<string, number>>;
  /** Paths of tensors over one storage, for each storage that has several. */
  readonly aliases: readonly (readonly string[])[];
  /** What is no tensor, up to `maxValues`; `valueCount` says how many there are. */
  readonly values: readonly ValueFacts[];
  readonly valueCount: number;
  /** Classes and functions that the pickles name, in Python 3 names, in order of first use. */
  readonly globals: readonly string[];
  readonly verdicts: readonly { readonly name: string; readonly verdict: Verdict }[];
  /** `__metadata__` of safetensors. */
  readonly metadata: Readonly<Record<string, string>>;
  /** What a reader should know first: unsafe globals, wasted bytes. */
  readonly warnings: readonly string[];
}

/** Options of `inspect`. */
export interface InspectOptions extends Pick<LoadOptions, 'io' | 'limits' | 'signal' | 'onProgress' | 'encoding'> {
  /** Values other than tensors to list; default 1000. */
  maxValues?: number;
}

const DEFAULT_MAX_VALUES = 1000;
/** Storages are worth a warning when this many bytes, and a tenth of them, serve nobody. */
const NOTABLE_WASTE_BYTES = 1 << 20;
const NOTABLE_WASTE = 0.1;

/**
 * Lists what a checkpoint holds, or a model in several files (by its folder or index), or .npz and .npy. Dangerous globals
 * do not stop it: they stay inert, and `verdicts` and `warnings` name them. Throws CheckpointError when the file cannot be
 * read.
 */
export async function inspect(source: CheckpointSource, options: InspectOptions = {}): Promise<Inspection> {
  const { maxValues, ...reading } = options;
  const { checkpoint, warnings } = await openAny(source, { ...reading, unsafeGlobals: 'inert' });
  try {
    const inspection = inspectCheckpoint(checkpoint, maxValues);
    return { ...inspection, warnings: [...inspection.warnings, ...warnings] };
  } finally {
    checkpoint.close();
  }
}

/** The same for a checkpoint that is open already, and stays open. */
export function inspectCheckpoint(checkpoint: Checkpoint, maxValues = DEFAULT_MAX_VALUES): Inspection {
  const { format, info } = checkpoint;
  const use = new StorageUse(storageRoots(checkpoint));
  const tensors: TensorFacts[] = [];
  const values: ValueFacts[] = [];
  let valueCount = 0;
  const dtypes: Record<string, number> = Object.create(null) as Record<string, number>;
  for (const { path, value, isFloat } of leavesOf(checkpoint, true)) {
    if (isTensor(value)) {
      const facts = factsOf(path, value, use.add(path, value));
      tensors.push(facts);
      dtypes[facts.dtype] = (dtypes[facts.dtype] ?? 0) + 1;
      continue;
    }
    if (value instanceof Storage) use.addStorage(value);
    if (isFilledContainer(value)) continue;
    if (++valueCount <= maxValues) values.push({ path, ...summarise(value, isFloat) });
  }
  const totals = use.totals;
  const verdicts = info.globals.map(({ global, verdict }) => ({ name: global, verdict }));
  return {
    format,
    fileBytes: info.fileBytes,
    ...(info.writer === undefined ? {} : { writer: info.writer }),
    byteOrder: info.byteOrder,
    ...(info.formatVersion === undefined ? {} : { formatVersion: info.formatVersion }),
    ...(info.pickleProtocol === undefined ? {} : { pickleProtocol: info.pickleProtocol }),
    records: checkpoint.recordCount,
    tensors,
    ...totals,
    dtypes,
    aliases: use.aliases,
    values,
    valueCount,
    globals: verdicts.map(({ name }) => name),
    verdicts,
    metadata: Object.assign(Object.create(null) as Record<string, string>, Object.fromEntries(info.metadata)),
    warnings: [...unsafeWarnings([info.globals, 'this file']), ...wasteWarnings(totals)],
  };
}

/** Lists and dicts are known by what they hold; empty ones and objects are told themselves. */
function isFilledContainer(value: unknown): boolean {
  if (isScalar(value)) return false;
  if (value instanceof Map) return value.size > 0;
  if (Array.isArray(value)) return value.length > 0 && !isFlat(value as never);
  return value instanceof Set && value.size > 0 && !isFlat(value as never);
}

/** @internal */
export function factsOf(path: string, tensor: AnyTensor, sharedWith: string | undefined): TensorFacts {
  const isStrided = tensor instanceof Tensor;
  const isNested = tensor instanceof NestedTensor;
  const values = isStrided ? tensor : (stridedParts(tensor)[0] as Tensor);
  const { storage } = values;
  let bytes = isStrided ? tensor.nbytes : 0;
  if (!isStrided) for (const part of stridedParts(tensor)) bytes += part.nbytes;
  const facts: TensorFacts = {
    path,
    dtype: values.dtype.name,
    shape: tensor.shape,
    stride: isStrided ? tensor.stride : [],
    storageOffset: isStrided ? tensor.storageOffset : 0,
    bytes,
    location: storage.location,
    requiresGrad: tensor.requiresGrad,
    isParameter: tensor instanceof Parameter,
    layout: isNested ? 'nested' : tensor.layout.name,
    storageKey: storage.key,
  };
  if (sharedWith !== undefined && sharedWith !== path) Object.assign(facts, { sharedWith });
  if (tensor instanceof QuantizedTensor) Object.assign(facts, { qscheme: tensor.qscheme.name });
  return facts;
}

function wasteWarnings({
  storageBytes,
  unreachableBytes,
}: {
  storageBytes: number;
  unreachableBytes: number;
}): string[] {
  if (unreachableBytes < NOTABLE_WASTE_BYTES || unreachableBytes < storageBytes * NOTABLE_WASTE) return [];
  return [
    `${unreachableBytes} of ${storageBytes} bytes of storages are reached by no tensor: views of larger storages; saving with compact leaves them out`,
  ];
}
