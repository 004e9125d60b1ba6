/**
 * The npm "install" hook: makes sure that a loadable addon is there.
 *
 * In order: an addon that loads and is not older than its sources; a prebuilt one for this platform; a build with CMake;
 * a build with the node-gyp that npm brings. Works offline: neither build downloads anything, because the Node-API
 * headers come with the node-api-headers package. Says nothing unless it fails.
 */
'use strict';

const { spawnSync } = require('node:child_process');
const { existsSync, readdirSync, statSync } = require('node:fs');
const { dirname, join } = require('node:path');

const root = join(__dirname, '..');
const ADDON = 'torch_checkpoint.node';

/** Modification time of the newest native source, in milliseconds; 0 where only binaries were installed. */
function newestSource() {
  const sources = readdirSync(__dirname)
    .filter((name) => /\.(cc|h)$/.test(name))
    .map((name) => join(__dirname, name));
  const builds = [join(root, 'CMakeLists.txt'), join(root, 'binding.gyp')].filter(existsSync);
  return Math.max(0, ...[...sources, ...builds].map((file) => statSync(file).mtimeMs));
}

function loads(file) {
  try {
    require(file);
    return true;
  } catch {
    return false;
  }
}

/** The folder of prebuilt addons for this platform, as lib/binding.ts names it. */
function prebuiltFolder() {
  const glibc = ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-aarch64.so.1'].some(existsSync);
  const musl = process.platform === 'linux' && !glibc ? '-musl' : '';
  return `${process.platform}-${process.arch}${musl}`;
}

/** Runs a build step; its output, or undefined when it succeeded. */
function failure(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (result.status === 0) return undefined;
  return `${command} ${args.join(' ')}\n${result.error ? result.error.message : `${result.stdout}${result.stderr}`}`;
}

function buildWithCmake() {
  let cmakeJs;
  try {
    cmakeJs = require.resolve('cmake-js/bin/cmake-js', { paths: [root] });
  } catch {
    return 'cmake-js is not installed';
  }
  return failure('cmake', ['--version']) ?? failure(process.execPath, [cmakeJs, 'compile', '--log-level', 'error']);
}

function buildWithNodeGyp() {
  const gyp = process.env.npm_config_node_gyp;
  if (!gyp) return 'npm did not say where its node-gyp is';
  // With the headers of the running Node.js beside it, node-gyp has nothing to download.
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
  return failure(process.execPath, [gyp, 'rebuild', '--silent', ...headers]);
}

function install() {
  const built = join(root, 'build', 'Release', ADDON);
  const prebuilt = join(root, 'prebuilds', prebuiltFolder(), ADDON);
  if (!process.env.npm_config_build_from_source) {
    const sourceTime = newestSource();
    // A prebuilt addon unpacked by npm has the same age as the sources beside it.
    const current = (file) => existsSync(file) && statSync(file).mtimeMs >= sourceTime && loads(file);
    if (current(built) || current(prebuilt)) return;
  }

  const failures = [];
  for (const build of [buildWithCmake, buildWithNodeGyp]) {
    const output = build();
    if (output === undefined && loads(built)) return;
    failures.push(output ?? `${built} was built but does not load`);
  }

  console.error(failures.map((output) => output.trimEnd().split('\n').slice(-30).join('\n')).join('\n\n'));
  console.error(`
torch-checkpoint: no prebuilt addon for ${prebuiltFolder()}, and it could not be compiled. It needs a C++17 compiler and
either CMake or Python 3:
  Debian, Ubuntu   apt-get install g++ cmake
  macOS            xcode-select --install
  Windows          Visual Studio Build Tools with "Desktop development with C++"
Then run: npm rebuild torch-checkpoint`);
  process.exitCode = 1;
}

install();
