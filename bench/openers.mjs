/** Contenders that open a checkpoint: PyTorch's ways, ours, and readers of the container or of the pickle alone. */
import { readFile } from 'node:fs/promises';
import yauzl from 'yauzl';
import { inputPath, makeInput, makePickle, makeSafetensors } from './inputs.mjs';
import { requireReader } from './needs.mjs';
import { inPython } from './python.mjs';

const SMALL = '1MiB';

/** Inputs of all of these contenders. */
export async function prepareAll(dir, size) {
  await makeInput(dir, SMALL);
  return [await makeInput(dir, size), await makeSafetensors(dir, size), await makePickle(dir, size)];
}

/**
 * `use` gets the open checkpoint, and gives what `timed` wants. `again`: the median of many times in one process, as in a
 * service, instead of the first.
 */
export function ours(use, { options = {}, again = false, ...others } = {}) {
  return {
    ...others,
    async run({ dir, size, timed, repeated }) {
      const { open } = await import('../dist/index.mjs');
      // A small file first, so that compiling is not counted, as imports are not in Python.
      const small = await open(inputPath(dir, SMALL), options);
      await use(small, SMALL);
      small.close();
      if (again) {
        return repeated(async () => {
          const checkpoint = await open(inputPath(dir, size), options);
          const facts = await use(checkpoint, size);
          checkpoint.close();
          return facts;
        });
      }
      return timed(async () => use(await open(inputPath(dir, size), options), size));
    },
  };
}

/** `use` is Python: an expression over `state` that gives a dict. `again` as in `ours`. */
export function torch(use, { mmap = false, weightsOnly = true, again = false } = {}) {
  const script = `
import sys, torch
from cell import repeated, timed
def work():
    state = torch.load(sys.argv[1], weights_only=${weightsOnly ? 'True' : 'False'}, mmap=${mmap ? 'True' : 'False'})
    return ${use}
torch.load(sys.argv[2], weights_only=True)
${again ? 'repeated' : 'timed'}(work)
`;
  return inPython(script, ({ dir, size }) => [inputPath(dir, size), inputPath(dir, SMALL)]);
}

/** `use` is an expression over `file`, a safe_open. */
export function safetensors(use) {
  const script = `
import sys, torch
from safetensors import safe_open
from cell import timed
def work():
    with safe_open(sys.argv[1], framework="pt") as file:
        return ${use}
timed(work)
`;
  return inPython(script, ({ dir, size }) => [inputPath(dir, size, { extension: 'safetensors' })], {
    needs: ['torch', 'safetensors'],
  });
}

/**
 * The container alone. `use` gets the zip, the size, and gives what `timed` wants.
 *
 * JSZip takes the zip64 end record that PyTorch writes into every file for bytes in front of the archive, and then finds
 * no records: no checkpoint opens. That is tried first, so that a release which reads them joins by itself.
 */
export function jszip(use) {
  return {
    needs: ['npm:jszip'],
    cannot: async (size, dir) => {
      if (/GiB|x16MiB/.test(size)) return 'readFile and one Buffer end at 2 GiB';
      const bytes = await readFile(await makeInput(dir, SMALL));
      return requireReader(dir, 'jszip')
        .loadAsync(bytes)
        .then(
          () => undefined,
          ({ message }) => `it cannot read PyTorch's zips: ${message}`,
        );
    },
    run: ({ dir, size, timed }) =>
      timed(async () => use(await requireReader(dir, 'jszip').loadAsync(await readFile(inputPath(dir, size))), size)),
  };
}

/** The directory of the container alone. */
export const yauzlRecords = {
  run: ({ dir, size, timed }) =>
    timed(async () => {
      const zip = await yauzl.openPromise(inputPath(dir, size), { lazyEntries: true });
      let records = 0;
      for await (const { fileName } of zip.eachEntry()) if (fileName) records++;
      return { records };
    }),
};

/** The pickle alone, from a file that holds nothing else; tensors become what the stand-ins give. */
export const pickleparser = {
  needs: ['npm:pickleparser'],
  run: ({ dir, size, timed }) =>
    timed(async () => {
      const parse = pickleParser(dir);
      return { tensors: parse(await readFile(inputPath(dir, size, { extension: 'pkl' }))).size };
    }),
};

/** Parses a pickle of tensors to a Map. */
export function pickleParser(dir) {
  const { NameRegistry, Parser } = requireReader(dir, 'pickleparser');
  class Unknown {}
  const nameResolver = new NameRegistry()
    .register('collections', 'OrderedDict', () => new Map())
    .register('torch._utils', '_rebuild_tensor_v2', function rebuild(storage, offset, shape, stride) {
      return { storage, offset, shape, stride };
    });
  nameResolver.onMissingName = () => Unknown;
  const persistentResolver = { resolve: (id) => id };
  return (bytes) => new Parser({ nameResolver, persistentResolver, unpicklingTypeOfDictionary: 'Map' }).parse(bytes);
}
