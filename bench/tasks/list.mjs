import { describe, inputPath } from '../inputs.mjs';
import { ours, prepareAll, safetensors, torch } from '../openers.mjs';

const LIST = '{"tensors": len([(k, v.dtype, tuple(v.shape)) for k, v in state.items()])}';
function list(checkpoint) {
  let tensors = 0;
  for (const [path, { dtype, shape }] of checkpoint.tensors()) if (path && dtype && shape) tensors++;
  return { tensors };
}

export default {
  about: 'open a checkpoint and list its tensors: path, dtype, shape',
  sizes: ['4GiB', '100k'],
  smoke: '1MiB',
  prepare: prepareAll,
  expected: (_dir, size) => ({ tensors: describe(size).tensors }),
  contenders: {
    ours: ours(list),
    'ours-again': ours(list, { again: true }),
    'ours-read': ours(list, { options: { io: 'read' } }),
    'ours-inspect': {
      async run({ dir, size, timed }) {
        const { inspect } = await import('../../dist/index.mjs');
        await inspect(inputPath(dir, '1MiB'));
        return timed(async () => ({ tensors: (await inspect(inputPath(dir, size))).tensors.length }));
      },
    },
    'torch-mmap-weights-only': torch(LIST, { mmap: true }),
    'torch-mmap-weights-only-again': torch(LIST, { mmap: true, again: true }),
    'torch-mmap': torch(LIST, { mmap: true, weightsOnly: false }),
    'torch-weights-only': torch(LIST),
    torch: torch(LIST, { weightsOnly: false }),
    safetensors: safetensors(
      '{"tensors": len([(k, s.get_dtype(), s.get_shape()) for k in file.keys() for s in [file.get_slice(k)]])}',
    ),
  },
};
