import { fileURLToPath } from 'node:url';
import { capture, inProgram } from '../programs.mjs';
import { inPython, python } from '../python.mjs';

const path = (relative) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
const CHECKPOINT = path('test/fixtures/valid/zip-lenet-training.pt');
const TENSORS = 51;
const TORCH_LIST = `
import torch
def walk(value):
    if isinstance(value, torch.Tensor): return 1
    return sum(map(walk, value.values() if isinstance(value, dict) else value)) if isinstance(value, (dict, list, tuple)) else 0
print(walk(torch.load(${JSON.stringify(CHECKPOINT)}, weights_only=True)))
`;

export default {
  about: 'start: import the package; a whole process that inspects a small file',
  sizes: ['small'],
  guard: { size: 'small', contenders: ['ours-import', 'ours-inspect-process', 'node-process'] },
  prepare: async () => [CHECKPOINT],
  expected: () => ({ loaded: true, tensors: TENSORS, status: 0 }),
  contenders: {
    'ours-import': {
      run: ({ timed }) =>
        timed(async () => ({ loaded: typeof (await import('../../dist/index.mjs')).open === 'function' })),
    },
    'ours-inspect-process': inProgram(
      () => [process.execPath, path('dist/cli/main.js'), 'inspect', '--json', CHECKPOINT],
      (_context, text) => ({ tensors: JSON.parse(text).tensors.length }),
    ),
    'node-process': inProgram(
      () => [process.execPath, '-e', '0'],
      () => ({ status: 0 }),
    ),
    'torch-import': inPython(
      `
from cell import timed
def work():
    import torch
    return {"loaded": callable(torch.load)}
timed(work)
`,
      () => [],
    ),
    'torch-inspect-process': {
      outside: true,
      needs: ['torch'],
      run: ({ timed }) => timed(async () => ({ tensors: Number(await capture(python().program, ['-c', TORCH_LIST])) })),
    },
  },
};
