/** `torch-checkpoint extract FILE PATH OUT`: one tensor as a file. */
import { Command } from 'commander';
import { extract } from '../inspect/extract';
import { addCommonOptions } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand } from './outcome';
import { progressLine } from './progress';
import { humanBytes, printable } from './text';

export function command(): Command {
  const made = new Command('extract')
    .description('Write one tensor to a file: .npy for NumPy, .bin for the bare elements (C order, little-endian).')
    .argument('<file>', 'checkpoint')
    .argument('<path>', 'path of the tensor, as inspect lists it')
    .argument('<out>', 'file to write; its extension says how')
    .addHelpText(
      'after',
      `
NumPy has no bfloat16 and no float8: in .npy they are float32. In .bin every dtype stays as it is.

Examples:
  torch-checkpoint extract model.pt conv1.weight conv1.npy
  torch-checkpoint extract model.pt embedding.weight embedding.bin`,
    )
    .action((file: string, path: string, out: string, options: CommonOptions) =>
      runCommand(options, (run) => extractTensor(file, path, out, run)),
    );
  return addCommonOptions(made);
}

async function extractTensor(file: string, path: string, output: string, run: Run): Promise<ExitCode> {
  const progress = progressLine();
  const report = await extract(file, path, output, {
    signal: run.signal,
    ...(progress.onProgress ? { onProgress: progress.onProgress } : {}),
  }).finally(progress.end);
  if (run.json) await run.printJson(report);
  else
    await run.out.line(
      `${printable(report.output)}: ${report.dtype} [${report.shape.join(', ')}], ${humanBytes(report.bytes)}`,
    );
  return EXIT.done;
}
