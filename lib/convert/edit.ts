/** Small changes to a checkpoint: single values set, removed or renamed, all the rest saved as it was. */
import type { Checkpoint } from '../checkpoint';
import { CheckpointError } from '../errors';
import { type LoadOptions, open } from '../load';
import type { PyValue } from '../pickle/values';
import { type SaveOptions, type SaveTarget, save } from '../save';
import type { CheckpointSource } from '../source/open-source';
import { parseJsonValue } from './json-value';
import { type Slot, slotsAt } from './slots';

/** Changes to a checkpoint, and how to write it. */
export interface EditOptions
  extends Pick<SaveOptions, 'fsync' | 'signal' | 'onProgress'>,
    Pick<LoadOptions, 'limits' | 'io'> {
  /** Paths with their new values, each `PATH=JSON` or a pair; numbers with a dot or exponent are floats. */
  set?: readonly (string | readonly [path: string, value: unknown])[] | undefined;
  /** Paths to remove; of list items the ones behind move up. */
  delete?: readonly string[] | undefined;
  /** `OLD=NEW`, both whole paths in one container; the position in it stays. */
  rename?: readonly string[] | undefined;
}

/** What `edit` changed and wrote. */
export interface EditReport {
  /** Values that were set, removed or renamed. */
  readonly edits: number;
  readonly bytes: number;
}

/**
 * Changes values of a checkpoint and saves it; `output` may be the file itself. A path that is no key, but the beginning of
 * several names of a state dict, means all of them. Throws CheckpointError (NOT_FOUND for an unknown path, UNSUPPORTED for
 * formats that PyTorch does not save) and TypeError for edits that cannot be understood.
 */
export async function edit(
  input: CheckpointSource,
  output: SaveTarget,
  options: EditOptions = {},
): Promise<EditReport> {
  const { set = [], delete: removed = [], rename = [], fsync, signal, onProgress, limits, io } = options;
  const changes = [...set.map(setting), ...removed.map(removal), ...rename.map(renaming)];
  const checkpoint = await open(input, {
    classes: new Map(),
    ...(limits ? { limits } : {}),
    ...(io ? { io } : {}),
    ...(signal ? { signal } : {}),
  });
  try {
    demandPickle(checkpoint, typeof input === 'string' ? input : undefined);
    let edits = 0;
    for (const change of changes) edits += change(checkpoint.root, typeof input === 'string' ? input : undefined);
    const format = checkpoint.format === 'legacy' ? 'legacy' : 'zip';
    const report = await save(checkpoint.root, output, {
      format,
      ...(fsync === undefined ? {} : { fsync }),
      ...(signal ? { signal } : {}),
      ...(onProgress ? { onProgress } : {}),
    }).catch((error: unknown) => {
      throw format === 'legacy' ? withWayOut(error) : error;
    });
    return { edits, bytes: report.bytes };
  } finally {
    checkpoint.close();
  }
}

/** The legacy stream cannot hold everything that PyTorch has written into it. */
function withWayOut(error: unknown): unknown {
  if (!(error instanceof CheckpointError) || error.code !== 'UNSAVABLE') return error;
  return new CheckpointError('UNSAVABLE', error.message, {
    hint: 'convert it to a new .pt first, which is a zip, and edit that: torch-checkpoint convert',
    cause: error,
  });
}

function demandPickle({ format }: Checkpoint, path: string | undefined): void {
  if (format === 'safetensors')
    throw new CheckpointError('UNSUPPORTED', 'a safetensors file has names and tensors only', {
      path,
      hint: 'convert --rename and --exclude change those',
    });
  if (format === 'torchscript')
    throw new CheckpointError('UNSUPPORTED', 'a TorchScript archive is a program, which cannot be edited', {
      path,
      hint: 'convert it to .pt first',
    });
}

type Change = (root: PyValue, file: string | undefined) => number;

function existing(root: PyValue, path: string, file: string | undefined): Slot[] {
  const slots = slotsAt(root, path);
  if (slots.length === 0)
    throw new CheckpointError('NOT_FOUND', `no "${path.slice(0, 500)}" in the checkpoint`, {
      path: file,
      hint: 'torch-checkpoint inspect lists the paths',
    });
  return slots;
}

function setting(given: string | readonly [path: string, value: unknown]): Change {
  const [path, value] = typeof given === 'string' ? parts(given, (text) => parseJsonValue(text)) : given;
  return (root, file) => {
    const slots = existing(root, path, file);
    if (slots[0]?.path !== path)
      throw new TypeError(`"${path}" is the beginning of ${slots.length} names; set them one by one`);
    slots[0].set(value as PyValue);
    return 1;
  };
}

function removal(path: string): Change {
  return (root, file) => {
    const slots = existing(root, path, file);
    for (const slot of slots) slot.delete();
    return slots.length;
  };
}

function renaming(given: string): Change {
  const [from, to] = parts(given, (text) => text);
  return (root, file) => {
    const slots = existing(root, from, file);
    for (const slot of slots) renameSlot(slot, to + slot.path.slice(from.length));
    return slots.length;
  };
}

function renameSlot({ parent, path, rename, hasKey }: Slot, to: string): void {
  const prefix = parent === '' ? '' : `${parent}.`;
  if (!rename) throw new TypeError(`"${path}" has no name that could be changed`);
  if (!to.startsWith(prefix) || to.length === prefix.length)
    throw new TypeError(`"${path}" stays in its container: its new path must begin with "${prefix}"`);
  const key = to.slice(prefix.length);
  if (to === path) return;
  if (hasKey(key)) throw new TypeError(`"${to}" is there already; delete it first`);
  rename(key);
}

/** The two sides of the first `=`. */
function parts<T>(text: string, parse: (value: string) => T): [path: string, value: T] {
  const at = text.indexOf('=');
  if (at < 1) throw new TypeError(`"${text.slice(0, 200)}" should be a path, "=" and a value`);
  return [text.slice(0, at), parse(text.slice(at + 1))];
}
