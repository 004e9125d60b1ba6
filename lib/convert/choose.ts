/** Which tensors of a model go into the output, and under which names. */
import { CheckpointError } from '../errors';
import { anyAbove, anyOf } from '../glob';
import type { PyValue } from '../pickle/values';
import { QuantizedTensor } from '../tensor/quantized';
import { Tensor } from '../tensor/tensor';
import { type AnyTensor, isTensor, isThroughObjectKey, walk, walkTensors } from '../walk';
import type { Named } from './aliases';
import { useAverages } from './averages';
import type { Model } from './model';
import { type NameOptions, renamer } from './rename';
import { rootOf } from './root';
import type { Dropped } from './target';

export interface ChoiceOptions extends NameOptions {
  /** Path of the value to convert, names then being relative to it; 'auto' finds the state dict. Default: everything. */
  root?: string | undefined;
  /** Globs over names before they are changed: only these tensors. */
  select?: readonly string[] | undefined;
  /** Globs: not these tensors. */
  exclude?: readonly string[] | undefined;
  /** Globs: nothing at these paths and below them. `optimizer` is the optimizer's state under all its usual names. */
  prune?: readonly string[] | undefined;
  /** Take the averaged weights (EMA) in place of the trained ones. */
  useEma?: boolean | undefined;
}

export interface Choice {
  readonly model: Model;
  /** Where the names start, and the value there. */
  readonly rootPath: string;
  readonly root: PyValue;
  readonly entries: readonly Named[];
  /** With every name that a glob to prune stands for. */
  readonly options: ChoiceOptions;
  /** Globs that nothing in the input matches, as `prune "optimiser"`. */
  readonly unmatched: readonly string[];
  /** True when the output is not the graph with parts left out, but names and tensors of the user's choice. */
  readonly renamed: boolean;
}

/** Where training loops, transformers, DeepSpeed and Lightning keep what `optimizer` means to everyone. */
const OPTIMIZER_KEYS = ['optimizer', 'optimizer_state_dict', 'optimizer_states'];

function prunedBy(glob: string): readonly string[] {
  return glob === 'optimizer' ? OPTIMIZER_KEYS : [glob];
}

/** Throws NOT_FOUND for a root that is not there. */
export function choose(model: Model, given: ChoiceOptions): Choice {
  const options: ChoiceOptions = { ...given, prune: given.prune?.flatMap(prunedBy) };
  const found = rootOf(model, options);
  const { path: rootPath, value: root } = found;
  const listed = found.whole ? [...model.tensors()] : [...walkTensors(root)];
  const prefix = found.whole || rootPath === '' ? '' : rootPath;
  let entries = listed.map(([name, tensor]): Named => ({ name, path: joined(prefix, name), tensor }));
  if (options.useEma) entries = useAverages(entries, found.averages);
  const selected = anyOf(options.select);
  const excluded = anyOf(options.exclude);
  const pruned = anyAbove(options.prune);
  const unmatched = unmatchedGlobs(given, entries, root);
  entries = entries.filter(({ name }) => (!selected || selected(name)) && !excluded?.(name) && !pruned?.(name));
  const rename = renamer(options);
  if (rename) entries = entries.map((entry) => ({ ...entry, name: rename(entry.name) }));
  const renamed = rename !== undefined || selected !== undefined || options.useEma === true || found.derived;
  return { model, rootPath, root, entries, options, unmatched, renamed };
}

/** A glob that matches nothing is mostly misspelled. */
function unmatchedGlobs(
  { select = [], exclude = [], prune = [] }: ChoiceOptions,
  entries: readonly Named[],
  root: PyValue,
): string[] {
  const given = [
    ...select.map((glob) => ({ what: `select "${glob}"`, matches: anyAbove([glob]) })),
    ...exclude.map((glob) => ({ what: `exclude "${glob}"`, matches: anyAbove([glob]) })),
    ...prune.map((glob) => ({ what: `prune "${glob}"`, matches: anyAbove(prunedBy(glob)) })),
  ];
  let rest = given.filter(({ matches }) => !entries.some(({ name }) => matches?.(name)));
  // Only what matches no tensor is looked for among all other values.
  if (rest.length > 0) {
    for (const [path] of walk(root)) {
      rest = rest.filter(({ matches }) => !matches?.(path));
      if (rest.length === 0) break;
    }
  }
  return rest.map(({ what }) => what);
}

function joined(prefix: string, name: string): string {
  return prefix === '' || name === '' || name.startsWith('[') ? prefix + name : `${prefix}.${name}`;
}

const CLASH = 'would both be called';

/** Whether two tensors would get one name, which they have from the caller's options. */
export function isNameClash(error: unknown): error is CheckpointError {
  return error instanceof CheckpointError && error.code === 'UNSAVABLE' && error.message.includes(CLASH);
}

/**
 * The entries as names: the same tensor listed twice under one name is one. Of tensors below keys that are objects, as in
 * the state of an optimizer by its parameters, the second of a path is `path#2`. Throws UNSAVABLE where other tensors would
 * get one name.
 */
export function distinct(entries: readonly Named[]): Named[] {
  const byName = new Map<string, Named>();
  const counts = new Map<string, number>();
  for (const entry of entries) {
    const other = byName.get(entry.name);
    if (other && other.tensor !== entry.tensor) {
      if (other.path === entry.path && isThroughObjectKey(entry.path)) {
        const count = (counts.get(entry.name) ?? 1) + 1;
        counts.set(entry.name, count);
        const name = `${entry.name}#${count}`;
        byName.set(name, { ...entry, name });
        continue;
      }
      if (other.path === entry.path)
        throw new CheckpointError('UNSAVABLE', `two tensors have the path "${entry.path}"`, {
          hint: 'choose one of them by its root',
        });
      throw new CheckpointError('UNSAVABLE', `"${other.path}" and "${entry.path}" ${CLASH} "${entry.name}"`, {
        hint: 'exclude or rename one of them',
      });
    }
    byName.set(entry.name, entry);
  }
  return [...byName.values()];
}

export interface Dense {
  readonly dense: readonly Named<Tensor>[];
  readonly dropped: readonly Dropped[];
}

/** The tensors that are plain runs of elements; `refuse` gives a target's own reason against one. */
export function denseEntries(choice: Choice, refuse: (tensor: Tensor) => string | undefined): Dense {
  const dense: Named<Tensor>[] = [];
  const dropped: Dropped[] = [...choice.model.unread];
  for (const { name, path, tensor } of distinct(choice.entries)) {
    const reason = notDense(tensor) ?? refuse(tensor as Tensor);
    if (reason === undefined) dense.push({ name, path, tensor: tensor as Tensor });
    else dropped.push({ path, reason });
  }
  return { dense, dropped: [...dropped, ...otherValues(choice)] };
}

function notDense(tensor: AnyTensor): string | undefined {
  if (!(tensor instanceof Tensor))
    return `${tensor.layout.name === 'strided' ? 'nested' : tensor.layout.name} tensors have no dense elements to write`;
  if (tensor.isMeta) return 'the tensor is on the meta device and has no bytes';
  if (tensor instanceof QuantizedTensor)
    return `${tensor.dtype.name} needs its scales, which the target has no place for`;
  return undefined;
}

/** The entries directly below the root that hold no tensor at all: epochs, settings, version numbers. */
function otherValues({ root, rootPath, renamed, options }: Choice): Dropped[] {
  if (renamed || !(root instanceof Map)) return [];
  const unwanted = anyAbove([...(options.exclude ?? []), ...(options.prune ?? [])]);
  const dropped: Dropped[] = [];
  for (const [key, value] of root as Map<PyValue, PyValue>) {
    if (typeof key !== 'string' || isTensor(value) || unwanted?.(key)) continue;
    if (walkTensors(value).next().done)
      dropped.push({ path: joined(rootPath, key), reason: 'the target holds tensors only' });
  }
  return dropped;
}
