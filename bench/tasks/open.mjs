import { inputPath, makeInput } from '../inputs.mjs';
import { runPython } from '../python.mjs';

const TORCH = `
import json, sys, time, torch
path, weights_only, mmap = sys.argv[1], sys.argv[2] == '1', sys.argv[3] == '1'
t = time.perf_counter()
state = torch.load(path, weights_only=weights_only, mmap=mmap)
facts = [(k, v.dtype, tuple(v.shape)) for k, v in state.items()]
print(json.dumps({'ms': (time.perf_counter() - t) * 1000, 'tensors': len(facts)}))
`;
const torch = (weightsOnly, mmap) => ({
  needs: 'torch',
  run: ({ dir, size }) => runPython(TORCH, [inputPath(dir, size), weightsOnly ? '1' : '0', mmap ? '1' : '0']),
});
const ours = (options) => ({
  async run({ dir, size, timed }) {
    const { open } = await import('../../dist/index.mjs');
    // One small file first, so that loading the package and compiling its code are not counted, as imports are not in Python.
    await open(await makeInput(dir, '1MiB'));
    return timed(async () => {
      const checkpoint = await open(inputPath(dir, size), options);
      let tensors = 0;
      for (const [path, { dtype, shape }] of checkpoint.tensors()) if (path && dtype && shape) tensors++;
      if (tensors === 0) throw new Error('no tensors');
    });
  },
});

export default {
  about: 'open a checkpoint and list its tensors: path, dtype, shape',
  sizes: ['4GiB', '100k', '1GiB'],
  smoke: '1MiB',
  async prepare(dir, size) {
    await makeInput(dir, '1MiB');
    await makeInput(dir, size);
  },
  contenders: {
    ours: ours({}),
    'ours-read': ours({ io: 'read' }),
    'torch-mmap-weights-only': torch(true, true),
    'torch-weights-only': torch(true, false),
    'torch-pickle': torch(false, false),
  },
};
