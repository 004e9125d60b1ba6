/** What a zip holds, told by the names in it. */
import { CheckpointError, type ErrorCode } from '../errors';
import type { ContainerKind } from './container';
import { isTorchScript, readTorchScript } from './torchscript';
import { readZip } from './zip';
import type { ZipArchive } from './zip-archive';

interface Row {
  readonly kind: string;
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  matches(names: readonly string[], archive: ZipArchive): boolean;
}

const inRoot = (names: readonly string[], name: string): boolean => names.includes(name);

/** Zips of other programs; the first row that matches wins. */
const ROWS: readonly Row[] = [
  {
    kind: 'torch-package',
    code: 'UNSUPPORTED',
    message: 'the file is a torch.package archive: Python code with its data',
    hint: 'save the state dict of the model in it with torch.save',
    matches: (_names, archive) => archive.has('.data/extern_modules'),
  },
  {
    kind: 'stable-baselines3',
    code: 'NOT_A_CHECKPOINT',
    message: 'the file is a Stable-Baselines3 zip, a container of several checkpoints',
    hint: 'unzip it and load policy.pth or policy.optimizer.pth',
    matches: (names) => inRoot(names, '_stable_baselines3_version'),
  },
  {
    kind: 'npz',
    code: 'NOT_A_CHECKPOINT',
    message: 'the file is a NumPy archive (.npz), not a PyTorch checkpoint',
    matches: (names) => names.length > 0 && names.every((name) => name.endsWith('.npy')),
  },
  {
    kind: 'keras',
    code: 'NOT_A_CHECKPOINT',
    message: 'the file is a Keras model (.keras), not a PyTorch checkpoint',
    matches: (names) =>
      inRoot(names, 'model.weights.h5') || (inRoot(names, 'config.json') && inRoot(names, 'metadata.json')),
  },
  {
    kind: 'pt2',
    code: 'UNSUPPORTED',
    message: 'the file is a torch.export archive (.pt2)',
    hint: 'save the state dict of the program: torch.save(program.state_dict, path)',
    matches: (names, archive) =>
      archive.has('archive_format') ||
      names.some(
        (name) => name.endsWith('serialized_exported_program.json') || /^[^/]*\/?models\/.*\.json$/.test(name),
      ),
  },
];

/** The kind of an archive that PyTorch wrote, or the error that names what it is instead. */
export function zipKind(archive: ZipArchive): ContainerKind {
  const path = archive.source.name;
  if (archive.directory.encrypted.includes(1)) {
    throw new CheckpointError('UNSUPPORTED', 'the zip is encrypted', {
      path,
      hint: 'decrypt it first; PyTorch writes no encrypted checkpoints',
    });
  }
  if (isTorchScript(archive))
    return { format: 'torchscript', read: (_source, context) => readTorchScript(archive, context) };
  if (archive.has('data.pkl')) return { format: 'zip', read: (_source, context) => readZip(archive, context) };
  const row = ROWS.find(({ matches }) => matches(archive.names, archive));
  throw row ? new CheckpointError(row.code, row.message, { path, hint: row.hint }) : noData(archive);
}

/** Neither ours nor of a known program: most often a checkpoint that somebody zipped. */
function noData(archive: ZipArchive): CheckpointError {
  const { names, source } = archive;
  const path = source.name;
  if (names.length === 0) return new CheckpointError('ZIP_CORRUPT', 'archive does not contain any files', { path });
  const inside = names.find(
    (name) => /\.(?:pt|pth|bin|ckpt|safetensors|pkl|tar)$/i.test(name) && !name.endsWith('/data.pkl'),
  );
  const listed = names.slice(0, 3).map((name) => `"${name.slice(0, 80)}"`);
  const what = `PytorchStreamReader failed locating file data.pkl: file not found; the zip has ${names.length} ${names.length === 1 ? 'file' : 'files'}: ${listed.join(', ')}${names.length > 3 ? ', ...' : ''}`;
  return new CheckpointError('NOT_A_CHECKPOINT', what, {
    path,
    hint: inside === undefined ? undefined : `unzip it and load "${inside.slice(0, 80)}"`,
  });
}
