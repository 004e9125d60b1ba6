/** `torch-checkpoint diagnose FILE`: what is this file, and what is wrong with it? */
import { Command } from 'commander';
import { diagnose } from '../inspect/diagnose';
import { addCommonOptions } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand } from './outcome';
import { progressLine } from './progress';
import { printable } from './text';

interface Options extends CommonOptions {
  verify: boolean;
}

export function command(): Command {
  const made = new Command('diagnose')
    .description(
      'Say what a file is, what is wrong with it, and what to do: web pages, LFS pointers, cut downloads, damage.',
    )
    .argument('<file>', 'any file')
    .option('--no-verify', 'do not read all records to compare their checksums')
    .addHelpText(
      'after',
      `
Exit code 0 for a healthy checkpoint, 1 when something is wrong.

Examples:
  torch-checkpoint diagnose model.pt
  torch-checkpoint diagnose pytorch_model.bin --json`,
    )
    .action((file: string, options: Options) => runCommand(options, (run) => diagnoseFile(file, options, run)));
  return addCommonOptions(made);
}

async function diagnoseFile(file: string, { verify }: Options, run: Run): Promise<ExitCode> {
  const progress = progressLine();
  const diagnosis = await diagnose(file, {
    signal: run.signal,
    verify,
    ...(progress.onProgress ? { onProgress: progress.onProgress } : {}),
  }).finally(progress.end);
  const { out } = run;
  if (run.json) await run.printJson(diagnosis);
  else {
    const { ok, kind, message, hint, expectedSize } = diagnosis;
    await out.line(`${out.paint(ok ? 'green' : 'red', ok ? 'ok' : printable(kind))}  ${printable(message)}`);
    if (expectedSize !== undefined) await out.line(`expected size: ${expectedSize} bytes`);
    if (hint !== undefined && !message.endsWith(hint)) await out.line(`what to do: ${printable(hint)}`);
  }
  return diagnosis.ok ? EXIT.done : EXIT.no;
}
