/** `torch-checkpoint inspect FILE`: what is in a checkpoint, at a glance. */
import { Command, Option } from 'commander';
import { anyOf } from '../glob';
import { type Inspection, inspect, type TensorFacts } from '../inspect/inspect';
import { addCommonOptions, wholeNumber } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand } from './outcome';
import type { Output } from './output';
import { type Column, printTable } from './table';
import { counted, grouped, humanBytes, jsonText, printable, shorten, wrapAtCommas } from './text';

interface Options extends CommonOptions {
  limit?: number;
  sort?: 'path' | 'bytes' | 'dtype';
  select?: string[];
}

export function command(): Command {
  const made = new Command('inspect')
    .alias('ls')
    .description('List what a checkpoint holds: tensors, dtypes, sharing, other values, and what its pickles name.')
    .argument('<file>', 'checkpoint, .npz, .npy, folder or .index.json of a model; or an http(s): or s3: URL')
    .option('-n, --limit <count>', 'list at most so many tensors and values', wholeNumber)
    .addOption(
      new Option('--sort <order>', 'order of the tensors (default: as in the file)').choices([
        'path',
        'bytes',
        'dtype',
      ]),
    )
    .option('--select <glob...>', 'only tensors whose path matches; * crosses dots, a plain path means its sub-tree')
    .addHelpText(
      'after',
      `
Examples:
  torch-checkpoint inspect model.pt
  torch-checkpoint ls model.pt --sort bytes --limit 10     the ten largest tensors
  torch-checkpoint ls model.pt --select 'encoder.*weight'
  torch-checkpoint ls model.pt --json | jq .parameters`,
    )
    .action((file: string, options: Options) => runCommand(options, (run) => inspectFile(file, options, run)));
  return addCommonOptions(made);
}

async function inspectFile(file: string, options: Options, run: Run): Promise<ExitCode> {
  const inspection = await inspect(file, { signal: run.signal });
  const matches = options.select && anyOf(options.select);
  const tensors = sorted(
    matches ? inspection.tensors.filter(({ path }) => matches(path)) : inspection.tensors,
    options.sort,
  );
  const limit = options.limit ?? Number.POSITIVE_INFINITY;
  if (run.json) await printJson({ ...inspection, tensors: tensors.slice(0, limit) }, run);
  else await print(inspection, tensors, limit, options.limit ?? DEFAULT_VALUES, run);
  return EXIT.done;
}

/** Values that are shown without `--limit`: an optimizer has hundreds of them, and nobody came for those. */
const DEFAULT_VALUES = 20;

function sorted(tensors: readonly TensorFacts[], order: Options['sort']): readonly TensorFacts[] {
  switch (order) {
    case 'path':
      return [...tensors].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
    case 'bytes':
      return [...tensors].sort((a, b) => b.bytes - a.bytes);
    case 'dtype':
      return [...tensors].sort((a, b) => (a.dtype < b.dtype ? -1 : a.dtype > b.dtype ? 1 : 0));
    case undefined:
      return tensors;
  }
}

/** One JSON value, its long list tensor by tensor: a hundred thousand of them need not be one string. */
async function printJson(inspection: Inspection, { out }: Run): Promise<void> {
  const { tensors, ...rest } = inspection;
  const head = jsonText(rest, 2);
  await out.text(`${head.slice(0, -2)},\n  "tensors": [`);
  for (const [i, tensor] of tensors.entries()) {
    const full = out.text(`${i ? ',' : ''}\n    ${jsonText(tensor)}`);
    if (full) await full;
  }
  await out.text(`${tensors.length ? '\n  ' : ''}]\n}\n`);
}

const shapeText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** `isRoot`: the file holds one tensor and nothing around it. */
function columnsFor(tensors: readonly TensorFacts[], isRoot: boolean): Column<TensorFacts>[] {
  const elsewhere = tensors.some(({ location }) => location !== 'cpu');
  return [
    {
      title: 'path',
      priority: 0,
      text: ({ path }) => (path !== '' ? printable(path) : isRoot ? '(the file is this tensor)' : "''"),
    },
    { title: 'dtype', priority: 1, text: dtypeText },
    { title: 'shape', priority: 0, minWidth: 10, text: ({ shape }) => shapeText(shape) },
    { title: 'size', priority: 3, align: 'right', text: ({ bytes }) => humanBytes(bytes) },
    { title: 'location', priority: 4, minWidth: 8, text: ({ location }) => (elsewhere ? printable(location) : '') },
    { title: SHARED, priority: 5, minWidth: 12, text: ({ sharedWith }) => printable(sharedWith ?? '') },
  ];
}

/** Title of the column that says which tensor has the same storage. */
const SHARED = 'shared with';

function dtypeText({ dtype, layout }: TensorFacts): string {
  return layout === 'strided' ? dtype : `${dtype} ${printable(layout)}`;
}

async function print(
  inspection: Inspection,
  tensors: readonly TensorFacts[],
  limit: number,
  maxValues: number,
  { out }: Run,
): Promise<void> {
  const { width } = out;
  for (const warning of inspection.warnings)
    await out.line(out.paint(warning.startsWith('UNSAFE') ? 'red' : 'yellow', `! ${printable(warning)}`));
  for (const line of headLines(inspection))
    for (const part of wrapAtCommas(line, width)) await out.line(shorten(part, width));
  if (tensors.length > 0) {
    await out.line();
    const shown = tensors.slice(0, limit);
    const left = await printTable(
      out,
      shown,
      columnsFor(shown, inspection.tensors.length === 1 && inspection.valueCount === 0),
    );
    if (tensors.length > shown.length)
      await out.line(out.paint('dim', `... ${grouped(tensors.length - shown.length)} more tensors`));
    if (left.includes(SHARED)) await printSharing(shown, out);
  }
  await printValues(inspection, maxValues, out);
  const notable = inspection.verdicts.filter(({ verdict }) => verdict !== 'safe');
  if (notable.length > 0) {
    await out.line();
    await out.line(out.paint('bold', 'classes and functions named in the pickles (inert here)'));
    for (const { name, verdict } of notable) {
      const text = shorten(`${verdict.padEnd(9)}  ${printable(name)}`, width);
      await out.line(verdict === 'dangerous' ? out.paint('red', text) : text);
    }
  }
}

/** Groups that are named where the table has no room to. */
const MAX_GROUPS = 20;

async function printSharing(tensors: readonly TensorFacts[], out: Output): Promise<void> {
  const groups = new Map<string, string[]>();
  for (const { path, sharedWith } of tensors) {
    if (sharedWith === undefined) continue;
    const known = groups.get(sharedWith);
    if (known) known.push(path);
    else groups.set(sharedWith, [sharedWith, path]);
  }
  await out.line();
  await out.line(out.paint('bold', 'one storage for'));
  for (const names of [...groups.values()].slice(0, MAX_GROUPS))
    for (const line of wrapAtCommas(names.map(printable).join(', '), out.width))
      await out.line(shorten(line, out.width));
  if (groups.size > MAX_GROUPS)
    await out.line(out.paint('dim', `... ${counted(groups.size - MAX_GROUPS, 'more group')}`));
}

/** The version of each module, which PyTorch puts into every state dict: of no interest to those who look at one. */
const MODULE_VERSION = /(?:^|\.)_metadata\.(?:.*\.)?version$/;

async function printValues({ values, valueCount }: Inspection, maxValues: number, out: Output): Promise<void> {
  const notable = values.filter(({ path }) => !MODULE_VERSION.test(path));
  const versions = values.length - notable.length;
  if (notable.length > 0) {
    await out.line();
    await out.line(out.paint('bold', 'other values'));
    for (const { path, repr } of notable.slice(0, maxValues))
      await out.line(shorten(`${printable(path) || '(root)'} = ${printable(repr)}`, out.width));
  }
  const more = valueCount - versions - Math.min(maxValues, notable.length);
  if (more > 0) await out.line(out.paint('dim', `... ${counted(more, 'more value')} (--limit shows more)`));
  if (versions > 0) await out.line(out.paint('dim', `(and ${counted(versions, 'module version')} in _metadata)`));
}

function* headLines(inspection: Inspection): Generator<string> {
  const { format, writer, byteOrder, pickleProtocol, records, fileBytes } = inspection;
  const facts = [format, humanBytes(fileBytes)];
  if (writer) facts.push(`PyTorch ${printable(writer)}`);
  if (pickleProtocol !== undefined) facts.push(`pickle protocol ${pickleProtocol}`);
  if (byteOrder === 'big') facts.push('big-endian');
  if (records > 0) facts.push(counted(records, format === 'shards' ? 'file' : 'record'));
  yield facts.join(', ');
  const dtypes = Object.entries(inspection.dtypes).map(([name, count]) => `${grouped(count)} ${name}`);
  const listed = dtypes.length > 0 ? ` (${dtypes.join(', ')})` : '';
  yield `${counted(inspection.tensors.length, 'tensor')}${listed}, ${counted(inspection.parameters, 'element')}, ${humanBytes(inspection.tensorBytes)}`;
  if (inspection.unreachableBytes > 0)
    yield `${humanBytes(inspection.unreachableBytes)} of ${humanBytes(inspection.storageBytes)} of storages are reached by no tensor`;
  if (inspection.aliases.length > 0)
    yield inspection.aliases.length === 1
      ? '1 storage is shared by several tensors'
      : `${grouped(inspection.aliases.length)} storages are shared by several tensors`;
  for (const [key, value] of Object.entries(inspection.metadata).slice(0, 20))
    yield `metadata ${printable(key)}: ${printable(value.slice(0, 200))}`;
}
