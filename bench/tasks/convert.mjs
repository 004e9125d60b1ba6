import { statSync } from 'node:fs';
import { inputPath, makeInput, outputPath, removeOutput } from '../inputs.mjs';
import { tensorFacts } from '../outputs.mjs';
import { inProgram } from '../programs.mjs';
import { inPython } from '../python.mjs';

const OUTPUT = 'convert.safetensors';
const inputBytes = (dir, size) => statSync(inputPath(dir, size)).size;
const TORCH = `
import os, sys, torch
from safetensors.torch import save_file
from cell import timed
def work():
    state = torch.load(sys.argv[1], weights_only=True, mmap=sys.argv[3] == "mmap")
    save_file(dict(state), sys.argv[2], metadata={"format": "pt"})
    return {"bytes": os.path.getsize(sys.argv[1])}
timed(work)
`;
const torch = (mmap) =>
  inPython(TORCH, ({ dir, size }) => [inputPath(dir, size), outputPath(dir, OUTPUT), mmap], {
    needs: ['torch', 'safetensors'],
  });
const ours = (options, others) => ({
  ...others,
  async run({ dir, size, timed }) {
    const { convert } = await import('../../dist/index.mjs');
    return timed(async () => {
      await convert(inputPath(dir, size), outputPath(dir, OUTPUT), { fsync: false, ...options });
      return { bytes: inputBytes(dir, size) };
    });
  },
});

export default {
  about: 'convert .pt to safetensors; nobody waits for the disk',
  sizes: ['4GiB', '1GiB'],
  smoke: '1MiB',
  guard: { size: '64MiB', contenders: ['ours', 'cp'] },
  prepare: async (dir, size) => [await makeInput(dir, size)],
  reset: (dir) => removeOutput(dir, OUTPUT),
  expected: (dir, size) => tensorFacts(inputPath(dir, size)),
  result: (dir) => tensorFacts(outputPath(dir, OUTPUT)),
  contenders: {
    ours: ours({}),
    'ours-read': ours({ io: 'read' }),
    'ours-no-external-buffers': ours({}, { env: { TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS: '1' } }),
    'torch-mmap-safetensors': torch('mmap'),
    'torch-safetensors': torch(''),
    cp: inProgram(
      ({ dir, size }) => ['cp', inputPath(dir, size), outputPath(dir, OUTPUT)],
      ({ dir, size }) => ({ bytes: inputBytes(dir, size) }),
    ),
  },
};
