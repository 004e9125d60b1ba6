/** Modules from the descriptions that nn.py writes: `[class, args, kwargs]`, with options in camelCase. */
import { DType } from '../../lib/dtype';
import * as nn from '../../lib/nn/index';
import { OrderedDict, type PyValue, pyFloat } from '../../lib/pickle/values';
import { Tensor } from '../../lib/tensor/tensor';

export type ModuleSpec = [name: string, args: unknown[], kwargs: Record<string, unknown>];

export interface NnCase {
  module: ModuleSpec;
  text: string;
  attributes: string[];
  parameters: [name: string, exists: true | null][];
  buffers: [name: string, exists: true | null][];
  state: [key: string, tensor: [dtype: string, shape: number[]] | null][];
  metadata: [key: string, entry: Record<string, PyValue>][];
  named_parameters: string[];
  named_modules: string[];
}

export interface LoadCase {
  model: ModuleSpec;
  source: ModuleSpec;
  edits: [kind: string, ...rest: unknown[]][];
  options: { strict?: boolean; assign?: boolean };
  result?: string;
  error?: string;
}

export interface Recorded {
  cases: NnCase[];
  loads: LoadCase[];
  texts: { not_mappings: string[]; paths: string[]; registering: string[] };
}

function camelCase(name: string): string {
  return name.replace(/^_/, '').replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function value(spec: unknown): PyValue {
  if (Array.isArray(spec)) return spec.map(value);
  if (typeof spec !== 'object' || spec === null) return spec as PyValue;
  const [[kind, of]] = Object.entries(spec) as [[string, unknown]];
  if (kind === '$float') return pyFloat(of as number);
  if (kind === '$tuple') return (of as unknown[]).map(value);
  if (kind === '$tensor') return Tensor.ones(of as number[]);
  if (kind === '$module') return build(of as ModuleSpec);
  return new OrderedDict((of as [string, unknown][]).map(([key, item]) => [key, value(item)] as [string, PyValue]));
}

type AnyModuleClass = new (...args: unknown[]) => nn.Module;

export function build([name, args, kwargs]: ModuleSpec): nn.Module {
  const Class = (nn as unknown as Record<string, AnyModuleClass>)[name];
  if (!Class) throw new Error(`nn has no ${name}`);
  const options = Object.fromEntries(
    Object.entries(kwargs).map(([key, item]) => [
      camelCase(key),
      key === 'dtype' ? DType.of(item as string) : value(item),
    ]),
  );
  return new Class(...args.map(value), ...(Object.keys(options).length > 0 ? [options] : []));
}

/** The state dict of a new module, changed as a recorded case says. */
export function edited(spec: ModuleSpec, edits: LoadCase['edits']): PyValue {
  let state: Map<string, PyValue> = build(spec).stateDict();
  for (const [kind, first, second] of edits) {
    if (kind === 'drop') state.delete(first as string);
    else if (kind === 'add') state.set(first as string, Tensor.ones(second as number[]));
    else if (kind === 'list') state.set(first as string, [1, 2]);
    else if (kind === 'none') state.set(first as string, null);
    else if (kind === 'plain') state = new Map(state);
    else if (kind === 'prefix')
      state = new OrderedDict(
        [...state].map(([key, tensor]) => [`${first as string}${key}`, tensor] as [string, PyValue]),
      );
    else if (kind === 'reverse') {
      const reversed = new OrderedDict([...state].reverse()) as OrderedDict<PyValue, string>;
      reversed.attributes = (state as OrderedDict<PyValue, string>).attributes as Map<string, PyValue>;
      state = reversed;
    } else throw new Error(`no edit ${kind}`);
  }
  return state;
}

/** The values that nn.py fills a module with. */
export function fill(module: nn.Module): nn.Module {
  let start = 0;
  for (const tensor of module.stateDict().values()) {
    if (!(tensor instanceof Tensor) || tensor.isMeta) continue;
    const values = Float64Array.from({ length: tensor.numel }, (_, i) => (start + i) % 251);
    start += tensor.numel;
    const bytes = Tensor.from(values, { shape: tensor.shape }).to(tensor.dtype).toBytes();
    tensor.storage.bytes().set(bytes, tensor.storageOffset * tensor.dtype.itemsize);
  }
  return module;
}
