/** `torch-checkpoint scan FILE|DIR`: is it safe to open with Python? */
import { Command } from 'commander';
import { sarif } from '../inspect/sarif';
import { type Finding, type ScanReport, scan } from '../inspect/scan';
import type { Verdict } from '../pickle/verdicts';
import { addCommonOptions, wholeNumber } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand, UsageError } from './outcome';
import { counted, printable } from './text';

interface Options extends CommonOptions {
  sarif?: boolean;
  allow?: string[];
  jobs?: number;
}

export function command(): Command {
  const made = new Command('scan')
    .description(
      'Look for pickles that would run code: in the file, hidden in its records, behind and inside other pickles.',
    )
    .argument('<path>', 'checkpoint, or a folder of them')
    .option('--allow <global...>', 'globals to take as safe: module.Class, or module.*')
    .option('--sarif', 'print SARIF 2.1.0 for code scanning services')
    .option('-j, --jobs <count>', 'files of a folder read at the same time (default: 4)', wholeNumber)
    .addHelpText(
      'after',
      `
The verdict is 'safe' when the pickles name nothing but tensors and plain data, 'dangerous' when they name what reaches
code, processes or files, else 'unknown': classes of other packages, broken or odd files. Exit code 1 unless safe.
Nothing in a file is ever run.

Examples:
  torch-checkpoint scan download.ckpt
  torch-checkpoint scan models/ --sarif > scan.sarif
  torch-checkpoint scan ckpt.pt --allow 'mypackage.*'`,
    )
    .action((path: string, options: Options) => runCommand(options, (run) => scanPath(path, options, run)));
  return addCommonOptions(made);
}

async function scanPath(path: string, options: Options, run: Run): Promise<ExitCode> {
  if (options.sarif && options.json) throw new UsageError('--sarif and --json exclude each other');
  const report = await scan(path, {
    signal: run.signal,
    ...(options.allow ? { allow: options.allow } : {}),
    ...(options.jobs === undefined ? {} : { jobs: options.jobs }),
  });
  if (options.sarif) await run.printJson(sarif(report, path));
  else if (run.json) await run.printJson(report);
  else await print(report, path, run);
  if (report.safe) return EXIT.done;
  return onlyUnopened(report) ? EXIT.input : EXIT.no;
}

/** A folder in which every trouble is a file that could not be opened is no unsafe folder. */
function onlyUnopened({ findings, files }: ScanReport): boolean {
  return (
    files !== undefined &&
    findings.length > 0 &&
    findings.every(({ kind, severity }) => severity === 'note' || kind === 'unopened')
  );
}

async function print(report: ScanReport, path: string, run: Run): Promise<void> {
  const { out } = run;
  const verdictText = (verdict: Verdict): string =>
    out.paint(verdict === 'safe' ? 'green' : verdict === 'unknown' ? 'yellow' : 'red', verdict);
  const printOne = async (name: string, verdict: Verdict, findings: readonly Finding[]): Promise<void> => {
    await out.line(`${verdictText(verdict)}  ${printable(name)}`);
    for (const finding of findings) await out.line(`  ${lineOf(finding)}`);
  };
  if (!report.files) return printOne(path, report.verdict, report.findings);
  for (const file of report.files) await printOne(file.path, file.verdict, file.findings);
  const count = (verdict: Verdict): number => report.files?.filter((file) => file.verdict === verdict).length ?? 0;
  await out.line();
  await out.line(
    `${counted(report.files.length, 'file')}: ${count('safe')} safe, ${count('unknown')} unknown, ${count('dangerous')} dangerous`,
  );
}

function lineOf({ severity, message, record, byteOffset }: Finding): string {
  const where = [record === undefined ? '' : printable(record), byteOffset === undefined ? '' : `at byte ${byteOffset}`]
    .filter(Boolean)
    .join(' ');
  return `${severity.padEnd(7)}  ${where ? `${where}: ` : ''}${printable(message)}`;
}
