/**
 * A folder as programs load it: every checkpoint in it, the shards against the index over them, and what lies beside them
 * that should not. Shards that each are sound make no model where one is missing or the index is that of another version.
 */
import { basename, dirname, join } from 'node:path';
import { DISTRIBUTED_CHECKPOINT, DISTRIBUTED_NAME } from '../container/distributed';
import { openModel } from '../convert/open-model';
import { beside } from '../convert/output-name';
import {
  checkShard,
  INDEX_NAME,
  readShardIndex,
  SHARD_NAME,
  type ShardIndex,
  storedNames,
  strayShards,
} from '../convert/shards-model';
import { isCheckpointError } from '../errors';
import { filesBelow } from '../source/files-below';
import type { DiagnoseOptions, Diagnosis } from './diagnose';

/** Something wrong in a folder. */
export interface FolderProblem {
  /** Of the file, relative to the folder. */
  readonly path: string;
  /** As of a file; also `missing-shard`, `stray-shard`, `missing-index`, `index`, `mixed-formats`, `partial`, `missing`. */
  readonly kind: string;
  readonly message: string;
  readonly hint?: string;
}

const CHECKPOINT = /\.(?:bin|pt|pth|ckpt|safetensors|pth\.tar|pt\.tar)$/i;
/** No loader takes these for a model by itself; what is said of shards and of models that are there twice is not of them. */
const ARRAYS = /\.np[yz]$/i;
/** What programs leave behind of a download that did not finish. */
const PARTIAL = /\.(?:part|partial|crdownload|incomplete|opdownload|aria2)$/i;
const MAX_NAMED = 5;

/** False for what is not there or no index, whatever it is called. */
export function isShardIndex(path: string): boolean {
  try {
    readShardIndex(path);
    return true;
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
    return false;
  }
}

/** `only`: an index in the folder, to look at its shards alone. `diagnoseFile` is asked about every checkpoint. */
export async function diagnoseFolder(
  folder: string,
  only: string | undefined,
  options: DiagnoseOptions,
  diagnoseFile: (path: string, options: DiagnoseOptions) => Promise<Diagnosis>,
): Promise<Diagnosis> {
  const problems: FolderProblem[] = [];
  const wanted = only === undefined ? undefined : new Set([only, ...readShardIndex(join(folder, only)).files]);
  const files = [
    ...filesBelow(folder, { name: (name, isFolder) => isFolder && (!!wanted || name.startsWith('.')) }),
  ].filter(({ path }) => wanted?.has(path) ?? true);
  const paths = files.map(({ path }) => path);
  for (const { path, stats } of files)
    if (!stats) problems.push({ path, kind: 'missing', message: 'a link to nothing', hint: 'download the file again' });
  const checkpoints = files.flatMap(({ path, stats }) => (stats && CHECKPOINT.test(path) ? [path] : []));
  const arrays = files.flatMap(({ path, stats }) => (stats && ARRAYS.test(path) ? [path] : []));
  const sound = new Set<string>();
  for (const path of [...checkpoints, ...arrays]) {
    options.signal?.throwIfAborted();
    const { ok, kind, message, hint } = await quietly(join(folder, path), options, diagnoseFile);
    if (ok) sound.add(path);
    else problems.push({ path, kind, message, ...(hint === undefined ? {} : { hint }) });
  }
  for (const path of paths) {
    if (PARTIAL.test(path))
      problems.push({ path, kind: 'partial', message: 'a download that has not finished', hint: 'resume it' });
  }
  const indices = paths.filter((path) => INDEX_NAME.test(path));
  const forms = formsOf(checkpoints);
  const notes = twice(forms);
  for (const path of indices) {
    const found = await indexProblems(folder, path, new Set(paths), sound);
    const note = found.some(({ kind }) => kind === 'missing-shard') ? unused(path, forms) : undefined;
    if (note === undefined) problems.push(...found);
    else notes.push(note);
  }
  for (const path of paths) {
    const { kind, hint } = DISTRIBUTED_CHECKPOINT;
    const message = 'a part of a checkpoint by torch.distributed.checkpoint';
    if (DISTRIBUTED_NAME.test(path)) problems.push({ path, kind, message, hint });
  }
  problems.push(...unindexed(folder, indices, checkpoints));
  const count = checkpoints.length + arrays.length;
  if (count === 0 && problems.length === 0)
    return {
      ok: false,
      kind: 'folder',
      message: 'no checkpoint is in the folder or below it',
      hint: 'its weights may not have been downloaded: look for files that end in .safetensors, .bin or .pt',
    };
  const sorted = problems.sort((a, b) => (a.path < b.path ? -1 : Number(a.path > b.path)));
  return {
    ok: sorted.length === 0,
    kind: 'folder',
    message: messageFor(only === undefined ? 'folder' : 'model', count, indices.length, sorted.length),
    ...(sorted.length > 0 ? { problems: sorted } : {}),
    ...(notes.length > 0 ? { notes } : {}),
  };
}

function messageFor(whole: string, checkpoints: number, indices: number, problems: number): string {
  const what = `${checkpoints} ${checkpoints === 1 ? 'checkpoint' : 'checkpoints'}`;
  if (problems > 0) return `${problems} ${problems === 1 ? 'problem' : 'problems'} in a ${whole} of ${what}`;
  const index = indices === 0 ? '' : `, with ${indices === 1 ? 'an index that fits' : `${indices} indices that fit`}`;
  return `a ${whole} of ${what}, all healthy${index}`;
}

/** A file that cannot be opened is one of the problems. */
async function quietly(
  path: string,
  options: DiagnoseOptions,
  diagnoseFile: (path: string, options: DiagnoseOptions) => Promise<Diagnosis>,
): Promise<Diagnosis> {
  try {
    return await diagnoseFile(path, options);
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
    return { ok: false, kind: 'unreadable', message: error.message };
  }
}

async function indexProblems(
  folder: string,
  path: string,
  paths: ReadonlySet<string>,
  sound: ReadonlySet<string>,
): Promise<FolderProblem[]> {
  const problems: FolderProblem[] = [];
  const tell = (kind: string, message: string, hint: string): unknown => problems.push({ path, kind, message, hint });
  let index: ShardIndex;
  try {
    index = readShardIndex(join(folder, path));
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
    tell('index', error.message, 'download the index again');
    return problems;
  }
  const missing = index.files.filter((file) => !paths.has(beside(path, file)));
  if (missing.length > 0)
    tell(
      'missing-shard',
      `${missing.length} of ${index.files.length} shards that the index names are not there: ${named(missing)}`,
      'download them',
    );
  const stray = strayShards(index);
  if (stray.length > 0)
    tell(
      'stray-shard',
      `the index does not name ${named(stray)}, which ${stray.length === 1 ? 'lies' : 'lie'} beside its shards`,
      'of another version, mostly: delete what is left over, or download the index that goes with it',
    );
  const formats = new Set(index.files.map((file) => /\.[^.]*$/.exec(file)?.[0].toLowerCase()));
  if (formats.size > 1)
    tell(
      'mixed-formats',
      `the index names files of several formats: ${[...formats].join(', ')}`,
      'convert the folder to one',
    );
  for (const file of index.files) {
    if (!sound.has(beside(path, file))) continue;
    try {
      const model = await openModel(join(folder, dirname(path), file));
      try {
        checkShard(index, file, storedNames(model));
      } finally {
        model.close();
      }
    } catch (error) {
      if (!isCheckpointError(error)) throw error;
      tell('index', error.message, error.hint ?? 'download the shards and the index again');
    }
  }
  return problems;
}

/** Shards without an index: none that programs could load is complete without one. */
function unindexed(folder: string, indices: readonly string[], checkpoints: readonly string[]): FolderProblem[] {
  const covered = new Set(
    indices.map((index) => {
      const [, stem = '', extension = '', variant = ''] = INDEX_NAME.exec(basename(index)) ?? [];
      return join(dirname(index), `${stem}${variant}${extension}`);
    }),
  );
  const groups = new Map<string, string[]>();
  for (const path of checkpoints) {
    const [, stem, extension] = SHARD_NAME.exec(path) ?? [];
    if (stem === undefined || covered.has(join(`${stem}${extension}`))) continue;
    const whole = `${stem}${extension}`;
    const known = groups.get(whole);
    if (known) known.push(path);
    else groups.set(whole, [path]);
  }
  return [...groups].flatMap(([whole, shards]) => {
    const count = Number(/-of-(\d{5})\.[^/]*$/.exec(shards[0] as string)?.[1]);
    if (count < 2) return [];
    if (shards.length < count)
      return [
        {
          path: whole,
          kind: 'missing-shard',
          message: `${shards.length} of ${count} shards are there, and no index over them`,
          hint: 'download the others, and the .index.json',
        },
      ];
    return [
      {
        path: whole,
        kind: 'missing-index',
        message: `${shards.length} shards, and no index over them`,
        hint: `download the .index.json, or let "torch-checkpoint convert ${folder} OUT" write one`,
      },
    ];
  });
}

/** Models, as files of Hugging Face are called with or without shards, and the extensions each is there in. */
function formsOf(checkpoints: readonly string[]): ReadonlyMap<string, ReadonlySet<string>> {
  const forms = new Map<string, Set<string>>();
  for (const path of checkpoints) {
    const extension = /\.[^.]*$/.exec(path)?.[0] ?? '';
    const stem = SHARD_NAME.exec(basename(path))?.[1] ?? basename(path, extension);
    const model = modelOf(beside(path, stem));
    forms.set(model, (forms.get(model) ?? new Set()).add(extension.toLowerCase()));
  }
  return forms;
}

function modelOf(stem: string): string {
  return beside(stem, basename(stem).replace(/^pytorch_model(?=$|[-.])/, 'model'));
}

/** One model in both forms: no mistake, and more than a loader takes. */
function twice(forms: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  return [...forms].flatMap(([model, extensions]) =>
    extensions.size > 1
      ? [`"${model}" is there as ${listed(extensions)}: loaders take one of them, mostly .safetensors`]
      : [],
  );
}

/** Repositories have the indices of all forms, downloads mostly the shards of one. */
function unused(index: string, forms: ReadonlyMap<string, ReadonlySet<string>>): string | undefined {
  const [, stem = '', extension = '', variant = ''] = INDEX_NAME.exec(basename(index)) ?? [];
  const others = forms.get(modelOf(beside(index, `${stem}${variant}`)));
  if (!others || others.has(extension.toLowerCase())) return undefined;
  return `the shards of "${index}" are not there; the model is, as ${listed(others)}`;
}

function listed(extensions: ReadonlySet<string>): string {
  return [...extensions].sort().join(' and ');
}

function named(files: readonly string[]): string {
  const more = files.length > MAX_NAMED ? ` and ${files.length - MAX_NAMED} more` : '';
  return files.slice(0, MAX_NAMED).join(', ') + more;
}
