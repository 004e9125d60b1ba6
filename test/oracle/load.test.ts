// Promise: what the installed PyTorch saves and refuses, we read and refuse alike; what we write, it reads back.
// Runs where TORCH_PYTHON names a Python with torch; TORCH_SEED and TORCH_COUNT choose the random checkpoints.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { CheckpointError } from '../../lib/errors';
import { openSync } from '../../lib/load';
import { saveSync } from '../../lib/save';
import { checkValues, type Fixture, fixturePath, fixtures, formatOf } from '../fixture-suite';
import { ask, isRecent, python, SKIPPED } from './torch';

interface Answer extends Fixture {
  readonly error?: string | null;
}

const recent = isRecent();
const skipped = python ? 'SKIPPED: needs PyTorch 2.6 or later' : SKIPPED;
const folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-oracle-'));
afterAll(() => rmSync(folder, { recursive: true }));

const MINUTES = 60_000;
const seed = process.env['TORCH_SEED'] ?? '1';
const count = process.env['TORCH_COUNT'] ?? '150';

/** The same file as PyTorch and as we read it. */
function same(path: string, answer: Answer): void {
  const checkpoint = openSync(path);
  try {
    checkValues(checkpoint, answer);
  } finally {
    checkpoint.close();
  }
}

/** Storages are numbered in order of first use: the numbers are the same in any file that shares alike. */
test.skipIf(!recent)(
  recent ? 'the manifest is what the installed PyTorch reads' : skipped,
  () => {
    const answers = ask<Answer>('describe', ...fixtures.map(({ file }) => fixturePath(file)));
    for (const [i, { file, size: _size, sha256: _sha256, ...expected }] of fixtures.entries()) {
      expect(answers[i]).toEqual({ ...expected, file: fixturePath(file) });
    }
  },
  5 * MINUTES,
);

test.skipIf(!python)(
  python ? `${count} random checkpoints, seed ${seed}` : skipped,
  () => {
    const answers = ask<Answer>('random', seed, count, folder);
    const readable = answers.filter(({ error }) => error === undefined);
    expect(readable.length).toBeGreaterThan(Number(count) / 2);
    for (const answer of readable) {
      try {
        same(answer.file, answer);
      } catch (error) {
        throw new Error(`${basename(answer.file)}, seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }

    // And back: what we write of it, PyTorch reads as it read the original.
    const targets = readable.map(({ file }, i) => {
      const target = join(folder, `ours-${basename(file)}`);
      const checkpoint = openSync(file);
      // PyTorch cannot read every dtype back from the legacy streams that it writes.
      const format = checkpoint.format === 'legacy' && i % 2 ? 'legacy' : 'zip';
      saveSync(checkpoint.root, target, { format, fsync: false });
      checkpoint.close();
      return target;
    });
    const back = ask<Answer>('describe', ...targets);
    readable.forEach(({ file: _file, ...original }, i) => {
      const { file, ...found } = back[i] as Answer;
      expect(found, `what we wrote of ${basename(file)}, seed ${seed}`).toEqual(original);
    });
  },
  10 * MINUTES,
);

test.skipIf(!recent)(
  recent ? 'fixtures that we wrote anew' : skipped,
  () => {
    // Neither a TorchScript archive, a bare pickle nor a tar is written by save.
    const chosen = fixtures.filter(({ file }) => ['zip', 'legacy', 'safetensors'].includes(formatOf(file)));
    const targets = chosen.map(({ file }) => {
      const target = join(folder, `${basename(file, '.safetensors')}${file.endsWith('.safetensors') ? '.pt' : ''}`);
      const checkpoint = openSync(fixturePath(file));
      saveSync(checkpoint.root, target, { fsync: false });
      checkpoint.close();
      return target;
    });
    const answers = ask<Answer>('describe', ...targets);
    chosen.forEach(({ file, tensors, scalars, numpy_arrays, bare_storages }, i) => {
      const { file: _target, ...answer } = answers[i] as Answer;
      const storages = file.endsWith('.safetensors')
        ? { storage: expect.anything(), storage_nbytes: expect.anything() }
        : {};
      const wanted = tensors.map((tensor) => ({ ...(tensor.storage_offset === undefined ? {} : storages), ...tensor }));
      expect({ file, ...answer }).toEqual({
        file,
        tensors: file.endsWith('.safetensors')
          ? wanted.map((t) => expect.objectContaining({ path: t.path, sha256: t.sha256 }))
          : wanted,
        ...(numpy_arrays && { numpy_arrays }),
        ...(bare_storages && { bare_storages }),
        ...(scalars && { scalars }),
      });
    });
  },
  5 * MINUTES,
);

describe('weights_only', () => {
  const malformed = join(__dirname, '..', 'fixtures', 'malformed');
  /** The part of a message that both share; None where PyTorch accepts. */
  const core = (message: string): string =>
    /WeightsUnpickler error: \s*([^\n]*)/.exec(message)?.[1] ??
    /\n\n*(Trying to load unsupported GLOBAL [^\n]*)/.exec(message)?.[1] ??
    message;

  test.skipIf(!recent)(
    recent ? 'the verdict and the words of PyTorch on every fixture' : skipped,
    () => {
      const files = fixtures.map(({ file }) => fixturePath(file)).filter((path) => !/\.(safetensors|pkl)$/.test(path));
      for (const { file, error } of ask<{ file: string; error: string | null }>('weights-only', ...files)) {
        let ours: string | null = null;
        try {
          openSync(file, { weightsOnly: true, mapLocation: 'cpu' }).close();
        } catch (failure) {
          ours = (failure as CheckpointError).message;
        }
        expect([basename(file), ours === null], `${ours} / ${error}`).toEqual([basename(file), error === null]);
        if (error !== null) expect(ours).toContain(core(error));
      }
    },
    5 * MINUTES,
  );

  test.skipIf(!recent)(
    recent ? 'an attack that PyTorch refuses is refused in its words' : skipped,
    () => {
      // PyTorch's table of Python 2 names is shorter than Python's, and ours has `commands`.
      const files = readdirSync(malformed)
        .filter((file) => /^UNSAFE_GLOBAL.*\.pt$/.test(file) && !file.includes('python2'))
        .map((file) => join(malformed, file));
      for (const { file, error } of ask<{ file: string; error: string | null }>('weights-only', ...files)) {
        expect([basename(file), error === null]).toEqual([basename(file), false]);
        const attempt = () => openSync(file, { weightsOnly: true }).close();
        expect(attempt).toThrow(expect.objectContaining({ code: 'WEIGHTS_ONLY' }));
        expect(attempt).toThrow(core(error as string));
      }
    },
    5 * MINUTES,
  );
});
