/** Child processes of the tests run the compiled package: compiles it again when a source is newer. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

export default function build(project: TestProject): void {
  const root = join(project.config.root, '..');
  const sources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.(ts|mjs)$/.test(name),
  );
  const newest = Math.max(...sources.map((name) => statSync(join(root, 'lib', name)).mtimeMs));
  const built = join(root, 'dist', 'index.mjs');
  if (existsSync(built) && statSync(built).mtimeMs >= newest) return;
  execFileSync(process.execPath, [join(root, 'lib', 'bundle.mjs')]);
  // A type error does not stop the tests; `npm run types` and `npm run build` are there to find it.
  spawnSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'lib'], { cwd: root });
}
