import { readFileSync } from 'node:fs';
import { describe, inputPath, makeInput, makePickle } from '../inputs.mjs';
import { pickleParser } from '../openers.mjs';
import { inPython } from '../python.mjs';

const TORCH = `
import io, sys, torch
from cell import repeated
with open(sys.argv[1], "rb") as file:
    data = file.read()
def work():
    state = torch.load(io.BytesIO(data), weights_only=sys.argv[2] == "weights-only")
    return {"items": len(state), "tensors": len(state)}
repeated(work)
`;
const torch = (mode) => inPython(TORCH, ({ dir, size }) => [inputPath(dir, size), mode]);

export default {
  about: 'load a checkpoint of many keys from memory, again and again in one process: container, pickle, tensors',
  sizes: ['10k'],
  smoke: '1k',
  guard: { size: '10k', contenders: ['ours', 'pickleparser-pickle-alone'] },
  prepare: async (dir, size) => [await makeInput(dir, size), await makePickle(dir, size)],
  expected: (_dir, size) => ({ tensors: describe(size).tensors }),
  contenders: {
    ours: {
      async run({ dir, size, repeated }) {
        const { loadSync } = await import('../../dist/index.mjs');
        const bytes = readFileSync(inputPath(dir, size));
        return repeated(() => {
          const tensors = loadSync(bytes).size;
          return { items: tensors, tensors };
        });
      },
    },
    'torch-weights-only': torch('weights-only'),
    torch: torch('pickle'),
    'pickleparser-pickle-alone': {
      needs: ['npm:pickleparser'],
      async run({ dir, size, repeated }) {
        const parse = pickleParser(dir);
        const bytes = readFileSync(inputPath(dir, size, { extension: 'pkl' }));
        return repeated(() => {
          const tensors = parse(bytes).size;
          return { items: tensors, tensors };
        });
      },
    },
  },
};
