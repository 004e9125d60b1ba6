/** Python's calling convention: positional arguments, then keywords, which come here as one object in camelCase. */
import { PyFloat, PyInt } from '../pickle/values';

/** `weight_decay` of `weightDecay`; names in Python's spelling stay as they are. */
export function pythonName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The parameters of a Python function, in order, with their defaults; undefined for one that must be given. */
export interface Signature {
  /** What error messages call the function: `SGD`. */
  readonly name: string;
  readonly parameters: readonly (readonly [name: string, fallback: unknown])[];
  /** Names of the options that are not simply the parameter in camelCase: `T_max` is `tMax`. */
  readonly spellings?: Readonly<Record<string, string>>;
}

/** An argument that is no options object. */
export type Positional = number | bigint | boolean | string | null | object;

/** Options alone, or positional arguments with or without options behind them. */
export type Arguments<O extends object> = [options?: O] | [first: Positional, ...rest: Positional[]];

function isOptions(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as object | null;
  return prototype === Object.prototype || prototype === null;
}

/** Every parameter with the value it is called with. Throws TypeError, in Python's words, for arguments that do not fit. */
export function bind(signature: Signature, args: readonly unknown[]): Map<string, unknown> {
  const { name, parameters, spellings = {} } = signature;
  const options = isOptions(args.at(-1)) ? (args.at(-1) as Record<string, unknown>) : {};
  const positional = isOptions(args.at(-1)) ? args.slice(0, -1) : args;
  if (positional.length > parameters.length) {
    throw new TypeError(
      `${name}.__init__() takes from 2 to ${parameters.length + 2} positional arguments but ${positional.length + 2} were given`,
    );
  }
  const given = new Map<string, unknown>();
  for (const [i, value] of positional.entries())
    if (value !== undefined) given.set((parameters[i] as [string, unknown])[0], value);
  for (const [option, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const python = spellings[option] ?? pythonName(option);
    const known = parameters.some(([parameter]) => parameter === python || parameter === option);
    if (!known) throw new TypeError(`${name}.__init__() got an unexpected keyword argument '${option}'`);
    const parameter = parameters.some(([own]) => own === python) ? python : option;
    if (given.has(parameter)) throw new TypeError(`${name}.__init__() got multiple values for argument '${option}'`);
    given.set(parameter, value);
  }
  const bound = new Map<string, unknown>();
  for (const [parameter, fallback] of parameters) {
    const value = given.has(parameter) ? given.get(parameter) : fallback;
    if (value === undefined)
      throw new TypeError(`${name}.__init__() missing 1 required positional argument: '${parameter}'`);
    bound.set(parameter, value);
  }
  return bound;
}

/** A number as `int` takes it; the text of `what` is PyTorch's. */
export function demandInt(value: unknown, accept: (value: number) => boolean, what: string): number {
  const plain = value instanceof PyInt ? Number(value.value) : value;
  if (plain instanceof PyFloat || typeof plain !== 'number' || !Number.isInteger(plain) || !accept(plain))
    throw new RangeError(what);
  return plain;
}
