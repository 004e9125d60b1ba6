/** Options that commands share, and how their values are read. */
import { type Command, InvalidArgumentError } from 'commander';

/** `--json` and `--width`, on every command. */
export function addCommonOptions(command: Command): Command {
  return command
    .option('--json', 'print JSON; failures too, as { "error": { "code", "message" } }')
    .option(
      '--width <columns>',
      'fit lines to so many columns (default: COLUMNS or the terminal; piped output is not shortened)',
      wholeNumber,
    );
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('a whole number is expected');
  return Number(text);
}

/** A tolerance: not negative, `1e-5` style allowed. */
export function tolerance(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0)) throw new InvalidArgumentError('a number of 0 or more is expected');
  return value;
}
