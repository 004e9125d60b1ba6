/** The Python that contenders run in: TORCH_PYTHON, or the first of the usual ones that has torch. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { capture } from './programs.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const VERSIONS = `
import importlib.metadata, importlib.util, json, platform
versions = {"python": platform.python_version()}
for name in ("torch", "safetensors", "numpy"):
    if importlib.util.find_spec(name):
        try: versions[name] = importlib.metadata.version(name)
        except Exception: versions[name] = "of unknown version"
print(json.dumps(versions))
`;
let found;

/** The interpreter and the versions of its modules: `{ program, python, torch?, safetensors?, numpy? }`, or {} without any. */
export function python() {
  if (found) return found;
  found = {};
  for (const program of process.env.TORCH_PYTHON ? [process.env.TORCH_PYTHON] : ['.oracle/bin/python', 'python3']) {
    const { status, stdout } = spawnSync(program, ['-c', VERSIONS], { encoding: 'utf8' });
    if (status !== 0) continue;
    const versions = JSON.parse(stdout);
    if (!found.program || versions.torch) found = { program, ...versions };
    if (versions.torch) break;
  }
  return found;
}

/**
 * A contender that is a script. It finds its arguments in `sys.argv[1:]`, hands a function to `timed` or `repeated` of
 * cell.py, and that prints the cell.
 */
export function inPython(script, argumentsOf, { needs = ['torch'], ...others } = {}) {
  return {
    outside: true,
    needs,
    ...others,
    async run(context) {
      const text = await capture(python().program, ['-c', script, ...argumentsOf(context)], {
        env: { PYTHONPATH: here, PYTHONDONTWRITEBYTECODE: '1' },
      });
      return JSON.parse(text.trim().split('\n').at(-1));
    },
  };
}
