/**
 * Is a file safe to give to Python? Every pickle in it is walked without building anything, and what it names is judged.
 *
 * A scan answers for every file: one that cannot be read gets a verdict too, and what was seen before the break counts.
 */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { isCheckpointError } from '../errors';
import { DEFAULT_LIMITS } from '../limits';
import type { Verdict } from '../pickle/verdicts';
import { filesBelow } from '../source/files-below';
import { type CheckpointSource, openSource } from '../source/open-source';
import { ReadAhead } from '../source/read-ahead';
import { type Finding, Findings, type ScannedGlobal, worst } from './scan-findings';
import { SourceScanner } from './scan-source';

export type { Finding, ScannedGlobal } from './scan-findings';

/** What `scan` found. */
export interface ScanReport {
  /** The worst of what was found. */
  readonly verdict: Verdict;
  /** `verdict === 'safe'`. */
  readonly safe: boolean;
  /** Every global that a pickle names, in order. */
  readonly globals: readonly ScannedGlobal[];
  readonly findings: readonly Finding[];
  /** Of a folder: each file with its own report. */
  readonly files?: readonly FileReport[];
}

/** What `scan` found in one file. */
export interface FileReport extends Omit<ScanReport, 'files'> {
  readonly path: string;
}

/** Options of `scan`. */
export interface ScanOptions {
  /** Globals to take as safe: `module.name`, or `module.*`. */
  allow?: readonly string[];
  signal?: AbortSignal;
  /** Files of a folder read at the same time; default 4. */
  jobs?: number;
  onFile?: (report: FileReport) => void;
}

const DEFAULT_JOBS = 4;
/** Errors that say that there is no file to judge. */
const NO_INPUT = new Set(['NOT_FOUND', 'ACCESS_DENIED']);

/**
 * Scans a file, or every regular file of a folder. Throws CheckpointError only when the file itself is not there or may
 * not be read; within a folder that is a finding.
 */
export async function scan(source: CheckpointSource, options: ScanOptions = {}): Promise<ScanReport> {
  if (typeof source === 'string' && isFolder(source)) return scanFolder(source, options);
  return scanOne(source, options);
}

function isFolder(path: string): boolean {
  try {
    return lstatSync(path.endsWith('/') ? path : `${path}/`).isDirectory();
  } catch {
    return false;
  }
}

async function scanOne(source: CheckpointSource, { allow = [], signal }: ScanOptions): Promise<ScanReport> {
  const findings = new Findings(allowed(allow));
  try {
    const bytes = await openSource(source, { limits: DEFAULT_LIMITS, signal, io: 'read' });
    try {
      new SourceScanner(findings).scan(bytes.file ? new ReadAhead(bytes) : bytes);
    } finally {
      bytes.close();
    }
  } catch (error) {
    if (!isCheckpointError(error) || NO_INPUT.has(error.code)) throw error;
    const place = {
      ...(error.record === undefined ? {} : { record: error.record }),
      ...(error.byteOffset === undefined ? {} : { byteOffset: error.byteOffset }),
    };
    findings.add({ kind: 'unreadable', severity: 'warning', message: error.message, ...place });
  }
  const { verdict, globals } = findings;
  return { verdict, safe: verdict === 'safe', globals, findings: findings.findings };
}

function allowed(patterns: readonly string[]): (global: string) => boolean {
  const names = new Set(patterns.filter((pattern) => !pattern.endsWith('.*')));
  const modules = patterns.filter((pattern) => pattern.endsWith('.*')).map((pattern) => pattern.slice(0, -1));
  return (global) => names.has(global) || modules.some((module) => global.startsWith(module));
}

async function scanFolder(folder: string, options: ScanOptions): Promise<ScanReport> {
  const paths = [...filesBelow(folder)].map(({ path }) => join(folder, path));
  const reports = new Array<FileReport>(paths.length);
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < paths.length) {
      const index = next++;
      options.signal?.throwIfAborted();
      const path = paths[index] as string;
      reports[index] = { path, ...(await scanQuietly(path, options)) };
      options.onFile?.(reports[index] as FileReport);
      await setImmediate();
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, options.jobs ?? DEFAULT_JOBS) }, work));
  const globals = new Map<string, ScannedGlobal>();
  let verdict: Verdict = 'safe';
  for (const report of reports) {
    verdict = worst(verdict, report.verdict);
    for (const global of report.globals) globals.set(global.name, global);
  }
  const findings = reports.flatMap(({ path, findings: own }) => own.map((finding) => ({ ...finding, path })));
  return { verdict, safe: verdict === 'safe', globals: [...globals.values()], findings, files: reports };
}

async function scanQuietly(path: string, options: ScanOptions): Promise<ScanReport> {
  try {
    return await scanOne(path, options);
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
    return {
      verdict: 'unknown',
      safe: false,
      globals: [],
      findings: [{ kind: 'unopened', severity: 'warning', message: error.message }],
    };
  }
}
