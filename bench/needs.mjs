/**
 * What contenders need and this package does not: Python modules, programs, packages and versions of Node from npm.
 *
 * Packages are installed on demand into the bench directory, so that nothing of them is a dependency. A need that cannot
 * be met skips the contender, by name and with the reason.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { python } from './python.mjs';

/** Contenders from npm; all go into one folder. */
const READERS = { jszip: '3.10.1', pickleparser: '0.2.1' };
const INSTALL = [
  'install',
  '--no-save',
  '--no-audit',
  '--no-fund',
  '--loglevel=error',
  '--fetch-retries=0',
  '--prefix',
];

/** Starts a program with 256 MiB of memory, the page cache it fills included; where systemd cannot, another may be named. */
export const MEMORY_LIMIT = (
  process.env.BENCH_MEMORY_LIMIT ?? 'systemd-run --scope --quiet -p MemoryMax=256M -p MemorySwapMax=0'
).split(' ');

/** Undefined when `need` is met, else why not: 'torch', 'safetensors', 'npm:jszip', 'node@24', 'program:cmp', 'memory-limit'. */
export function missing(need, dir, { download = true } = {}) {
  const [kind, name] = need.split(/[:@]/);
  if (kind === 'npm') return missingReader(name, dir, download);
  if (kind === 'node') return missingNode(name, dir, download);
  if (kind === 'program')
    return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0 ? undefined : `no ${name} here`;
  if (kind === 'memory-limit') return missingMemoryLimit();
  return python()[kind] === undefined ? `no Python with ${kind} (set TORCH_PYTHON)` : undefined;
}

/** A package from npm that `missing` has found or installed. */
export function requireReader(dir, name) {
  return createRequire(join(dir, 'npm', 'readers', 'package.json'))(name);
}

/** The binary of a version of Node that `missing` has found or installed. */
export function nodeProgram(dir, major) {
  const name = `node-${process.platform}-${process.arch}`;
  return join(dir, 'npm', `node-${major}`, 'node_modules', name, 'bin', 'node');
}

/** Versions of what was used, for the record. */
export function versions() {
  const { program, ...modules } = python();
  return { node: process.versions.node, v8: process.versions.v8, ...modules, ...READERS };
}

const tried = new Map();

function install(dir, folder, specs) {
  const place = join(dir, 'npm', folder);
  if (!tried.has(place)) {
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, 'package.json'), '{ "private": true }');
    const { status } = spawnSync('npm', [...INSTALL, place, '--ignore-scripts', ...specs], { timeout: 180_000 });
    tried.set(place, status === 0 ? undefined : `npm gives no ${specs.join(', ')}`);
  }
  return tried.get(place);
}

function missingReader(name, dir, download) {
  if (existsSync(join(dir, 'npm', 'readers', 'node_modules', name))) return undefined;
  if (!download) return `${name} is not installed`;
  return install(
    dir,
    'readers',
    Object.entries(READERS).map(([reader, version]) => `${reader}@${version}`),
  );
}

function missingNode(major, dir, download) {
  if (existsSync(nodeProgram(dir, major))) return undefined;
  if (!download) return `node@${major} is not installed; a full run installs it`;
  return install(dir, `node-${major}`, [`node-${process.platform}-${process.arch}@${major}`]);
}

function missingMemoryLimit() {
  const [command, ...args] = [...MEMORY_LIMIT, 'true'];
  const { status } = spawnSync(command, args, { timeout: 10_000 });
  return status === 0 ? undefined : `${command} gives no memory limit here (BENCH_MEMORY_LIMIT names another way)`;
}
