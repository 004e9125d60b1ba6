/**
 * Tables that fit the terminal. Widths are settled over all rows first; a table that is too wide shortens what may be
 * shortened, then loses the columns that matter least. Names that are cut tell nobody which tensor is meant: where even
 * that leaves no room for them, each row becomes a line for its name and an indented one for the rest.
 */
import type { Output } from './output';
import { columnsOf, shorten, wrapName } from './text';

export interface Column<Row> {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Columns of higher numbers are left out first; 0 is never left out. */
  readonly priority: number;
  /** May be shortened down to this many columns of the terminal. */
  readonly minWidth?: number;
  text(row: Row): string;
}

const GAP = 2;
const INDENT = '    ';

/** The first column is the name of the row. Returns the titles of columns that were left out. */
export async function printTable<Row>(
  out: Output,
  rows: readonly Row[],
  columns: readonly Column<Row>[],
): Promise<string[]> {
  const all = measure(rows, columns);
  const layout = layOut(all, out.width);
  if (!layout) {
    await printStacked(out, rows, all);
    return [];
  }
  await out.line(
    out.paint(
      'bold',
      lineOf(layout, ({ title }) => title),
    ),
  );
  for (const row of rows) {
    const full = out.line(lineOf(layout, (column) => column.text(row)));
    if (full) await full;
  }
  const shown = new Set(layout.map(({ column }) => column));
  return all.map(({ column }) => column).flatMap((column) => (shown.has(column) ? [] : [column.title]));
}

interface Placed<Row> {
  readonly column: Column<Row>;
  readonly width: number;
}

function measure<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): Placed<Row>[] {
  const placed = columns.map((column): Placed<Row> => {
    let widest = 0;
    for (const row of rows) widest = Math.max(widest, columnsOf(column.text(row)));
    return { column, width: Math.max(widest, columnsOf(column.title)) };
  });
  // A column that says nothing in any row is no column.
  return placed.filter(({ column }) => column.priority === 0 || rows.some((row) => column.text(row) !== ''));
}

/** Undefined when no choice of columns leaves room for those that must be whole. */
function layOut<Row>(all: readonly Placed<Row>[], width: number): readonly Placed<Row>[] | undefined {
  for (let placed = all; ; ) {
    const total = placed.reduce((sum, { width: one }) => sum + one, GAP * (placed.length - 1));
    const shortened = shortenBy(placed, total - width);
    if (shortened) return shortened;
    const priority = Math.max(...placed.map(({ column }) => column.priority));
    if (priority === 0) return undefined;
    placed = placed.filter(({ column }) => column.priority !== priority);
  }
}

/** Takes `over` columns from those that may be shortened, from the widest first. */
function shortenBy<Row>(placed: readonly Placed<Row>[], over: number): readonly Placed<Row>[] | undefined {
  let layout = placed;
  let left = over;
  while (left > 0) {
    const spare = ({ column, width }: Placed<Row>): number => width - (column.minWidth ?? width);
    const most = layout.reduce((best, one) => (spare(one) > spare(best) ? one : best));
    if (spare(most) <= 0) return undefined;
    const cut = Math.min(left, spare(most));
    layout = layout.map((one) => (one === most ? { ...one, width: one.width - cut } : one));
    left -= cut;
  }
  return layout;
}

function lineOf<Row>(layout: readonly Placed<Row>[], textOf: (column: Column<Row>) => string): string {
  let line = '';
  for (const [i, { column, width }] of layout.entries()) {
    const text = shorten(textOf(column), width);
    const padding = ' '.repeat(Math.max(0, width - columnsOf(text)));
    if (i > 0) line += ' '.repeat(GAP);
    line += column.align === 'right' ? padding + text : text + padding;
  }
  return line.trimEnd();
}

async function printStacked<Row>(out: Output, rows: readonly Row[], all: readonly Placed<Row>[]): Promise<void> {
  const [name, ...rest] = all.map(({ column }) => column);
  for (const row of rows) {
    for (const line of wrapName(name?.text(row) ?? '', out.width)) await out.line(out.paint('bold', line));
    let line = INDENT;
    for (const column of rest) {
      const text = shorten(column.text(row), Math.max(1, out.width - INDENT.length));
      if (text === '') continue;
      if (line !== INDENT && columnsOf(line) + GAP + columnsOf(text) > out.width) {
        await out.line(line);
        line = INDENT;
      }
      line += (line === INDENT ? '' : ' '.repeat(GAP)) + text;
    }
    if (line !== INDENT) await out.line(line);
  }
}
