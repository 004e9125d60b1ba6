import { describe, inputPath, makeInput } from '../inputs.mjs';
import { inPython } from '../python.mjs';

const TORCH = `
import sys, torch
from cell import timed
state = torch.load(sys.argv[1], weights_only=True, mmap=True)
def work():
    views = [v.untyped_storage() for v in state.values()]
    return {"items": len(views), "storages": len(views), "viewedBytes": sum(v.nbytes() for v in views)}
timed(work)
`;
const ours = (others) => ({
  ...others,
  async run({ dir, size, timed }) {
    const { open } = await import('../../dist/index.mjs');
    const checkpoint = await open(inputPath(dir, size));
    const storages = [...checkpoint.tensors()].map(([, { storage }]) => storage);
    return timed(() => {
      const views = storages.map((storage) => storage.bytes());
      const viewedBytes = views.reduce((sum, { length }) => sum + length, 0);
      return { items: views.length, storages: views.length, viewedBytes };
    });
  },
});

export default {
  about: 'view every storage of many large ones, and what the garbage collector makes of it, in every line of Node',
  sizes: ['600x16MiB-sparse'],
  smoke: '16x16MiB-sparse',
  prepare: async (dir, size) => [await makeInput(dir, size)],
  expected: (_dir, size) => ({ storages: describe(size).tensors, viewedBytes: describe(size).bytes }),
  contenders: {
    ours: ours(),
    'ours-node-22': ours({ host: 'node@22' }),
    'ours-node-24': ours({ host: 'node@24' }),
    'ours-node-26': ours({ host: 'node@26' }),
    'ours-no-external-buffers': ours({ env: { TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS: '1' } }),
    'torch-mmap': inPython(TORCH, ({ dir, size }) => [inputPath(dir, size)]),
  },
};
