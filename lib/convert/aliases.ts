/** Tied weights: several names for the very same elements of one storage. */
import { CheckpointError } from '../errors';
import { anyOf } from '../glob';
import type { StorageBytes } from '../tensor/storage';
import type { Tensor } from '../tensor/tensor';
import type { AnyTensor } from '../walk';
import { listOf } from './rename';

/**
 * `keep-first` stores the first name, `prefer` the first that matches a glob (else the first), `duplicate` every name,
 * `error` refuses.
 */
export type AliasPolicy = 'keep-first' | 'duplicate' | 'error' | { readonly prefer: string | readonly string[] };

export interface Named<T = AnyTensor> {
  /** As it is to be stored. */
  readonly name: string;
  /** Where it stands in the input. */
  readonly path: string;
  readonly tensor: T;
}

export interface Untied {
  readonly kept: readonly Named<Tensor>[];
  /** Names that are not stored, each with the stored name that has its elements. */
  readonly aliases: ReadonlyMap<string, string>;
}

/** Leaves one name for each run of elements. `recordable`: whether a name may be written down as an alias. */
export function untie(
  entries: readonly Named<Tensor>[],
  policy: AliasPolicy,
  recordable: (name: string) => boolean = () => true,
): Untied {
  const aliases = new Map<string, string>();
  if (policy === 'duplicate') return { kept: entries, aliases };
  const preferred = typeof policy === 'object' ? anyOf(listOf(policy.prefer)) : undefined;
  const dropped = new Set<Named<Tensor>>();
  for (const group of groupsOf(entries)) {
    if (group.length < 2) continue;
    if (policy === 'error') {
      const names = group.map(({ name }) => `"${name}"`).join(', ');
      throw new CheckpointError('UNSAVABLE', `${names} are the same elements of one storage`, {
        hint: 'choose which name to keep, or store them all',
      });
    }
    // A name that cannot be written down as an alias is kept if only one such is there, else all of them are.
    const kept =
      group.find(({ name }) => !recordable(name)) ??
      group.find(({ name }) => preferred?.(name)) ??
      (group[0] as Named<Tensor>);
    for (const entry of group) {
      if (entry === kept || !recordable(entry.name)) continue;
      dropped.add(entry);
      aliases.set(entry.name, kept.name);
    }
  }
  return { kept: entries.filter((entry) => !dropped.has(entry)), aliases };
}

/** Tensors that reach parts of one storage in common and are written apart, as one line; none where there are no such. */
export function overlapWarnings(kept: readonly Named<Tensor>[]): string[] {
  const spans = new Map<StorageBytes, { name: string; start: number; end: number }[]>();
  for (const { name, tensor } of kept) {
    const { dtype, shape, stride, storageOffset, storage } = tensor;
    if (tensor.numel === 0) continue;
    const last = shape.reduce((sum, size, d) => sum + (size - 1) * (stride[d] as number), storageOffset);
    const span = { name, start: storageOffset * dtype.itemsize, end: (last + 1) * dtype.itemsize };
    const others = spans.get(storage.source);
    if (others) others.push(span);
    else spans.set(storage.source, [span]);
  }
  const pairs: [string, string][] = [];
  for (const others of spans.values()) {
    let furthest: { name: string; end: number } | undefined;
    for (const span of others.sort((a, b) => a.start - b.start)) {
      if (furthest && span.start < furthest.end) pairs.push([furthest.name, span.name]);
      if (!furthest || span.end > furthest.end) furthest = span;
    }
  }
  const [first] = pairs;
  if (!first) return [];
  const more = pairs.length > 1 ? `, and so do ${pairs.length - 1} more` : '';
  return [
    `"${first[0]}" and "${first[1]}" overlap in one storage${more}: each is written by itself, and they no longer share elements`,
  ];
}

function groupsOf(entries: readonly Named<Tensor>[]): Iterable<Named<Tensor>[]> {
  const ids = new Map<StorageBytes, number>();
  const groups = new Map<string, Named<Tensor>[]>();
  for (const entry of entries) {
    const { tensor } = entry;
    // Tensors without elements share nothing.
    if (tensor.numel === 0) continue;
    const { source } = tensor.storage;
    let id = ids.get(source);
    if (id === undefined) ids.set(source, (id = ids.size));
    const key = `${id}/${windowOf(tensor)}`;
    const group = groups.get(key);
    if (group) group.push(entry);
    else groups.set(key, [entry]);
  }
  return groups.values();
}

/** Dtype, shape and where the elements are; steps along dimensions of one element say nothing. */
function windowOf(tensor: Tensor): string {
  const { dtype, shape, stride, storageOffset, conj, neg } = tensor;
  const steps = stride.map((step, d) => (shape[d] === 1 ? 0 : step));
  return `${dtype.name}/${storageOffset}/${shape.join()}/${steps.join()}/${conj && dtype.isComplex}/${neg}`;
}
