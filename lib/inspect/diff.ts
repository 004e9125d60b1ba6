/**
 * What differs between two checkpoints, whatever their formats: structure, dtypes, shapes, elements, sharing, and the
 * values beside the tensors. Elements are read in bounded pieces.
 */
import { setImmediate } from 'node:timers/promises';
import type { Checkpoint } from '../checkpoint';
import type { Format } from '../container/container';
import type { LoadOptions } from '../load';
import type { CheckpointSource } from '../source/open-source';
import type { AnyTensor } from '../walk';
import { isTensor, PathBudget } from '../walk';
import { leavesOf } from './leaves';
import { sha256Of } from './manifest';
import { openAny, told } from './opening';
import { storageRoots } from './storage-roots';
import { StorageUse, stridedParts } from './storage-use';
import { shapeText, type TensorDifference, tensorDifference } from './tensor-difference';
import { unsafeWarnings } from './unsafe';
import { ValueTable } from './value-difference';

/** One difference between two checkpoints. */
export interface Change extends Omit<TensorDifference, 'reason'> {
  readonly path: string;
  /** `aliases`: the tensors over one storage are others on the two sides. `value`: a value that is no tensor. */
  readonly reason: TensorDifference['reason'] | 'aliases';
}

/** What `diff` found. */
export interface DiffReport {
  readonly equal: boolean;
  /** Paths that only the second, or only the first has; tensors and other values. */
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Tensors with the same dtype, shape and elements under another path. */
  readonly renamed: readonly { readonly from: string; readonly to: string }[];
  readonly changed: readonly Change[];
  /** Loud words about the file: what would run where Python loads it. Absent where there is nothing to say. */
  readonly warnings?: readonly string[];
}

/** Options of `diff`. */
export interface DiffOptions extends Pick<LoadOptions, 'io' | 'limits' | 'signal' | 'onProgress' | 'encoding'> {
  /** Elements are equal when |a - b| <= atol + rtol * |b|; both 0 by default. NaN equals NaN. */
  rtol?: number;
  atol?: number;
}

/** Bytes compared between two looks at the event loop. */
const TURN_BYTES = 32 << 20;
/** Where this many tensors have the same elements (zeros, ones), they are paired in order. */
const MAX_LOOKALIKES = 200;

/** Compares two checkpoints, models in several files (by folder or index) or arrays of NumPy. Dangerous globals stay inert. Throws CheckpointError when one of them cannot be read. */
export async function diff(a: CheckpointSource, b: CheckpointSource, options: DiffOptions = {}): Promise<DiffReport> {
  // By position rather than by mapping: a sweep over a whole file would make all of it resident.
  const { rtol = 0, atol = 0, io = 'read', ...others } = options;
  const reading = { ...others, io };
  const { checkpoint: first, warnings: ofFirst } = await openAny(a, { ...reading, unsafeGlobals: 'inert' });
  try {
    const { checkpoint: second, warnings: ofSecond } = await openAny(b, { ...reading, unsafeGlobals: 'inert' });
    try {
      const report = await compare(new Side(first), new Side(second), { rtol, atol }, options);
      const unsafe = unsafeWarnings([first.info.globals, 'the first file'], [second.info.globals, 'the second file']);
      return { ...report, ...told(unsafe, ofFirst, ofSecond) };
    } finally {
      second.close();
    }
  } finally {
    first.close();
  }
}

const TENSORS_ONLY: ReadonlySet<Format> = new Set(['safetensors', 'npz', 'npy', 'shards']);

/** One of the two checkpoints, listed. */
class Side {
  readonly tensors = new Map<string, AnyTensor>();
  readonly values = new ValueTable();
  /** Formats of tensors alone say nothing about other values. */
  readonly tensorsOnly: boolean;
  readonly #use: StorageUse;

  constructor(checkpoint: Checkpoint) {
    this.tensorsOnly = TENSORS_ONLY.has(checkpoint.format);
    this.#use = new StorageUse(storageRoots(checkpoint));
    const budget = new PathBudget();
    for (const leaf of leavesOf(checkpoint)) {
      budget.spend(leaf.path);
      if (isTensor(leaf.value)) this.#add(leaf.path, leaf.value);
      else this.values.add(leaf);
    }
    // What a conversion wrote once stands in the metadata: the dropped name and the kept one.
    for (const [dropped, kept] of checkpoint.info.metadata) {
      const tensor = this.tensors.get(kept);
      if (tensor && !this.tensors.has(dropped)) this.#add(dropped, tensor);
    }
  }

  #add(path: string, tensor: AnyTensor): void {
    this.tensors.set(path, tensor);
    this.#use.add(path, tensor);
  }

  /** Groups of tensors over one storage, kept to paths that the other side has too. */
  aliases(other: Side): string[][] {
    const groups = this.#use.aliases.map((group) => group.filter((path) => other.tensors.has(path)).sort());
    return groups.filter(({ length }) => length > 1);
  }
}

async function compare(
  a: Side,
  b: Side,
  tolerance: { rtol: number; atol: number },
  options: DiffOptions,
): Promise<DiffReport> {
  const { signal, onProgress } = options;
  const changed: Change[] = [];
  const removed: string[] = [];
  let [bytes, told, totalBytes] = [0, 0, 0];
  for (const tensor of a.tensors.values()) totalBytes += bytesOf(tensor);
  for (const [path, tensor] of a.tensors) {
    signal?.throwIfAborted();
    const other = b.tensors.get(path);
    const difference = other && (await tensorDifference(tensor, other, tolerance, signal));
    if (!other) removed.push(path);
    else if (difference) changed.push({ path, ...difference });
    bytes += bytesOf(tensor);
    if (bytes - told < TURN_BYTES) continue;
    told = bytes;
    onProgress?.({ stage: 'compare', bytes, totalBytes });
    // Equal tensors are compared at once: signals get their turn here.
    await setImmediate();
  }
  const added = [...b.tensors.keys()].filter((path) => !a.tensors.has(path));
  const renamed = await findRenamed(a, b, removed, added, signal);
  const gone = new Set(renamed.map(({ from }) => from));
  const come = new Set(renamed.map(({ to }) => to));
  const report = {
    added: added.filter((path) => !come.has(path)),
    removed: removed.filter((path) => !gone.has(path)),
    renamed,
    changed,
  };
  changed.push(...aliasChanges(a, b));
  if (!a.tensorsOnly && !b.tensorsOnly) compareValues(a, b, report);
  const equal = report.added.length + report.removed.length + renamed.length + changed.length === 0;
  return { equal, ...report };
}

function bytesOf(tensor: AnyTensor): number {
  return stridedParts(tensor).reduce((sum, { nbytes }) => sum + nbytes, 0);
}

/** Pairs what is gone with what is new by content; of several candidates the one whose path ends most alike. */
async function findRenamed(
  a: Side,
  b: Side,
  removed: readonly string[],
  added: readonly string[],
  signal?: AbortSignal,
): Promise<{ from: string; to: string }[]> {
  const signature = (tensor: AnyTensor): string => `${tensor.dtype.name} ${shapeText(tensor)}`;
  const wanted = new Set(removed.map((path) => signature(a.tensors.get(path) as AnyTensor)));
  const candidates = new Map<string, string[]>();
  for (const path of added) {
    const tensor = b.tensors.get(path) as AnyTensor;
    if (!wanted.has(signature(tensor)) || isMeta(tensor)) continue;
    const key = `${signature(tensor)} ${await sha256Of(tensor, signal)}`;
    const known = candidates.get(key);
    if (known) known.push(path);
    else candidates.set(key, [path]);
  }
  const possible = new Set([...candidates.keys()].map((key) => key.slice(0, key.lastIndexOf(' '))));
  const renamed: { from: string; to: string }[] = [];
  for (const from of removed) {
    const tensor = a.tensors.get(from) as AnyTensor;
    if (!possible.has(signature(tensor)) || isMeta(tensor)) continue;
    const paths = candidates.get(`${signature(tensor)} ${await sha256Of(tensor, signal)}`);
    if (!paths || paths.length === 0) continue;
    const index = paths.length > MAX_LOOKALIKES ? 0 : mostAlike(from, paths);
    renamed.push({ from, to: paths.splice(index, 1)[0] as string });
  }
  return renamed;
}

function isMeta(tensor: AnyTensor): boolean {
  return stridedParts(tensor).some((part) => part.isMeta);
}

function mostAlike(path: string, paths: readonly string[]): number {
  const alike = (other: string): number => {
    let length = 0;
    while (length < path.length && length < other.length && path.at(-1 - length) === other.at(-1 - length)) length++;
    return length;
  };
  return paths.reduce((best, other, i) => (alike(other) > alike(paths[best] as string) ? i : best), 0);
}

/** Groups that only one side has; each is told at its first path. */
function aliasChanges(a: Side, b: Side): Change[] {
  const [ofA, ofB] = [new Groups(a.aliases(b)), new Groups(b.aliases(a))];
  const told = new Set<string>();
  const changes: Change[] = [];
  for (const group of [...ofA.missingIn(ofB), ...ofB.missingIn(ofA)]) {
    const path = group.find((one) => !told.has(one));
    if (path === undefined) continue;
    for (const one of group) told.add(one);
    changes.push({ path, reason: 'aliases', a: groupText(ofA.at(path)), b: groupText(ofB.at(path)) });
  }
  return changes;
}

class Groups {
  readonly #byKey = new Map<string, readonly string[]>();
  readonly #byPath = new Map<string, readonly string[]>();

  constructor(groups: readonly (readonly string[])[]) {
    for (const group of groups) {
      this.#byKey.set(group.join('\0'), group);
      for (const path of group) this.#byPath.set(path, group);
    }
  }

  at(path: string): readonly string[] | undefined {
    return this.#byPath.get(path);
  }

  missingIn(other: Groups): (readonly string[])[] {
    return [...this.#byKey].filter(([key]) => !other.#byKey.has(key)).map(([, group]) => group);
  }
}

const MAX_NAMED = 20;

function groupText(group: readonly string[] | undefined): string {
  if (!group) return 'not shared';
  const more = group.length > MAX_NAMED ? ` and ${group.length - MAX_NAMED} more` : '';
  return `shared by ${group.slice(0, MAX_NAMED).join(', ')}${more}`;
}

function compareValues(a: Side, b: Side, report: { added: string[]; removed: string[]; changed: Change[] }): void {
  for (const path of a.values.paths()) {
    const [identity, other] = [a.values.identity(path), b.values.identity(path)];
    if (other === undefined) {
      // A tensor there is told by the tensors.
      if (!a.values.isStructure(path)) report.removed.push(path);
    } else if (identity !== other)
      report.changed.push({ path, reason: 'value', a: a.values.text(path), b: b.values.text(path) });
  }
  for (const path of b.values.paths()) {
    if (a.values.identity(path) === undefined && !b.values.isStructure(path)) report.added.push(path);
  }
}
