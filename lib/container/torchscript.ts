/**
 * TorchScript archives: the container of torch.save with more pickles, and sources (format.md 8.1, 8.2).
 *
 * Since PyTorch 1.2 or so the module is `data.pkl`, with constants of the code beside it and, for the lite interpreter,
 * its bytecode. Before, it is described by `model.json`. Nothing of the code is run here.
 */
import { CheckpointError } from '../errors';
import type { PyValue } from '../pickle/values';
import { TORCHSCRIPT_REFUSED } from '../pickle/weights-only';
import type { ContainerContents, ReadContext, RecordInfo } from './container';
import { readModelJson } from './model-json';
import { readFacts } from './zip';
import type { ZipArchive } from './zip-archive';
import { DATA_FOLDER, ZipStorages } from './zip-storages';

/** Pickles of an archive, and the folders where each looks for storages, in order. */
const PICKLES = [
  { prefix: '', record: 'data.pkl', folders: [DATA_FOLDER, 'constants/'] },
  { prefix: 'constants', record: 'constants.pkl', folders: ['constants/', DATA_FOLDER] },
  { prefix: 'bytecode', record: 'bytecode.pkl', folders: ['bytecode/', 'constants/', DATA_FOLDER] },
] as const;

/** Sources are text written by people or their compilers. */
const MAX_SOURCE_BYTES = 64 << 20;

export function isTorchScript(archive: ZipArchive): boolean {
  return archive.has('model.json') || (archive.has('data.pkl') && archive.has('constants.pkl'));
}

export function readTorchScript(archive: ZipArchive, context: ReadContext): ContainerContents {
  if (context.weightsOnly)
    throw new CheckpointError('WEIGHTS_ONLY', TORCHSCRIPT_REFUSED, { path: archive.source.name });
  const facts = readFacts(archive);
  const shared = {
    ...facts,
    writer: undefined,
    get records(): readonly RecordInfo[] {
      return archive.records;
    },
    get recordCount(): number {
      return archive.recordCount;
    },
    readCode: () => readSources(archive),
  };
  if (archive.has('model.json')) return withRoots(shared, readModelJson(archive, context), []);
  const storages = new ZipStorages(archive, context, facts.byteOrder === 'big');
  let root: PyValue = null;
  const extraRoots: [string, PyValue][] = [];
  for (const { prefix, record, folders } of PICKLES) {
    if (!archive.has(record)) continue;
    const { value } = context.unpickle(archive.read(record), {
      record,
      storedLength: archive.storedLength(record),
      persistentLoad: (pid) => storages.load(pid, folders),
    });
    if (prefix === '') root = value;
    else extraRoots.push([prefix, value]);
  }
  return withRoots(shared, root, extraRoots);
}

/** Adds to the object itself: a spread would call its getters. */
function withRoots(
  shared: Omit<ContainerContents, 'root'>,
  root: PyValue,
  extraRoots: [string, PyValue][],
): ContainerContents {
  return Object.assign(shared, { root, extraRoots });
}

function readSources(archive: ZipArchive): ReadonlyMap<string, string> {
  const sources = new Map<string, string>();
  for (const { name } of archive.records) {
    if (!name.startsWith('code/') || !name.endsWith('.py')) continue;
    sources.set(name, Buffer.from(archive.read(name, MAX_SOURCE_BYTES)).toString('utf8'));
  }
  return sources;
}
