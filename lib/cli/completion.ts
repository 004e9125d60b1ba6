/** `torch-checkpoint completion SHELL`: a script for the shell to source. */
import { Argument, Command } from 'commander';
import { addCommonOptions } from './options';
import { type CommonOptions, EXIT, runCommand } from './outcome';

/** Commands with their options, as the scripts offer them. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  inspect: ['--limit', '--sort', '--select'],
  ls: ['--limit', '--sort', '--select'],
  show: ['--no-statistics'],
  verify: ['--manifest', '--no-manifest', '--write-manifest', '--threads'],
  scan: ['--allow', '--sarif', '--jobs'],
  diagnose: ['--no-verify'],
  diff: ['--rtol', '--atol', '--limit'],
  extract: [],
  completion: [],
  help: [],
};
const COMMON = ['--json', '--width', '--help'];

export function command(): Command {
  const made = new Command('completion')
    .description('Print a completion script.')
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh', 'fish']))
    .addHelpText(
      'after',
      `
Examples:
  source <(torch-checkpoint completion bash)
  torch-checkpoint completion fish > ~/.config/fish/completions/torch-checkpoint.fish`,
    )
    .action((shell: 'bash' | 'zsh' | 'fish', options: CommonOptions) =>
      runCommand(options, async ({ out, json, printJson }) => {
        const script = SCRIPTS[shell]();
        if (json) await printJson({ shell, script });
        else await out.text(script);
        return EXIT.done;
      }),
    );
  return addCommonOptions(made);
}

const names = Object.keys(WORDS).join(' ');
const cases = (): string =>
  Object.entries(WORDS)
    .map(([name, options]) => `    ${name}) words="${[...options, ...COMMON].join(' ')}" ;;`)
    .join('\n');

const zshCases = (): string =>
  Object.entries(WORDS)
    .map(([name, options]) => `      ${name}) compadd -- ${[...options, ...COMMON].join(' ')} ;;`)
    .join('\n');

const SCRIPTS = {
  bash: () => `_torch_checkpoint() {
  local current="\${COMP_WORDS[COMP_CWORD]}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${names} --version --help" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases()}
  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    *) compopt -o default; COMPREPLY=() ;;
  esac
}
complete -F _torch_checkpoint torch-checkpoint tckpt
`,
  zsh: () => `#compdef torch-checkpoint tckpt
_torch_checkpoint() {
  if (( CURRENT == 2 )); then
    compadd -- ${names} --version --help
    return
  fi
  if [[ "$PREFIX" == -* ]]; then
    case "$words[2]" in
${zshCases()}
    esac
  else
    _files
  fi
}
compdef _torch_checkpoint torch-checkpoint tckpt
`,
  fish: () =>
    ['torch-checkpoint', 'tckpt']
      .flatMap((bin) => [
        `complete -c ${bin} -n __fish_use_subcommand -f -a '${names}'`,
        ...Object.entries(WORDS).flatMap(([name, options]) =>
          [...options, ...COMMON].map(
            (option) => `complete -c ${bin} -n '__fish_seen_subcommand_from ${name}' -l ${option.slice(2)}`,
          ),
        ),
      ])
      .join('\n')
      .concat('\n'),
} as const;
