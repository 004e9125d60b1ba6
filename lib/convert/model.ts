/** What is converted: named tensors, and the graph they stand in. */
import type { Checkpoint } from '../checkpoint';
import type { LoadOptions } from '../load';
import type { PyValue } from '../pickle/values';
import { Tensor } from '../tensor/tensor';
import { type AnyTensor, valueAt, walkTensors } from '../walk';
import type { Dropped } from './target';

export interface Model {
  /** The path or URL as the caller wrote it. */
  readonly name: string | undefined;
  readonly root: PyValue;
  /** True where the root is a graph of Python objects that another pickle can hold as it is. */
  readonly isGraph: boolean;
  /** The checkpoint behind it, where there is exactly one. */
  readonly checkpoint: Checkpoint | undefined;
  /** The models that it is put together from: shards, each with its own name. */
  readonly parts: readonly Model[];
  /** `__metadata__` without the aliases. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Names that the input does not store: its metadata says which stored name has their elements. */
  readonly restored: ReadonlySet<string>;
  /** What the index over its shards says of the model besides where the tensors are. */
  readonly indexFacts: ReadonlyMap<string, unknown>;
  /** What the input holds and nothing here can read. */
  readonly unread: readonly Dropped[];
  /** What the user should know of the input: files that seem to belong to it and do not. */
  readonly warnings: readonly string[];
  /** Every tensor with its path, those of further roots included. */
  tensors(): Iterable<[path: string, tensor: AnyTensor]>;
  get(path: string): PyValue | undefined;
  close(): void;
}

export type ModelOptions = Pick<LoadOptions, 'io' | 'limits' | 'signal' | 'onProgress' | 'safeGlobals' | 'weightsOnly'>;

/**
 * The names that a writer left out because another has the same elements, as `save_model` of safetensors records them in
 * the metadata: they share the storage again.
 */
export function withAliases(
  tensors: ReadonlyMap<PyValue, PyValue>,
  metadata: ReadonlyMap<string, string>,
): { root: Map<PyValue, PyValue>; metadata: Map<string, string>; restored: Set<string> } {
  const root = new Map(tensors);
  const rest = new Map<string, string>();
  const restored = new Set<string>();
  for (const [key, value] of metadata) {
    const kept = tensors.get(value);
    if (key === 'format' || tensors.has(key) || !(kept instanceof Tensor)) rest.set(key, value);
    else {
      root.set(key, new Tensor(kept.storage, kept.dtype, kept.shape, kept.stride, kept.storageOffset));
      restored.add(key);
    }
  }
  return { root, metadata: rest, restored };
}

/** A model of named tensors only. */
export function namedModel(
  name: string | undefined,
  root: Map<PyValue, PyValue>,
  rest: {
    metadata: ReadonlyMap<string, string>;
    restored?: ReadonlySet<string>;
    indexFacts?: ReadonlyMap<string, unknown>;
    unread?: readonly Dropped[];
    warnings?: readonly string[];
    parts?: readonly Model[];
    checkpoint?: Checkpoint;
    close(): void;
  },
): Model {
  return {
    name,
    root,
    isGraph: false,
    checkpoint: rest.checkpoint,
    parts: rest.parts ?? [],
    metadata: rest.metadata,
    restored: rest.restored ?? new Set(),
    indexFacts: rest.indexFacts ?? new Map(),
    unread: rest.unread ?? [],
    warnings: rest.warnings ?? [],
    tensors: () => walkTensors(root),
    get: (path) => valueAt(root, path),
    close: rest.close,
  };
}
