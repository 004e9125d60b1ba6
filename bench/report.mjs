/** From rounds to rows: medians, spread, ratios; and how a row is printed. */
import { readFileSync, statfsSync } from 'node:fs';
import { cpus, release, totalmem, type } from 'node:os';
import { versions } from './needs.mjs';

const COUNTERS = ['minorFaults', 'majorFaults', 'diskBytes', 'majorGcs'];
const PEAKS = ['anonKiB', 'fileKiB', 'residentKiB'];

/** One row for each contender. `ratio` is its median over that of the first contender, which is ours. */
export function summarise(task, size, isCold, cells) {
  const rows = [];
  for (const [contender, runs] of cells) {
    const times = runs.map(({ ms }) => ms).sort((a, b) => a - b);
    const row = { task, size, cold: isCold, contender, rounds: runs.length };
    row.medianMs = median(times);
    row.minMs = times[0];
    row.maxMs = times.at(-1);
    row.ratio = row.medianMs / (rows[0]?.medianMs ?? row.medianMs);
    const { bytes, calls, items } = runs[0];
    if (bytes) row.bytesPerSecond = Math.round((bytes / row.medianMs) * 1000);
    if (items) row.microsecondsPerItem = (row.medianMs * 1000) / items;
    if (calls) row.calls = calls;
    for (const name of PEAKS) row[name] = Math.max(...runs.map((run) => run[name]));
    if (runs[0].startAnonKiB) row.anonGrowthKiB = Math.max(0, ...runs.map((run) => run.anonKiB - run.startAnonKiB));
    for (const name of COUNTERS) if (runs[0][name] !== undefined) row[name] = median(runs.map((run) => run[name]));
    rows.push(row);
  }
  return rows;
}

export function line(row) {
  const mib = (kib) => Math.round(kib / 1024);
  const facts = [
    milliseconds(row.medianMs),
    `${milliseconds(row.minMs)}..${milliseconds(row.maxMs)}`,
    `x${row.ratio.toFixed(2)}`,
    rate(row),
    `anon ${mib(row.anonKiB)}${row.anonGrowthKiB === undefined ? '' : ` (+${mib(row.anonGrowthKiB)})`} MiB`,
    `mapped ${mib(row.fileKiB)} MiB`,
    `rss ${mib(row.residentKiB)} MiB`,
    row.minorFaults === undefined ? '' : `${row.minorFaults}+${row.majorFaults} faults`,
    row.diskBytes ? `disk ${mib(row.diskBytes / 1024)} MiB` : '',
    row.majorGcs === undefined ? '' : `${row.majorGcs} major GCs`,
  ];
  return `  ${row.contender.padEnd(25)}${facts.map((fact, i) => fact.padStart(WIDTHS[i])).join('')}`.trimEnd();
}
const WIDTHS = [10, 22, 10, 15, 20, 17, 14, 20, 14, 15];

function rate({ bytesPerSecond, microsecondsPerItem }) {
  if (bytesPerSecond) return `${(bytesPerSecond / 1e9).toFixed(2)} GB/s`;
  return microsecondsPerItem ? `${microsecondsPerItem.toFixed(2)} us each` : '';
}

/** The machine and the versions, in one line. */
export function machine(dir) {
  const { node, ...others } = versions();
  const parts = [
    `${cpus().length} x ${cpus()[0]?.model.trim()}`,
    `${Math.round(totalmem() / 2 ** 30)} GiB`,
    `${type()} ${release()}`,
    fileSystem(dir),
    `Node ${node}`,
    ...Object.entries(others).map(([name, version]) => `${name} ${version}`),
  ];
  return parts.filter(Boolean).join(', ');
}

/** The type of file system that holds the bench directory, by the longest mount point above it. */
function fileSystem(dir) {
  try {
    statfsSync(dir);
    const mounts = readFileSync('/proc/self/mounts', 'utf8').trim().split('\n');
    const above = mounts
      .map((mount) => mount.split(' '))
      .filter(([, point]) => `${dir}/`.startsWith(point === '/' ? '/' : `${point}/`));
    return above.sort(([, a], [, b]) => a.length - b.length).at(-1)?.[2];
  } catch {
    return undefined;
  }
}

export function milliseconds(ms) {
  if (ms < 1) return `${(ms * 1000).toFixed(ms < 0.01 ? 2 : 0)} us`;
  return ms < 10_000 ? `${ms.toFixed(ms < 100 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
