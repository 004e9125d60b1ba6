/** Makes modules in files come back as the classes of `nn`, and print as they do. */
import { register } from '../registry';
import * as activation from './activation';
import * as attention from './attention';
import { isModule } from './attributes';
import type { BuiltinRow } from './builtin';
import { ModuleDict, ModuleList, Sequential } from './container';
import * as conv from './conv';
import * as distance from './distance';
import * as embedding from './embedding';
import { type ExtraRepr, formatExtra } from './extra-repr';
import * as linear from './linear';
import * as loss from './loss';
import { Module } from './module';
import * as norm from './norm';
import * as padding from './padding';
import * as parallel from './parallel';
import { ParameterDict, ParameterList, parameterDictExtra, parameterListExtra } from './parameter-container';
import { printModules } from './pickled-module';
import * as pooling from './pooling';
import * as reshape from './reshape';
import * as rnn from './rnn';
import * as transformer from './transformer';

/** Classes without a row of their own: containers take what they hold, not Python's arguments. */
const CONTAINERS: readonly (readonly [
  name: string,
  Class: abstract new (...args: never[]) => Module,
  extra?: ExtraRepr,
])[] = [
  ['Sequential', Sequential],
  ['ModuleList', ModuleList],
  ['ModuleDict', ModuleDict],
  ['ParameterList', ParameterList, parameterListExtra],
  ['ParameterDict', ParameterDict, parameterDictExtra],
];

const FAMILIES = [
  activation,
  attention,
  conv,
  distance,
  embedding,
  linear,
  loss,
  norm,
  padding,
  parallel,
  pooling,
  reshape,
  rnn,
  transformer,
];

export function registerModules(): void {
  add('torch.nn.modules.module.Module', Module, undefined);
  for (const [name, Class, extra] of CONTAINERS) add(`torch.nn.modules.container.${name}`, Class, extra);
  for (const Class of FAMILIES.flatMap((family): unknown[] => Object.values(family))) {
    if (typeof Class !== 'function' || !('row' in Class)) continue;
    const { python, extra } = Class.row as BuiltinRow;
    add(python, Class, extra);
  }
}

function add(global: string, Class: { readonly prototype: object }, extra: ExtraRepr | undefined): void {
  register(global, Class);
  printModules(global, (object) => (isModule(object) ? formatExtra(extra, object) : ''));
}
