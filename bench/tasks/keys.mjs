import { describe } from '../inputs.mjs';
import { jszip, ours, pickleparser, prepareAll, safetensors, torch, yauzlRecords } from '../openers.mjs';

const KEYS = '{"items": len(state), "tensors": len(state), "numel": sum(v.numel() for v in state.values())}';
function keys(checkpoint) {
  let tensors = 0;
  let numel = 0;
  for (const [, tensor] of checkpoint.tensors()) {
    tensors++;
    numel += tensor.numel;
  }
  return { items: tensors, tensors, numel };
}

export default {
  about: 'open a checkpoint of very many small tensors and look at each',
  sizes: ['100k', '10k'],
  smoke: '1k',
  guard: { size: '10k', contenders: ['ours', 'yauzl-container-alone', 'pickleparser-pickle-alone'] },
  prepare: prepareAll,
  expected: (_dir, size) => ({ tensors: describe(size).tensors, numel: describe(size).tensors * 4 }),
  contenders: {
    ours: ours(keys),
    'ours-read': ours(keys, { options: { io: 'read' } }),
    'torch-mmap-weights-only': torch(KEYS, { mmap: true }),
    'torch-weights-only': torch(KEYS),
    torch: torch(KEYS, { weightsOnly: false }),
    safetensors: safetensors('{"items": len(file.keys()), "tensors": len(file.keys())}'),
    'yauzl-container-alone': yauzlRecords,
    'jszip-container-alone': jszip(({ files }) => ({ records: Object.keys(files).length })),
    'pickleparser-pickle-alone': pickleparser,
  },
};
