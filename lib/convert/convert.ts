/**
 * Converting one model: input -> chosen tensors -> plan of the target -> files.
 *
 * Everything is decided before a byte is written. Bytes then go from where they are to the output, in native code where
 * they lie as they are wanted; what is cast or gathered exists a piece at a time.
 */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Checkpoint, VerifyReport } from '../checkpoint';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import type { LoadOptions } from '../load';
import type { SaveTarget } from '../save';
import { isDirectory, pathOf } from '../source/local-path';
import type { CheckpointSource } from '../source/open-source';
import type { OnProgress } from '../source/progress';
import type { AliasPolicy } from './aliases';
import { type ChoiceOptions, choose } from './choose';
import type { Encoding } from './elements';
import { makeFolder } from './folders';
import type { Model } from './model';
import { openModel } from './open-model';
import { outputName } from './output-name';
import { storedNames } from './shards-model';
import type { Dropped, Plan, Target, TargetName } from './target';
import { targetNamed, targetOfPath } from './targets';
import { asOutputError, outputPath } from './write';

/** Options of `convert`. */
export interface ConvertOptions
  extends ChoiceOptions,
    Pick<LoadOptions, 'io' | 'limits' | 'mapLocation' | 'safeGlobals' | 'weightsOnly'> {
  /** What to write; default: by the extension of the output. */
  to?: TargetName | undefined;
  /** Casts floating tensors, and only those, as PyTorch does: a DType or its name (also bf16, fp16), or `q8_0` for GGUF. */
  dtype?: DType | string | undefined;
  /** Names of the same elements: 'keep-first' (default), 'duplicate' (default of npz), 'error', or which to prefer. */
  aliases?: AliasPolicy | undefined;
  /** Splits safetensors into files of at most so many bytes of tensors: a number, or `5GB`, `512MiB`. */
  maxShardSize?: number | string | undefined;
  /** Added to the metadata of safetensors and GGUF. */
  metadata?: ReadonlyMap<string, string> | Readonly<Record<string, string>> | undefined;
  /** Path of the `config.json` for GGUF; default: the one beside the input. */
  config?: string | undefined;
  /** Plan and report, but write nothing. */
  dryRun?: boolean | undefined;
  /**
   * Check the records of the input against their recorded checksums before anything is written, then open the output again
   * and compare every tensor with the input. Throws CRC_MISMATCH.
   */
  verify?: boolean | undefined;
  /** Wait until the disk has the bytes; default true. */
  fsync?: boolean | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: OnProgress | undefined;
}

/** What `convert` wrote. */
export interface ConvertReport {
  readonly format: TargetName;
  /** Tensors that the output stores; aliases are not counted. */
  readonly tensors: number;
  /** Bytes of all files written, or to be written. */
  readonly bytes: number;
  /** Names that are not stored, each with the name that has its elements. */
  readonly aliases: Readonly<Record<string, string>>;
  /** What the target cannot hold, by its path in the input. */
  readonly dropped: readonly Dropped[];
  /** Shards that the index does not name, globs that match nothing, sharing that the output does not keep. */
  readonly warnings: readonly string[];
  /** Bytes that the kernel copied by reference (shared extents, or on a file server), and bytes that were written. */
  readonly kernelBytes: number;
  readonly writtenBytes: number;
  /** The files in the order they were written; empty for streams. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  readonly dryRun: boolean;
}

/**
 * Converts a checkpoint, the shards of a model (their directory or `.index.json`), or NumPy's arrays. The target follows
 * from the extension: .safetensors, .pt (.pth, .bin, .ckpt), .npz, .npy, .gguf, .json (a skeleton), or from `to`. Paths are
 * replaced atomically; the same input gives the same bytes. Every tensor goes over, named by its path, unless options say
 * otherwise. Throws CheckpointError (NOT_FOUND for an unknown root, UNSAVABLE for clashing names, WRITE_FAILED, DISK_FULL,
 * and what `open` throws), TypeError for options that contradict each other.
 */
export async function convert(
  input: CheckpointSource | Checkpoint,
  output: SaveTarget,
  options: ConvertOptions = {},
): Promise<ConvertReport> {
  const { report, unmatched } = await convertModel(input, output, options);
  return { ...report, warnings: [...report.warnings, ...unmatched.map(unmatchedWarning)] };
}

export function unmatchedWarning(glob: string): string {
  return `nothing in the input matches ${glob}`;
}

/** What `convert` did, with what indices over several files need to know. */
export interface Conversion {
  readonly report: ConvertReport;
  /** Names of the tensors that the input stores, before any choice. */
  readonly sourceNames: readonly string[];
  /** Globs that nothing in the input matches. */
  readonly unmatched: readonly string[];
  /** Names in the output, their bytes, and their file where there are shards. */
  readonly stored: Plan['stored'];
}

/** How a folder's files are converted. */
interface Manner {
  /** One of many: nothing is written where no tensor is left, and the output may take the place of its input. */
  readonly inFolder?: boolean;
  /** The output was written before, and is only compared with the input. */
  readonly verifyOnly?: boolean;
}

/** `convert` for callers that need more than its report. */
export async function convertModel(
  input: CheckpointSource | Checkpoint,
  output: SaveTarget,
  options: ConvertOptions,
  { inFolder = false, verifyOnly = false }: Manner = {},
): Promise<Conversion> {
  options.signal?.throwIfAborted();
  const [place, target] = destination(input, outputPath(output), options.to);
  if (options.maxShardSize !== undefined && target.name !== 'safetensors')
    throw new TypeError(`only safetensors is split into shards, and the output is ${target.name}`);
  const settings = { dtype: encodingFor(options.dtype), maxShardBytes: byteCount(options.maxShardSize) };
  const { io, limits, signal, onProgress, safeGlobals, weightsOnly } = options;
  const model = await openModel(input, defined({ io, limits, signal, onProgress, safeGlobals, weightsOnly }));
  try {
    const checked = options.verify && !options.dryRun ? await verifyInput(model, signal) : [];
    const choice = choose(model, options);
    if (!inFolder && options.select && choice.entries.length === 0)
      throw new CheckpointError('NOT_FOUND', 'no tensor is left of what was selected', {
        hint: 'globs are matched against whole names; torch-checkpoint inspect lists them',
      });
    const plan = await target.plan(choice, {
      ...settings,
      aliases: options.aliases,
      metadata: options.metadata instanceof Map ? options.metadata : new Map(Object.entries(options.metadata ?? {})),
      config: target.name === 'gguf' ? configOf(input, options.config) : undefined,
      mapLocation: options.mapLocation,
      stem: place === undefined ? 'model' : stemOf(place, target),
    });
    if (plan.files.length > 1 && place === undefined)
      throw new TypeError('shards are several files, and cannot be written to a stream');
    if (!inFolder) demandOtherFiles(model, filePaths(plan, place));
    const idle = options.dryRun || (inFolder && plan.tensors === 0);
    if (!idle && place !== undefined && outputPath(output) !== place) makeFolder(dirname(place));
    const written = idle || verifyOnly ? NOTHING : await writeFiles(plan, output, place, options);
    if ((options.verify || verifyOnly) && !idle) await verifyFiles(plan, target, place, signal);
    return {
      report: report(plan, target, written, place, options.dryRun ?? false, [
        ...model.warnings,
        ...checked,
        ...(plan.warnings ?? []),
      ]),
      sourceNames: storedNames(model),
      unmatched: choice.unmatched,
      stored: plan.stored,
    };
  } catch (error) {
    // What goes wrong with elements on their way does not know where they came from.
    throw error instanceof CheckpointError ? error.located({ path: model.name }) : error;
  } finally {
    model.close();
  }
}

/** A conversion that loses something would leave nothing to go back to. */
function demandOtherFiles(model: Model, outputs: readonly string[]): void {
  const inputs = new Set([model, ...model.parts].flatMap(({ name }) => realPath(name) ?? []));
  for (const path of outputs) {
    const real = realPath(path);
    if (real !== undefined && inputs.has(real))
      throw new TypeError(
        `the output "${path}" is the input; write to another file, or change values in place with edit --in-place`,
      );
  }
}

function realPath(path: string | undefined): string | undefined {
  return path !== undefined && existsSync(path) ? realpathSync(path) : undefined;
}

const NOTHING = { kernelBytes: 0, writtenBytes: 0, bytes: undefined as readonly number[] | undefined };

async function writeFiles(
  plan: Plan,
  output: SaveTarget,
  place: string | undefined,
  options: ConvertOptions,
): Promise<typeof NOTHING> {
  const { fsync = true, signal, onProgress } = options;
  const totalBytes = plan.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const bytes: number[] = [];
  let before = 0;
  let kernelBytes = 0;
  let writtenBytes = 0;
  for (const file of plan.files) {
    const path = place === undefined ? undefined : fileAt(place, file.name);
    const start = before;
    // One progress over all files.
    const told: OnProgress | undefined =
      onProgress &&
      ((progress) => onProgress({ stage: 'convert', bytes: Math.min(start + progress.bytes, totalBytes), totalBytes }));
    try {
      const counts = await file.write(path ?? output, { fsync, signal, onProgress: told });
      kernelBytes += counts.kernelBytes;
      writtenBytes += counts.writtenBytes;
      bytes.push(counts.bytes);
    } catch (error) {
      throw asOutputError(error, path);
    }
    before += file.bytes;
  }
  return { kernelBytes, writtenBytes, bytes };
}

/**
 * Compares the records of the input with their checksums: what is compared later comes from these very bytes, and would
 * agree with damaged ones. Gives warnings of what could not be checked, throws CRC_MISMATCH for a damaged record.
 */
async function verifyInput(model: Model, signal: AbortSignal | undefined): Promise<string[]> {
  const warnings: string[] = [];
  for (const part of [model, ...model.parts]) {
    if (!part.checkpoint) continue;
    let damaged: VerifyReport['damaged'];
    try {
      ({ damaged } = await part.checkpoint.verify(defined({ signal })));
    } catch (error) {
      // Of a file on a server only what was fetched on opening is at hand.
      if (!(error instanceof CheckpointError) || error.code !== 'UNSUPPORTED') throw error;
      warnings.push(`the checksums of the input were not checked: ${error.message}`);
      continue;
    }
    const [first] = damaged;
    if (first)
      throw new CheckpointError('CRC_MISMATCH', `the input is damaged: ${first.reason}`, {
        path: part.name,
        record: first.record,
        hint: 'get the file again; torch-checkpoint verify lists all damaged records',
      });
  }
  return warnings;
}

/** Compares every byte with what it was made from, and has the reader of the format look at the file too. */
async function verifyFiles(
  plan: Plan,
  target: Target,
  place: string | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (place === undefined) throw new TypeError('what was written to a stream cannot be verified; give a path');
  for (const file of plan.files) {
    const path = fileAt(place, file.name);
    await file.verify(path, signal);
    if (!target.readable || plan.tensors === 0 || path.endsWith('.index.json')) continue;
    const again = await openModel(path, defined({ signal }));
    again.close();
  }
}

function report(
  plan: Plan,
  target: Target,
  written: typeof NOTHING,
  place: string | undefined,
  dryRun: boolean,
  warnings: readonly string[],
): ConvertReport {
  const sizes = plan.files.map(({ bytes }, i) => written.bytes?.[i] ?? bytes);
  // Names come from a file: the object has no prototype that they could meet.
  const aliases = Object.assign(Object.create(null) as Record<string, string>, Object.fromEntries(plan.aliases));
  return {
    format: target.name,
    tensors: plan.tensors,
    bytes: sizes.reduce((sum, bytes) => sum + bytes, 0),
    aliases,
    dropped: plan.dropped,
    warnings,
    kernelBytes: written.kernelBytes,
    writtenBytes: written.writtenBytes,
    files: filePaths(plan, place).map((path, i) => ({ path, bytes: sizes[i] as number })),
    dryRun,
  };
}

function filePaths(plan: Plan, place: string | undefined): string[] {
  return place === undefined ? [] : plan.files.map(({ name }) => fileAt(place, name));
}

function fileAt(place: string, name: string | undefined): string {
  return name === undefined ? place : join(dirname(place), name);
}

/** Where the output goes and what it is. In a folder it gets the name of the input, as `cp` does it. */
function destination(
  input: unknown,
  place: string | undefined,
  to: string | undefined,
): [place: string | undefined, target: Target] {
  if (place === undefined || !(/[/\\]$/.test(place) || isDirectory(place))) return [place, targetFor(place, to)];
  const target = targetNamed(to ?? 'safetensors');
  const source = pathOf(input);
  if (source === undefined)
    throw new TypeError(`"${place}" is a folder, and the input has no name that the file in it could get`);
  const name = basename(source).replace(/\.index(?:\.[\w-]+)?\.json$/i, '');
  return [join(place, outputName(name, target)), target];
}

function targetFor(place: string | undefined, to: string | undefined): Target {
  if (to !== undefined) return targetNamed(to);
  const target = place === undefined ? undefined : targetOfPath(place);
  if (target) return target;
  throw new TypeError(
    place === undefined
      ? 'a stream has no extension that would name the target; give `to`'
      : `no target for "${basename(place)}": give \`to\`, or an extension such as .safetensors or .pt`,
  );
}

/** The name of a file without the extension of its target. */
export function stemOf(path: string, target: Target): string {
  const name = basename(path);
  const extension = target.extensions.find((one) => name.toLowerCase().endsWith(one));
  return extension === undefined ? name : name.slice(0, -extension.length);
}

/** What people call dtypes on command lines. */
const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
  ['bf16', 'bfloat16'],
  ['half', 'float16'],
  ['fp16', 'float16'],
  ['f16', 'float16'],
  ['float', 'float32'],
  ['fp32', 'float32'],
  ['f32', 'float32'],
]);

export function encodingFor(dtype: DType | string | undefined): Encoding | undefined {
  if (dtype === undefined || dtype === 'q8_0') return dtype;
  const found = dtype instanceof DType ? dtype : DType.of(SHORT_NAMES.get(dtype) ?? dtype);
  if (found?.isFloatingPoint) return found;
  throw new TypeError(`${String(dtype)} is no floating dtype; choose one such as float16, bfloat16 or float8_e4m3fn`);
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** `5GB` counts in thousands, as Hugging Face does; `5GiB` in 1024s. */
export function byteCount(size: number | string | undefined): number | undefined {
  if (size === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]I?B)?$/i.exec(String(size).trim());
  const bytes = match ? Math.floor(Number(match[1]) * (UNITS[(match[2] ?? '').toUpperCase()] as number)) : 0;
  if (!Number.isSafeInteger(bytes) || bytes < 1)
    throw new TypeError(`"${size}" is no number of bytes; write it as 5000000, 5MB or 5MiB`);
  return bytes;
}

/** Far above any real one. */
const MAX_CONFIG_BYTES = 16 << 20;

function configOf(input: unknown, given: string | undefined): ReadonlyMap<string, unknown> | undefined {
  const path = pathOf(input);
  const file =
    given ?? (path === undefined ? undefined : join(isDirectory(path) ? path : dirname(path), 'config.json'));
  if (file === undefined || (given === undefined && !existsSync(file))) return undefined;
  try {
    const text = readFileSync(file, 'utf8');
    const value: unknown = text.length > MAX_CONFIG_BYTES ? undefined : JSON.parse(text);
    if (typeof value !== 'object' || value === null) throw new Error('not an object');
    return new Map(Object.entries(value));
  } catch (cause) {
    throw new CheckpointError('NOT_A_CHECKPOINT', `config.json cannot be read: ${(cause as Error).message}`, {
      path: file,
      cause,
    });
  }
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Options without those that are undefined. */
export function defined<T extends object>(options: T): Defined<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Defined<T>;
}
