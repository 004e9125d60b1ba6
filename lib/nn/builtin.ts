/**
 * The classes of `torch.nn`, one row each: the Python name, Python's signature, what is stored and what prints.
 *
 * Rows say only what differs from the rule: every argument is stored as an attribute of its own name, in order.
 */
import { PyFloat, PyGlobal, PyObject, type PyValue, Tuple } from '../pickle/values';
import { type Arguments, Call, parseSignature, type Signature } from './arguments';
import {
  type Attributes,
  attributesOf,
  type ModuleObject,
  setBuffer,
  setModule,
  setParameter,
  setPlain,
} from './attributes';
import { type ExtraRepr, formatExtra } from './extra-repr';
import { type Init, newParameter } from './init';
import { Module } from './module';

export interface BuiltinRow {
  /** Module and class: `torch.nn.modules.linear.Linear`. */
  readonly python: string;
  /** As `inspect.signature` prints it, without annotations. */
  readonly signature?: string;
  /** Stores what the arguments ask for; without it, each argument is an attribute. */
  readonly build?: (module: Builder, call: Call) => void;
  /** Arguments that the class stores before `Module.__init__` runs, so that they come first. */
  readonly first?: readonly string[];
  /** What `extra_repr` gives: a template `p={p}, inplace={inplace}`, or a function for what has conditions. */
  readonly extra?: ExtraRepr;
  /** Version of the state dict's layout where it is not 1. */
  readonly version?: number;
}

/** Writes the attributes of a module under construction, in Python's order. */
export class Builder {
  readonly module: ModuleObject;
  readonly attributes: Attributes;
  readonly #call: Call;

  constructor(module: ModuleObject, call: Call) {
    this.module = module;
    this.attributes = attributesOf(module);
    this.#call = call;
  }

  set(name: string, value: PyValue): void {
    setPlain(this.attributes, name, value);
  }

  /** Stores arguments as they are, under their own names. */
  keep(...names: readonly string[]): void {
    for (const name of names) this.set(name, this.#call.value(name));
  }

  /** A number that Python makes a float of, whatever it was given as. */
  float(name: string, value = this.#call.number(name)): void {
    this.set(name, new PyFloat(value));
  }

  parameter(name: string, shape: readonly number[], init: Init): void {
    setParameter(this.attributes, name, newParameter(this.#call, shape, init));
  }

  /** A parameter that the module goes without. */
  noParameter(...names: readonly string[]): void {
    for (const name of names) setParameter(this.attributes, name, null);
  }

  /** A parameter whose shape is not known before the first forward pass. */
  lazyParameter(name: string): void {
    setParameter(
      this.attributes,
      name,
      new PyObject(new PyGlobal('torch.nn.parameter', 'UninitializedParameter'), Tuple.of<PyValue>(true), 'reduce'),
    );
  }

  buffer(name: string, value: PyValue): void {
    setBuffer(this.attributes, name, value, true);
  }

  child(name: string, module: ModuleObject): void {
    setModule(this.attributes, name, module);
  }
}

/** What `builtin` gives to extend: a class that takes Python's arguments. */
export interface BuiltinClass<Required extends readonly unknown[], Options extends object, Own extends object> {
  new (...args: Arguments<Required, Options>): Module & Own;
  readonly prototype: Module & Own;
  readonly row: BuiltinRow;
}

/** The class of a row, to be extended by a class of the row's name; `Own` are the parameters that it is known to have. */
export function builtin<
  Required extends readonly unknown[] = [],
  Options extends object = Record<never, never>,
  Own extends object = Record<never, never>,
>(row: BuiltinRow): BuiltinClass<Required, Options, Own> {
  const signature = parseSignature(row.signature ?? '');
  class Builtin extends Module {
    static readonly row = row;

    constructor(...args: Arguments<Required, Options>) {
      super();
      construct(this, row, signature, args);
    }

    override get _version(): number {
      return row.version ?? 1;
    }

    override extraRepr(): string {
      return formatExtra(row.extra, this);
    }
  }
  // What the row builds has `Own`; it lies in the attributes, where TypeScript cannot see it.
  return Builtin as unknown as BuiltinClass<Required, Options, Own>;
}

function construct(module: Module, row: BuiltinRow, signature: Signature, args: readonly unknown[]): void {
  const call = new Call(row.python.slice(row.python.lastIndexOf('.') + 1), signature, args);
  const builder = new Builder(module, call);
  if (row.build) row.build(builder, call);
  else builder.keep(...signature.rows.map(({ name }) => name).filter((name) => name !== 'device' && name !== 'dtype'));
  if (row.first) putFirst(builder.attributes, row.first);
}

function putFirst(attributes: Attributes, names: readonly string[]): void {
  const entries = [...attributes];
  attributes.clear();
  for (const pass of [true, false])
    for (const [name, value] of entries) if (names.includes(name) === pass) attributes.set(name, value);
}
