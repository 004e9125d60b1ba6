/** `torch-checkpoint diff A B`: what differs between two checkpoints? */
import { Command } from 'commander';
import { type Change, type DiffReport, diff } from '../inspect/diff';
import { addCommonOptions, tolerance, wholeNumber } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand } from './outcome';
import { progressLine } from './progress';
import { grouped, printable, shorten } from './text';

interface Options extends CommonOptions {
  rtol?: number;
  atol?: number;
  limit?: number;
}

export function command(): Command {
  const made = new Command('diff')
    .description('Compare two checkpoints of any formats: names, dtypes, shapes, elements, sharing, and other values.')
    .argument('<a>', 'checkpoint, .npz, .npy, or folder or .index.json of a model')
    .argument('<b>', 'the other one; of any of these, too')
    .option('--rtol <r>', 'relative tolerance (default: 0)', tolerance)
    .option('--atol <a>', 'absolute tolerance (default: 0)', tolerance)
    .option('-n, --limit <count>', 'print at most so many lines of each kind', wholeNumber)
    .addHelpText(
      'after',
      `
Elements are equal when |a - b| <= atol + rtol * |b|. NaN equals NaN; the value 3 differs from 3.0. Tensors of the same
content under another name are told as renamed. Exit code 1 when anything differs.

Examples:
  torch-checkpoint diff before.pt after.pt
  torch-checkpoint diff model.pt model.safetensors
  torch-checkpoint diff llama/ llama-copy/              shards are compared as one model
  torch-checkpoint diff a.pt b.pt --rtol 1e-5 --atol 1e-8 --json`,
    )
    .action((a: string, b: string, options: Options) => runCommand(options, (run) => diffFiles(a, b, options, run)));
  return addCommonOptions(made);
}

async function diffFiles(a: string, b: string, { rtol = 0, atol = 0, limit }: Options, run: Run): Promise<ExitCode> {
  const progress = progressLine();
  const report = await diff(a, b, {
    rtol,
    atol,
    signal: run.signal,
    ...(progress.onProgress ? { onProgress: progress.onProgress } : {}),
  }).finally(progress.end);
  for (const warning of report.warnings ?? []) await run.warn(warning);
  if (run.json) await run.printJson(report);
  else await print(report, limit ?? Number.POSITIVE_INFINITY, run);
  return report.equal ? EXIT.done : EXIT.no;
}

async function print(report: DiffReport, limit: number, { out }: Run): Promise<void> {
  if (report.equal) return out.line(out.paint('green', 'equal'));
  const section = async (lines: readonly string[], style: 'red' | 'green' | 'yellow'): Promise<void> => {
    for (const line of lines.slice(0, limit)) await out.line(out.paint(style, shorten(line, out.width)));
    if (lines.length > limit) await out.line(out.paint('dim', `  ... ${grouped(lines.length - limit)} more`));
  };
  await section(
    report.removed.map((path) => `- ${printable(path) || '(root)'}`),
    'red',
  );
  await section(
    report.added.map((path) => `+ ${printable(path) || '(root)'}`),
    'green',
  );
  await section(
    report.renamed.map(({ from, to }) => `> ${printable(from)} -> ${printable(to)}`),
    'yellow',
  );
  await section(
    report.changed.map((change) => `~ ${changeText(change)}`),
    'yellow',
  );
  const counts = [
    [report.removed.length, 'removed'],
    [report.added.length, 'added'],
    [report.renamed.length, 'renamed'],
    [report.changed.length, 'changed'],
  ] as const;
  await out.line(
    counts
      .filter(([count]) => count > 0)
      .map(([count, what]) => `${grouped(count)} ${what}`)
      .join(', '),
  );
}

function changeText({ path, reason, a, b, count, maxAbs, maxRel, maxUlp }: Change): string {
  const name = printable(path) || '(root)';
  if (reason !== 'values' || count === undefined)
    return `${name}: ${reason === 'value' ? '' : `${reason} `}${printable(a ?? '')} -> ${printable(b ?? '')}`;
  const many = `${grouped(count)} ${count === 1 ? 'element differs' : 'elements differ'}`;
  if (maxAbs === Number.POSITIVE_INFINITY) return `${name}: ${many}, NaN or infinite on one side only`;
  const apart = [`${rounded(maxAbs)}`];
  if (maxRel !== undefined && Number.isFinite(maxRel)) apart.push(`${rounded(maxRel)} relative`);
  if (maxUlp !== undefined && Number.isFinite(maxUlp)) apart.push(`${grouped(maxUlp)} ulp`);
  return `${name}: ${many}, by ${apart.join(', ')} at most`;
}

function rounded(value: number | undefined): string {
  return String(Number(value?.toPrecision(6)));
}
