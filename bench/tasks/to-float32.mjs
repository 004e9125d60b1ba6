import { describe, inputPath, makeInput } from '../inputs.mjs';
import { inPython } from '../python.mjs';

const INPUT = { dtype: 'bfloat16' };
const torch = (tensor) =>
  inPython(
    `
import sys, torch
from cell import timed
tensors = [${tensor} for v in torch.load(sys.argv[1], weights_only=True, mmap=True).values()]
tensors[0].float()
def work():
    size, last = 0, 0
    for v in tensors:
        converted = v.float()
        size += converted.nbytes
        last = float(converted[-1, -1])
    return {"bytes": size, "convertedBytes": size, "last": last}
timed(work)
`,
    ({ dir, size }) => [inputPath(dir, size, INPUT)],
  );
const ours = ({ into, env } = {}) => ({
  env,
  async run({ dir, size, timed }) {
    const { open } = await import('../../dist/index.mjs');
    const checkpoint = await open(inputPath(dir, size, INPUT));
    const tensors = [...checkpoint.tensors()].map(([, tensor]) => tensor);
    const target = into ? new Float32Array(tensors[0].numel).fill(1) : undefined;
    // The pages of the source are touched first, as the copies in Python are.
    for (const tensor of tensors) tensor.toFloat32Array(target);
    return timed(() => {
      let bytes = 0;
      let last = 0;
      for (const tensor of tensors) {
        const converted = tensor.toFloat32Array(target);
        bytes += converted.byteLength;
        last = converted[converted.length - 1];
      }
      return { bytes, convertedBytes: bytes, last };
    });
  },
});

export default {
  about: 'convert bfloat16 weights to float32; memcpy moves the bytes of the result and converts nothing',
  sizes: ['1GiB'],
  smoke: '1MiB',
  guard: { size: '64MiB', contenders: ['ours', 'ours-into', 'memcpy'] },
  prepare: async (dir, size) => [await makeInput(dir, size, INPUT)],
  expected: (_dir, size) => ({ convertedBytes: describe(size).bytes * 2 }),
  contenders: {
    ours: ours(),
    'ours-into': ours({ into: true }),
    'ours-no-external-buffers': ours({ env: { TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS: '1' } }),
    // In memory, and from the mapped file as a checkpoint is when it has just been opened.
    torch: torch('v.clone()'),
    'torch-mmap': torch('v'),
    memcpy: {
      run({ size, timed }) {
        const { tensors, tensorBytes } = describe(size);
        const source = new Float32Array(tensorBytes / 2).fill(1);
        const target = new Float32Array(source.length).fill(2);
        return timed(() => {
          let bytes = 0;
          for (let i = 0; i < tensors; i++) {
            target.set(source);
            bytes += target.byteLength;
          }
          return { bytes, convertedBytes: bytes, copied: target.at(-1) };
        });
      },
    },
  },
};
