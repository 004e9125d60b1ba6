import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { inputPath, makeInput } from '../inputs.mjs';

export default {
  about: 'check the CRC-32 of every record, with two threads; cat reads the same bytes',
  sizes: ['4GiB'],
  smoke: '1MiB',
  prepare: (dir, size) => makeInput(dir, size),
  contenders: {
    ours: {
      async run({ dir, size, timed }) {
        const { open } = await import('../../dist/index.mjs');
        const checkpoint = await open(inputPath(dir, size));
        return timed(async () => {
          const { ok } = await checkpoint.verify({ threads: 2 });
          if (!ok) throw new Error('the input is corrupt');
          return checkpoint.info.fileBytes;
        });
      },
    },
    cat: {
      async run({ dir, size, timed }) {
        return timed(() => {
          if (spawnSync('sh', ['-c', 'cat "$0" > /dev/null', inputPath(dir, size)]).status !== 0)
            throw new Error('cat failed');
          return statSync(inputPath(dir, size)).size;
        });
      },
    },
    'zip-testzip': {
      async run({ dir, size, timed }) {
        return timed(() => {
          spawnSync('python3', [
            '-c',
            'import sys, zipfile; assert zipfile.ZipFile(sys.argv[1]).testzip() is None',
            inputPath(dir, size),
          ]);
          return statSync(inputPath(dir, size)).size;
        });
      },
    },
  },
};
