/** One cell in a process of its own: runs one contender of one task once and prints what it measured. */
import { PerformanceObserver } from 'node:perf_hooks';
import { counters, memoryOf, resetPeak } from './proc.mjs';

const MAJOR_GC = 4;
let majorGcs = 0;
const observer = new PerformanceObserver((list) => count(list.getEntries()));
observer.observe({ entryTypes: ['gc'] });
function count(entries) {
  for (const { detail } of entries) if (detail?.kind === MAJOR_GC) majorGcs++;
}

const [, , taskName, size, contenderName, dir] = process.argv;
const { default: task } = await import(`./tasks/${taskName}.mjs`);
const contender = task.contenders[contenderName];
const cell = await contender.run({ dir, size, timed, repeated });
console.log(JSON.stringify(cell));

/**
 * Times `work`. What it returns is `bytes` or `items` (what it went through, for the rate) and its proof of having done
 * so. Memory and collections are those of this process, so that they are left out where another program does the work.
 */
async function timed(work) {
  globalThis.gc?.();
  await collected();
  majorGcs = 0;
  resetPeak();
  const { anonKiB: startAnonKiB } = memoryOf();
  const before = counters();
  const start = performance.now();
  const { bytes, items, ...proof } = await work();
  const ms = performance.now() - start;
  const after = counters();
  const memory = memoryOf();
  await collected();
  const ofThisProcess = contender.outside ? {} : { majorGcs, startAnonKiB, ...memory };
  return { ms, bytes, items, proof, ...ofThisProcess, ...difference(before, after) };
}

/** The median of many calls of `work` in this process, after warming up: for what takes less than a few milliseconds. */
async function repeated(work) {
  const { Bench } = await import('tinybench');
  const { bytes, items, ...proof } = await work();
  const bench = new Bench({ time: 400, warmupTime: 100, throws: true });
  bench.add('work', work);
  const cell = await timed(async () => {
    await bench.run();
    return { bytes, items, ...proof };
  });
  const { p50, samplesCount } = bench.tasks[0].result.latency;
  return { ...cell, ms: p50, calls: samplesCount };
}

/** Entries about collections come with the event loop. */
async function collected() {
  await new Promise((resolve) => setTimeout(resolve, 20));
  count(observer.takeRecords());
}

function difference(before, after) {
  return Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - before[name]]));
}
