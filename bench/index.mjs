/**
 * Experiments, side by side: `npm run bench -- TASK SIZE CONTENDERS`, each a comma-separated list or `all`.
 *
 * Every cell (task, size, contender) is a fresh process, and contenders alternate round by round, so that a noisy machine
 * is noisy for all of them. The parent samples the process's anonymous memory while it runs. Ratios within one run are
 * what counts; absolute times belong to the machine that is printed above them.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chart } from './chart.mjs';
import { python } from './python.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    cold: { type: 'boolean', default: false },
    smoke: { type: 'boolean', default: false },
    json: { type: 'string' },
    svg: { type: 'string' },
    guard: { type: 'boolean', default: false },
    dir: { type: 'string', default: process.env.BENCH_DIR ?? join(tmpdir(), 'torch-checkpoint-bench') },
    help: { type: 'boolean', default: false },
  },
});

const names = readdirSync(join(here, 'tasks')).map((file) => file.replace(/\.mjs$/, ''));
const tasks = new Map();
for (const name of names) tasks.set(name, (await import(`./tasks/${name}.mjs`)).default);

if (values.help || positionals.length === 0) {
  if (!values.help && !values.smoke && !values.guard) values.help = true;
  if (values.help) {
    console.log(
      'npm run bench -- TASK[,TASK] [SIZE[,SIZE]] [CONTENDER[,CONTENDER]] [--rounds N] [--cold] [--json FILE] [--svg FILE] [--smoke] [--guard]\n',
    );
    for (const [name, task] of tasks)
      console.log(
        `${name.padEnd(18)}${task.about}\n${' '.repeat(18)}sizes ${task.sizes.join(', ')}; contenders ${Object.keys(task.contenders).join(', ')}`,
      );
    process.exit(0);
  }
}

const pick = (list, known) => (list === undefined || list === 'all' ? known : list.split(','));
const rounds = values.smoke ? 1 : Number(values.rounds);
mkdirSync(values.dir, { recursive: true });
console.log(machine());

const results = [];
for (const name of pick(positionals[0], names)) {
  const task = tasks.get(name);
  if (!task) throw new Error(`no task "${name}"; there are ${names.join(', ')}`);
  for (const size of values.smoke ? [task.smoke ?? task.sizes[0]] : pick(positionals[1], task.sizes)) {
    await task.prepare(values.dir, size);
    const contenders = pick(positionals[2], Object.keys(task.contenders)).filter((contender) =>
      available(task, contender),
    );
    const cells = new Map(contenders.map((contender) => [contender, []]));
    for (let round = 0; round < rounds; round++) {
      for (const contender of contenders) {
        task.reset?.(values.dir, size);
        if (values.cold) dropCaches();
        cells.get(contender).push(await runCell(name, size, contender));
      }
    }
    report(name, size, cells);
  }
}
if (values.json) writeFileSync(values.json, `${JSON.stringify({ machine: machine(), results }, null, 2)}\n`);
if (values.svg) writeFileSync(values.svg, chart(results, machine()));
if (values.guard) guard();

function available(task, contender) {
  const needs = task.contenders[contender]?.needs;
  if (needs === undefined) return true;
  const why = needs === 'torch' && !python() ? 'no Python with torch (set TORCH_PYTHON)' : undefined;
  if (why) console.log(`  ${contender}: skipped, ${why}`);
  return !why;
}

/** Runs one cell; it prints one line of JSON: { ms, bytes, ... }. */
function runCell(task, size, contender) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--expose-gc', join(here, 'cell.mjs'), task, size, contender, values.dir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    let peakAnonKiB = 0;
    child.stdout.on('data', (data) => {
      text += data;
    });
    const sampler = setInterval(() => {
      peakAnonKiB = Math.max(peakAnonKiB, anonymousKiB(child.pid));
    }, 5);
    child.on('error', reject);
    child.on('close', (code) => {
      clearInterval(sampler);
      if (code !== 0) return reject(new Error(`${task} ${size} ${contender} ended with ${code}`));
      const cell = JSON.parse(text.trim().split('\n').at(-1));
      resolve({ ...cell, peakAnonKiB: Math.max(peakAnonKiB, cell.anonKiB ?? 0) });
    });
  });
}

/** Anonymous memory of a process and its children (contenders in Python are one). */
function anonymousKiB(pid) {
  let sum = 0;
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    for (const id of [pid, ...(children ? children.split(' ') : [])]) {
      sum += Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, 'utf8'))?.[1] ?? 0);
    }
  } catch {
    // The process ended between two looks, or this is not Linux.
  }
  return sum;
}

function report(task, size, cells) {
  console.log(`\n${task} ${size}${values.cold ? ' (cold)' : ''}`);
  let base;
  for (const [contender, runs] of cells) {
    const times = runs.map(({ ms }) => ms).sort((a, b) => a - b);
    const median = times[times.length >> 1];
    base ??= median;
    const last = runs.at(-1);
    const anon = Math.max(...runs.map(({ peakAnonKiB }) => peakAnonKiB));
    const rate = last.bytes ? `${(last.bytes / median / 1e6).toFixed(2)} GB/s` : '';
    const row = {
      task,
      size,
      cold: values.cold,
      contender,
      medianMs: median,
      minMs: times[0],
      maxMs: times.at(-1),
      bytes: last.bytes,
      peakAnonKiB: anon,
      majorFaults: last.majorFaults,
      minorFaults: last.minorFaults,
      majorGcs: last.majorGcs,
      ratio: median / base,
    };
    results.push(row);
    const facts = [
      `${median.toFixed(1)} ms`,
      `${times[0].toFixed(1)}..${times.at(-1).toFixed(1)}`,
      `x${row.ratio.toFixed(2)}`,
      rate,
      `anon ${Math.round(anon / 1024)} MiB`,
    ];
    if (last.majorGcs !== undefined) facts.push(`${last.majorGcs} major GCs`);
    if (last.minorFaults !== undefined) facts.push(`${last.minorFaults} faults`);
    console.log(
      `  ${contender.padEnd(26)}${facts
        .filter(Boolean)
        .map((fact) => fact.padStart(14))
        .join('  ')}`,
    );
  }
}

function dropCaches() {
  spawnSync('sync');
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3');
  } catch {
    throw new Error('--cold needs the right to write /proc/sys/vm/drop_caches');
  }
}

function machine() {
  const torch = python()
    ? spawnSync(python(), ['-c', 'import torch; print(torch.__version__)']).stdout.toString().trim()
    : 'none';
  return `${cpus().length} x ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.versions.node}, PyTorch ${torch}`;
}

/** Compares the ratios of this run with the recorded ones: a regression shows as a ratio that doubled. */
function guard() {
  const recorded = JSON.parse(readFileSync(join(here, 'recorded.json'), 'utf8')).results;
  let failed = 0;
  for (const row of results) {
    const known = recorded.find(
      ({ task, size, contender }) => task === row.task && size === row.size && contender === row.contender,
    );
    if (!known || row.contender.startsWith('ours')) continue;
    // Contenders are measured against ours: theirs falling to half means that ours doubled.
    if (row.ratio >= known.ratio / 2) continue;
    failed++;
    console.log(
      `REGRESSION ${row.task} ${row.size}: ${row.contender} took ${row.ratio.toFixed(2)} times ours, ${known.ratio.toFixed(2)} when recorded`,
    );
  }
  if (failed) process.exitCode = 1;
}
