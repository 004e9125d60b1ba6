import { statSync } from 'node:fs';
import { inputPath, makeTraining, outputPath, removeOutput } from '../inputs.mjs';
import { tensorFacts } from '../outputs.mjs';
import { inProgram } from '../programs.mjs';
import { inPython } from '../python.mjs';

const OUTPUT = 'resave-edited.pt';
const paths = ({ dir, size }) => [inputPath(dir, size, { kind: 'training' }), outputPath(dir, OUTPUT)];
const outputBytes = (context) => ({ bytes: statSync(paths(context)[1]).size });
const REPLACED = 'blocks.0.weight';
const TORCH = `
import os, sys, torch
from cell import timed
def work():
    checkpoint = torch.load(sys.argv[1], weights_only=True, mmap=sys.argv[3] == "mmap")
    checkpoint["epoch"] += 1
    del checkpoint["optimizer_state_dict"]
    state = checkpoint["model_state_dict"]
    state["${REPLACED}"] = torch.ones_like(state["${REPLACED}"])
    torch.save(checkpoint, sys.argv[2])
    return {"bytes": os.path.getsize(sys.argv[2])}
timed(work)
`;
const ours = (options) => ({
  async run(context) {
    const { load, save, Tensor } = await import('../../dist/index.mjs');
    const [input, output] = paths(context);
    return context.timed(async () => {
      const checkpoint = await load(input, options);
      checkpoint.set('epoch', checkpoint.get('epoch') + 1);
      checkpoint.delete('optimizer_state_dict');
      const state = checkpoint.get('model_state_dict');
      const { numel, shape } = state.get(REPLACED);
      state.set(REPLACED, Tensor.from(new Float32Array(numel).fill(1), { shape: [...shape] }));
      await save(checkpoint, output, { fsync: false });
      return outputBytes(context);
    });
  },
});

/** The epoch and the tensors of the output: the first is the replaced one, the last as it was. */
async function editedFacts(path) {
  const { open } = await import('../../dist/index.mjs');
  const checkpoint = await open(path);
  const epoch = checkpoint.root.get('epoch');
  const keys = [...checkpoint.root.keys()];
  checkpoint.close();
  return { ...(await tensorFacts(path)), epoch, keys };
}

export default {
  about:
    'load a training checkpoint, advance the epoch, drop the optimizer, replace a tensor, save; cp copies the result',
  sizes: ['4GiB', '1GiB'],
  smoke: '1MiB',
  guard: { size: '64MiB', contenders: ['ours', 'cp-half'] },
  prepare: async (dir, size) => [await makeTraining(dir, size)],
  reset: (dir) => removeOutput(dir, OUTPUT),
  expected: () => ({ epoch: 4, keys: ['epoch', 'model_state_dict'] }),
  result: (dir, _size, contender) => (contender === 'cp-half' ? undefined : editedFacts(outputPath(dir, OUTPUT))),
  contenders: {
    ours: ours({}),
    'ours-read': ours({ io: 'read' }),
    'torch-mmap': inPython(TORCH, (context) => [...paths(context), 'mmap']),
    torch: inPython(TORCH, (context) => [...paths(context), '']),
    // The optimizer is one half of the file: this is as much as the others write.
    'cp-half': inProgram(
      (context) => ['sh', '-c', 'head -c $(($(stat -c %s "$0") / 2)) "$0" > "$1"', ...paths(context)],
      (context) => ({ ...outputBytes(context), half: statSync(paths(context)[1]).size > 0 }),
    ),
  },
};
