/**
 * Tables that fit the terminal. Widths are settled over all rows first; a table that is too wide loses the columns that
 * matter least, then shortens the one that may be shortened.
 */
import type { Output } from './output';
import { columnsOf, shorten } from './text';

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

export async function printTable<Row>(
  out: Output,
  rows: readonly Row[],
  columns: readonly Column<Row>[],
): Promise<void> {
  const layout = layOut(rows, columns, out.width);
  await out.line(
    out.paint(
      'bold',
      lineOf(layout, ({ title }) => title),
    ),
  );
  for (const row of rows) await out.line(lineOf(layout, (column) => column.text(row)));
}

interface Placed<Row> {
  readonly column: Column<Row>;
  width: number;
}

function layOut<Row>(rows: readonly Row[], columns: readonly Column<Row>[], width: number): Placed<Row>[] {
  let placed = columns.map((column): Placed<Row> => {
    let widest = 0;
    for (const row of rows) widest = Math.max(widest, columnsOf(column.text(row)));
    return { column, width: Math.max(widest, columnsOf(column.title)) };
  });
  // A column that says nothing in any row is no column.
  placed = placed.filter(({ column }) => column.priority === 0 || rows.some((row) => column.text(row) !== ''));
  const total = (): number => placed.reduce((sum, { width: one }) => sum + one, GAP * (placed.length - 1));
  /** As narrow as shortening can make it. */
  const least = (): number =>
    placed.reduce(
      (sum, { column, width: one }) => sum + Math.min(one, column.minWidth ?? one),
      GAP * (placed.length - 1),
    );
  while (least() > width) {
    const priority = Math.max(...placed.map(({ column }) => column.priority));
    if (priority === 0) break;
    placed = placed.filter(({ column }) => column.priority !== priority);
  }
  for (let over = total() - width; over > 0; over = total() - width) {
    // Shorten the widest of those that may be.
    const widest = placed
      .filter(({ column, width: one }) => one > (column.minWidth ?? one))
      .sort((a, b) => b.width - a.width)[0];
    if (!widest) break;
    widest.width = Math.max(widest.column.minWidth ?? 0, widest.width - over);
  }
  return placed;
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
