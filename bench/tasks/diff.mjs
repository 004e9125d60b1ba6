import { statSync } from 'node:fs';
import { describe, inputPath, makeEdited, makeInput } from '../inputs.mjs';
import { inProgram } from '../programs.mjs';
import { inPython } from '../python.mjs';

const paths = ({ dir, size }) => [inputPath(dir, size), inputPath(dir, size, { kind: 'edited' })];
const bytesOf = (context) => paths(context).reduce((sum, path) => sum + statSync(path).size, 0);
const TORCH = `
import os, sys, torch
from cell import timed
def work():
    a, b = (torch.load(path, weights_only=True, mmap=True) for path in sys.argv[1:3])
    assert a.keys() == b.keys()
    different = [key for key in a if not torch.equal(a[key], b[key])]
    return {"bytes": sum(map(os.path.getsize, sys.argv[1:3])), "different": different}
timed(work)
`;
const ours = (options) => ({
  async run(context) {
    const { diff } = await import('../../dist/index.mjs');
    return context.timed(async () => {
      const { added, removed, changed } = await diff(...paths(context), options);
      return { bytes: bytesOf(context), different: [...added, ...removed, ...changed.map(({ path }) => path)] };
    });
  },
});

export default {
  about: 'compare two checkpoints that differ in the last number of the last tensor',
  sizes: ['4GiB', '1GiB'],
  smoke: '1MiB',
  guard: { size: '64MiB', contenders: ['ours', 'cmp'] },
  prepare: async (dir, size) => [await makeInput(dir, size), await makeEdited(dir, size)],
  expected: (_dir, size) => ({ different: [`blocks.${describe(size).tensors - 1}.weight`], differ: true }),
  contenders: {
    ours: ours({}),
    'ours-mmap': ours({ io: 'mmap' }),
    // The number, its checksums, the id over all: `-l` goes on after the first of them.
    cmp: inProgram(
      (context) => ['cmp', '-l', ...paths(context)],
      (context, text) => ({ bytes: bytesOf(context), differ: text !== '' && text.split('\n').length < 100 }),
      { status: 1, needs: ['program:cmp'] },
    ),
    'torch-mmap-equal': inPython(TORCH, paths),
  },
};
