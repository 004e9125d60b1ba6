import { describe, inputPath } from '../inputs.mjs';
import { jszip, ours, prepareAll, safetensors, torch } from '../openers.mjs';
import { readRecord } from '../zip-record.mjs';

/** The one in the middle; its record has its number, as storages are numbered in order. */
const middle = (size) => describe(size).tensors >> 1;
const PICKED = 'state[f"blocks.{len(state) // 2}.weight"]';
const torchBytes = (tensor) =>
  `(lambda v: {"bytes": v.numel(), "tensorBytes": v.numel(), "pageSum": int(v[::4096].sum())})(${tensor}.view(torch.uint8).flatten())`;

/** One byte of each page, so that it is the reading that is timed and not the sum. */
function facts(bytes) {
  let pageSum = 0;
  for (let i = 0; i < bytes.length; i += 4096) pageSum += bytes[i];
  return { bytes: bytes.length, tensorBytes: bytes.length, pageSum };
}

const use = ({ root }, size) => facts(root.get(`blocks.${middle(size)}.weight`).storage.bytes());

export default {
  about: 'open a checkpoint and take the bytes of one tensor out of its middle',
  sizes: ['4GiB', '1GiB'],
  smoke: '1MiB',
  guard: { size: '64MiB', contenders: ['ours', 'ours-read', 'yauzl-container-alone'] },
  prepare: prepareAll,
  expected: (_dir, size) => ({ tensorBytes: describe(size).tensorBytes }),
  contenders: {
    ours: ours(use),
    'ours-read': ours(use, { options: { io: 'read' } }),
    'ours-no-external-buffers': ours(use, { env: { TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS: '1' } }),
    'torch-mmap-weights-only': torch(torchBytes(PICKED), { mmap: true }),
    'torch-weights-only': torch(torchBytes(PICKED)),
    safetensors: safetensors(torchBytes('file.get_tensor(f"blocks.{len(file.keys()) // 2}.weight")')),
    'yauzl-container-alone': {
      run: ({ dir, size, timed }) =>
        timed(async () => facts(await readRecord(inputPath(dir, size), `data/${middle(size)}`))),
    },
    'jszip-container-alone': jszip(async (zip, size) => {
      const [entry] = zip.file(new RegExp(`/data/${middle(size)}$`));
      return facts(await entry.async('uint8array'));
    }),
  },
};
