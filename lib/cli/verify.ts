/** `torch-checkpoint verify FILE`: are the bytes those that were written? */
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { type FileVerifyReport, verify } from '../inspect/verify';
import { addCommonOptions, wholeNumber } from './options';
import { type CommonOptions, EXIT, type ExitCode, type Run, runCommand } from './outcome';
import { progressLine } from './progress';
import { counted, grouped, printable } from './text';

interface Options extends CommonOptions {
  manifest?: string | false;
  writeManifest?: string;
  threads?: number;
}

export function command(): Command {
  const made = new Command('verify')
    .description(
      'Check every record of a checkpoint against its checksum, every tensor against a manifest, and shards against their index.',
    )
    .argument('<file>', 'checkpoint, .npz, .npy, or folder or .index.json of a model')
    .option('--manifest <file>', 'manifest to compare with (default: <file>.manifest.json where that exists)')
    .option('--no-manifest', 'compare with no manifest')
    .option('--write-manifest <file>', 'write the SHA-256 of every tensor')
    .option('--threads <count>', 'threads that compute checksums (default: 2)', wholeNumber)
    .addHelpText(
      'after',
      `
Exit code 1 when anything is damaged or the file is cut short.

Examples:
  torch-checkpoint verify model.pt
  torch-checkpoint verify model.pt --write-manifest model.pt.manifest.json
  torch-checkpoint verify copy.safetensors --manifest model.pt.manifest.json`,
    )
    .action((file: string, options: Options) => runCommand(options, (run) => verifyFile(file, options, run)));
  return addCommonOptions(made);
}

async function verifyFile(file: string, options: Options, run: Run): Promise<ExitCode> {
  const beside = `${file}.manifest.json`;
  const given = typeof options.manifest === 'string' ? options.manifest : undefined;
  // A manifest that is about to be written anew is not held against the file.
  const manifest =
    given ??
    (options.manifest !== false && options.writeManifest === undefined && existsSync(beside) ? beside : undefined);
  const progress = progressLine();
  const report = await verify(file, {
    signal: run.signal,
    ...(manifest === undefined ? {} : { manifest }),
    ...(options.writeManifest === undefined ? {} : { writeManifest: options.writeManifest }),
    ...(options.threads === undefined ? {} : { threads: Math.max(1, options.threads) }),
    ...(progress.onProgress ? { onProgress: progress.onProgress } : {}),
  }).finally(progress.end);
  if (run.json) await run.printJson(report);
  else await print(report, file, options.writeManifest, run);
  return report.ok ? EXIT.done : EXIT.no;
}

async function print(report: FileVerifyReport, file: string, written: string | undefined, { out }: Run): Promise<void> {
  for (const { record, reason } of report.damaged)
    await out.line(
      `${out.paint('red', 'damaged')}  ${record === '' ? '' : `${printable(record)}: `}${printable(reason)}`,
    );
  const count = (status: string): number => report.records.filter((one) => one.status === status).length;
  const facts = [`${counted(count('ok'), 'record')} ok`];
  if (count('not-recorded') > 0) facts.push(`${grouped(count('not-recorded'))} without a checksum`);
  if (report.manifestTensors !== undefined)
    facts.push(`${grouped(report.manifestTensors)} tensors compared with the manifest`);
  if (report.damaged.length > 0) facts.push(`${grouped(report.damaged.length)} damaged`);
  await out.line(
    `${report.ok ? out.paint('green', 'ok') : out.paint('red', 'damaged')}  ${printable(file)}: ${facts.join(', ')}`,
  );
  if (written !== undefined && report.ok) await out.line(`manifest written to ${printable(written)}`);
}
