import { statSync } from 'node:fs';
import { describe, inputPath, makeInput } from '../inputs.mjs';
import { inProgram } from '../programs.mjs';
import { inPython } from '../python.mjs';

const fileOf = ({ dir, size }) => inputPath(dir, size);
const fileBytes = (context) => statSync(fileOf(context)).size;
const ours = ({ threads, io }) => ({
  async run(context) {
    const { open } = await import('../../dist/index.mjs');
    const checkpoint = await open(fileOf(context), { io });
    return context.timed(async () => {
      const { ok, records } = await checkpoint.verify({ threads });
      const checked = records.filter(({ name, status }) => /(^|\/)data\/\d+$/.test(name) && status === 'ok').length;
      return { bytes: fileBytes(context), ok, checked };
    });
  },
});
const ZIPFILE = `
import os, sys, zipfile
from cell import timed
def work():
    with zipfile.ZipFile(sys.argv[1]) as file:
        return {"bytes": os.path.getsize(sys.argv[1]), "ok": file.testzip() is None}
timed(work)
`;
const reading = (script) =>
  inProgram(
    (context) => ['sh', '-c', script, fileOf(context)],
    (context, text) => ({ bytes: fileBytes(context), ok: text === '' }),
  );

export default {
  about: 'check the CRC-32 of every record; cat and two heads and tails only read the same bytes',
  sizes: ['4GiB', '1GiB'],
  smoke: '1MiB',
  guard: { size: '64MiB', contenders: ['ours', 'cat'] },
  prepare: async (dir, size) => [await makeInput(dir, size)],
  expected: (_dir, size) => ({ ok: true, checked: describe(size).tensors }),
  contenders: {
    ours: ours({ threads: 2 }),
    'ours-1-thread': ours({ threads: 1 }),
    'ours-read': ours({ threads: 2, io: 'read' }),
    cat: reading('cat "$0" > /dev/null'),
    'read-in-2-processes': reading(
      'half=$(($(stat -c %s "$0") / 2)); head -c $half "$0" > /dev/null & tail -c +$half "$0" > /dev/null; wait',
    ),
    'python-zipfile': inPython(ZIPFILE, (context) => [fileOf(context)], { needs: ['python'] }),
  },
};
