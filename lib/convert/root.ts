/** Where the weights are in a training checkpoint: the root that names are relative to. */
import { CheckpointError } from '../errors';
import { isModule } from '../nn/attributes';
import { stateDict } from '../nn/state-dict';
import { PyObject, type PyValue } from '../pickle/values';
import { isTensor, joinPath, walkTensors } from '../walk';
import type { Model } from './model';

export interface Root {
  readonly path: string;
  readonly value: PyValue;
  /** All of the model, its further roots included. */
  readonly whole: boolean;
  /** The value was made here: the state dict of a pickled module. */
  readonly derived: boolean;
  /** These are averaged weights already. */
  readonly averages: boolean;
}

/** Under which training scripts keep a state dict, the likeliest first. */
const STATE_DICT_KEYS = [
  'state_dict',
  'model_state_dict',
  'model_state',
  'model',
  'module',
  'net',
  'network',
  'weights',
  'params',
];
/** Under which they keep averaged weights (timm, Ultralytics, BasicSR, imagen, torch_ema). */
const AVERAGE_KEYS = ['ema_state_dict', 'state_dict_ema', 'model_ema', 'params_ema', 'ema_model', 'ema', 'shadow'];
/** What holds tensors and is no model. */
const NO_MODEL = /optim|sched|scaler|rng|ema|callback|loop/i;
/** State dicts lie three or four levels deep at most; a file may nest without end. */
const MAX_DEPTH = 8;

/** Throws NOT_FOUND for a path that is not there. */
export function rootOf(
  model: Model,
  options: { readonly root?: string | undefined; readonly useEma?: boolean | undefined },
): Root {
  const { root, useEma } = options;
  if (useEma && (root === undefined || root === 'auto')) {
    const averages = averagesOf(model.root);
    if (averages) return { ...stateDictIn(averages.value, averages.path), averages: true };
  }
  if (root === undefined || root === '')
    return { path: '', value: model.root, whole: true, derived: false, averages: false };
  if (root === 'auto') return stateDictIn(model.root, '');
  const value = model.get(root);
  if (value === undefined)
    throw new CheckpointError('NOT_FOUND', `no "${root.slice(0, 500)}" in the checkpoint`, {
      path: model.name,
      hint: 'torch-checkpoint inspect lists the paths',
    });
  if (isModule(value)) return { path: root, value: stateDict(value), whole: false, derived: true, averages: false };
  return { path: root, value, whole: false, derived: false, averages: false };
}

function averagesOf(root: PyValue): { path: string; value: PyValue } | undefined {
  if (!(root instanceof Map)) return undefined;
  // Lightning's WeightAveraging keeps the averages as the state dict, and the trained weights beside it.
  const keys = root.has('averaging_state') && root.has('current_model_state') ? ['state_dict'] : AVERAGE_KEYS;
  for (const key of keys) {
    const value = root.get(key) as PyValue | undefined;
    if (value !== undefined && holdsTensors(value)) return { path: key, value };
  }
  return undefined;
}

function holdsTensors(value: PyValue): boolean {
  return (value instanceof Map || value instanceof PyObject || Array.isArray(value)) && !walkTensors(value).next().done;
}

/** Goes down while one child is the model, and stops at a dict with tensors or with several models. */
function stateDictIn(root: PyValue, rootPath: string): Root {
  let value = root;
  let path = rootPath;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    if (isModule(value)) return { path, value: stateDict(value), whole: false, derived: true, averages: false };
    const next = value instanceof Map ? modelIn(value as Map<PyValue, PyValue>) : undefined;
    if (!next) break;
    path = joinPath(path, next[0]);
    value = next[1];
  }
  return { path, value, whole: false, derived: false, averages: false };
}

function modelIn(map: Map<PyValue, PyValue>): [key: PyValue, value: PyValue] | undefined {
  for (const key of [...STATE_DICT_KEYS, ...AVERAGE_KEYS.slice(-1)]) {
    const value = map.get(key);
    if (value !== undefined && holdsTensors(value)) return [key, value];
  }
  if ([...map.values()].some(isTensor)) return undefined;
  const candidates = [...map].filter(
    ([key, value]) => !(typeof key === 'string' && NO_MODEL.test(key)) && holdsTensors(value),
  );
  return candidates.length === 1 ? candidates[0] : undefined;
}
