/**
 * `torch-checkpoint completion SHELL`: a script for the shell to source. What it offers is asked of the commands
 * themselves, so that no option can be missing.
 */
import { Argument, Command } from 'commander';
import { addCommonOptions } from './options';
import { type CommonOptions, EXIT, runCommand } from './outcome';

/** What a command line may hold behind the name of a command. */
interface Offer {
  readonly names: readonly string[];
  readonly summary: string;
  readonly flags: readonly Flag[];
  /** Words that the first argument is one of; undefined: files. */
  readonly words: readonly string[] | undefined;
}

interface Flag {
  /** `--limit`, and `-n` where there is one. */
  readonly long: string;
  readonly short: string | undefined;
  readonly summary: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** `commands`: all of the program, this one included. */
export function command(commands: () => Promise<readonly Command[]>): Command {
  const made = new Command('completion')
    .description('Print a completion script.')
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh', 'fish']))
    .addHelpText(
      'after',
      `
Examples:
  source <(torch-checkpoint completion bash)             in ~/.bashrc
  source <(torch-checkpoint completion zsh)              in ~/.zshrc, behind compinit
  torch-checkpoint completion fish > ~/.config/fish/completions/torch-checkpoint.fish`,
    )
    .action((shell: keyof typeof SCRIPTS, options: CommonOptions) =>
      runCommand(options, async ({ out, json, printJson }) => {
        const script = SCRIPTS[shell](offersOf(await commands()));
        if (json) await printJson({ shell, script });
        else await out.text(script);
        return EXIT.done;
      }),
    );
  return addCommonOptions(made);
}

function offersOf(commands: readonly Command[]): Offer[] {
  const offers = commands.map((one): Offer => {
    const flags = one.options
      .filter(({ hidden, long }) => !hidden && long !== undefined)
      .map(
        ({ long, short, description, required, optional, argChoices }): Flag => ({
          long: long as string,
          short,
          summary: description,
          takesValue: required || optional,
          choices: argChoices ?? [],
        }),
      );
    const help: Flag = { long: '--help', short: '-h', summary: 'show the help', takesValue: false, choices: [] };
    return {
      names: [one.name(), ...one.aliases()],
      summary: one.description(),
      flags: [...flags, help],
      words: one.registeredArguments[0]?.argChoices,
    };
  });
  const names = offers.flatMap((offer) => offer.names);
  return [...offers, { names: ['help'], summary: 'Show the help of a command.', flags: [], words: names }];
}

const PROGRAMS = ['torch-checkpoint', 'tckpt'] as const;

/** In single quotes, for all three shells. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The words that may stand behind a flag, as arms of a `case`; files where it takes any value. */
function valueArms({ names, flags }: Offer, act: (choices: readonly string[]) => string): string[] {
  return flags
    .filter(({ takesValue }) => takesValue)
    .map(({ long, short, choices }) => {
      const spelled = [long, ...(short === undefined ? [] : [short])];
      const patterns = names.flatMap((name) => spelled.map((flag) => `${name}:${flag}`));
      return `    ${patterns.join('|')}) ${act(choices)} ;;`;
    });
}

const SCRIPTS = {
  bash(offers: readonly Offer[]): string {
    const names = offers.flatMap((offer) => offer.names).join(' ');
    const arms = offers.map(({ names: own, flags, words }) => {
      const list = flags.map(({ long }) => long).join(' ');
      return `    ${own.join('|')}) flags=${quoted(list)} words=${quoted(words?.join(' ') ?? '')} ;;`;
    });
    const values = offers.flatMap((offer) =>
      valueArms(offer, (choices) =>
        choices.length > 0
          ? `COMPREPLY=($(compgen -W ${quoted(choices.join(' '))} -- "$current")); return`
          : 'compopt -o default; COMPREPLY=(); return',
      ),
    );
    return `_torch_checkpoint() {
  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" flags='' words=''
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W ${quoted(`${names} --version --help`)} -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}:$before" in
${values.join('\n')}
  esac
  case "\${COMP_WORDS[1]}" in
${arms.join('\n')}
  esac
  if [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  elif [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    compopt -o default
  fi
}
complete -F _torch_checkpoint ${PROGRAMS.join(' ')}
`;
  },
  zsh(offers: readonly Offer[]): string {
    const described = (name: string, summary: string): string =>
      quoted(`${name.replaceAll(':', '\\:')}:${summary.replaceAll(':', '\\:')}`);
    const names = offers.flatMap(({ names: own, summary }) => own.map((name) => described(name, summary)));
    const arms = offers.map(({ names: own, flags, words }) => {
      const list = flags.map(({ long, summary }) => described(long, summary)).join(' ');
      return `    ${own.join('|')}) flags=(${list}); words_=(${words?.map(quoted).join(' ') ?? ''}) ;;`;
    });
    const values = offers.flatMap((offer) =>
      valueArms(offer, (choices) =>
        choices.length > 0 ? `compadd -- ${choices.map(quoted).join(' ')}; return` : '_files; return',
      ),
    );
    return `#compdef ${PROGRAMS.join(' ')}
_torch_checkpoint() {
  local -a names flags words_
  names=(
    ${names.join('\n    ')}
  )
  if (( CURRENT == 2 )); then
    _describe command names
    [[ "$PREFIX" == -* ]] && compadd -- --version --help
    return
  fi
  case "$words[2]:$words[CURRENT-1]" in
${values.join('\n')}
  esac
  case "$words[2]" in
${arms.join('\n')}
  esac
  if [[ "$PREFIX" == -* ]]; then
    _describe -o option flags
  elif (( $#words_ )); then
    compadd -- $words_
  else
    _files
  fi
}
if [ "$funcstack[1]" = _torch_checkpoint ]; then
  _torch_checkpoint "$@"
else
  compdef _torch_checkpoint ${PROGRAMS.join(' ')}
fi
`;
  },
  fish(offers: readonly Offer[]): string {
    const lines = PROGRAMS.flatMap((program) =>
      offers.flatMap(({ names, summary, flags, words }) => [
        ...names.map(
          (name) => `complete -c ${program} -n __fish_use_subcommand -f -a ${name} -d ${fishQuoted(summary)}`,
        ),
        ...(words
          ? [`complete -c ${program} -n '__fish_seen_subcommand_from ${names.join(' ')}' -f -a '${words.join(' ')}'`]
          : []),
        ...flags.map(({ long, short, summary: about, takesValue, choices }) =>
          [
            `complete -c ${program} -n '__fish_seen_subcommand_from ${names.join(' ')}' -l ${long.slice(2)}`,
            ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
            ...(takesValue ? ['-r'] : []),
            ...(choices.length > 0 ? [`-f -a '${choices.join(' ')}'`] : []),
            `-d ${fishQuoted(about)}`,
          ].join(' '),
        ),
      ]),
    );
    return `${lines.join('\n')}\n`;
  },
} as const;

/** fish escapes within quotes, unlike the other two. */
function fishQuoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
