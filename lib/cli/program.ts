/**
 * The command line. One row per command; only the module of the command that is asked for is loaded, so that a small
 * question about a small file is answered at once.
 */
import { Command, CommanderError } from 'commander';
import { EXIT, tellFailure, UsageError } from './outcome';
import { isClosedPipe, Output } from './output';

interface Row {
  readonly names: readonly string[];
  /** As the list of commands shows it. */
  readonly usage: string;
  readonly summary: string;
  load(): Promise<{ command(commands: () => Promise<readonly Command[]>): Command }>;
}

const COMMANDS: readonly Row[] = [
  {
    names: ['inspect', 'ls'],
    usage: 'inspect|ls <file>',
    summary: 'list tensors, sharing and other values',
    load: () => import('./inspect'),
  },
  {
    names: ['show'],
    usage: 'show <file> <path>',
    summary: 'print one value or tensor, with statistics',
    load: () => import('./show'),
  },
  {
    names: ['verify'],
    usage: 'verify <file>',
    summary: 'check records against checksums and a manifest',
    load: () => import('./verify'),
  },
  {
    names: ['scan'],
    usage: 'scan <path>',
    summary: 'look for pickles that would run code',
    load: () => import('./scan'),
  },
  {
    names: ['diagnose'],
    usage: 'diagnose <path>',
    summary: 'say what is wrong with a file or folder, and salvage it',
    load: () => import('./diagnose'),
  },
  {
    names: ['diff'],
    usage: 'diff <a> <b>',
    summary: 'compare two checkpoints, of any formats',
    load: () => import('./diff'),
  },
  {
    names: ['convert'],
    usage: 'convert <in> <out>',
    summary: 'convert to safetensors, .pt, .npz, .gguf or a skeleton',
    load: () => import('./convert'),
  },
  {
    names: ['edit'],
    usage: 'edit <in> [out]',
    summary: 'set, delete or rename values, keep all the rest',
    load: () => import('./edit'),
  },
  {
    names: ['extract'],
    usage: 'extract <file> <path> <out>',
    summary: 'write one tensor or sub-tree to a file of its own',
    load: () => import('./extract'),
  },
  {
    names: ['completion'],
    usage: 'completion <shell>',
    summary: 'print a completion script for bash, zsh or fish',
    load: () => import('./completion'),
  },
];

/** Loads all of them: for completion scripts, which name every option. */
function everyCommand(): Promise<Command[]> {
  return Promise.all(COMMANDS.map(async ({ load }) => (await load()).command(everyCommand)));
}

function version(): string {
  return (require('../../package.json') as { version: string }).version;
}

async function programFor(args: readonly string[]): Promise<Command> {
  const program = new Command('torch-checkpoint')
    .description(
      'Look into, check, compare and convert PyTorch checkpoints, without Python and without running code from a file.',
    )
    .version(version(), '-V, --version', 'print the version')
    .helpCommand('help [command]', 'show the help of a command')
    .showHelpAfterError('(add --help for how to use it)')
    .addHelpText(
      'after',
      `
Examples:
  torch-checkpoint ls model.pt                               what is in it
  torch-checkpoint show model.pt fc.weight                   one tensor, as Python prints it
  torch-checkpoint convert model.pt model.safetensors
  torch-checkpoint diff before.pt after.safetensors
  torch-checkpoint scan downloads/                           is any of it dangerous?
  torch-checkpoint diagnose broken.pt --salvage rescued.pt
  torch-checkpoint help scan                                 more about one command

Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 unreadable input, 4 unwritable output, 130 and 143 interrupted.`,
    );
  program.exitOverride();
  const word = args[0] === 'help' ? args[1] : args[0];
  for (const { names, usage, summary, load } of COMMANDS) {
    if (word !== undefined && names.includes(word)) {
      const command = (await load()).command(everyCommand);
      command.exitOverride().showHelpAfterError('(add --help for how to use it)');
      program.addCommand(command);
    } else {
      const [name = '', ...rest] = usage.split(' ');
      const stub = program.command([name.split('|')[0], ...rest].join(' ')).description(summary);
      if (names[1]) stub.alias(names[1]);
    }
  }
  return program;
}

/** A reader that has seen enough of the output ends the program quietly; one that left the messages changes nothing. */
function heedReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      if (!isClosedPipe(error)) throw error;
      if (stream === process.stdout) process.exit(EXIT.done);
    });
  }
}

/** Does what the arguments ask for, and sets the exit code. Never rejects. */
export async function runProgram(args: readonly string[]): Promise<void> {
  heedReaders();
  try {
    await follow(args);
  } catch (error) {
    process.exitCode = await tellFailure(error, new Output(process.stdout), args.includes('--json'));
  }
}

async function follow(args: readonly string[]): Promise<void> {
  const json = args.includes('--json');
  // With --json the failure is told once, on stdout.
  const program = await programFor(args);
  if (json)
    for (const command of [program, ...program.commands]) command.configureOutput({ writeErr: () => undefined });
  try {
    if (args.length === 0) program.help({ error: true });
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (json && error.exitCode !== 0)
      await tellFailure(new UsageError(error.message.replace(/^error: /, '')), new Output(process.stdout), true);
  }
}
