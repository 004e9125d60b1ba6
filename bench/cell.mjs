/** One cell in a process of its own: runs one contender of one task once and prints what it measured. */
import { readFileSync } from 'node:fs';
import { PerformanceObserver } from 'node:perf_hooks';

const [, , taskName, size, contender, dir] = process.argv;
const task = (await import(`./tasks/${taskName}.mjs`)).default;
const MAJOR_GC = 4;
let majorGcs = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (entry.detail?.kind === MAJOR_GC) majorGcs++;
}).observe({ entryTypes: ['gc'] });

const cell = await task.contenders[contender].run({ dir, size, timed });
await new Promise((resolve) => setTimeout(resolve, 20));
console.log(JSON.stringify(contender.startsWith('ours') ? { majorGcs, ...cell } : cell));

/** Times `work`; the page faults are those of the whole process meanwhile. */
async function timed(work) {
  globalThis.gc?.();
  majorGcs = 0;
  const faults = faultsNow();
  const start = performance.now();
  const bytes = await work();
  const ms = performance.now() - start;
  const after = faultsNow();
  return {
    ms,
    bytes,
    minorFaults: after.minor - faults.minor,
    majorFaults: after.major - faults.major,
    anonKiB: anonymousKiB(),
  };
}

function faultsNow() {
  const { minorPageFault, majorPageFault } = process.resourceUsage();
  return { minor: minorPageFault, major: majorPageFault };
}

function anonymousKiB() {
  try {
    return Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
