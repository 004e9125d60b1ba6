/** Walks over a tree of modules, on a stack of their own, with bounds that no sound model comes near. */
import { CheckpointError } from '../errors';
import { isTensor } from '../walk';
import { buffersOf, childrenOf, type ModuleObject, parametersOf } from './attributes';

/** PyTorch itself ends at Python's recursion limit, which is lower. */
export const MAX_MODULE_DEPTH = 1000;
/** A file can share modules so that the paths to them are without number; the largest models have 1e5. */
export const MAX_MODULE_VISITS = 4_000_000;

export function tooDeep(): CheckpointError {
  return new CheckpointError(
    'LIMIT_EXCEEDED',
    `modules are nested more than ${MAX_MODULE_DEPTH} deep, or one contains itself`,
  );
}

export function tooMany(): CheckpointError {
  return new CheckpointError('LIMIT_EXCEEDED', `there are more than ${MAX_MODULE_VISITS} paths to modules`);
}

export interface WalkOptions {
  /** Put in front of every name. */
  prefix?: string;
  /** Lists what is reached by several paths once, under the first; default true. */
  removeDuplicate?: boolean;
}

/** The module itself under `prefix`, then all below it, parents first: the order of `named_modules`. */
export function* namedModules(
  root: ModuleObject,
  options: WalkOptions = {},
): Generator<[name: string, module: ModuleObject], void, undefined> {
  const { prefix = '', removeDuplicate = true } = options;
  const seen = new Set<object>();
  let visits = 0;
  const stack: { name: string; module: ModuleObject; children: Iterator<[string, ModuleObject]> | undefined }[] = [
    { name: prefix, module: root, children: undefined },
  ];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    if (!top.children) {
      if (seen.has(top.module)) {
        stack.pop();
        continue;
      }
      if (removeDuplicate) seen.add(top.module);
      if (++visits > MAX_MODULE_VISITS) throw tooMany();
      top.children = childrenOf(top.module);
      yield [top.name, top.module];
    }
    const next = top.children.next();
    if (next.done) {
      stack.pop();
      continue;
    }
    if (stack.length > MAX_MODULE_DEPTH) throw tooDeep();
    const [name, module] = next.value;
    stack.push({ name: top.name ? `${top.name}.${name}` : name, module, children: undefined });
  }
}

/** All below a module and then it, as `Module.apply` visits them: one that several parents share comes once for each. */
export function modulesUpwards(root: ModuleObject): ModuleObject[] {
  const visited: ModuleObject[] = [];
  const frame = (module: ModuleObject) => ({
    module,
    children: new Set([...childrenOf(module)].map(([, child]) => child)).values(),
  });
  const stack = [frame(root)];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const next = top.children.next();
    if (next.done) {
      visited.push(top.module);
      stack.pop();
      continue;
    }
    if (stack.length > MAX_MODULE_DEPTH) throw tooDeep();
    if (visited.length > MAX_MODULE_VISITS) throw tooMany();
    stack.push(frame(next.value));
  }
  return visited;
}

/** Parameters or buffers with their full names; each once unless told otherwise. */
export function* namedMembers(
  root: ModuleObject,
  kind: 'parameters' | 'buffers',
  options: WalkOptions & { recurse?: boolean } = {},
): Generator<[name: string, value: object], void, undefined> {
  const { prefix = '', recurse = true, removeDuplicate = true } = options;
  const seen = new Set<object>();
  const membersOf = kind === 'parameters' ? parametersOf : buffersOf;
  const modules = recurse ? namedModules(root, { prefix, removeDuplicate }) : [[prefix, root] as const];
  for (const [path, module] of modules) {
    for (const [name, value] of membersOf(module)) {
      // A lazy module's parameters are objects without a shape.
      if (typeof value !== 'object' || value === null || seen.has(value) || !(isTensor(value) || isLazy(value)))
        continue;
      if (removeDuplicate) seen.add(value);
      yield [path ? `${path}.${name}` : name, value];
    }
  }
}

/** A parameter or buffer whose shape the first forward pass would decide. */
export function isLazy(value: unknown): boolean {
  const global = (value as { global?: unknown } | null)?.global;
  return global === 'torch.nn.parameter.UninitializedParameter' || global === 'torch.nn.parameter.UninitializedBuffer';
}
