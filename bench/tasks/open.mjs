import { describe } from '../inputs.mjs';
import { jszip, ours, pickleparser, prepareAll, safetensors, torch, yauzlRecords } from '../openers.mjs';

const use = ({ root, info }) => ({ tensors: root.size, records: info.records.length });
const COUNT = '{"tensors": len(state)}';

export default {
  about: 'open a checkpoint: its headers and its object graph',
  sizes: ['4GiB', '100k'],
  smoke: '1MiB',
  prepare: prepareAll,
  expected: (_dir, size) => ({ tensors: describe(size).tensors }),
  contenders: {
    ours: ours(use),
    'ours-again': ours(use, { again: true }),
    'ours-read': ours(use, { options: { io: 'read' } }),
    'torch-mmap-weights-only': torch(COUNT, { mmap: true }),
    'torch-mmap-weights-only-again': torch(COUNT, { mmap: true, again: true }),
    'torch-mmap': torch(COUNT, { mmap: true, weightsOnly: false }),
    'torch-weights-only': torch(COUNT),
    torch: torch(COUNT, { weightsOnly: false }),
    safetensors: safetensors('{"tensors": len(file.keys())}'),
    'yauzl-container-alone': yauzlRecords,
    'jszip-container-alone': jszip(({ files }) => ({ records: Object.keys(files).length })),
    'pickleparser-pickle-alone': pickleparser,
  },
};
