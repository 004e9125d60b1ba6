/** Containers of modules: `Sequential`, `ModuleList` and `ModuleDict`. */
import { noteKey, StringIdentity } from '../pickle/notes';
import type { OrderedDict, PyValue } from '../pickle/values';
import { attributesOf } from './attributes';
import { childByIndex, Module } from './module';
import { pythonClassName } from './python-names';
import { registerModule } from './registration';

/** Under `str(i)`, which is a new string in Python each time: a file tells it from every equal one. */
export function addNumbered(module: Module, index: number, child: Module): void {
  const key = String(index);
  registerModule(module, key, child);
  noteKey(module._modules, key, new StringIdentity(key));
}

/** Python's index, which counts from the end when negative. */
export function absoluteIndex(index: number, length: number): number {
  if (!Number.isInteger(index)) throw new TypeError(`an index is an integer, not ${String(index)}`);
  if (index < -length || index >= length) throw new RangeError(`index ${index} is out of range`);
  return index < 0 ? index + length : index;
}

/** Functions, because a module from a file, made without its constructor, has no private methods. */
function childrenInOrder(module: Module): Module[] {
  return [...module._modules.values()] as Module[];
}

function renumber(module: Module, children: readonly Module[]): void {
  attributesOf(module).set('_modules', new Map<string, PyValue>());
  for (const [i, child] of children.entries()) addNumbered(module, i, child);
}

/** What Sequential and ModuleList share: children in order, under their numbers unless named otherwise. */
abstract class NumberedModules extends Module implements Iterable<Module> {
  [index: number]: Module;

  get length(): number {
    return this._modules.size;
  }

  /** The child at `index`; negative ones count from the end. Throws RangeError outside. */
  at(index: number): Module {
    return childrenInOrder(this)[absoluteIndex(index, this.length)] as Module;
  }

  [childByIndex](index: number): Module | undefined {
    return index < this.length ? this.at(index) : undefined;
  }

  append(module: Module): this {
    addNumbered(this, this.length, module);
    return this;
  }

  extend(modules: Iterable<Module>): this {
    for (const module of [...modules]) this.append(module);
    return this;
  }

  /** Puts a module before the one at `index`; those from there on move up by one. */
  insert(index: number, module: Module): this {
    const children = childrenInOrder(this);
    const at = index < 0 ? Math.max(0, index + children.length) : index;
    if (!Number.isInteger(at) || at > children.length) throw new RangeError(`Index out of range: ${index}`);
    renumber(this, [...children.slice(0, at), module, ...children.slice(at)]);
    return this;
  }

  /** Takes the child at `index` out, and renumbers the others. */
  pop(index = -1): Module {
    const children = childrenInOrder(this);
    const [popped] = children.splice(absoluteIndex(index, children.length), 1);
    renumber(this, children);
    return popped as Module;
  }

  [Symbol.iterator](): Iterator<Module> {
    return childrenInOrder(this)[Symbol.iterator]();
  }
}

/** Modules one after the other, by number, or by name from an OrderedDict or Map. */
export class Sequential extends NumberedModules {
  constructor(...modules: (Module | OrderedDict<Module> | Map<string, Module>)[]) {
    super();
    const [first] = modules;
    if (modules.length === 1 && first instanceof Map)
      for (const [name, module] of first as Map<string, Module>) this.addModule(name, module);
    else for (const [i, module] of modules.entries()) addNumbered(this, i, module as Module);
  }
}

export class ModuleList extends NumberedModules {
  constructor(modules: Iterable<Module> = []) {
    super();
    if (typeof (modules as Iterable<Module> | null)?.[Symbol.iterator] !== 'function') {
      throw new TypeError(`ModuleList.extend should be called with an iterable, but got ${pythonClassName(modules)}`);
    }
    for (const [i, module] of [...modules].entries()) addNumbered(this, i, module);
  }
}

/** Names with values: what `ModuleDict` and `ParameterDict` are made from. */
export type Named<T> = Iterable<readonly [name: string, value: T]> | { readonly [name: string]: T };

export function entriesOf<T>(named: Named<T>): [name: string, value: T][] {
  if (Symbol.iterator in named)
    return [...(named as Iterable<readonly [string, T]>)].map(([name, value]) => [name, value]);
  return Object.entries(named);
}

/** Modules by name, in the order in which they were added. */
export class ModuleDict extends Module implements Iterable<[name: string, module: Module]> {
  constructor(modules: Named<Module> = []) {
    super();
    this.update(modules);
  }

  get size(): number {
    return this._modules.size;
  }

  override get(name: string): Module | undefined {
    return (this._modules.get(name) ?? undefined) as Module | undefined;
  }

  has(name: string): boolean {
    return this._modules.has(name);
  }

  set(name: string, module: Module): this {
    this.addModule(name, module);
    return this;
  }

  delete(name: string): boolean {
    return (attributesOf(this).get('_modules') as Map<string, PyValue>).delete(name);
  }

  /** Takes a module out and gives it. Throws RangeError when there is none of the name. */
  pop(name: string): Module {
    const module = this.get(name);
    if (!module) throw new RangeError(`'${name}'`);
    this.delete(name);
    return module;
  }

  clear(): void {
    attributesOf(this).set('_modules', new Map());
  }

  update(modules: Named<Module>): void {
    for (const [name, module] of entriesOf(modules)) this.set(name, module);
  }

  keys(): IterableIterator<string> {
    return this._modules.keys();
  }

  values(): IterableIterator<Module> {
    return this._modules.values() as IterableIterator<Module>;
  }

  entries(): IterableIterator<[name: string, module: Module]> {
    return this._modules.entries() as IterableIterator<[string, Module]>;
  }

  [Symbol.iterator](): Iterator<[name: string, module: Module]> {
    return this.entries();
  }
}
