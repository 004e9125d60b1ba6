/**
 * One chart of a run as SVG: for each task and size, what every contender took, as a bar on a logarithmic scale whose
 * middle line is ours. A bar to the right is so many times slower than ours, a bar to the left so many times faster.
 */
import { isOurs } from './guard.mjs';
import { milliseconds } from './report.mjs';

const TITLE = 'Time against ours, logarithmic: bars to the right are slower';
const WIDTH = 920;
const NAME_END = 214;
const PLOT = { left: 226, right: 700 };
const FACTS_LEFT = 736;
const ROW = 19;
const HEAD = 84;
const GRID = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000];
const COLORS = {
  ours: '#1d4ed8',
  variant: '#7aa2f7',
  other: '#9aa5b1',
  ink: '#1f2937',
  faint: '#6b7280',
  line: '#e5e7eb',
};

export function chart(rows, machine) {
  const ratios = rows.map(({ ratio }) => ratio);
  const lowest = GRID.findLast((factor) => factor <= Math.min(0.3, ...ratios)) ?? GRID[0];
  const highest = GRID.find((factor) => factor >= Math.max(10, ...ratios)) ?? GRID.at(-1);
  const x = (ratio) => {
    const inside = Math.min(Math.max(ratio, lowest), highest);
    return PLOT.left + (Math.log(inside / lowest) / Math.log(highest / lowest)) * (PLOT.right - PLOT.left);
  };
  const body = [];
  let y = HEAD;
  for (const [title, group] of groups(rows)) {
    y += 8;
    body.push(text(8, y + 13, title, { weight: 600 }));
    y += ROW + 2;
    for (const row of group) {
      body.push(bar(row, x, y));
      y += ROW;
    }
  }
  const grid = GRID.filter((factor) => factor >= lowest && factor <= highest).map((factor) => {
    const at = x(factor).toFixed(1);
    const stroke = factor === 1 ? COLORS.ours : COLORS.line;
    return `<line x1="${at}" y1="${HEAD - 6}" x2="${at}" y2="${y}" stroke="${stroke}"/>${text(at, HEAD - 12, factorText(factor), { anchor: 'middle', fill: COLORS.faint })}`;
  });
  const [first, second] = wrap(machine, 130);
  const head = [
    text(8, 20, TITLE, { size: 15, weight: 600 }),
    text(8, 37, first, { size: 11, fill: COLORS.faint }),
    text(8, 51, second, { size: 11, fill: COLORS.faint }),
    text(FACTS_LEFT, HEAD - 12, 'median, anonymous memory', { fill: COLORS.faint }),
  ];
  const height = y + 12;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12">`,
    `<title>${escaped(TITLE)}</title>`,
    '<rect width="100%" height="100%" fill="white"/>',
    ...grid,
    ...head,
    ...body,
    '</svg>\n',
  ].join('\n');
}

function groups(rows) {
  const found = new Map();
  for (const row of rows) {
    const title = `${row.task} ${row.size}${row.cold ? ', cold' : ''}`;
    found.set(title, [...(found.get(title) ?? []), row]);
  }
  return found;
}

function bar(row, x, y) {
  const [from, to] = [x(1), x(row.ratio)].sort((a, b) => a - b);
  const fill = row.ratio === 1 && isOurs(row) ? COLORS.ours : isOurs(row) ? COLORS.variant : COLORS.other;
  // Ours is the line itself: a small block marks it.
  const [left, width] = to - from < 3 ? [x(1) - 2, 4] : [from, to - from];
  const facts = `${milliseconds(row.medianMs)}, ${Math.round(row.anonKiB / 1024)} MiB`;
  // Right of the bar; of a bar to the left, right of the line, where nothing else is.
  const label = text(left + width + 5, y + 13, factorText(row.ratio));
  return [
    text(NAME_END, y + 13, row.contender, { anchor: 'end' }),
    `<rect x="${left.toFixed(1)}" y="${y + 3}" width="${width.toFixed(1)}" height="${ROW - 6}" rx="2" fill="${fill}"/>`,
    label,
    text(FACTS_LEFT, y + 13, facts, { fill: COLORS.faint }),
  ].join('');
}

const factorText = (factor) => `${factor < 10 ? Number(factor.toPrecision(2)) : Math.round(factor)}x`;

function text(x, y, content, { anchor = 'start', fill = COLORS.ink, size, weight } = {}) {
  const others = `${size ? ` font-size="${size}"` : ''}${weight ? ` font-weight="${weight}"` : ''}`;
  return `<text x="${Number(x).toFixed(1)}" y="${y}" text-anchor="${anchor}" fill="${fill}"${others}>${escaped(content)}</text>`;
}

const escaped = (content) => content.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

/** Two lines, cut at a comma. */
function wrap(line, length) {
  if (line.length <= length) return [line, ''];
  const cut = line.lastIndexOf(', ', length) + 1;
  return [line.slice(0, cut), line.slice(cut).trim()];
}
