/** `torch-checkpoint show FILE [PATH]`: one value as Python prints it. */
import { Command } from 'commander';
import { type Shown, show } from '../inspect/show';
import type { Statistics } from '../inspect/statistics';
import { addCommonOptions } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand } from './outcome';
import { progressLine } from './progress';
import { grouped, humanBytes, printable, printableLines, shorten } from './text';

interface Options extends CommonOptions {
  statistics: boolean;
}

export function command(): Command {
  const made = new Command('show')
    .description(
      'Print one value or tensor as Python prints it; of a tensor also range, mean, NaN count and a histogram.',
    )
    .argument('<file>', 'checkpoint, .npz, .npy, or folder or .index.json of a model')
    .argument('[path]', 'path of the value, as inspect lists it; without it, the whole checkpoint', '')
    .option('--no-statistics', 'do not read all elements')
    .addHelpText(
      'after',
      `
Examples:
  torch-checkpoint show model.pt conv1.weight
  torch-checkpoint show ckpt.pt 'optimizer.param_groups[0].lr'
  torch-checkpoint show ckpt.pt epoch --json`,
    )
    .action((file: string, path: string, options: Options) =>
      runCommand(options, (run) => showValue(file, path, options, run)),
    );
  return addCommonOptions(made);
}

async function showValue(file: string, path: string, { statistics }: Options, run: Run): Promise<ExitCode> {
  const progress = progressLine();
  const shown = await show(file, path, {
    signal: run.signal,
    statistics,
    ...(progress.onProgress ? { onProgress: progress.onProgress } : {}),
  }).finally(progress.end);
  for (const warning of shown.warnings ?? []) await run.warn(warning);
  if (run.json) await run.printJson(shown);
  else await print(shown, run);
  return EXIT.done;
}

async function print({ text, tensor, statistics }: Shown, { out }: Run): Promise<void> {
  await out.line(printableLines(text));
  if (!tensor) return;
  const facts = [
    `${tensor.dtype} [${tensor.shape.join(', ')}]`,
    humanBytes(tensor.bytes),
    `on ${printable(tensor.location)}`,
  ];
  if (tensor.layout !== 'strided') facts.push(printable(tensor.layout));
  await out.line();
  await out.line(out.paint('bold', shorten(facts.join(', '), out.width)));
  if (statistics) for (const line of statisticsLines(statistics, out.width)) await out.line(line);
}

const number = (value: number): string => String(Number(value.toPrecision(6)));

function* statisticsLines(statistics: Statistics, width: number): Generator<string> {
  const { numel, nan, inf, zeros, min, max, mean, std, histogram } = statistics;
  yield `${grouped(numel)} elements, ${grouped(zeros)} zero, ${grouped(nan)} NaN, ${grouped(inf)} infinite`;
  if (min === undefined || max === undefined || mean === undefined) return;
  yield `min ${number(min)}, max ${number(max)}, mean ${number(mean)}${std === undefined ? '' : `, std ${number(std)}`}`;
  if (!histogram) return;
  yield '';
  const most = Math.max(...histogram.map(({ count }) => count));
  const labels = histogram.map(({ from }) => number(from));
  const labelWidth = Math.max(...labels.map(({ length }) => length));
  const counts = histogram.map(({ count }) => grouped(count));
  const countWidth = Math.max(...counts.map(({ length }) => length));
  const room = Math.max(4, Math.min(40, width - labelWidth - countWidth - 4));
  for (const [i, { count }] of histogram.entries()) {
    const bar = '█'.repeat(Math.ceil((room * count) / most));
    yield `${(labels[i] as string).padStart(labelWidth)}  ${bar.padEnd(room)}  ${(counts[i] as string).padStart(countWidth)}`;
  }
}
