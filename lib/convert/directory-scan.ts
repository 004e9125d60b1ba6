/** A folder of models: which files are converted, under which names, and what is only copied. */
import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { CheckpointError } from '../errors';
import type { Target, TargetName } from './target';

/** One file to convert. Paths are relative to their folders, with `/`. */
export interface Job {
  readonly input: string;
  readonly output: string;
  readonly bytes: number;
  /** Tells a changed input from the one that was converted. */
  readonly mtimeNs: string;
  /** The shards it belongs to: the output index that they share. */
  readonly group: string | undefined;
}

export interface Group {
  /** The index to write. */
  readonly output: string;
  /** The index that came with the shards. */
  readonly index: string | undefined;
  readonly jobs: Job[];
}

export interface Scan {
  readonly jobs: readonly Job[];
  readonly groups: ReadonlyMap<string, Group>;
  /** Files that go over as they are. */
  readonly others: readonly string[];
  /** Inputs that have the same output as one before them, with that one. */
  readonly clashes: readonly (readonly [input: string, other: string])[];
}

/** Hidden files of ours: temporary ones and the journal. */
export const OWN_PREFIX = '.torch-checkpoint';

const WEIGHTS = /\.(?:bin|pt|pth|ckpt|safetensors|npz|pth\.tar|pt\.tar)$/i;
const INDEX = /\.(?:bin|pt|pth|ckpt|safetensors)\.index\.json$/i;
/** Targets whose shards have an index over them. */
const INDEXED: ReadonlySet<TargetName> = new Set(['safetensors', 'pt']);
const SHARD = /^(.*)-(\d{5})-of-(\d{5})$/;

/** Throws NOT_FOUND where the folder is not there. */
export function scanDirectory(
  inputDir: string,
  outputDir: string,
  target: Target,
  files: readonly string[] | undefined,
): Scan {
  const wanted = files && files.length > 0 ? files.map(fileGlob) : undefined;
  const indices = new Map<string, string>();
  const weights: string[] = [];
  const others: string[] = [];
  for (const path of listFiles(inputDir, outputDir)) {
    if (INDEX.test(path)) indices.set(outputName(path.replace(/\.index\.json$/i, ''), target), path);
    else if (wanted ? wanted.some((glob) => glob.test(path)) : WEIGHTS.test(path)) weights.push(path);
    else others.push(path);
  }
  return { ...jobsOf(inputDir, weights, indices, target), others };
}

function jobsOf(
  inputDir: string,
  weights: readonly string[],
  indices: ReadonlyMap<string, string>,
  target: Target,
): Omit<Scan, 'others'> {
  const jobs: Job[] = [];
  const groups = new Map<string, Group>();
  const owners = new Map<string, string>();
  const clashes: [string, string][] = [];
  // Where the same weights lie in both forms, the safetensors are the ones to take.
  const ordered = [...weights].sort((a, b) => Number(isSafetensors(b)) - Number(isSafetensors(a)));
  for (const input of ordered) {
    const output = outputName(input, target);
    const owner = owners.get(output);
    if (owner !== undefined) {
      clashes.push([input, owner]);
      continue;
    }
    owners.set(output, input);
    const stats = statSync(join(inputDir, input), { bigint: true });
    const shard = SHARD.exec(output.slice(0, -(target.extensions[0] as string).length));
    const whole = shard && `${shard[1]}${target.extensions[0]}`;
    const isShard = INDEXED.has(target.name) && whole !== null && (indices.has(whole) || Number(shard?.[3]) > 1);
    const job: Job = {
      input,
      output,
      bytes: Number(stats.size),
      mtimeNs: String(stats.mtimeNs),
      group: isShard ? `${whole}.index.json` : undefined,
    };
    jobs.push(job);
    if (job.group === undefined) continue;
    let group = groups.get(job.group);
    if (!group) groups.set(job.group, (group = { output: job.group, index: indices.get(whole as string), jobs: [] }));
    group.jobs.push(job);
  }
  const byInput = (a: Job, b: Job): number => (a.input < b.input ? -1 : 1);
  for (const { jobs: shards } of groups.values()) shards.sort(byInput);
  return { jobs: jobs.sort(byInput), groups, clashes };
}

function isSafetensors(path: string): boolean {
  return path.toLowerCase().endsWith('.safetensors');
}

/** True where two inputs are known to be the same weights: Hugging Face keeps both forms beside each other. */
export function isSameModel(input: string, other: string): boolean {
  return isSafetensors(other) && /(?:^|\/)pytorch_model[^/]*\.bin$/.test(input);
}

/** `pytorch_model*.bin` becomes `model*.safetensors`, as Hugging Face calls them; all others keep their stem. */
export function outputName(input: string, target: Target): string {
  const folder = dirname(input);
  const stem = basename(input).replace(WEIGHTS, '');
  const renamed = target.name === 'safetensors' ? stem.replace(/^pytorch_model(?=$|[-.])/, 'model') : stem;
  const name = `${renamed}${target.extensions[0]}`;
  return folder === '.' ? name : `${folder}/${name}`;
}

function* listFiles(inputDir: string, outputDir: string): Generator<string, void, undefined> {
  const root = resolve(inputDir);
  const skipped = resolve(outputDir);
  const pending = [root];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    let entries: { name: string; isDirectory(): boolean; isFile(): boolean; isSymbolicLink(): boolean }[];
    try {
      entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      throw new CheckpointError(
        code === 'EACCES' ? 'ACCESS_DENIED' : 'NOT_FOUND',
        `the folder cannot be listed: ${message}`,
        { path: folder, cause },
      );
    }
    for (const entry of entries) {
      const path = join(folder, entry.name);
      if (entry.name.startsWith(OWN_PREFIX)) continue;
      // The output may lie inside the input, and is no input then; folders like .git are nobody's models.
      if (entry.isDirectory() && path !== skipped && !entry.name.startsWith('.')) pending.push(path);
      // Hugging Face's cache is made of links to files.
      const isFile = entry.isFile() || (entry.isSymbolicLink() && statSync(path, { throwIfNoEntry: false })?.isFile());
      if (isFile) yield relative(root, path).split(sep).join('/');
    }
  }
}

/** A glob over relative paths: `*` and `?` stay in a folder, `**` crosses them. */
function fileGlob(glob: string): RegExp {
  const pattern = glob.replace(/\*\*\/?|[*?]|[^*?]+/g, (part) => {
    if (part === '**/') return '(?:.*/)?';
    if (part === '**') return '.*';
    if (part === '*') return '[^/]*';
    return part === '?' ? '[^/]' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${pattern}$`);
}
