import { statSync } from 'node:fs';
import { inputPath, makeInput, outputPath, removeOutput } from '../inputs.mjs';
import { tensorFacts } from '../outputs.mjs';
import { inProgram } from '../programs.mjs';
import { inPython } from '../python.mjs';

const OUTPUT = 'save.pt';
const paths = ({ dir, size }) => [inputPath(dir, size), outputPath(dir, OUTPUT)];
const TORCH = `
import os, sys, torch
from cell import timed
from safetensors.torch import save_file
state = {k: v.clone() for k, v in torch.load(sys.argv[1], weights_only=True, mmap=True).items()}
def work():
    if sys.argv[3] == "safetensors": save_file(state, sys.argv[2], metadata={"format": "pt"})
    else: torch.save(state, sys.argv[2])
    return {"bytes": os.path.getsize(sys.argv[2])}
timed(work)
`;
const ours = ({ edit, env, ...options } = {}) => ({
  env,
  async run(context) {
    const { load, save } = await import('../../dist/index.mjs');
    const [input, output] = paths(context);
    const state = await load(input);
    edit?.(state);
    return context.timed(async () => ({ bytes: (await save(state, output, { fsync: false, ...options })).bytes }));
  },
});

export default {
  about: 'save a state dict whose values are mapped from another file; PyTorch holds them in memory',
  sizes: ['4GiB', '1GiB', '100k'],
  smoke: '1MiB',
  guard: { size: '64MiB', contenders: ['ours', 'ours-edited', 'cp'] },
  prepare: async (dir, size) => [await makeInput(dir, size)],
  reset: (dir) => removeOutput(dir, OUTPUT),
  expected: (dir, size) => tensorFacts(inputPath(dir, size)),
  result: (dir) => tensorFacts(outputPath(dir, OUTPUT)),
  contenders: {
    ours: ours(),
    'ours-edited': ours({ edit: (state) => state.set('epoch', 4) }),
    'ours-without-crc': ours({ crc32: false }),
    'ours-no-external-buffers': ours({ env: { TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS: '1' } }),
    'torch-save': inPython(TORCH, (context) => [...paths(context), 'torch'], { needs: ['torch', 'safetensors'] }),
    'safetensors-save-file': inPython(TORCH, (context) => [...paths(context), 'safetensors'], {
      needs: ['torch', 'safetensors'],
    }),
    cp: inProgram(
      (context) => ['cp', ...paths(context)],
      (context) => ({ bytes: statSync(paths(context)[1]).size }),
    ),
  },
};
