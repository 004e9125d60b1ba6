/**
 * State dicts: `Module.state_dict` of PyTorch 2.13, for modules and for objects of unregistered module classes.
 *
 * Equal keys of two calls are two strings in Python, and a file tells: `prefix + name` is a new string each time, except
 * where the prefix is empty and the attribute's own name comes out. The notes made here say so to the pickler.
 */
import { noteKey, StringIdentity } from '../pickle/notes';
import { OrderedDict, PyGlobal, PyObject, type PyValue } from '../pickle/values';
import { Tensor } from '../tensor/tensor';
import {
  attributesOf,
  buffersOf,
  childrenOf,
  isModule,
  type ModuleObject,
  nonPersistentOf,
  parametersOf,
} from './attributes';
import { hooksOf } from './hooks';
import { MAX_MODULE_DEPTH, MAX_MODULE_VISITS, tooDeep, tooMany } from './traverse';

export type StateDict = OrderedDict<PyValue, string>;

export interface StateDictOptions {
  /** Put in front of every key; give it with its dot. */
  prefix?: string;
  /** Gives the parameters themselves, instead of tensors over the same storages; default false. */
  keepVars?: boolean;
}

/** What a class of module may do in its own way. */
export interface StateDictMethods {
  readonly _version: number | null;
  saveToStateDict(destination: StateDict, prefix: string, keepVars: boolean): void;
}

/** PyTorch classes that count their state's version from 2, for objects that are not registered. */
const VERSION_2 =
  /^torch\.nn\.modules\.(batchnorm\.(Lazy)?BatchNorm[123]d|batchnorm\.SyncBatchNorm|instancenorm\.(Lazy)?InstanceNorm[123]d)$/;

export function versionOf(module: ModuleObject): number | null {
  if (!(module instanceof PyObject)) return (module as unknown as StateDictMethods)._version;
  return VERSION_2.test(module.global) ? 2 : 1;
}

/** A key made by joining texts: a string of its own in Python, even where an equal one exists. */
function setJoined(map: Map<string, PyValue>, key: string, isNew: boolean, value: PyValue): void {
  if (isNew && !map.has(key)) noteKey(map, key, new StringIdentity(key));
  map.set(key, value);
}

function emptyStateDict(): StateDict {
  const destination: StateDict = new OrderedDict();
  destination.attributes = new Map([['_metadata', new OrderedDict()]]);
  return destination;
}

/**
 * The parameters and persistent buffers of a module and of all below it, by name: tensors over the same storages, as
 * `module.state_dict()` gives them. Takes instances of `Module` and loaded objects of unregistered module classes.
 */
export function stateDict(module: object, options: StateDictOptions = {}): StateDict {
  if (!isModule(module))
    throw new TypeError(
      `stateDict() takes a module, not ${module instanceof PyObject ? `an object of ${module.global}` : String(typeof module)}`,
    );
  const { prefix = '', keepVars = false } = options;
  const destination = emptyStateDict();
  let result = destination;
  let visits = 0;
  const stack: Frame[] = [enter(module, destination, prefix, keepVars)];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const next = top.children.next();
    if (!next.done) {
      if (stack.length > MAX_MODULE_DEPTH) throw tooDeep();
      if (++visits > MAX_MODULE_VISITS) throw tooMany();
      const [name, child] = next.value;
      stack.push(enter(child, destination, `${top.prefix}${name}.`, keepVars));
      continue;
    }
    stack.pop();
    for (const hook of hooksOf(top.module)?.stateDict.values() ?? []) {
      // As in PyTorch, only what the outermost module's hooks give takes the place of the result.
      const replaced = hook(top.module, destination, top.prefix, top.metadata);
      if (replaced instanceof OrderedDict && stack.length === 0) result = replaced as StateDict;
    }
  }
  return result;
}

interface Frame {
  readonly module: ModuleObject;
  readonly prefix: string;
  readonly metadata: Map<PyValue, PyValue>;
  readonly children: Iterator<[string, ModuleObject]>;
}

function enter(module: ModuleObject, destination: StateDict, prefix: string, keepVars: boolean): Frame {
  const metadata = new Map<PyValue, PyValue>([['version', versionOf(module)]]);
  const all = destination.attributes?.get('_metadata');
  if (all instanceof OrderedDict) {
    const key = prefix.slice(0, -1);
    // Python has one object for each string of a single Latin-1 character.
    setJoined(all as StateDict, key, key.length > 1 || key > '\xff', metadata);
  }
  for (const hook of hooksOf(module)?.stateDictPre.values() ?? []) hook(module, prefix, keepVars);
  if (module instanceof PyObject) saveOwnState(module, destination, prefix, keepVars);
  else (module as unknown as StateDictMethods).saveToStateDict(destination, prefix, keepVars);
  return { module, prefix, metadata, children: childrenOf(module) };
}

/** The module's own entries: parameters, then persistent buffers. */
export function saveOwnState(module: ModuleObject, destination: StateDict, prefix: string, keepVars: boolean): void {
  const transient = nonPersistentOf(module);
  const save = (name: string, value: PyValue): void => {
    if (value === null) return;
    setJoined(
      destination,
      prefix + name,
      prefix !== '',
      keepVars || !(value instanceof Tensor) ? value : value.detach(),
    );
  };
  for (const [name, value] of parametersOf(module)) save(name, value);
  for (const [name, value] of buffersOf(module)) if (!transient.has(name)) save(name, value);
}

/** `Linear` of a `torch.nn.modules.linear.Linear`. */
export function className(module: ModuleObject): string {
  if (!(module instanceof PyObject)) return module.constructor.name;
  return module.callable instanceof PyGlobal ? module.global.slice(module.global.lastIndexOf('.') + 1) : '?';
}

/** True for BatchNorm and its kin, whose state got `num_batches_tracked` with version 2. */
export function countsBatches(module: ModuleObject): boolean {
  if (versionOf(module) !== 2) return false;
  const tracks = attributesOf(module).get('track_running_stats');
  return tracks === true || (typeof tracks === 'number' && tracks !== 0);
}
