/** Needs a file system that shares extents (Btrfs, XFS): set SHARING_DIR to a folder on one. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { load, save, Tensor } from '../lib/index';

const sharing = process.env.SHARING_DIR;
const state = () => new Map([['w', Tensor.full([1 << 20], 1.5)]]);

describe.skipIf(!sharing)('a file system that shares extents', () => {
  test('a save of bytes that lie alike takes no space of its own, and is the same file', async () => {
    const dir = mkdtempSync(join(sharing as string, 'shared-'));
    try {
      const [a, b] = [join(dir, 'a.pt'), join(dir, 'b.pt')];
      await save(state(), a, { storageAlignment: 4096, recordPrefix: 'x' });
      const loaded = await load(a);
      await save(loaded, b, { storageAlignment: 4096, recordPrefix: 'x' });
      expect(readFileSync(b).equals(readFileSync(a))).toBe(true);
      const extents = execFileSync('filefrag', ['-v', b]).toString();
      expect(extents).toContain('shared');

      // What was written to is in memory only.
      const w = (loaded as Map<string, Tensor>).get('w') as Tensor;
      (w.storage.bytes() as Uint8Array)[2 << 20] = 7;
      await save(loaded, b, { storageAlignment: 4096, recordPrefix: 'x' });
      const again = (await load(b)) as Map<string, Tensor>;
      expect((again.get('w') as Tensor).equal(w)).toBe(true);
      expect(readFileSync(b).equals(readFileSync(a))).toBe(false);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
