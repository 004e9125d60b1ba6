/** `Optimizer.load_state_dict`: pairing by position, casting, and what PyTorch says when it does not fit. */

import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { pythonTypeText } from '../nn/python-names';
import { type PyValue, Tuple } from '../pickle/values';
import { Tensor } from '../tensor/tensor';
import { copyEntry, deepCopy, isMapping, itemsOf, listOf, take, tupleOf } from './numbers';
import type { ParamGroup, ParamState } from './optimizer';

export function misfit(what: string): CheckpointError {
  return new CheckpointError('STATE_DICT', what);
}

/** Python's `mapping[key]`. */
export function demand(mapping: object, key: string): PyValue {
  const value = take(mapping, key);
  if (value === undefined) throw misfit(`'${key}'`);
  return value;
}

/** What an optimizer is to hold after loading; nothing of it changes here. */
export function loadOptimizerState(
  live: readonly ParamGroup[],
  stateDict: unknown,
): { state: [PyValue, ParamState][]; groups: ParamGroup[] } {
  if (!isMapping(stateDict))
    throw new TypeError(`Expected state_dict to be dict-like, got ${pythonTypeText(stateDict)}.`);
  const given = demand(stateDict, 'param_groups');
  if (!Array.isArray(given) || !given.every(isMapping)) throw misfit("'param_groups' is no list of dicts");
  if (live.length !== given.length) throw misfit('loaded state dict has a different number of parameter groups');
  const saved = (given as object[]).map((group) => deepCopy(group) as ParamGroup);
  const savedIds = saved.map(idsOf);
  const liveParams = live.map((group) => group.get('params') as Tensor[]);
  if (savedIds.some((ids, i) => ids.length !== liveParams[i]?.length)) {
    throw misfit("loaded state dict contains a parameter group that doesn't match the size of optimizer's group");
  }
  const groupOfId = new Map<PyValue, ParamGroup>();
  const paramOfId = new Map<PyValue, Tensor>();
  for (const [i, ids] of savedIds.entries()) {
    for (const [j, id] of ids.entries()) {
      paramOfId.set(id, (liveParams[i] as Tensor[])[j] as Tensor);
      if (!groupOfId.has(id)) groupOfId.set(id, saved[i] as ParamGroup);
    }
  }
  const states = demand(stateDict, 'state');
  if (!isMapping(states)) throw misfit(`'state' is ${pythonTypeText(states)}, not a dict`);
  const entries = states instanceof Map ? [...(states as Map<PyValue, PyValue>)] : Object.entries(states);
  const state = entries.map(([id, value]): [PyValue, ParamState] => {
    const param = paramOfId.get(id);
    return param
      ? [param, new Caster(param, groupOfId.get(id) as ParamGroup).cast(value) as ParamState]
      : [id, value as ParamState];
  });
  for (const [i, group] of saved.entries()) {
    group.set('params', liveParams[i] as Tensor[]);
    const names = live[i]?.get('param_names');
    if (names !== undefined && !group.has('param_names')) group.set('param_names', names);
  }
  return { state, groups: saved };
}

function idsOf(group: ParamGroup): PyValue[] {
  const ids = demand(group, 'params');
  if (!Array.isArray(ids)) throw misfit(`'params' of a group is ${pythonTypeText(ids)}, not a list`);
  return ids as PyValue[];
}

/** Brings the state of one parameter to its dtype and device. */
class Caster {
  readonly #param: Tensor;
  readonly #stepOnDevice: boolean;

  constructor(param: Tensor, group: ParamGroup) {
    this.#param = param;
    this.#stepOnDevice = Boolean(group.get('capturable')) || Boolean(group.get('fused'));
  }

  /** Containers are new, everything but tensors is as it was. */
  cast(value: PyValue, key?: PyValue): PyValue {
    if (value instanceof Tensor) return this.#tensor(value, key);
    if (isMapping(value)) {
      const copy = new Map<PyValue, PyValue>();
      for (const own of value instanceof Map ? value.keys() : Object.keys(value))
        copyEntry(value, copy, own, this.cast(take(value, own) as PyValue, own));
      return copy;
    }
    if (!Array.isArray(value)) return value;
    const items = itemsOf(value as PyValue[]).map((item) => this.cast(item));
    return value instanceof Tuple ? tupleOf(items) : listOf(items);
  }

  #tensor(value: Tensor, key: PyValue | undefined): Tensor {
    const { device, dtype } = this.#param;
    // The count of steps stays where it is, in float32: half types cannot count far, and a GPU would have to be asked.
    if (key === 'step') return this.#stepOnDevice ? value.to(DType.float32).to(device) : value;
    return (dtype.isFloatingPoint ? value.to(dtype) : value).to(device);
  }
}
