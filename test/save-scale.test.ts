// Promise: the cost of a save grows in step with the number of its tensors and keys, not faster.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OrderedDict, save, Tensor, toBytes } from '../lib/index';

/** The least processor time of a few runs, in milliseconds: a busy machine makes single runs slow, not all. */
async function cost(run: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 2; i++) {
    const before = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}

const COUNTS = [10_000, 100_000] as const;

function report(what: string, costs: readonly number[]): void {
  const [few, many] = costs as [number, number];
  // Ten times the work; the caches and the collector may double it.
  expect(many / few, `${what}: ${few} ms for ${COUNTS[0]}, ${many} ms for ${COUNTS[1]}`).toBeLessThan(25);
  // Generous, for slow machines: one that is quadratic takes minutes.
  expect(many / COUNTS[1], `${what}: milliseconds for each`).toBeLessThan(0.1);
}

test('tensors', { timeout: 120_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'save-scale-'));
  try {
    for (const target of ['bytes', 'path', 'compact', '2.6'] as const) {
      const costs: number[] = [];
      for (const count of COUNTS) {
        const value = new OrderedDict(
          Array.from({ length: count }, (_, i): [string, Tensor] => [
            `layers.${i}.weight`,
            Tensor.from(Float32Array.of(i)),
          ]),
        );
        costs.push(
          await cost(() =>
            target === 'path'
              ? save(value, join(dir, 'x.pt'), { fsync: false })
              : toBytes(value, target === '2.6' ? { torchVersion: '2.6' } : { compact: target === 'compact' }),
          ),
        );
      }
      report(target, costs);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('views of one storage, compacted', { timeout: 120_000 }, async () => {
  const costs: number[] = [];
  for (const count of COUNTS) {
    const base = Tensor.from(new Float32Array(count * 3));
    const value = Array.from({ length: count }, (_, i) => base.narrow(0, i * 3, 2));
    costs.push(await cost(() => toBytes(value, { compact: true })));
  }
  report('views', costs);
});

test('plain values', { timeout: 120_000 }, async () => {
  const costs: number[] = [];
  for (const count of COUNTS) {
    const value = Array.from({ length: count }, (_, i) => ({
      id: i,
      name: `name ${i}`,
      score: i / 3,
      tags: ['a', 'b'],
    }));
    costs.push(await cost(() => toBytes(value)));
  }
  report('values', costs);
});
