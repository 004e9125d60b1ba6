/** Promise: what programs and people rely on at the command line: exit codes, JSON, lines that fit, nothing a file can inject. */
import { spawn, spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  bytesOf,
  dict,
  floats,
  LEGACY_MAGIC,
  legacyCheckpoint,
  py,
  safetensors,
  tensor,
  zip,
  zipCheckpoint,
} from './container-samples';

const main = join(__dirname, '..', 'dist', 'cli', 'main.js');

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `readBytes`: close the pipe after so many, as `head` does. */
function run(
  args: readonly string[],
  options: { env?: Record<string, string>; readBytes?: number } = {},
): Promise<Ended> {
  const env = { ...process.env, NO_COLOR: '', FORCE_COLOR: '', ...options.env };
  const child = spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
    if (options.readBytes !== undefined && stdout.length >= options.readBytes) child.stdout.destroy();
  });
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })));
}

async function json(...args: string[]): Promise<{ code: number | null; value: Record<string, unknown> }> {
  const { code, stdout } = await run([...args, '--json']);
  return { code, value: JSON.parse(stdout) as Record<string, unknown> };
}

let folder = '';
const file = (name: string): string => join(folder, name);
const put = (name: string, bytes: Uint8Array | string): string => {
  writeFileSync(file(name), bytes);
  return file(name);
};

const float = (value: number): Buffer => {
  const bytes = Buffer.alloc(9, 'G');
  bytes.writeDoubleBE(value, 1);
  return bytes;
};
const HOSTILE = 'evil\x1b[31m\x9b2J\n\u202etxt';
const evilPickle = py.pickle(py.global('os', 'system'), py.tuple(py.text('true')), 'R');

function withPickle(pickle: Uint8Array, changes: Parameters<typeof zipCheckpoint>[0] = {}): Buffer {
  return zipCheckpoint({ 'data.pkl': pickle, ...changes });
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-cli-'));
  put('good.pt', zipCheckpoint());
  put('other.pt', zipCheckpoint({ 'data/0': floats(1, 2, 3, 5) }));
  put('renamed.pt', withPickle(py.pickle(dict({ weight: tensor({ key: '0', numel: 4 }) }))));
  put(
    'corrupt.pt',
    Buffer.from(
      zipCheckpoint().map((byte, at, all) => (at === Buffer.from(all).indexOf(floats(1, 2, 3, 4)) ? byte ^ 1 : byte)),
    ),
  );
  put('cut.pt', zipCheckpoint().subarray(0, 600));
  put(
    'evil.pt',
    withPickle(
      py.pickle(
        dict({
          w: tensor({ key: '0', numel: 4 }),
          run: bytesOf(py.global('os', 'system'), py.tuple(py.text('true')), 'R'),
        }),
      ),
    ),
  );
  put('hostile.pt', withPickle(py.pickle(dict({ [HOSTILE]: tensor({ key: '0', numel: 4 }), note: py.text(HOSTILE) }))));
  put('int.pt', withPickle(py.pickle(dict({ epoch: py.int(3) }))));
  put('float.pt', withPickle(py.pickle(dict({ epoch: float(3) }))));
  put('tied.pt', withPickle(py.pickle(dict({ a: tensor({ key: '0', numel: 4 }), b: tensor({ key: '0', numel: 4 }) }))));
  put('page.pt', '<!DOCTYPE html><html><body>Sign in</body></html>');
  put('named.pt', safetensors({ w: { dtype: 'F32', shape: [4], data_offsets: [0, 16] } }, floats(1, 2, 3, 4)));
  put('w.safetensors', safetensors({ w: { dtype: 'F32', shape: [4], data_offsets: [0, 16] } }, floats(1, 2, 3, 4)));
  const many = Object.fromEntries(
    Array.from({ length: 5000 }, (_, i) => [
      `layers.${i}.self_attention.query_projection.weight`,
      tensor({ key: '0', numel: 4 }),
    ]),
  );
  put('many.pt', withPickle(py.pickle(dict(many))));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('exit codes', () => {
  const cases: readonly (readonly [code: number, what: string, args: () => string[]])[] = [
    [0, 'inspect of a checkpoint', () => ['inspect', file('good.pt')]],
    [0, 'inspect of an unsafe one', () => ['ls', file('evil.pt')]],
    [0, 'help', () => ['--help']],
    [0, 'help of a command', () => ['scan', '--help']],
    [0, 'version', () => ['--version']],
    [0, 'verify of a sound file', () => ['verify', file('good.pt')]],
    [1, 'verify of a damaged file', () => ['verify', file('corrupt.pt')]],
    [1, 'verify of a cut file', () => ['verify', file('cut.pt')]],
    [0, 'scan of a safe file', () => ['scan', file('good.pt')]],
    [1, 'scan of an unsafe file', () => ['scan', file('evil.pt')]],
    [0, 'diagnose of a healthy file', () => ['diagnose', file('good.pt')]],
    [1, 'diagnose of a web page', () => ['diagnose', file('page.pt')]],
    [0, 'diff of equal files', () => ['diff', file('good.pt'), file('w.safetensors')]],
    [1, 'diff of different files', () => ['diff', file('good.pt'), file('other.pt')]],
    [0, 'diff within a tolerance', () => ['diff', file('good.pt'), file('other.pt'), '--atol', '1']],
    [2, 'no command', () => []],
    [2, 'an unknown command', () => ['frobnicate']],
    [2, 'an unknown option', () => ['inspect', file('good.pt'), '--frobnicate']],
    [2, 'a missing argument', () => ['diff', file('good.pt')]],
    [2, 'an extension that cannot be written', () => ['extract', file('good.pt'), 'w', file('w.xyz')]],
    [3, 'a missing file', () => ['inspect', file('missing.pt')]],
    [3, 'a missing path', () => ['show', file('good.pt'), 'nothing']],
    [3, 'a page to inspect', () => ['inspect', file('page.pt')]],
    [3, 'a missing file to scan', () => ['scan', file('missing.pt')]],
    [3, 'a missing file to diagnose', () => ['diagnose', file('missing.pt')]],
    [
      4,
      'an output that cannot be written',
      () => ['extract', file('good.pt'), 'w', join(folder, 'no', 'folder', 'w.npy')],
    ],
  ];
  test.each(cases)('%i: %s', async (code, _what, args) => {
    const ended = await run(args());
    expect(ended.code, ended.stderr).toBe(code);
    expect(ended.stderr + ended.stdout).not.toMatch(/^\s+at .*:\d+:\d+/m);
  });
});

describe('json', () => {
  test('failures are told on stdout', async () => {
    const { code, value } = await json('inspect', file('missing.pt'));
    expect(code).toBe(3);
    expect(value).toEqual({ error: { code: 'NOT_FOUND', message: expect.stringContaining('missing.pt') as string } });
    expect((await json('diff', file('good.pt'))).value).toMatchObject({ error: { code: 'USAGE' } });
    expect((await json('frobnicate')).value).toMatchObject({ error: { code: 'USAGE' } });
  });

  test('inspect', async () => {
    const { value } = await json('inspect', file('tied.pt'));
    expect(value).toMatchObject({
      format: 'zip',
      parameters: 4,
      tensorBytes: 16,
      aliases: [['a', 'b']],
      globals: expect.arrayContaining(['torch._utils._rebuild_tensor_v2']) as string[],
    });
    expect(value['tensors']).toMatchObject([
      { path: 'a', dtype: 'float32', shape: [4], location: 'cpu' },
      { path: 'b', sharedWith: 'a' },
    ]);
  });

  test('show tells 3 from 3.0', async () => {
    expect((await json('show', file('int.pt'), 'epoch')).value).toMatchObject({ kind: 'int', text: '3' });
    expect((await json('show', file('float.pt'), 'epoch')).value).toMatchObject({ kind: 'float', text: '3.0' });
    expect((await json('show', file('good.pt'), 'w')).value).toMatchObject({
      text: 'tensor([1., 2., 3., 4.])',
      statistics: { min: 1, max: 4, mean: 2.5, nan: 0 },
    });
  });

  test('verify, diagnose, scan', async () => {
    expect((await json('verify', file('corrupt.pt'))).value).toMatchObject({
      ok: false,
      damaged: [{ record: 'data/0' }],
    });
    expect((await json('verify', file('cut.pt'))).value).toMatchObject({ ok: false });
    expect((await json('diagnose', file('page.pt'))).value).toMatchObject({ ok: false, kind: 'html' });
    expect((await json('diagnose', file('cut.pt'))).value).toMatchObject({ ok: false, kind: 'truncated' });
    expect((await json('diagnose', file('named.pt'))).value).toMatchObject({
      ok: false,
      kind: 'safetensors',
      hint: expect.stringContaining('named.safetensors') as string,
    });
    expect((await json('diagnose', file('evil.pt'))).value).toMatchObject({ ok: false, kind: 'unsafe' });
    expect((await json('scan', file('evil.pt'))).value).toMatchObject({
      verdict: 'dangerous',
      safe: false,
      globals: expect.arrayContaining([{ name: 'os.system', verdict: 'dangerous' }]) as object[],
    });
  });

  test('diff', async () => {
    expect((await json('diff', file('good.pt'), file('other.pt'))).value).toMatchObject({
      equal: false,
      changed: [{ path: 'w', reason: 'values', count: 1, maxAbs: 1, maxUlp: 2 ** 21 }],
    });
    expect((await json('diff', file('good.pt'), file('renamed.pt'))).value).toMatchObject({
      added: [],
      removed: [],
      renamed: [{ from: 'w', to: 'weight' }],
    });
    expect((await json('diff', file('int.pt'), file('float.pt'))).value).toMatchObject({
      changed: [{ path: 'epoch', reason: 'value', a: '3', b: '3.0' }],
    });
  });

  test('sarif', async () => {
    const { code, stdout } = await run(['scan', file('evil.pt'), '--sarif']);
    expect(code).toBe(1);
    const log = JSON.parse(stdout) as { version: string; runs: { results: { ruleId: string; level: string }[] }[] };
    expect(log.version).toBe('2.1.0');
    expect(log.runs[0]?.results).toContainEqual(
      expect.objectContaining({ ruleId: 'dangerous-global', level: 'error' }),
    );
  });
});

describe('the terminal', () => {
  test.each([80, 40, 24])('no line is wider than %i columns', async (width) => {
    const { stdout } = await run(['ls', file('many.pt'), '--limit', '20', '--width', String(width)]);
    for (const line of stdout.split('\n')) expect([...line].length, line).toBeLessThanOrEqual(width);
    // Regression: names were cut in their middle, where the number of the layer stands.
    expect(stdout.replace(/\n {2}(?=\S)/g, '')).toContain('layers.17.self_attention.query_projection.weight');
  });

  test('piped output keeps names whole and has no colours', async () => {
    const { stdout } = await run(['ls', file('many.pt')]);
    expect(stdout).toContain('layers.4999.self_attention.query_projection.weight');
    expect(stdout).not.toContain('\x1b');
    expect((await run(['ls', file('good.pt')], { env: { FORCE_COLOR: '1' } })).stdout).toContain('\x1b[1m');
    expect((await run(['ls', file('good.pt')], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })).stdout).not.toContain(
      '\x1b',
    );
  });

  test('a reader that leaves ends the command quietly', async () => {
    const { code, stderr } = await run(['ls', file('many.pt')], { readBytes: 100 });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  // Regression: the help was written before anybody listened for a reader that is gone.
  test.skipIf(process.platform === 'win32')('so does one of the help', () => {
    const { stdout, stderr } = spawnSync(
      'sh',
      ['-c', '("$0" "$1" convert --help; echo "exit $?" >&2) | true', process.execPath, main],
      { encoding: 'utf8' },
    );
    expect([stdout, stderr]).toEqual(['', 'exit 0\n']);
  });

  test.each([
    ['ls', []],
    ['ls', ['--json']],
    ['show', []],
    ['show', ['note']],
    ['show', ['\x1b[31mmissing']],
    ['scan', []],
    ['diff', []],
  ])('nothing in a name reaches the terminal raw: %s %j', async (command, args) => {
    const operands = command === 'diff' ? [file('hostile.pt'), file('good.pt')] : [file('hostile.pt')];
    const { stdout, stderr } = await run([command, ...operands, ...args]);
    expect(stdout + stderr).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]/);
  });
});

/** Waits until the process has read a good part of its input: a loaded machine takes its time to start one. */
async function underWay(pid: number): Promise<void> {
  if (process.platform !== 'linux') return setTimeout(3000);
  for (let i = 0; i < 600; i++) {
    const read = /^rchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1];
    if (Number(read) > 2 ** 28) return;
    await setTimeout(50);
  }
  throw new Error('the command reads nothing');
}

describe.skipIf(process.platform === 'win32')('signals', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s ends a long command with %i', async (signal, code) => {
    // Sparse, so that it takes no room: many gigabytes of zeros to read.
    const path = file('long.safetensors');
    const data = 2 ** 35;
    const head = safetensors({ w: { dtype: 'F32', shape: [data / 4], data_offsets: [0, data] } });
    writeFileSync(path, head);
    truncateSync(path, head.length + data);
    const child = spawn(process.execPath, [main, 'show', path, 'w'], { stdio: 'ignore' });
    await underWay(child.pid as number);
    child.kill(signal);
    const ended = await new Promise<number | null>((resolve) => child.on('close', resolve));
    rmSync(path);
    expect(ended).toBe(code);
  });
});

describe('files', () => {
  test('extract writes what NumPy and others read', async () => {
    expect((await run(['extract', file('good.pt'), 'w', file('w.npy')])).code).toBe(0);
    const npy = readFileSync(file('w.npy'));
    expect(npy.subarray(0, 8).toString('latin1')).toBe('\x93NUMPY\x01\x00');
    expect((npy.length - 16) % 64).toBe(0);
    expect(npy.toString('latin1')).toContain("'descr': '<f4', 'fortran_order': False, 'shape': (4,)");
    expect((await run(['extract', file('good.pt'), 'w', file('w.bin')])).code).toBe(0);
    expect(new Uint8Array(readFileSync(file('w.bin')))).toEqual(floats(1, 2, 3, 4));
    expect(readdirSync(folder).filter((name) => name.startsWith('.torch-checkpoint'))).toEqual([]);
  });

  test('a manifest finds the tensor that changed', async () => {
    const manifest = file('good.pt.manifest.json');
    expect((await run(['verify', file('good.pt'), '--write-manifest', manifest])).code).toBe(0);
    expect((await json('verify', file('good.pt'))).value).toMatchObject({ ok: true, manifestTensors: 1 });
    expect((await json('verify', file('w.safetensors'), '--manifest', manifest)).value).toMatchObject({ ok: true });
    expect(await json('verify', file('other.pt'), '--manifest', manifest)).toMatchObject({
      code: 1,
      value: { damaged: [{ record: 'w' }] },
    });
  });

  test('a folder is scanned file by file', async () => {
    mkdirSync(join(folder, 'models', 'deep'), { recursive: true });
    put('models/good.pt', zipCheckpoint());
    put('models/README.md', '# a model');
    put(
      'models/deep/evil.bin',
      legacyCheckpoint(bytesOf(py.global('posix', 'system'), py.tuple(py.text('true')), 'R'), []),
    );
    const { code, value } = await json('scan', join(folder, 'models'));
    expect(code).toBe(1);
    expect(value).toMatchObject({
      verdict: 'dangerous',
      files: [{ verdict: 'safe' }, { verdict: 'safe' }, { verdict: 'dangerous' }],
    });
  });

  test.skipIf(process.platform === 'win32')('what links lead to is scanned too', async () => {
    // Regression: the folders of Hugging Face's cache hold nothing but links, and were called safe.
    mkdirSync(join(folder, 'snapshot'));
    symlinkSync(file('evil.pt'), join(folder, 'snapshot', 'model.pt'));
    symlinkSync(join(folder, 'snapshot'), join(folder, 'snapshot', 'circle'));
    const { code, value } = await json('scan', join(folder, 'snapshot'));
    expect([code, value]).toMatchObject([1, { verdict: 'dangerous', files: [{ verdict: 'dangerous' }] }]);
  });

  test('extract writes sub-trees, and values of any kind', async () => {
    const nested = py.pickle(
      dict({ 'enc.w': tensor({ key: '0', numel: 4 }), 'enc.b': tensor({ key: '0', numel: 4 }, 2), epoch: py.int(3) }),
    );
    const path = put('nested.pt', withPickle(nested));
    expect(await json('extract', path, 'enc', file('enc.safetensors'))).toMatchObject({
      code: 0,
      value: { tensors: 2 },
    });
    expect((await json('inspect', file('enc.safetensors'))).value).toMatchObject({
      tensors: [
        { path: 'b', shape: [2] },
        { path: 'w', shape: [4] },
      ],
    });
    expect((await run(['extract', path, 'enc.w', file('enc-w.pt')])).code).toBe(0);
    expect((await json('show', file('enc-w.pt'), '')).value).toMatchObject({ text: 'tensor([1., 2., 3., 4.])' });
    expect((await run(['extract', path, 'epoch', file('epoch.pt')])).code).toBe(0);
    expect((await json('show', file('epoch.pt'), '')).value).toMatchObject({ kind: 'int', text: '3' });
    expect((await json('extract', path, 'epoch', file('epoch.safetensors'))).value).toMatchObject({
      error: { code: 'UNSUPPORTED' },
    });
    // What would run in Python is not written into another pickle.
    expect((await json('extract', file('evil.pt'), 'run', file('run.pt'))).value).toMatchObject({
      error: { code: 'UNSAFE_GLOBAL' },
    });
    expect((await run(['extract', file('evil.pt'), 'w', file('evil-w.npy')])).code).toBe(0);
    expect((await run(['extract', path, 'enc', file('enc.npy')])).code).toBe(3);
    expect((await run(['extract', path, 'dec', file('dec.pt')])).code).toBe(3);
  });

  test('what only reads an unsafe file says so on standard error; nothing writes it on', async () => {
    const evil = file('evil.pt');
    const reading = [
      ['show', evil, 'w'],
      ['diff', evil, file('good.pt')],
      ['diff', file('good.pt'), evil, '--json'],
      ['extract', evil, 'w', file('evil-w.safetensors'), '--json'],
    ];
    for (const args of reading) {
      const { code, stderr } = await run(args);
      expect([code, stderr], args.join(' ')).toEqual([
        args[0] === 'diff' ? 1 : 0,
        expect.stringMatching(/^! UNSAFE: loading .* would run os\.system; nothing was run here\n$/),
      ]);
    }
    for (const args of [
      ['edit', evil, file('edited.pt'), '--delete', 'run'],
      ['convert', evil, file('converted.safetensors')],
    ]) {
      const { code, stderr } = await run(args);
      expect([code, stderr], args.join(' ')).toEqual([3, expect.stringContaining('os.system')]);
    }
    expect((await run(['show', file('good.pt'), 'w'])).stderr).toBe('');
  });

  test('diagnose salvages', async () => {
    const cut = put('download.pt', zipCheckpoint().subarray(0, -40));
    expect(await json('diagnose', cut, '--salvage', file('rescued.pt'))).toMatchObject({
      code: 1,
      value: { kind: 'truncated', salvaged: { kind: 'checkpoint', tensors: 1, lost: [] } },
    });
    expect((await run(['diff', file('rescued.pt'), file('good.pt')])).code).toBe(0);
    const { code, stdout } = await run(['diagnose', file('good.pt'), '--salvage', file('unused.pt')]);
    expect({ code, stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('nothing to salvage') as string,
    });
    expect(readdirSync(folder)).not.toContain('unused.pt');
    expect((await run(['diagnose', cut, '--salvage', join(folder, 'no', 'folder.pt')])).code).toBe(4);
  });

  test('completion scripts name every command and every option of its help', async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { stdout, code } = await run(['completion', shell]);
      expect(code).toBe(0);
      for (const name of ['inspect', 'show', 'verify', 'scan', 'diagnose', 'diff', 'convert', 'edit', 'extract']) {
        expect(stdout).toContain(name);
        const help = (await run([name, '--help'])).stdout;
        for (const [, option = ''] of help.matchAll(/^ {2}(?:-\w, )?--([\w-]+)/gm))
          expect(stdout, name).toContain(option);
      }
    }
  });

  const shells: readonly (readonly [shell: string, ask: string])[] = [
    [
      'bash',
      'source "$1"; compopt() { :; }; COMP_WORDS=(tckpt convert --to n); COMP_CWORD=3; _torch_checkpoint; declare -p COMPREPLY',
    ],
    ['fish', 'source $argv[1]; complete -C "tckpt convert --to n" | string replace -r "\\t.*" ""'],
    // Completion needs a terminal: its functions are put in the place of those that would draw on it.
    [
      'zsh',
      'compdef() { : }; _files() { : }; compadd() { print -l -- "$@" }; source "$1"; words=(tckpt convert --to n); CURRENT=4; PREFIX=n; _torch_checkpoint',
    ],
  ];
  test.each(shells)('%s completes', async (shell, ask) => {
    if (spawnSync(shell, ['--version']).error) return;
    const script = put(`completion.${shell}`, (await run(['completion', shell])).stdout);
    const args =
      shell === 'fish' ? ['-c', ask, script] : [...(shell === 'zsh' ? ['-f'] : []), '-c', ask, shell, script];
    const { stdout, stderr } = spawnSync(shell, args, { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/\bnpz\b/);
    expect(stdout).toMatch(/\bnpy\b/);
  });
});

describe('hidden pickles', () => {
  const npy = bytesOf(
    "\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".padEnd(80),
    evilPickle,
  );
  const cases: readonly (readonly [what: string, bytes: () => Uint8Array])[] = [
    ['under another name', () => zipCheckpoint({ 'readme.txt': evilPickle })],
    ['in a storage', () => zipCheckpoint({ 'data/0': evilPickle })],
    ['in a deflated record', () => zipCheckpoint({ 'extra.bin': { bytes: evilPickle, deflate: true } })],
    [
      'in a checkpoint inside a pickle',
      () =>
        py.pickle(
          bytesOf(
            'B',
            [
              zipCheckpoint({ 'data.pkl': evilPickle }).length & 255,
              zipCheckpoint({ 'data.pkl': evilPickle }).length >> 8,
              0,
              0,
            ],
            zipCheckpoint({ 'data.pkl': evilPickle }),
          ),
        ),
    ],
    ['behind another pickle', () => bytesOf(py.pickle('N'), evilPickle)],
    ['before a zip', () => bytesOf(evilPickle, zipCheckpoint())],
    ['in an array of objects', () => npy],
    ['in an npz', () => zip([{ name: 'a.npy', bytes: npy }])],
    ['in a legacy stream', () => bytesOf(LEGACY_MAGIC, py.pickle('M\xe9\x03'), py.pickle('N'), evilPickle)],
    ['in a broken pickle', () => bytesOf(py.proto, py.global('os', 'system'), '\xff\xff')],
    ['in a zip without a directory', () => withPickle(evilPickle).subarray(0, 400)],
    ['named through the stack', () => bytesOf('\x80\x04', '\x8c\x02os', '\x94', '\x8c\x06system', '\x94', '\x93', '.')],
    [
      'named through the memo',
      () => bytesOf('\x80\x04', '\x8c\x06system', '\x94', '0', '\x8c\x02os', 'h\x00', '\x93', '.'),
    ],
    ['in text opcodes', () => bytesOf("cos\nsystem\n(S'true'\ntR.")],
    ['by a computed name', () => bytesOf('\x80\x04', '\x8c\x02os', 'N', '\x93', '.')],
  ];
  test.each(cases)('%s', async (what, bytes) => {
    const { code, value } = await json('scan', put('hidden.bin', bytes()));
    expect({ what, code, verdict: value['verdict'] }).toEqual({ what, code: 1, verdict: 'dangerous' });
  });

  test('oddities of a zip are told', async () => {
    const twice = zip([
      { name: 'a/data.pkl', bytes: py.pickle('N') },
      { name: 'a/data.pkl', bytes: py.pickle('N') },
      { name: 'a/../x', bytes: Buffer.from('x'), localName: 'a/y' },
    ]);
    const { value } = await json('scan', put('odd.pt', bytesOf('prefix', twice, 'behind')));
    const kinds = new Set((value['findings'] as { kind: string }[]).map(({ kind }) => kind));
    expect([...kinds]).toEqual(
      expect.arrayContaining(['duplicate-record', 'unsafe-name', 'name-mismatch', 'prefix-data', 'trailing-data']),
    );
    expect(value['verdict']).toBe('unknown');
  });
});
