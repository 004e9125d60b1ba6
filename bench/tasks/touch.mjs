import { inputPath, makeInput } from '../inputs.mjs';
import { runPython } from '../python.mjs';

// Both sides read one element in each page through a loop of their own native code: the cost is that of the mapping.
const TORCH = `
import json, sys, time, torch
state = torch.load(sys.argv[1], weights_only=True, mmap=True)
views = [v.view(torch.uint8).flatten() for v in state.values()]
t = time.perf_counter()
total, size = 0, 0
for v in views:
    total += int(v[::4096].sum()); size += v.numel()
print(json.dumps({'ms': (time.perf_counter() - t) * 1000, 'bytes': size}))
`;
const ours = (env) => ({
  async run({ dir, size, timed }) {
    Object.assign(process.env, env);
    const { open } = await import('../../dist/index.mjs');
    const checkpoint = await open(inputPath(dir, size));
    const storages = [...checkpoint.tensors()].map(([, tensor]) => tensor.storage);
    return timed(() => {
      let total = 0;
      let bytes = 0;
      for (const storage of storages) {
        const view = storage.bytes();
        for (let i = 0; i < view.length; i += 4096) total += view[i];
        bytes += view.length;
      }
      if (total === 0) throw new Error('all zero');
      return bytes;
    });
  },
});

export default {
  about: 'view every storage and touch each of its pages',
  sizes: ['4GiB', '600x16MiB'],
  smoke: '1MiB',
  prepare: (dir, size) => makeInput(dir, size),
  contenders: {
    ours: ours({}),
    'ours-no-external-buffers': ours({ TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS: '1' }),
    'torch-mmap': { needs: 'torch', run: ({ dir, size }) => runPython(TORCH, [inputPath(dir, size)]) },
  },
};
