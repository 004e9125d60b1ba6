/** `torch-checkpoint extract FILE PATH OUT`: one tensor or sub-tree as a file. */
import { Command } from 'commander';
import { type ExtractReport, extract } from '../inspect/extract';
import { addCommonOptions } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand } from './outcome';
import { progressLine } from './progress';
import { counted, humanBytes, printable } from './text';

export function command(): Command {
  const made = new Command('extract')
    .description('Write one tensor, or everything below a path, to a file of its own.')
    .argument('<file>', 'checkpoint, .npz, .npy, or folder or .index.json of a model')
    .argument('<path>', 'path of a value as inspect lists it, or the beginning of names: encoder')
    .argument('<out>', 'file to write; its extension says how: .npy, .bin, .safetensors, .npz, .pt')
    .addHelpText(
      'after',
      `
  .npy, .bin           one tensor or array: for NumPy, or its bare elements (C order, little-endian)
  .safetensors, .npz   every tensor below the path, under names relative to it
  .pt, .pth, .ckpt     the value itself, as torch.load gives it: also lists, numbers and whole optimizers

NumPy has no bfloat16 and no float8: in .npy and .npz they are float32. Elsewhere every dtype stays as it is.

Examples:
  torch-checkpoint extract model.pt conv1.weight conv1.npy
  torch-checkpoint extract model.pt encoder encoder.safetensors
  torch-checkpoint extract ckpt.pt optimizer optimizer.pt`,
    )
    .action((file: string, path: string, out: string, options: CommonOptions) =>
      runCommand(options, (run) => extractPart(file, path, out, run)),
    );
  return addCommonOptions(made);
}

async function extractPart(file: string, path: string, output: string, run: Run): Promise<ExitCode> {
  const progress = progressLine();
  const report = await extract(file, path, output, {
    signal: run.signal,
    ...(progress.onProgress ? { onProgress: progress.onProgress } : {}),
  }).finally(progress.end);
  for (const warning of report.warnings ?? []) await run.warn(warning);
  if (run.json) await run.printJson(report);
  else await print(report, run);
  return EXIT.done;
}

async function print({ output, tensors, dtype, shape, bytes, dropped }: ExtractReport, { out }: Run): Promise<void> {
  for (const { path, reason } of dropped)
    await out.line(out.paint('yellow', `! left out ${printable(path)}: ${printable(reason)}`));
  const what =
    dtype !== undefined && shape !== undefined
      ? `${dtype} [${shape.join(', ')}]`
      : tensors === 0
        ? 'a value without tensors'
        : counted(tensors, 'tensor');
  await out.line(`${printable(output)}: ${what}, ${humanBytes(bytes)}`);
}
