import { statSync } from 'node:fs';
import { inputPath, makeInput, outputPath, removeOutput } from '../inputs.mjs';
import { MEMORY_LIMIT } from '../needs.mjs';
import { tensorFacts } from '../outputs.mjs';

const OUTPUT = 'small-memory.safetensors';
const HEAP = ['--max-old-space-size=24'];
/** Private writable memory of a process in KiB, a private mapping of a file included: 256 MiB. */
const DATA_LIMIT = ['sh', '-c', 'ulimit -d 262144 && exec "$@"', 'sh'];
const ours = (others) => ({
  flags: HEAP,
  ...others,
  async run({ dir, size, timed }) {
    const { convert } = await import('../../dist/index.mjs');
    return timed(async () => {
      await convert(inputPath(dir, size), outputPath(dir, OUTPUT), { fsync: false });
      return { bytes: statSync(inputPath(dir, size)).size };
    });
  },
});

export default {
  about: 'convert in a heap of 24 MiB, and under limits of 256 MiB',
  sizes: ['4GiB'],
  smoke: '16MiB',
  prepare: async (dir, size) => [await makeInput(dir, size)],
  reset: (dir) => removeOutput(dir, OUTPUT),
  expected: (dir, size) => tensorFacts(inputPath(dir, size)),
  result: (dir) => tensorFacts(outputPath(dir, OUTPUT)),
  contenders: {
    'ours-heap': ours(),
    'ours-heap-data-limit': ours({ under: DATA_LIMIT }),
    'ours-heap-memory-limit': ours({ under: MEMORY_LIMIT, needs: ['memory-limit'] }),
  },
};
