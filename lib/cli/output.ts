/**
 * Standard output and error. Output is written in pieces that wait for the reader, so that a listing of any length takes
 * bounded memory, and ends quietly when the reader has seen enough (`| head`).
 */

const PIECE_CHARACTERS = 1 << 16;

export class Output {
  readonly #stream: NodeJS.WriteStream;
  /** Columns of the terminal; Infinity where nothing is to be shortened. */
  readonly width: number;
  readonly colours: boolean;
  #pending: string[] = [];
  #characters = 0;

  constructor(stream: NodeJS.WriteStream, width?: number) {
    this.#stream = stream;
    this.width =
      width ?? (stream.isTTY ? Number(process.env.COLUMNS) || stream.columns || 80 : Number.POSITIVE_INFINITY);
    this.colours = wantsColours(stream);
  }

  /** Adds a line, or lines; a promise where the reader must catch up before more may come. */
  line(text = ''): Promise<void> | undefined {
    return this.text(`${text}\n`);
  }

  text(text: string): Promise<void> | undefined {
    this.#pending.push(text);
    this.#characters += text.length;
    return this.#characters >= PIECE_CHARACTERS ? this.flush() : undefined;
  }

  async flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    const piece = this.#pending.join('');
    this.#pending = [];
    this.#characters = 0;
    // Also where pipes are written synchronously: a reader that left is noticed between two pieces.
    await new Promise<void>((resolve, reject) =>
      this.#stream.write(piece, (error) => (error ? reject(error) : resolve())),
    );
  }

  paint(style: 'bold' | 'dim' | 'red' | 'yellow' | 'green', text: string): string {
    return this.colours ? `${STYLES[style]}${text}\x1b[0m` : text;
  }
}

const STYLES = { bold: '\x1b[1m', dim: '\x1b[2m', red: '\x1b[31m', yellow: '\x1b[33m', green: '\x1b[32m' } as const;

/** https://no-color.org and https://force-color.org: empty variables do not count, FORCE_COLOR=0 means no. */
function wantsColours(stream: NodeJS.WriteStream): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  if (NO_COLOR) return false;
  if (FORCE_COLOR) return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false';
  return stream.isTTY && TERM !== 'dumb';
}

/** True for the error of writing to a pipe that nobody reads any more. */
export function isClosedPipe(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED';
}
