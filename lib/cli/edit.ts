/** `torch-checkpoint edit IN OUT`: change single values, keep all the rest as it was. */
import { Command } from 'commander';
import { edit } from '../convert/edit';
import { addCommonOptions } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand, UsageError } from './outcome';
import { progressLine } from './progress';
import { humanBytes, printable } from './text';

interface Options extends CommonOptions {
  inPlace?: boolean;
  set?: string[];
  delete?: string[];
  rename?: string[];
}

export function command(): Command {
  const made = new Command('edit')
    .description('Set, delete or rename values of a checkpoint; everything else is saved as it was.')
    .argument('<in>', 'checkpoint')
    .argument('[out]', 'file to write')
    .option('--in-place', 'write over the input, which is replaced when the new file is whole')
    .option('--set <path=json>', 'new value; 1.0 is a float and 1 an int (may be repeated)', collect)
    .option('--delete <path>', 'remove a value, or all names below it (may be repeated)', collect)
    .option('--rename <old=new>', 'rename a key, or all names below it, at its position (may be repeated)', collect)
    .addHelpText(
      'after',
      `
Examples:
  torch-checkpoint edit ckpt.pt out.pt --set epoch=4 --delete optimizer
  torch-checkpoint edit ckpt.pt --in-place --set 'optimizer.param_groups[0].lr=1e-4'
  torch-checkpoint edit model.pt out.pt --rename fc=head`,
    )
    .action((input: string, output: string | undefined, options: Options) =>
      runCommand(options, (run) => editFile(input, output, options, run)),
    );
  return addCommonOptions(made);
}

async function editFile(input: string, output: string | undefined, options: Options, run: Run): Promise<ExitCode> {
  const { inPlace = false, set, delete: removed, rename } = options;
  if (inPlace === (output !== undefined)) throw new UsageError('give either an output file or --in-place');
  if (!set && !removed && !rename) throw new UsageError('nothing to edit: give --set, --delete or --rename');
  const progress = progressLine();
  const target = output ?? input;
  const report = await edit(input, target, {
    set,
    delete: removed,
    rename,
    signal: run.signal,
    ...(progress.onProgress ? { onProgress: progress.onProgress } : {}),
  }).finally(progress.end);
  if (run.json) await run.printJson({ ...report, output: target });
  else
    await run.out.line(
      `${printable(target)}: ${report.edits} ${report.edits === 1 ? 'change' : 'changes'}, ${humanBytes(report.bytes)}`,
    );
  return EXIT.done;
}

/** Values of an option that may be given several times. */
function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}
