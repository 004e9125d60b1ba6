/** A folder of models: which files are converted, under which names, and what is only copied. */
import { basename, dirname, join } from 'node:path';
import { CheckpointError } from '../errors';
import { fileGlob, type Matcher } from '../glob';
import { type FileBelow, filesBelow, statsOf } from '../source/files-below';
import { beside, outputName, WEIGHTS } from './output-name';
import { INDEX_NAME, readShardIndex } from './shards-model';
import type { Target, TargetName } from './target';

/** One file to convert. Paths are relative to their folders, with `/`. */
export interface Job {
  readonly input: string;
  readonly output: string;
  readonly bytes: number;
  /** Tells a changed input from the one that was converted. */
  readonly mtimeNs: string;
}

/** The shards of one model. */
export interface Group {
  /** The index to write. */
  readonly output: string;
  /** The index that came with the shards. */
  readonly index: string | undefined;
  readonly jobs: Job[];
}

export interface Scan {
  readonly jobs: readonly Job[];
  readonly groups: readonly Group[];
  /** Files that go over as they are. */
  readonly others: readonly string[];
  readonly clashes: readonly Clash[];
}

/** An input that cannot be converted beside another. */
export interface Clash {
  readonly input: string;
  readonly other: string;
  /** The other is the same model in a better form; else both would have one output. */
  readonly isSame: boolean;
}

/** Hidden files of ours: temporary ones and the journal. */
export const OWN_PREFIX = '.torch-checkpoint';

/** Targets whose shards have an index over them; to the others a model goes as one file. */
const INDEXED: ReadonlySet<TargetName> = new Set(['safetensors', 'pt']);
const SHARD = /^(.*)-\d{5}-of-(\d{5})(\.[^/]*)$/;

/** One that is a link to nothing cannot be read, which is told when its turn comes. */
type Found = FileBelow;

/** What is converted together: one file, or the shards of a model. */
interface Unit {
  readonly inputs: readonly Found[];
  /** What it would be without shards: `pytorch_model.bin`. */
  readonly whole: string;
  readonly shards: Shards | undefined;
}

interface Shards {
  /** The index that came with them. */
  readonly index: string | undefined;
  /** What an index over them is called: the name of a model, `.index.json` behind it. Variants stand between the two. */
  readonly indexed: string;
  readonly ending: string;
}

export interface ScanOptions {
  readonly target: Target;
  /** Globs over paths; undefined: by the extension. */
  readonly files: readonly string[] | undefined;
  /** Shards become one model, which may be cut anew. */
  readonly merge: boolean;
  /** What earlier runs made where the folder is its own output; undefined where it is not. */
  readonly made: ReadonlySet<string> | undefined;
}

/** Throws NOT_FOUND where the folder is not there, or no file is what `files` asks for. */
export function scanDirectory(inputDir: string, outputDir: string, options: ScanOptions): Scan {
  const { target, files, merge } = options;
  const globs = files && files.length > 0 ? files.map(fileGlob) : undefined;
  const isWanted: Matcher = globs ? (path) => globs.some((matches) => matches(path)) : (path) => WEIGHTS.test(path);
  const indices: string[] = [];
  const weights: Found[] = [];
  const others: string[] = [];
  for (const found of listFiles(inputDir, outputDir)) {
    const { path } = found;
    if (INDEX_NAME.test(path)) indices.push(path);
    else if (isWanted(path)) weights.push(found);
    // Weights that were not asked for are not copied either.
    else if (!WEIGHTS.test(path)) others.push(path);
  }
  if (globs && weights.length === 0)
    throw new CheckpointError('NOT_FOUND', `no file matches ${files?.join(', ')}`, {
      path: inputDir,
      hint: '* stays in one folder, ** crosses folders',
    });
  const inputs = options.made ? withoutOutputs(inputDir, weights, indices, options.made, target) : { weights, indices };
  const units = unitsOf(inputDir, inputs.weights, inputs.indices, globs !== undefined);
  return { ...jobsOf(inputDir, units, target, merge || !INDEXED.has(target.name)), others };
}

/** Where both folders are one, what earlier runs made is no input: shards too that a killed run could not take down any more. */
function withoutOutputs(
  inputDir: string,
  weights: readonly Found[],
  indices: readonly string[],
  made: ReadonlySet<string>,
  target: Target,
): { weights: readonly Found[]; indices: readonly string[] } {
  const named = new Map(
    indices.map((index) => [index, filesOf(inputDir, index)?.map((file) => beside(index, file)) ?? []]),
  );
  const own = indices.filter(
    (index) => !named.get(index)?.length || !named.get(index)?.every((path) => made.has(path)),
  );
  const indexed = new Set(own.flatMap((index) => named.get(index) ?? []));
  const outputs = new Set(
    weights.flatMap(({ path }) => (outputName(path, target) === path ? [] : [outputName(path, target)])),
  );
  const isOutput = (path: string): boolean =>
    made.has(path) || (outputs.has(path) && !indexed.has(path) && wholeOf(path) !== undefined);
  return { weights: weights.filter(({ path }) => !isOutput(path)), indices: own };
}

/** Which files an index counts among its shards; undefined where it cannot be read, which is told when its turn comes. */
function filesOf(inputDir: string, index: string): readonly string[] | undefined {
  try {
    return readShardIndex(join(inputDir, index)).files;
  } catch (error) {
    if (error instanceof CheckpointError) return undefined;
    throw error;
  }
}

function unitsOf(
  inputDir: string,
  weights: readonly Found[],
  indices: readonly string[],
  isPartial: boolean,
): readonly Unit[] {
  const rest = new Map(weights.map((found) => [found.path, found]));
  const units: Unit[] = [];
  /** Shards that no index names. */
  const strays = new Map<string, Found[]>();
  for (const index of indices) {
    const [, stem = '', extension = '', variant = ''] = INDEX_NAME.exec(basename(index)) ?? [];
    const whole = beside(index, `${stem}${variant}${extension}`);
    const named = filesOf(inputDir, index)?.map((file) => beside(index, file));
    // The index of what only in part was asked for says nothing about that part.
    if (isPartial && !named?.every((path) => rest.has(path))) continue;
    const isMember = (path: string): boolean => (named?.includes(path) ?? false) || wholeOf(path)?.whole === whole;
    const inputs = [...rest.values()].filter(({ path }) => dirname(path) === dirname(index) && isMember(path));
    for (const { path } of inputs) rest.delete(path);
    const shards = { index, indexed: beside(index, `${stem}${extension}`), ending: `.index${variant}.json` };
    units.push({ inputs, whole, shards });
  }
  for (const found of rest.values()) {
    const shard = wholeOf(found.path);
    if (!shard || shard.count < 2) {
      units.push({ inputs: [found], whole: found.path, shards: undefined });
      continue;
    }
    const { whole } = shard;
    const known = strays.get(whole);
    if (known) {
      known.push(found);
      continue;
    }
    const inputs = [found];
    strays.set(whole, inputs);
    units.push({ inputs, whole, shards: { index: undefined, indexed: whole, ending: '.index.json' } });
  }
  return units;
}

/** `a/model.bin` of `a/model-00001-of-00002.bin`. */
function wholeOf(path: string): { whole: string; count: number } | undefined {
  const [, stem, count, extension] = SHARD.exec(path) ?? [];
  return stem === undefined ? undefined : { whole: `${stem}${extension}`, count: Number(count) };
}

function jobsOf(inputDir: string, units: readonly Unit[], target: Target, merge: boolean): Omit<Scan, 'others'> {
  const jobs: Job[] = [];
  const groups: Group[] = [];
  const clashes: Clash[] = [];
  /** Outputs, and models whole or in shards, with what they are made from. */
  const owners = new Map<string, string>();
  const models = new Map<string, Unit>();
  // Where the same weights lie in both forms, the safetensors are the ones to take.
  const ordered = [...units].sort(
    (a, b) => Number(isSafetensors(b.whole)) - Number(isSafetensors(a.whole)) || (a.whole < b.whole ? -1 : 1),
  );
  for (const unit of ordered) {
    const whole = outputName(unit.whole, target);
    const other = models.get(whole);
    if (other && isSafetensors(other.whole) && /(?:^|\/)pytorch_model[^/]*\.bin$/.test(unit.whole)) {
      const name = other.shards?.index ?? other.inputs[0]?.path ?? other.whole;
      for (const { path } of unit.inputs) clashes.push({ input: path, other: name, isSame: true });
      continue;
    }
    if (!other) models.set(whole, unit);
    const { shards } = unit;
    const merged = merge && shards?.index !== undefined;
    const made = merged
      ? [mergedJob(inputDir, unit, shards.index, whole)]
      : unit.inputs.map((found) => jobOf(inputDir, found, outputName(found.path, target), target));
    const free = made.filter(({ input, output }) => {
      const owner = owners.get(output);
      if (owner === undefined) owners.set(output, input);
      else clashes.push({ input, other: owner, isSame: false });
      return owner === undefined;
    });
    jobs.push(...free);
    if (!shards || merged || !INDEXED.has(target.name)) continue;
    const output = `${outputName(shards.indexed, target)}${shards.ending}`;
    const input = shards.index ?? unit.whole;
    const owner = owners.get(output);
    if (owner === undefined) {
      owners.set(output, input);
      groups.push({ output, index: shards.index, jobs: free.sort(byInput) });
    } else clashes.push({ input, other: owner, isSame: false });
  }
  return { jobs: jobs.sort(byInput), groups, clashes };
}

function byInput(a: Job, b: Job): number {
  return a.input < b.input ? -1 : 1;
}

function jobOf(inputDir: string, { path, stats }: Found, output: string, target: Target): Job {
  // What GGUF says of a model comes from its config.
  const config = target.name === 'gguf' ? statsOf(join(inputDir, beside(path, 'config.json'))) : undefined;
  const times = [stats, config].flatMap((one) => (one ? [one.mtimeNs] : []));
  return { input: path, output, bytes: Number(stats?.size ?? 0), mtimeNs: times.join() };
}

function mergedJob(inputDir: string, { inputs }: Unit, index: string, output: string): Job {
  const files = [...inputs.map(({ stats }) => stats), statsOf(join(inputDir, index))];
  const config = statsOf(join(inputDir, beside(index, 'config.json')));
  return {
    input: index,
    output,
    bytes: inputs.reduce((sum, { stats }) => sum + Number(stats?.size ?? 0), 0),
    mtimeNs: [...files, config].map((stats) => String(stats?.mtimeNs ?? '')).join(),
  };
}

function isSafetensors(path: string): boolean {
  return path.toLowerCase().endsWith('.safetensors');
}

/** The output may lie inside the input, and is no input then; folders like .git are nobody's models. */
function listFiles(inputDir: string, outputDir: string): Iterable<Found> {
  return filesBelow(inputDir, {
    folder: outputDir,
    name: (name, isFolder) => name.startsWith(OWN_PREFIX) || (isFolder && name.startsWith('.')),
  });
}
