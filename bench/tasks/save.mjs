import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { inputPath, makeInput, removeOutput } from '../inputs.mjs';
import { runPython } from '../python.mjs';

const OUTPUT = 'save-output.pt';
const TORCH = `
import json, os, sys, time, torch
state = {k: v.clone() for k, v in torch.load(sys.argv[1], weights_only=True, mmap=True).items()}
t = time.perf_counter()
torch.save(state, sys.argv[2])
print(json.dumps({'ms': (time.perf_counter() - t) * 1000, 'bytes': os.path.getsize(sys.argv[2])}))
`;
const ours = (edit) => ({
  async run({ dir, size, timed }) {
    const { load, save } = await import('../../dist/index.mjs');
    const state = await load(inputPath(dir, size));
    edit?.(state);
    return timed(async () => (await save(state, join(dir, OUTPUT), { fsync: false })).bytes);
  },
});

export default {
  about: 'save a state dict whose values are mapped from another file; PyTorch holds them in memory',
  sizes: ['4GiB', '1GiB', '100k'],
  smoke: '1MiB',
  prepare: (dir, size) => makeInput(dir, size),
  reset: (dir) => removeOutput(dir, OUTPUT),
  contenders: {
    ours: ours(),
    'ours-edited': ours((state) => state.set('epoch', 4)),
    'torch-save': {
      needs: 'torch',
      run: ({ dir, size }) => runPython(TORCH, [inputPath(dir, size), join(dir, OUTPUT)]),
    },
    cp: {
      async run({ dir, size, timed }) {
        return timed(() => {
          if (spawnSync('cp', [inputPath(dir, size), join(dir, OUTPUT)]).status !== 0) throw new Error('cp failed');
          return statSync(join(dir, OUTPUT)).size;
        });
      },
    },
  },
};
