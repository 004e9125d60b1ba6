import { inputPath, makeInput } from '../inputs.mjs';
import { runPython } from '../python.mjs';

const TORCH = `
import json, sys, time, torch
state = torch.load(sys.argv[1], weights_only=True, mmap=True)
tensors = [v.clone() for v in state.values()]
tensors[0].float()
t = time.perf_counter()
size = 0
for v in tensors:
    size += v.float().nbytes
print(json.dumps({'ms': (time.perf_counter() - t) * 1000, 'bytes': size}))
`;
const ours = (reuse) => ({
  async run({ dir, size, timed }) {
    const { open } = await import('../../dist/index.mjs');
    const checkpoint = await open(inputPath(dir, size, 'bfloat16'));
    const tensors = [...checkpoint.tensors()].map(([, tensor]) => tensor);
    const into = reuse ? new Float32Array(tensors[0].numel).fill(1) : undefined;
    // The pages of the source are touched first, as the copies in Python are.
    for (const tensor of tensors) tensor.toFloat32Array(into);
    return timed(() => {
      let bytes = 0;
      for (const tensor of tensors) bytes += tensor.toFloat32Array(into).byteLength;
      return bytes;
    });
  },
});

export default {
  about: 'convert bfloat16 weights to float32',
  sizes: ['1GiB'],
  smoke: '1MiB',
  prepare: (dir, size) => makeInput(dir, size, 'bfloat16'),
  contenders: {
    ours: ours(false),
    'ours-into': ours(true),
    torch: { needs: 'torch', run: ({ dir, size }) => runPython(TORCH, [inputPath(dir, size, 'bfloat16')]) },
  },
};
