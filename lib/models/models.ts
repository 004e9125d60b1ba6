/** Saving and loading a model with what its training needs, under the keys that PyTorch's tutorials use. */
import { stat } from 'node:fs/promises';
import { CheckpointError } from '../errors';
import { type LoadOptions, load } from '../load';
import type { MapLocation } from '../location';
import { loadStateDict } from '../nn/load-state-dict';
import { stateDict } from '../nn/state-dict';
import { OrderedDict, PyObject, type PyValue } from '../pickle/values';
import type { SaveOptions } from '../save';
import { CheckpointManager } from './checkpoint-manager';

/** Anything with a state dict: a module, an optimizer, a scheduler. */
export interface Stateful {
  stateDict(): unknown;
  loadStateDict(state: never): unknown;
}

/** What `saveModel` writes. */
export interface SaveModelParts extends SaveOptions {
  /** A module, one of a class that is not registered (`PyObject`), or a state dict itself. */
  model: Stateful | PyObject | Map<string, PyValue>;
  optimizer?: Stateful | null;
  scheduler?: Stateful | null;
  epoch?: number;
  /** Whatever else is to be kept; null, numbers, strings, arrays, Maps, plain objects, tensors. */
  extraInfo?: PyValue;
  /** The clock for the name; default: now. */
  now?: () => Date;
}

/** What `loadModel` loads into. */
export interface LoadModelParts extends Omit<LoadOptions, 'mapLocation'> {
  /** Gets the saved weights. */
  model?: Stateful | PyObject | null;
  optimizer?: Stateful | null;
  scheduler?: Stateful | null;
  mapLocation?: MapLocation;
}

/** What `loadModel` gives back. */
export interface LoadedModel {
  /** The file that was loaded. */
  path: string;
  epoch: number | undefined;
  extraInfo: PyValue | undefined;
  /** Everything that was in the file. */
  checkpoint: Map<string, PyValue>;
}

/**
 * Saves a new checkpoint in the folder and gives its path, `checkpoint_20250427_153210.pth` in it: a dict of
 * `model_state_dict` and, where given, `optimizer_state_dict`, `scheduler_state_dict`, `epoch` and `extra_info`.
 */
export async function saveModel(dir: string, parts: SaveModelParts): Promise<string> {
  const { model, optimizer, scheduler, epoch, extraInfo, now, ...options } = parts;
  if (typeof model !== 'object' || model === null)
    throw new TypeError('saveModel needs a model with stateDict(), or a state dict');
  const checkpoint = new Map<string, unknown>([
    [
      'model_state_dict',
      model instanceof Map ? model : model instanceof PyObject ? stateDict(model) : model.stateDict(),
    ],
  ]);
  if (optimizer) checkpoint.set('optimizer_state_dict', optimizer.stateDict());
  if (scheduler) checkpoint.set('scheduler_state_dict', scheduler.stateDict());
  if (epoch !== undefined) checkpoint.set('epoch', epoch);
  if (extraInfo !== undefined) checkpoint.set('extra_info', extraInfo);
  return new CheckpointManager(dir, now ? { now } : {}).save(checkpoint, options);
}

/**
 * Loads the latest whole checkpoint of a folder, or the file of that path, into model, optimizer and scheduler.
 * Throws NOT_FOUND naming the folder where it has none, and STATE_DICT naming the part that the file does not hold.
 */
export async function loadModel(dir: string, parts: LoadModelParts = {}): Promise<LoadedModel> {
  const { model, optimizer, scheduler, ...options } = parts;
  const isFile = await stat(dir).then(
    (entry) => entry.isFile(),
    () => false,
  );
  const { path, value } = isFile
    ? { path: dir, value: await load(dir, options) }
    : await new CheckpointManager(dir).loadLatestWithPath(options);
  const checkpoint = asMap(value, path);
  const targets = [
    ['model_state_dict', model],
    ['optimizer_state_dict', optimizer],
    ['scheduler_state_dict', scheduler],
  ] as const;
  // Looked for before anything is changed.
  const states = targets.map(([key, target]) => (target ? stateOf(checkpoint, key, path) : undefined));
  for (const [i, [, target]] of targets.entries()) {
    if (target instanceof PyObject) loadStateDict(target, states[i]);
    else target?.loadStateDict(states[i] as never);
  }
  const epoch = checkpoint.get('epoch');
  return {
    path,
    epoch: typeof epoch === 'number' ? epoch : undefined,
    extraInfo: checkpoint.get('extra_info'),
    checkpoint,
  };
}

function asMap(value: PyValue, path: string): Map<string, PyValue> {
  if (value instanceof Map) return value as Map<string, PyValue>;
  const prototype =
    typeof value === 'object' && value !== null ? (Object.getPrototypeOf(value) as object | null) : undefined;
  if (prototype === null) return new Map(Object.entries(value as Record<string, PyValue>));
  throw new CheckpointError('STATE_DICT', 'the file does not hold a dict', { path });
}

/** The state dict under `key`; a bare state dict is the model's own. */
function stateOf(checkpoint: Map<string, PyValue>, key: string, path: string): PyValue {
  const state = checkpoint.get(key);
  if (state !== undefined) return state;
  if (key === 'model_state_dict' && checkpoint instanceof OrderedDict) return checkpoint;
  throw new CheckpointError('STATE_DICT', `there is no '${key}' in the file`, {
    path,
    hint: `it holds ${[...checkpoint.keys()].map((name) => `'${String(name)}'`).join(', ')}`,
  });
}
