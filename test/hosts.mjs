/**
 * Promise: the addon that was compiled once loads in every Node.js release line that is supported, and in Bun.
 *
 *     node test/hosts.mjs
 *
 * The hosts come from npm into a temporary folder; one that npm does not have is skipped and said so. Every host reads a
 * fixture, compares its bytes with the manifest, saves it and reads it back. The last line is `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const arch = process.arch === 'arm64' ? 'aarch64' : process.arch;
const HOSTS = [
  ...[22, 24, 26].map((major) => ({
    name: `node@${major}`,
    spec: `node-${process.platform}-${process.arch}@${major}`,
    binary: `node-${process.platform}-${process.arch}/bin/node`,
  })),
  {
    name: 'bun',
    spec: `@oven/bun-${process.platform}-${arch}`,
    binary: `@oven/bun-${process.platform}-${arch}/bin/bun`,
  },
];

const SMOKE = `
const { createHash } = require('node:crypto');
const { join } = require('node:path');
const [root, folder] = process.argv.slice(2);
const tc = require(join(root, 'dist', 'index.js'));
const fixtures = join(root, 'test', 'fixtures');
const { files } = JSON.parse(require('node:fs').readFileSync(join(fixtures, 'manifest.json'), 'utf8'));
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
(async () => {
  let compared = 0;
  const compare = (checkpoint, expected) => {
    const wanted = new Map(expected.map((tensor) => [tensor.path, tensor]));
    for (const [path, tensor] of checkpoint.tensors()) {
      const { sha256: digest } = wanted.get(path) ?? {};
      if (digest === undefined) continue;
      if (sha256(tensor.toBytes()) !== digest) throw new Error(path + ' differs');
      if (tensor.isContiguous() && tensor.dtype === tc.DType.float32 && !tensor.conj && !tensor.neg) tensor.asTypedArray();
      compared++;
    }
  };
  for (const file of ['zip-lenet-training.pt', 'zip-mixed-every-dtype.pt', 'legacy-float32-views.pt']) {
    const { tensors } = files.find((entry) => entry.file === file);
    for (const io of ['mmap', 'read']) {
      const checkpoint = await tc.open(join(fixtures, 'valid', file), { io });
      compare(checkpoint, tensors);
      if (!(await checkpoint.verify()).ok) throw new Error('verify');
      const target = join(folder, io + '-' + file);
      await tc.save(checkpoint.root, target);
      checkpoint.close();
      const again = tc.openSync(target);
      compare(again, tensors);
      again.close();
    }
  }
  const { externalBuffers, zeroCopy } = tc.capabilities();
  console.log(process.versions.bun ? 'bun ' + process.versions.bun : 'node ' + process.versions.node, compared, 'tensors compared', JSON.stringify({ externalBuffers, zeroCopy }));
})().catch((error) => { console.error(error); process.exit(1); });
`;

const folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-hosts-'));
let passed = 0;
let failed = 0;
try {
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  writeFileSync(join(folder, 'smoke.cjs'), SMOKE);
  for (const { name, spec, binary } of HOSTS) {
    // Each in a folder of its own: the versions of node have one package name.
    const place = mkdtempSync(join(folder, 'host-'));
    writeFileSync(join(place, 'package.json'), '{ "private": true }');
    const install = spawnSync(
      'npm',
      ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error', '--fetch-retries=0', spec],
      { cwd: place, encoding: 'utf8', timeout: 180_000 },
    );
    const program = join(place, 'node_modules', binary);
    if (install.status !== 0 || !existsSync(program)) {
      console.log(`SKIPPED ${name}: npm gives no ${spec}`);
      continue;
    }
    const run = spawnSync(program, [join(folder, 'smoke.cjs'), root, place], { encoding: 'utf8', timeout: 120_000 });
    if (run.status === 0) {
      passed++;
      console.log(`ok ${name}: ${run.stdout.trim()}`);
    } else {
      failed++;
      console.log(`FAILED ${name}: ${run.signal ?? run.status}\n${run.stdout}${run.stderr}`);
    }
    rmSync(place, { recursive: true });
  }
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
