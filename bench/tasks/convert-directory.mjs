import { statSync } from 'node:fs';
import { join } from 'node:path';
import { filesOf } from '../caches.mjs';
import { describeShards, makeShards, outputPath, removeOutput } from '../inputs.mjs';
import { folderFacts } from '../outputs.mjs';
import { inProgram } from '../programs.mjs';
import { inPython } from '../python.mjs';

const OUTPUT = 'shards';
const folderOf = (dir, size) => join(dir, `${size}-shards`);
const bytesOf = (dir, size) => filesOf([folderOf(dir, size)]).reduce((sum, file) => sum + statSync(file).size, 0);
const TORCH = `
import glob, multiprocessing, os, sys, torch
from safetensors.torch import save_file
from cell import timed
def convert(path):
    state = torch.load(path, weights_only=True, mmap=True)
    save_file(dict(state), os.path.join(sys.argv[2], os.path.basename(path)[:-4] + ".safetensors"), metadata={"format": "pt"})
    return os.path.getsize(path)
def work():
    os.makedirs(sys.argv[2])
    return {"bytes": sum(map(convert, files))}
def parallel():
    os.makedirs(sys.argv[2])
    return {"bytes": sum(pool.map(convert, files, chunksize=1))}
files = sorted(glob.glob(os.path.join(sys.argv[1], "*.bin")))
jobs = int(sys.argv[3])
if jobs == 1: timed(work)
else:
    with multiprocessing.Pool(jobs) as pool: timed(parallel)
`;
const torch = (jobs) =>
  inPython(TORCH, ({ dir, size }) => [folderOf(dir, size), outputPath(dir, OUTPUT), String(jobs)], {
    needs: ['torch', 'safetensors'],
  });
const ours = (jobs) => ({
  async run({ dir, size, timed }) {
    const { convertDirectory } = await import('../../dist/index.mjs');
    return timed(async () => {
      const report = await convertDirectory(folderOf(dir, size), outputPath(dir, OUTPUT), {
        to: 'safetensors',
        fsync: false,
        jobs,
      });
      return { bytes: bytesOf(dir, size), failed: report.failed };
    });
  },
});

export default {
  about: 'convert a folder of 16 shards to safetensors, one and two at a time',
  sizes: ['4GiB', '1GiB'],
  smoke: '16MiB',
  guard: { size: '64MiB', contenders: ['ours-2-jobs', 'ours-1-job', 'cp-r'] },
  prepare: async (dir, size) => [await makeShards(dir, size)],
  reset: (dir) => removeOutput(dir, OUTPUT),
  expected: async (dir, size) => {
    const { tensors, bytes } = describeShards(size);
    return { ...(await folderFacts(folderOf(dir, size))), tensors, tensorBytes: bytes, failed: 0 };
  },
  result: (dir) => folderFacts(outputPath(dir, OUTPUT)),
  contenders: {
    'ours-2-jobs': ours(2),
    'ours-1-job': ours(1),
    'torch-2-jobs': torch(2),
    'torch-1-job': torch(1),
    'cp-r': inProgram(
      ({ dir, size }) => ['cp', '-r', folderOf(dir, size), outputPath(dir, OUTPUT)],
      ({ dir, size }) => ({ bytes: bytesOf(dir, size) }),
    ),
  },
};
