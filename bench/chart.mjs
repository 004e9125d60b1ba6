/** One bar chart of a run as SVG: for each task and size, each contender's time against ours. */

const WIDTH = 860;
const LABEL = 250;
const BAR = 18;
const escapeXml = (text) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

export function chart(results, machine) {
  const groups = new Map();
  for (const row of results) {
    const key = `${row.task} ${row.size}${row.cold ? ' (cold)' : ''}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  const parts = [];
  let y = 46;
  for (const [title, rows] of groups) {
    parts.push(`<text x="8" y="${y + 13}" font-weight="bold">${escapeXml(title)}</text>`);
    y += 22;
    const longest = Math.max(...rows.map(({ medianMs }) => Math.log10(1 + medianMs)));
    for (const { contender, medianMs, ratio } of rows) {
      const width = Math.max(2, (Math.log10(1 + medianMs) / longest) * (WIDTH - LABEL - 170));
      const fill = contender.startsWith('ours') ? '#2b6cb0' : '#a0aec0';
      parts.push(`<text x="${LABEL - 8}" y="${y + 13}" text-anchor="end">${escapeXml(contender)}</text>`);
      parts.push(`<rect x="${LABEL}" y="${y + 2}" width="${width.toFixed(1)}" height="${BAR - 4}" fill="${fill}"/>`);
      parts.push(
        `<text x="${(LABEL + width + 6).toFixed(1)}" y="${y + 13}">${medianMs < 10 ? medianMs.toFixed(1) : Math.round(medianMs)} ms  x${ratio.toFixed(ratio < 10 ? 2 : 0)}</text>`,
      );
      y += BAR;
    }
    y += 10;
  }
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + 8}" font-family="system-ui, sans-serif" font-size="12">`;
  return `${head}<rect width="100%" height="100%" fill="white"/><text x="8" y="18" font-size="14" font-weight="bold">Median time, logarithmic; shorter is better</text><text x="8" y="34" fill="#555">${escapeXml(machine)}</text>${parts.join('')}</svg>\n`;
}
