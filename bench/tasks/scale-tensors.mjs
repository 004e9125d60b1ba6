import { describe, makeInput } from '../inputs.mjs';
import { ours, torch, yauzlRecords } from '../openers.mjs';

const COUNT = '{"items": len(state), "tensors": len(state)}';
function count(checkpoint) {
  let tensors = 0;
  for (const [path, { dtype, shape }] of checkpoint.tensors()) if (path && dtype && shape) tensors++;
  return { items: tensors, tensors };
}

export default {
  about: 'open and list 10,000 to a million tensors: the time of each must stay the same',
  sizes: ['10k', '100k', '1m'],
  smoke: '1k',
  prepare: async (dir, size) => {
    await makeInput(dir, '1MiB');
    return [await makeInput(dir, size)];
  },
  expected: (_dir, size) => ({ tensors: describe(size).tensors }),
  contenders: {
    ours: ours(count),
    'torch-mmap-weights-only': torch(COUNT, { mmap: true }),
    'yauzl-container-alone': yauzlRecords,
  },
};
