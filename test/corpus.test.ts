/** Promise: real checkpoints of many writers, kept outside of this repository, read as PyTorch reads them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Checkpoint } from '../lib/checkpoint';
import { DType } from '../lib/dtype';
import { isCheckpointError } from '../lib/errors';
import { openSync } from '../lib/load';
import { isFloatKey } from '../lib/pickle/notes';
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  Layout,
  NdArray,
  NumpyScalar,
  OrderedDict,
  PyGlobal,
  PyObject,
  type PyValue,
  Size,
  Tuple,
} from '../lib/pickle/values';
import { Storage } from '../lib/tensor/storage';
import { childrenOf, isTensor, joinPath } from '../lib/walk';
import {
  arraysOf,
  type ExpectedArray,
  type ExpectedTensor,
  floatHex,
  nodes,
  sha256,
  TensorComparison,
} from './expected';

interface Tree {
  readonly t: string;
  readonly v?: unknown;
  readonly len?: number;
  readonly hex?: string;
  readonly d?: string;
  readonly re?: string;
  readonly im?: string;
  readonly path?: string;
  readonly items?: Tree[] | [Tree, Tree][];
  readonly attrs?: [string, Tree][];
  readonly class?: string;
  readonly args?: Tree[];
  readonly list?: Tree[];
  readonly state?: Tree;
  readonly dtype?: string;
  readonly shape?: number[];
  readonly key?: string;
  readonly surrogates?: boolean;
}

interface Entry {
  readonly file: string;
  readonly sha256: string;
  readonly container: string;
  readonly expected: 'tensors' | 'no-tensors' | 'reject' | 'either';
  readonly reject_reason?: string;
  readonly globals?: string[];
  readonly tensors?: ExpectedTensor[];
  readonly numpy_arrays?: ExpectedArray[];
  readonly bare_storages?: {
    path: string;
    dtype: string;
    storage_key: string;
    location: string;
    numel: number;
    storage_nbytes: number;
    sha256: string;
  }[];
  readonly shared_containers?: { path: string; same_as: string }[];
  readonly module_sources?: { class: string; source_file: string; source_sha256: string }[];
  readonly tree?: Tree;
}

const corpus = process.env['TORCH_CHECKPOINT_CORPUS'] ?? join(__dirname, '..', '..', 'shared', 'corpus');

for (const [manifest, folder] of [
  ['manifest.json', 'files'],
  ['synthetic/manifest.json', 'synthetic/files'],
] as const) {
  const path = join(corpus, manifest);
  if (!existsSync(path)) {
    test.skip(`SKIPPED: no ${manifest} in the folder that TORCH_CHECKPOINT_CORPUS names`, () => {});
    continue;
  }
  const { files } = JSON.parse(readFileSync(path, 'utf8')) as { files: Entry[] };
  describe(manifest, () => {
    test('there are files', () => expect(files.length).toBeGreaterThan(50));
    test.each(files)('$file ($expected)', (entry) => {
      check(join(corpus, folder, entry.file), entry);
    });
  });
}

function check(path: string, entry: Entry): void {
  if (entry.expected === 'reject') {
    expect(() => openSync(path)).toThrow(expect.objectContaining({ name: 'CheckpointError', path }));
    return;
  }
  let checkpoint: Checkpoint;
  try {
    checkpoint = openSync(path);
  } catch (error) {
    if (entry.expected === 'either' && isCheckpointError(error)) return;
    throw error;
  }
  try {
    compare(checkpoint, entry);
  } finally {
    checkpoint.close();
  }
}

function compare(checkpoint: Checkpoint, entry: Entry): void {
  const torchscript = entry.container.startsWith('torchscript');
  if (entry.tensors || entry.expected !== 'either') {
    // What of a TorchScript archive is a parameter stands in its code, not in its pickles.
    const comparison = new TensorComparison({ parameters: !torchscript });
    comparison.tensors([...checkpoint.tensors()], entry.tensors ?? []);
    expect(comparison.wrong.slice(0, 5)).toEqual([]);
  }
  if (entry.globals && entry.expected !== 'either')
    expect(checkpoint.info.globals.map(({ spelled }) => spelled).sort()).toEqual([...entry.globals].sort());
  const arrays = entry.numpy_arrays?.filter((array) => !/^(constants|bytecode)\[/.test(array.path));
  if (arrays) expect(arraysOf(checkpoint).map(plainDtype)).toEqual(arrays.map(plainDtype));
  const all = nodes(checkpoint);
  if (entry.bare_storages) {
    const found = all.flatMap(([path, value]) =>
      value instanceof Storage ? [[path, value.key, value.location, value.nbytes, sha256(value.bytes())]] : [],
    );
    expect(found).toEqual(
      entry.bare_storages.map((s) => [s.path, s.storage_key, s.location, s.storage_nbytes, s.sha256]),
    );
  }
  if (entry.module_sources) {
    const found = checkpoint.info.moduleSources.map(({ className, file, source }) => [
      className,
      file,
      sha256(Buffer.from(source)),
    ]);
    expect(found.sort()).toEqual(entry.module_sources.map((m) => [m.class, m.source_file, m.source_sha256]).sort());
  }
  if (entry.shared_containers && !torchscript) {
    const values = objectsByPath(all);
    for (const { path, same_as } of entry.shared_containers) {
      expect(values.has(path), `nothing at ${path}`).toBe(true);
      expect(Object.is(values.get(path), values.get(same_as)), `${path} is not the object at ${same_as}`).toBe(true);
    }
  }
  if (entry.tree && !torchscript) {
    const wrong: string[] = [];
    compareTree(checkpoint.root, entry.tree, '', wrong, new Map());
    expect(wrong.slice(0, 5)).toEqual([]);
  }
}

/** Structured dtypes are printed, not named, in the manifest; their spelling is NumPy's. */
function plainDtype({ path, dtype, shape, fortran_order, sha256: digest = null }: ExpectedArray): ExpectedArray {
  return { path, dtype: /^[[{]|structured/.test(dtype) ? 'structured' : dtype, shape, fortran_order, sha256: digest };
}

/** By path, the paths below attributes of tensors among them. The first object at a path wins. */
function objectsByPath(all: readonly (readonly [string, PyValue])[]): Map<string, PyValue> {
  const found = new Map<string, PyValue>();
  for (const [path, value] of all) if (!found.has(path)) found.set(path, value);
  return found;
}

/** Compares what our values can express with the tree; `seen` maps paths to the objects first met there. */
function compareTree(
  value: PyValue | undefined,
  tree: Tree,
  at: string,
  wrong: string[],
  seen: Map<string, PyValue>,
): void {
  const expectText = (actual: unknown, expected: unknown): void => {
    if (actual !== expected)
      wrong.push(`${at}: ${tree.t} ${String(actual).slice(0, 80)}, expected ${String(expected).slice(0, 80)}`);
  };
  const children = (values: readonly PyValue[], trees: readonly Tree[]): void => {
    expectText(values.length, trees.length);
    trees.forEach((child, i) => compareTree(values[i], child, joinPath(at, i), wrong, seen));
  };
  if (value === undefined) return void wrong.push(`${at}: nothing, expected ${tree.t}`);
  if (tree.t === 'ref') {
    const first = seen.get(tree.path as string);
    // What the tree cannot name (a tuple of plain values, a state) is not compared.
    if (first !== undefined && first !== value) wrong.push(`${at}: not the object at ${tree.path}`);
    return;
  }
  if (typeof value === 'object' && value !== null && !seen.has(at)) seen.set(at, value);
  // The manifest took layouts for their names.
  if (value instanceof Layout) return expectText(String(value), tree.v);
  // NumPy's float64 and str_ are floats and strings to Python.
  if (value instanceof NumpyScalar && (tree.t === 'float' || tree.t === 'str'))
    return compareTree(value.item(), tree, at, wrong, seen);
  switch (tree.t) {
    case 'none':
      return expectText(value, null);
    case 'bool':
      return expectText(value, tree.v);
    case 'int':
      return expectText(typeof value === 'number' || typeof value === 'bigint' ? String(value) : typeof value, tree.v);
    case 'float':
      return expectText(typeof value === 'number' ? floatHex(value) : typeof value, tree.v);
    case 'str':
      if (tree.surrogates || typeof value !== 'string') return expectText(typeof value, 'string');
      expectText([...value].length, tree.len);
      return expectText([...value].slice(0, 400).join(''), tree.v);
    case 'bytes':
    case 'bytearray':
      if (!(value instanceof Uint8Array)) return void wrong.push(`${at}: no bytes`);
      expectText(value instanceof ByteArray, tree.t === 'bytearray');
      expectText(value.length, tree.len);
      return expectText(Buffer.from(value.subarray(0, 200)).toString('hex'), tree.hex);
    case 'complex':
      return expectText(value instanceof Complex && value.re === Number(tree.re) && value.im === Number(tree.im), true);
    case 'device':
      return expectText(value instanceof Device, true);
    case 'tensor':
      return expectText(isTensor(value), true);
    case 'storage':
      return expectText(value instanceof Storage ? value.key : typeof value, tree.key);
    case 'ndarray':
      return expectText(
        value instanceof NdArray ? JSON.stringify(value.shape) : typeof value,
        JSON.stringify(tree.shape),
      );
    case 'numpy_scalar':
      return expectText(value instanceof NumpyScalar ? value.dtype : typeof value, tree.dtype);
    case 'list':
      expectText(Array.isArray(value) && !(value instanceof Tuple), true);
      return Array.isArray(value) ? children(value as PyValue[], tree.items as Tree[]) : undefined;
    case 'tuple':
      expectText(value instanceof Tuple, true);
      return Array.isArray(value) ? children(value as PyValue[], tree.items as Tree[]) : undefined;
    case 'torch.Size':
      return expectText(value instanceof Size && String([...value]), String((tree.items as Tree[]).map(({ v }) => v)));
    case 'set':
    case 'frozenset':
      expectText(value instanceof Set && value instanceof FrozenSet === (tree.t === 'frozenset'), true);
      return children(
        Array.from(childrenOf(value) ?? [], ([, item]) => item),
        tree.items as Tree[],
      );
    case 'dict':
    case 'OrderedDict': {
      if (!(value instanceof Map)) return void wrong.push(`${at}: no Map`);
      expectText(value instanceof OrderedDict, tree.t === 'OrderedDict');
      compareItems([...(value as Map<PyValue, PyValue>)], tree.items as [Tree, Tree][], at, wrong, seen, value);
      for (const [name, child] of tree.attrs ?? [])
        compareTree((value as OrderedDict).attributes?.get(name), child, joinPath(at, name), wrong, seen);
      return;
    }
    case 'torch':
      return expectText(value instanceof DType ? String(value) : tree.v, tree.v);
    case 'object':
      return compareObject(value, tree, at, wrong, seen);
    case 'class':
      return expectText(value instanceof PyGlobal, true);
    default:
    // Slices, ranges and constants of PyTorch are objects of their own here.
  }
}

function compareItems(
  actual: readonly (readonly [PyValue, PyValue])[],
  items: readonly [Tree, Tree][],
  at: string,
  wrong: string[],
  seen: Map<string, PyValue>,
  map?: object,
): void {
  if (actual.length !== items.length) return void wrong.push(`${at}: ${actual.length} items, expected ${items.length}`);
  items.forEach(([key, item], i) => {
    const [ourKey, ourItem] = actual[i] as readonly [PyValue, PyValue];
    compareTree(ourKey, key, `${at}<key>`, wrong, seen);
    const isFloat = map !== undefined && typeof ourKey === 'number' && isFloatKey(map, ourKey);
    compareTree(ourItem, item, joinPath(at, ourKey, isFloat), wrong, seen);
  });
}

function compareObject(value: PyValue, tree: Tree, at: string, wrong: string[], seen: Map<string, PyValue>): void {
  // These have a class of their own here.
  if (value instanceof DefaultDict || value instanceof Counter) return;
  if (!(value instanceof PyObject)) return;
  const spelled = value.callable instanceof PyGlobal ? `${value.callable.module}.${value.callable.name}` : tree.class;
  if (
    spelled !== tree.class &&
    value.global !== tree.class &&
    value.construction !== 'reconstructor' &&
    value.construction !== 'from_type'
  ) {
    wrong.push(`${at}: object of ${spelled}, expected ${tree.class}`);
  }
  if (tree.args && value.construction !== 'reconstructor' && value.construction !== 'from_type') {
    if (value.args.length !== tree.args.length)
      wrong.push(`${at}: ${value.args.length} arguments, expected ${tree.args.length}`);
    tree.args.forEach((child, i) =>
      compareTree(value.args[i] as PyValue, child, joinPath(joinPath(at, '__args__'), i), wrong, seen),
    );
  }
  if (tree.list)
    tree.list.forEach((child, i) => compareTree(value.listItems?.[i], child, joinPath(at, i), wrong, seen));
  if (tree.items) compareItems(value.dictItems ?? [], tree.items as [Tree, Tree][], at, wrong, seen);
  // The items of a dict state have their paths below the object itself.
  if (tree.state?.t === 'dict' && value.state instanceof Map)
    compareItems([...(value.state as Map<PyValue, PyValue>)], tree.state.items as [Tree, Tree][], at, wrong, seen);
  else if (tree.state) compareTree(value.state, tree.state, `${at}<state>`, wrong, seen);
}
