/** Child processes of the tests run the compiled package: builds it again when a source is newer. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

export default function build(): void {
  const sources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) => /\.(ts|mjs)$/.test(name));
  const newest = Math.max(...sources.map((name) => statSync(join(root, 'lib', name)).mtimeMs));
  const built = join(root, 'dist', 'index.mjs');
  if (existsSync(built) && statSync(built).mtimeMs >= newest) return;
  execFileSync('npm', ['run', 'build', '--silent'], { cwd: root, stdio: 'inherit' });
}
