/**
 * What stands between the parentheses of a printed module. It comes from the attributes alone, so that a module of a
 * class that is not registered prints alike. A file may have anything in their place, so that only plain values show.
 */
import { DType } from '../dtype';
import { isFloatSlot } from '../pickle/notes';
import { Device, PyFloat, PyGlobal, PyInt, type PyValue, Tuple } from '../pickle/values';
import { floatRepr } from '../tensor/print-number';
import { stringRepr } from '../tensor/print-string';
import { type Attributes, attributesOf, getAttribute, type ModuleObject, parametersOf } from './attributes';

export type ExtraRepr = string | ((attributes: ShownAttributes, module: ModuleObject) => string);

/** Tuples in attributes are sizes; longer or deeper ones are no module's. */
const MAX_ITEMS = 64;
const MAX_DEPTH = 3;

export class ShownAttributes {
  readonly #attributes: Attributes;
  readonly #parameters: ReadonlyMap<string, PyValue>;

  constructor(module: ModuleObject) {
    this.#attributes = attributesOf(module);
    this.#parameters = parametersOf(module);
  }

  value(name: string): PyValue | undefined {
    return getAttribute(this.#attributes, name);
  }

  /** Python's `repr` of the attribute. */
  repr(name: string): string {
    return shown(this.value(name), this.#attributes, name, 0);
  }

  /** Python's `str` of it: strings without quotes. */
  str(name: string): string {
    const value = this.value(name);
    return typeof value === 'string' ? value : this.repr(name);
  }

  /** True when the module has that parameter, and not None in its place. */
  hasParameter(name: string): boolean {
    return (this.#parameters.get(name) ?? null) !== null;
  }

  isNone(name: string): boolean {
    return (this.value(name) ?? null) === null;
  }

  /** True when the attribute is a tuple of nothing but `item`. */
  isAll(name: string, item: number): boolean {
    const value = this.value(name);
    return value instanceof Tuple && value.every((each) => each === item);
  }

  /** A template with `{name}` for `str` and `{name!r}` for `repr`; `bias?` of a parameter says whether there is one. */
  format(template: string): string {
    return template.replace(/\{(\w+)(!r|\?)?\}/g, (_, name: string, kind: string | undefined) => {
      if (kind === '?') return this.hasParameter(name) ? 'True' : 'False';
      return kind === '!r' ? this.repr(name) : this.str(name);
    });
  }
}

function shown(value: PyValue | undefined, container: object, slot: PyValue, depth: number): string {
  if (value === null || value === undefined) return 'None';
  switch (typeof value) {
    case 'boolean':
      return value ? 'True' : 'False';
    case 'bigint':
      return String(value);
    case 'string':
      return stringRepr(value);
    case 'number': {
      const isInt = Number.isSafeInteger(value) && !Object.is(value, -0) && !isFloatSlot(container, slot, value);
      return isInt ? String(value) : floatRepr(value);
    }
  }
  if (value instanceof PyFloat) return floatRepr(value.value);
  if (value instanceof PyInt) return String(value.value);
  if (value instanceof DType) return String(value);
  if (value instanceof Device)
    return `device(type='${value.type}'${value.index === undefined ? '' : `, index=${value.index}`})`;
  if (value instanceof PyGlobal) return `<class '${value.global}'>`;
  if (!Array.isArray(value) || depth === MAX_DEPTH || value.length > MAX_ITEMS) return '...';
  const items = value.map((item, i) => shown(item as PyValue, value, i, depth + 1));
  if (!(value instanceof Tuple)) return `[${items.join(', ')}]`;
  return items.length === 1 ? `(${items[0]},)` : `(${items.join(', ')})`;
}

/** The text for a module of any kind: `Module` or `PyObject`. */
export function formatExtra(extra: ExtraRepr | undefined, module: ModuleObject): string {
  if (extra === undefined) return '';
  const attributes = new ShownAttributes(module);
  return typeof extra === 'string' ? attributes.format(extra) : extra(attributes, module);
}
