/** `torch-checkpoint convert IN OUT`: one model, or every model below a folder. */
import { existsSync, lstatSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { Command, Option } from 'commander';
import { isNameClash } from '../convert/choose';
import { type ConvertOptions, type ConvertReport, convert } from '../convert/convert';
import { type BatchFile, type BatchReport, convertDirectory } from '../convert/directory';
import type { TargetName } from '../convert/target';
import { TARGETS, targetOfPath } from '../convert/targets';
import { CheckpointError } from '../errors';
import { progressMeter } from './convert-progress';
import { addCommonOptions, wholeNumber } from './options';
import { type CommonOptions, EXIT, type ExitCode, isOutputFailure, type Run, runCommand, UsageError } from './outcome';
import { grouped, humanBytes, printable } from './text';

interface Options extends CommonOptions {
  to?: TargetName;
  dtype?: string;
  root?: string;
  select?: string[];
  exclude?: string[];
  prune?: string[];
  rename?: string[];
  stripPrefix?: string[];
  useEma?: boolean;
  aliases?: 'keep-first' | 'duplicate' | 'error';
  prefer?: string[];
  maxShardSize?: string;
  mapLocation?: string;
  config?: string;
  dryRun?: boolean;
  verify?: boolean;
  fsync: boolean;
  files?: string[];
  copyOthers: boolean;
  jobs?: number;
  memoryBudget?: string;
  resume: boolean;
}

export function command(): Command {
  const made = new Command('convert')
    .description('Convert a checkpoint, the shards of a model, or every checkpoint below a folder.')
    .argument('<in>', 'checkpoint, .index.json of shards, folder, or a glob in quotes')
    .argument('<out>', "file, whose extension says the format; folder; '-' for standard output")
    .addOption(
      new Option('--to <format>', 'what to write (default: by the extension; safetensors for folders)').choices(
        TARGETS.map(({ name }) => name),
      ),
    )
    .option(
      '--dtype <dtype>',
      'cast floating tensors: float32, float16, bfloat16 (or bf16), float8_e4m3fn, ..., or q8_0 for gguf',
    )
    .option(
      '--root <path>',
      "convert the value at this path, names then being relative to it; 'auto' finds the state dict",
    )
    .addOption(new Option('--key <path>', 'the same as --root').hideHelp())
    .option(
      '--select <glob>',
      'only these tensors; * crosses dots, a plain path means its sub-tree (may be repeated)',
      collect,
    )
    .option('--exclude <glob>', 'not these tensors (may be repeated)', collect)
    .option(
      '--prune <glob>',
      "leave out everything there and below; to .pt all else is kept; 'optimizer' is its state under all usual names (may be repeated)",
      collect,
    )
    .option('--rename <s/regex/replacement/>', 'change names (may be repeated)', collect)
    .option('--strip-prefix <prefix>', 'take a prefix off names (may be repeated)', collect)
    .option('--use-ema', 'take the averaged weights under the names of the trained ones')
    .addOption(
      new Option('--aliases <policy>', 'names of the same elements (default: keep-first; npz: duplicate)').choices([
        'keep-first',
        'duplicate',
        'error',
      ]),
    )
    .option('--prefer <glob>', 'of several names for the same elements, keep this one (may be repeated)', collect)
    .option('--max-shard-size <size>', 'split safetensors into files of at most so many bytes: 5GB, 512MiB')
    .option('--map-location <device>', 'write storages as being on this device (.pt)')
    .option('--config <file>', 'config.json of the model, for gguf (default: beside the input)')
    .option('--dry-run', 'say what would be done and what it takes, write nothing')
    .option(
      '--verify',
      "check the input's recorded checksums, then open the output again and compare every byte with the input",
    )
    .option('--no-fsync', 'do not wait for the disk')
    .option('--files <glob>', 'folders: only these files; ** crosses folders (may be repeated)', collect)
    .option('--no-copy-others', 'folders: do not copy the other files')
    .option('-j, --jobs <count>', 'folders: conversions at a time (default: the cores, 4 at most)', wholeNumber)
    .option('--memory-budget <size>', 'folders: memory of all conversions together (default: 512MiB)')
    .option('--no-resume', 'folders: convert again what an earlier run has finished')
    .addHelpText(
      'after',
      `
Examples:
  torch-checkpoint convert model.pt model.safetensors
  torch-checkpoint convert ckpt.pt weights.safetensors --root auto --dtype bfloat16
  torch-checkpoint convert ckpt.pt small.pt --prune optimizer
  torch-checkpoint convert last.ckpt ema.safetensors --root auto --use-ema --rename 's/^net\\.//'
  torch-checkpoint convert model.safetensors.index.json model.gguf --dtype q8_0
  torch-checkpoint convert model.safetensors.index.json cut/ --max-shard-size 2GB
  torch-checkpoint convert checkpoints/ converted/ --dry-run
  torch-checkpoint convert 'runs/**/*.ckpt' converted/ --verify

Names: --select, --exclude and --prune look at those of the input. Then --strip-prefix takes prefixes off, and after all of
them --rename is applied; each in the order given.

A folder that was interrupted goes on where it was when the same command is given again.
Exit codes: 0 done, 2 wrong usage, 3 an input cannot be read (of a folder: the rest is done), 4 the output cannot
be written, 130 interrupted.`,
    )
    .action((input: string, output: string, options: Options & { key?: string }) =>
      runCommand(options, (run) => convertAny(input, output, options, run)),
    );
  return addCommonOptions(made);
}

/** Values of an option that may be given several times. */
function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** Devices that a file can name wherever it is written. */
const DEVICE = /^(?:cpu|meta|(?:cuda|mps|xpu|hpu)(?::\d+)?)$/;

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

async function convertAny(
  input: string,
  output: string,
  options: Options & { key?: string },
  run: Run,
): Promise<ExitCode> {
  const {
    to,
    dtype,
    root = options.key,
    select,
    exclude,
    prune,
    rename,
    stripPrefix,
    useEma,
    maxShardSize,
    mapLocation,
    config,
    dryRun,
    verify,
    fsync,
  } = options;
  if (mapLocation !== undefined && !DEVICE.test(mapLocation))
    throw new UsageError(`--map-location "${mapLocation}" is no device; give one such as cpu, cuda:0, mps or meta`);
  const aliases = options.prefer ? { prefer: options.prefer } : options.aliases;
  if (options.prefer && options.aliases)
    throw new UsageError('--prefer is a policy for aliases of its own; give it without --aliases');
  const common: Omit<ConvertOptions, 'onProgress'> = {
    to,
    dtype,
    root,
    select,
    exclude,
    prune,
    rename,
    stripPrefix,
    useEma,
    aliases,
    maxShardSize,
    config,
    dryRun,
    verify,
    fsync,
    signal: run.signal,
  };
  const settings = mapLocation === undefined ? common : { ...common, mapLocation };
  const glob = isThere(input) || !/[*?]/.test(input) ? undefined : splitGlob(input);
  if (!glob && !isThere(input)) throw new CheckpointError('NOT_FOUND', 'no such file or folder', { path: input });
  if (output === '-') return toStandardOutput(input, settings, run);
  // A folder becomes a folder, unless the output has the name of a file: then it is one model.
  const isBatch = glob !== undefined || (isFolder(input) && (isFolder(output) || targetOfPath(output) === undefined));
  const meter = progressMeter();
  if (!isBatch) {
    const report = await convert(input, output, { ...settings, onProgress: meter.onProgress })
      .catch(asUsageError)
      .finally(meter.end);
    for (const warning of report.warnings) await run.warn(warning);
    if (run.json) await run.printJson(report);
    else await print(report, output, run);
    return EXIT.done;
  }
  const { files, copyOthers, jobs, memoryBudget, resume } = options;
  const report = await convertDirectory(glob?.folder ?? input, output, {
    ...settings,
    files: glob ? [glob.pattern] : files,
    copyOthers: copyOthers && !glob,
    jobs,
    memoryBudget,
    resume,
    onProgress: meter.onProgress,
  }).finally(meter.end);
  for (const warning of report.warnings) await run.warn(warning);
  for (const { input: name, warnings = [] } of report.files)
    for (const warning of warnings) await run.warn(`${name}: ${warning}`);
  if (run.json) await run.printJson(report);
  else await printBatch(report, run);
  const errors = report.files.flatMap(({ error }) => error ?? []);
  if (errors.length === 0) return EXIT.done;
  return errors.every(({ code }) => isOutputFailure(code)) ? EXIT.output : EXIT.input;
}

/** Names that clash are those that the user asked for: nothing ails the input, nor the place of the output. */
function asUsageError(error: unknown): never {
  if (isNameClash(error)) throw new UsageError(error.message);
  throw error;
}

/** True for servers too, which are asked when it is their turn. */
function isThere(input: string): boolean {
  return (
    existsSync(input) || /^[a-z][a-z\d+.-]*:/i.test(input) || lstatSync(input, { throwIfNoEntry: false }) !== undefined
  );
}

/** What would be printed goes the other way, so that it does not end up in the file. */
async function toStandardOutput(input: string, settings: ConvertOptions, run: Run): Promise<ExitCode> {
  if (run.json) throw new UsageError('--json prints on standard output, where the converted file goes');
  const { dropped, warnings } = await convert(input, process.stdout, settings).catch(asUsageError);
  for (const warning of warnings) await run.warn(warning);
  for (const { path, reason } of dropped) await run.warn(`left out ${path}: ${reason}`);
  return EXIT.done;
}

/** `runs/*.pt` is the folder `runs` and the pattern in it. */
function splitGlob(glob: string): { folder: string; pattern: string } {
  let folder = dirname(glob);
  while (/[*?]/.test(folder)) folder = dirname(folder);
  const pattern = folder === '.' && !glob.startsWith('./') ? glob : glob.slice(folder.length).replace(/^[./]*\//, '');
  return { folder, pattern: pattern || basename(glob) };
}

async function print(report: ConvertReport, output: string, { out }: Run): Promise<void> {
  if (report.tensors === 0) await out.line(out.paint('yellow', '! no tensor is in the output'));
  const { tensors, bytes, kernelBytes, writtenBytes, dropped, aliases, files, dryRun } = report;
  for (const { path, reason } of dropped)
    await out.line(out.paint('yellow', `! left out ${printable(path)}: ${printable(reason)}`));
  for (const [name, kept] of Object.entries(aliases)) await out.line(`${printable(name)} is ${printable(kept)}`);
  if (files.length > 1)
    for (const { path, bytes: size } of files) await out.line(`${printable(path)}  ${humanBytes(size)}`);
  const place = files.length === 1 ? (files[0]?.path ?? output) : output;
  const how = dryRun
    ? 'nothing written'
    : `${humanBytes(writtenBytes)} written${kernelBytes > 0 ? `, ${humanBytes(kernelBytes)} shared or copied by the file system` : ''}`;
  await out.line(
    `${printable(place)}: ${report.format}, ${grouped(tensors)} ${tensors === 1 ? 'tensor' : 'tensors'}, ${humanBytes(bytes)} (${how})`,
  );
}

async function printBatch(report: BatchReport, { out }: Run): Promise<void> {
  for (const file of report.files) {
    const line = fileLine(file);
    await out.line(file.status === 'failed' ? out.paint('red', line) : line);
  }
  for (const { input } of report.copied) await out.line(`${report.dryRun ? 'to copy' : 'copied'}  ${printable(input)}`);
  const planned = report.files.filter(({ status }) => status === 'planned').length;
  const counts = report.dryRun ? [`${planned} to convert`] : [`${report.converted} converted`];
  await out.line([...counts, `${report.skipped} skipped`, `${report.failed} failed`].join(', '));
  if (!report.dryRun) return;
  const free = report.freeBytes;
  const short = free !== undefined && free < report.plannedBytes;
  await out.line(
    `${humanBytes(report.plannedBytes)} to write, ${free === undefined ? 'free space unknown' : `${humanBytes(free)} free${short ? ': NOT ENOUGH' : ''}`}`,
  );
}

function fileLine({ input, output, bytes, status, reason, error }: BatchFile): string {
  const what = error
    ? `: ${printable(error.message)}`
    : reason
      ? `: ${printable(reason)}`
      : output
        ? ` -> ${printable(output)} (${humanBytes(bytes)})`
        : '';
  return `${status.padEnd(9)} ${printable(input)}${what}`;
}
