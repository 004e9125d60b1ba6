import { describe, makeInput } from '../inputs.mjs';
import { ours, torch } from '../openers.mjs';

const use = ({ root }) => ({ tensors: root.size });

export default {
  about: 'open files whose storages are holes: the time must not depend on the size',
  sizes: ['1GiB-sparse', '4GiB-sparse', '16GiB-sparse'],
  smoke: '256MiB-sparse',
  prepare: async (dir, size) => {
    await makeInput(dir, '1MiB');
    return [await makeInput(dir, size)];
  },
  expected: (_dir, size) => ({ tensors: describe(size).tensors }),
  contenders: {
    ours: ours(use),
    'ours-read': ours(use, { options: { io: 'read' } }),
    'torch-mmap-weights-only': torch('{"tensors": len(state)}', { mmap: true }),
  },
};
