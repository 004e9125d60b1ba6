/** Functions that run around `stateDict` and `loadStateDict`. They belong to the program and are never saved. */
import type { PyValue } from '../pickle/values';
import type { ModuleObject } from './attributes';
import type { IncompatibleKeys } from './incompatible-keys';
import type { StateDict } from './state-dict';

/** Runs after a module's state was gathered; what it returns takes the place of the outermost result. */
export type StateDictHook = (
  module: ModuleObject,
  destination: StateDict,
  prefix: string,
  localMetadata: Map<PyValue, PyValue>,
) => StateDict | undefined;
/** Runs before a module's state is gathered. */
export type StateDictPreHook = (module: ModuleObject, prefix: string, keepVars: boolean) => void;
/** Runs before a module takes its part of a state dict, which it may change, as it may add to the lists. */
export type LoadPreHook = (
  module: ModuleObject,
  state: Map<string, PyValue>,
  prefix: string,
  localMetadata: Map<PyValue, PyValue>,
  strict: boolean,
  missingKeys: string[],
  unexpectedKeys: string[],
  errors: string[],
) => void;
/** Runs after a module and all below it were loaded; may edit the lists in place and must return nothing. */
export type LoadPostHook = (module: ModuleObject, incompatible: IncompatibleKeys) => void;

export interface ModuleHooks {
  readonly stateDict: Set<StateDictHook>;
  readonly stateDictPre: Set<StateDictPreHook>;
  readonly loadPre: Set<LoadPreHook>;
  readonly loadPost: Set<LoadPostHook>;
}

/** Takes a hook off again. */
export interface HookHandle {
  remove(): void;
}

const hooksByModule = new WeakMap<object, ModuleHooks>();

export function hooksOf(module: object): ModuleHooks | undefined {
  return hooksByModule.get(module);
}

export function addHook<K extends keyof ModuleHooks>(
  module: object,
  kind: K,
  hook: ModuleHooks[K] extends Set<infer H> ? H : never,
): HookHandle {
  let hooks = hooksByModule.get(module);
  if (!hooks) {
    hooks = { stateDict: new Set(), stateDictPre: new Set(), loadPre: new Set(), loadPost: new Set() };
    hooksByModule.set(module, hooks);
  }
  // K ties the hook to its set, which TypeScript cannot follow.
  const set = hooks[kind] as Set<unknown>;
  set.add(hook);
  return { remove: () => void set.delete(hook) };
}
