import { describe, inputPath, makeInput, makeSafetensors } from '../inputs.mjs';
import { inProgram } from '../programs.mjs';
import { inPython } from '../python.mjs';

// All sides read one byte of each page in a loop of compiled code: the cost is that of the mapping.
const TOUCH = `
def touch(tensor):
    v = tensor.view(torch.uint8).flatten()
    return v.numel(), int(v[::4096].sum())
def touch_all(tensors):
    sums = [touch(tensor) for tensor in tensors]
    size = sum(size for size, _ in sums)
    return {"bytes": size, "touchedBytes": size, "pageSum": sum(total for _, total in sums)}
`;
const TORCH = `
import sys, torch
from cell import timed
${TOUCH}
state = torch.load(sys.argv[1], weights_only=True, mmap=True)
timed(lambda: touch_all(state.values()))
`;
const SAFETENSORS = `
import sys, torch
from safetensors import safe_open
from cell import timed
${TOUCH}
with safe_open(sys.argv[1], framework="pt") as file:
    timed(lambda: touch_all(file.get_tensor(key) for key in file.keys()))
`;
const ours = ({ io, env } = {}) => ({
  env,
  async run({ dir, size, timed }) {
    const { open } = await import('../../dist/index.mjs');
    const checkpoint = await open(inputPath(dir, size), { io });
    const storages = [...checkpoint.tensors()].map(([, tensor]) => tensor.storage);
    return timed(() => {
      let pageSum = 0;
      let bytes = 0;
      for (const storage of storages) {
        const view = storage.bytes();
        for (let i = 0; i < view.length; i += 4096) pageSum += view[i];
        bytes += view.length;
      }
      return { bytes, touchedBytes: bytes, pageSum };
    });
  },
});

export default {
  about: 'view every storage and touch each of its pages: the first pass over a file',
  sizes: ['4GiB', '600x16MiB'],
  smoke: '1MiB',
  guard: { size: '64MiB', contenders: ['ours', 'ours-no-external-buffers', 'cat'] },
  prepare: async (dir, size) => [await makeInput(dir, size), await makeSafetensors(dir, size)],
  expected: (_dir, size) => ({ touchedBytes: describe(size).bytes }),
  contenders: {
    ours: ours(),
    'ours-read': ours({ io: 'read' }),
    'ours-no-external-buffers': ours({ env: { TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS: '1' } }),
    'torch-mmap': inPython(TORCH, ({ dir, size }) => [inputPath(dir, size)]),
    safetensors: inPython(SAFETENSORS, ({ dir, size }) => [inputPath(dir, size, { extension: 'safetensors' })], {
      needs: ['torch', 'safetensors'],
    }),
    cat: inProgram(
      ({ dir, size }) => ['sh', '-c', 'cat "$0" | wc -c', inputPath(dir, size)],
      (_context, text) => ({ bytes: Number(text), wholeFile: Number(text) > 0 }),
    ),
  },
};
