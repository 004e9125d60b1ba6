/**
 * Experiments, side by side: `npm run bench -- TASK SIZE CONTENDERS`, each a comma-separated list or `all`; contenders may
 * also be arguments of their own.
 *
 * Every cell (task, size, contender) is a fresh process, and contenders alternate round by round, so that a noisy machine
 * is noisy for all of them. Ratios within one run are what counts; absolute times belong to the machine that is printed.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chart } from './chart.mjs';
import { BOUND, regressions } from './guard.mjs';
import { line, machine, summarise } from './report.mjs';
import { runTask } from './runner.mjs';

const USAGE = `npm run bench -- TASK[,TASK] [SIZE[,SIZE]] [CONTENDER[,CONTENDER] ...] [options]

  all                 in any place: all there are
  --rounds N          rounds of every cell, 5 by default
  --cold              drop the inputs from the page cache before every cell; otherwise they are read in
  --json FILE         the rows, the machine and the versions
  --svg FILE          the rows as a chart
  --dir FOLDER        where inputs and outputs are; default $BENCH_DIR, or a folder of the system for temporary files
  --smoke             does it run: one round at the smallest size; unless a task is named, only one contender in Python each
  --guard             compare with bench/recorded.json; status 1 when ours took ${BOUND} times as long against the others
  --record            write what --guard compares with to bench/recorded.json
`;
const RECORD = fileURLToPath(new URL('./recorded.json', import.meta.url));
const ATTEMPTS = 3;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    cold: { type: 'boolean', default: false },
    json: { type: 'string' },
    svg: { type: 'string' },
    dir: { type: 'string', default: process.env.BENCH_DIR ?? join(tmpdir(), 'torch-checkpoint-bench') },
    smoke: { type: 'boolean', default: false },
    guard: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const { dir } = values;
/** The contenders that were named, with commas or one by one. */
const named = positionals.length > 2 ? positionals.slice(2).join(',') : undefined;
const tasks = new Map();
for (const file of readdirSync(new URL('./tasks', import.meta.url)).sort())
  tasks.set(file.replace(/\.mjs$/, ''), (await import(`./tasks/${file}`)).default);

if (values.help || (positionals.length === 0 && !values.smoke && !values.guard && !values.record)) help();
else {
  mkdirSync(dir, { recursive: true });
  console.log(machine(dir));
  if (values.smoke) await smoke();
  else if (values.guard) await guard();
  else {
    const rows = await run(values.record ? guarded() : chosen());
    const results = { machine: machine(dir), command: `npm run bench -- ${process.argv.slice(2).join(' ')}`, rows };
    if (values.json) writeJson(values.json, results);
    if (values.svg) writeFileSync(values.svg, chart(rows, results.machine));
    if (values.record) record(rows);
  }
}

function help() {
  console.log(USAGE);
  for (const [name, { about, sizes, contenders }] of tasks)
    console.log(
      `${name.padEnd(19)}${about}\n  sizes ${sizes.join(', ')}\n  contenders ${Object.keys(contenders).join(', ')}\n`,
    );
}

function pick(list, known) {
  return list === undefined || list === 'all' ? known : list.split(',');
}

/** What the command line asks for: `{ name, size, contenders }` each. */
function chosen() {
  const names = pick(positionals[0], [...tasks.keys()]);
  const stranger = names.find((name) => !tasks.has(name));
  if (stranger) throw new Error(`no task "${stranger}"; there are ${[...tasks.keys()].join(', ')}`);
  // Tasks have different contenders: of a list, each runs those that it has.
  const known = names.flatMap((name) => Object.keys(tasks.get(name).contenders));
  const wanted = pick(named, known);
  const unknown = wanted.find((contender) => !known.includes(contender));
  if (unknown) throw new Error(`no contender "${unknown}"; there are ${[...new Set(known)].join(', ')}`);
  return names.flatMap((name) => {
    const { contenders, sizes } = tasks.get(name);
    const chosen = Object.keys(contenders).filter((contender) => wanted.includes(contender));
    return pick(positionals[1], sizes).map((size) => ({ name, size, contenders: chosen }));
  });
}

/** What the record is about: ours against what needs nothing but the system and npm. */
function guarded() {
  const names = pick(positionals[0], [...tasks.keys()]);
  return names.filter((name) => tasks.get(name)?.guard).map((name) => ({ name, ...tasks.get(name).guard }));
}

async function run(experiments, { rounds = Number(values.rounds), download = true, say = console.log } = {}) {
  const all = [];
  for (const { name, size, contenders } of experiments) {
    say(`\n${name} ${size}, ${values.cold ? 'cold' : 'warm'}`);
    const fail = (reason) => {
      say(`  FAILED ${reason}`);
      process.exitCode = 1;
    };
    const options = { dir, rounds, cold: values.cold, contenders, download, say, fail };
    const rows = summarise(name, size, values.cold, await runTask(name, tasks.get(name), size, options));
    for (const row of rows) say(line(row));
    all.push(...rows);
  }
  return all;
}

/** Once, several at a time: whether it runs and gives what it should, not how fast. */
async function smoke() {
  const queue = chosen()
    .filter(({ name }, i, all) => all.findIndex((other) => other.name === name) === i)
    .map(({ name, contenders }) => {
      const task = tasks.get(name);
      const inPython = contenders.filter((contender) => task.contenders[contender].needs?.includes('torch'));
      const slow = positionals.length === 0 ? inPython.slice(1) : [];
      const chosen = contenders.filter((contender) => !slow.includes(contender));
      return { name, size: task.smoke ?? task.sizes[0], contenders: chosen };
    });
  // Tasks share inputs: what two would make at a time is made before.
  for (const { name, size } of queue) await tasks.get(name).prepare(dir, size);
  let cells = 0;
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const lines = [];
      const rows = await run([next], { rounds: 1, download: false, say: (text) => lines.push(text) });
      cells += rows.length;
      console.log(lines.join('\n'));
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  console.log(`\n${cells} cells ran`);
}

/** Rows of tasks that did not run stay as they were recorded. */
function record(rows) {
  const others = existsSync(RECORD) ? JSON.parse(readFileSync(RECORD, 'utf8')).rows : [];
  const kept = others.filter(({ task }) => !rows.some((row) => row.task === task));
  const now = rows.map(({ task, size, contender, medianMs }) => ({ task, size, contender, medianMs }));
  const sorted = [...kept, ...now].sort((a, b) => (a.task < b.task ? -1 : a.task > b.task ? 1 : 0));
  writeJson(RECORD, { machine: machine(dir), rows: sorted });
}

async function guard() {
  if (!existsSync(RECORD)) throw new Error('there is no bench/recorded.json; --record writes it');
  const recorded = JSON.parse(readFileSync(RECORD, 'utf8')).rows;
  let suspects = guarded().filter(({ name, size }) => recorded.some((row) => row.task === name && row.size === size));
  for (let attempt = 1; suspects.length > 0 && attempt <= ATTEMPTS; attempt++) {
    const found = regressions(await run(suspects), recorded);
    for (const { task, size, contender, factor } of found)
      console.log(
        `${attempt < ATTEMPTS ? 'again' : 'REGRESSION'}: ${task} ${size} ${contender} took ${factor.toFixed(1)} times as long as recorded`,
      );
    suspects = suspects.filter(({ name }) => found.some(({ task }) => task === name));
  }
  console.log(suspects.length > 0 ? `\nregressed: ${suspects.map(({ name }) => name).join(', ')}` : '\nno regression');
  if (suspects.length > 0) process.exitCode = 1;
}

function writeJson(path, value) {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
