/** Runs the contenders of one task at one size, in turns, each time in a fresh process. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { cold, filesOf, warm } from './caches.mjs';
import { missing, nodeProgram } from './needs.mjs';
import { descendants, memoryOf } from './proc.mjs';

const CELL = fileURLToPath(new URL('./cell.mjs', import.meta.url));
const SAMPLE_MS = 4;

/**
 * The measured rounds by contender. One that fails is left out from then on, so that a long run is not lost for it.
 *
 * `options`: dir, rounds, cold, contenders (names), download (may install from npm), say (tells what is skipped), fail
 * (tells what went wrong).
 */
export async function runTask(name, task, size, options) {
  const { dir, rounds } = options;
  const inputs = filesOf(await task.prepare(dir, size));
  const cells = new Map();
  for (const contender of options.contenders) {
    const reason = await whyNot(task.contenders[contender], size, options);
    if (reason) options.say(`  ${contender}: skipped, ${reason}`);
    else cells.set(contender, []);
  }
  const proofs = new Proofs((await task.expected?.(dir, size)) ?? {});
  for (let round = 0; round < rounds; round++) {
    for (const contender of rotated([...cells.keys()], round)) {
      task.reset?.(dir, size);
      (options.cold ? cold : warm)(inputs);
      try {
        const cell = await runCell(name, size, contender, task.contenders[contender], dir);
        proofs.check({ ...cell.proof, ...(await task.result?.(dir, size, contender)) });
        cells.get(contender).push(cell);
      } catch (error) {
        options.fail(`${contender}: ${error.message}`);
        cells.delete(contender);
      }
    }
  }
  task.reset?.(dir, size);
  return cells;
}

/** Another one begins each round: what follows a cell that leaves the disk busy is not always the same. */
function rotated(names, round) {
  return names.map((_, i) => names[(i + round) % names.length]);
}

function whyNot({ needs = [], host, cannot }, size, { dir, download }) {
  for (const need of host ? [...needs, host] : needs) {
    const reason = missing(need, dir, { download });
    if (reason) return reason;
  }
  return cannot?.(size, dir);
}

/**
 * What a contender must have done. Facts that the task foretells must come out so; facts that it does not foretell must
 * be the same for all who state them.
 */
class Proofs {
  #expected;

  constructor(expected) {
    this.#expected = { ...expected };
  }

  check(proof) {
    if (Object.keys(proof).length === 0) throw new Error('it proves nothing');
    for (const [fact, value] of Object.entries(proof)) {
      this.#expected[fact] ??= value;
      if (!isDeepStrictEqual(value, this.#expected[fact]))
        throw new Error(`${fact} is ${JSON.stringify(value)}, ${JSON.stringify(this.#expected[fact])} expected`);
    }
  }
}

/** `under` is a command line that the cell is started by: one that sets limits and then becomes the cell. */
function runCell(task, size, name, { env, flags = [], host, outside, under = [] }, dir) {
  const program = host ? nodeProgram(dir, host.split('@')[1]) : process.execPath;
  const [command, ...args] = [...under, program, '--expose-gc', ...flags, CELL, task, size, name, dir];
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    const peak = { anonKiB: 0, fileKiB: 0, residentKiB: 0 };
    child.stdout.on('data', (data) => {
      text += data;
    });
    // What the cell says of its memory is exact but comes late; a peak in between is seen here.
    const sampler = setInterval(() => raise(peak, treeMemory(child.pid, outside)), SAMPLE_MS);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearInterval(sampler);
      if (code !== 0) return reject(new Error(`ended with ${code ?? signal}`));
      const cell = JSON.parse(text.trim().split('\n').at(-1));
      raise(peak, cell);
      resolve({ ...cell, ...peak });
    });
  });
}

/** Of the cell, or of the programs that it started where they do the work. */
function treeMemory(pid, outside) {
  const sum = { anonKiB: 0, fileKiB: 0, residentKiB: 0 };
  for (const id of outside ? descendants(pid) : [pid])
    for (const [name, kib] of Object.entries(memoryOf(id))) sum[name] += kib;
  return sum;
}

function raise(peak, memory) {
  for (const name of Object.keys(peak)) peak[name] = Math.max(peak[name], memory[name] ?? 0);
}
