/** `torch-checkpoint diagnose FILE`: what is this file, and what is wrong with it? */
import { Command } from 'commander';
import { type Diagnosis, diagnose } from '../inspect/diagnose';
import { type LostTensor, type SalvageReport, salvage } from '../inspect/salvage';
import { addCommonOptions } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand, UsageError } from './outcome';
import { progressLine } from './progress';
import { counted, grouped, humanBytes, printable } from './text';

interface Options extends CommonOptions {
  verify: boolean;
  salvage?: string;
  zeroFill?: boolean;
}

export function command(): Command {
  const made = new Command('diagnose')
    .description(
      'Say what a file is, what is wrong with it, and what to do: web pages, LFS pointers, cut downloads, damage.',
    )
    .argument('<file>', 'any file, or the folder or .index.json of a model')
    .option('--no-verify', 'do not read all records to compare their checksums')
    .option('--salvage <out>', 'write what is whole of a damaged checkpoint to a new .pt, .safetensors or .npz file')
    .option('--zero-fill', 'with --salvage: keep tensors that are cut short or missing, zeros in place of their bytes')
    .addHelpText(
      'after',
      `
Exit code 0 for a healthy checkpoint, 1 when something is wrong, salvaged or not. Of a folder, every checkpoint below it
is looked at, and shards are compared with their index.

--salvage finds the storages of a file that was cut short or lost its directory, checks each of them, and names every
tensor that it had to leave out, with the bytes that are missing. Where the names of the tensors are lost, the storages
come as uint8 tensors.

Examples:
  torch-checkpoint diagnose model.pt
  torch-checkpoint diagnose pytorch_model.bin --json
  torch-checkpoint diagnose llama/                     shards, index, and what is missing
  torch-checkpoint diagnose download.pt.part --salvage rescued.pt
  torch-checkpoint diagnose download.pt.part --salvage same-shape.pt --zero-fill`,
    )
    .action((file: string, options: Options) => runCommand(options, (run) => diagnoseFile(file, options, run)));
  return addCommonOptions(made);
}

async function diagnoseFile(file: string, { verify, salvage: target, zeroFill }: Options, run: Run): Promise<ExitCode> {
  if (zeroFill && target === undefined) throw new UsageError('--zero-fill says how to --salvage; give both');
  const progress = progressLine();
  const work = { signal: run.signal, ...(progress.onProgress ? { onProgress: progress.onProgress } : {}) };
  try {
    const diagnosis = await diagnose(file, { ...work, verify });
    progress.end();
    if (target !== undefined && diagnosis.kind === 'folder')
      throw new UsageError('--salvage takes one file; name the one of the folder that is damaged');
    if (!run.json) await printDiagnosis(diagnosis, target === undefined, run);
    const report =
      target === undefined || diagnosis.ok
        ? undefined
        : await salvage(file, target, { ...work, ...(zeroFill ? { zeroFill } : {}) });
    progress.end();
    if (run.json) await run.printJson({ ...diagnosis, ...(report ? { salvaged: report } : {}) });
    else if (report) await printSalvage(report, run);
    else if (target !== undefined) await run.out.line('nothing to salvage: the file is whole');
    return diagnosis.ok ? EXIT.done : EXIT.no;
  } finally {
    progress.end();
  }
}

async function printDiagnosis(diagnosis: Diagnosis, offersSalvage: boolean, { out }: Run): Promise<void> {
  const { ok, kind, message, hint, expectedSize, salvageable, problems = [], notes = [] } = diagnosis;
  await out.line(`${out.paint(ok ? 'green' : 'red', ok ? 'ok' : printable(kind))}  ${printable(message)}`);
  for (const problem of problems) {
    await out.line(
      `${out.paint('red', printable(problem.kind))}  ${printable(problem.path)}: ${printable(problem.message)}`,
    );
    if (problem.hint !== undefined) await out.line(`  what to do: ${printable(problem.hint)}`);
  }
  for (const note of notes) await out.line(`note  ${printable(note)}`);
  // Of what is cut short the message says it.
  if (expectedSize !== undefined && kind !== 'truncated') await out.line(`expected size: ${expectedSize} bytes`);
  if (hint !== undefined) await out.line(`what to do: ${printable(hint)}`);
  if (salvageable && offersSalvage)
    await out.line('or save what is still whole: torch-checkpoint diagnose FILE --salvage OUT.pt');
}

async function printSalvage(report: SalvageReport, { out }: Run): Promise<void> {
  const { kind, reason, output = '', tensors, bytes, lost } = report;
  for (const one of lost)
    await out.line(`${out.paint('yellow', one.zeroFilled ? 'zeros' : 'lost ')}  ${printable(lostText(one))}`);
  if (kind === 'nothing') {
    await out.line(out.paint('red', `nothing could be salvaged: ${printable(reason ?? 'nothing is whole')}`));
    return;
  }
  const what =
    kind === 'checkpoint'
      ? counted(tensors, 'tensor')
      : `${counted(tensors, 'storage')} as uint8 ${tensors === 1 ? 'tensor' : 'tensors'} named by record`;
  const filled = lost.filter(({ zeroFilled }) => zeroFilled).length;
  const counts = [`${grouped(lost.length - filled)} lost`];
  if (filled > 0) counts.push(`${grouped(filled)} filled with zeros`);
  await out.line(`salvaged ${what}, ${humanBytes(bytes)}, to ${printable(output)}; ${counts.join(', ')}`);
  if (reason !== undefined)
    await out.line(out.paint('yellow', `their names, dtypes and shapes are lost: ${printable(reason)}`));
}

function lostText({ path, record, reason, bytes, missingBytes }: LostTensor): string {
  const where = record && record !== path ? ` (${record})` : '';
  const some = bytes !== undefined && missingBytes !== undefined && missingBytes < bytes;
  const missing = some ? `; ${missingBytes} of its ${bytes} bytes are missing` : '';
  return `${path || '(root)'}${where}: ${reason}${missing}`;
}
