/** The table of targets. A target is one row here and one module of its own. */
import { ggufTarget } from './gguf-target';
import { npyTarget, npzTarget } from './npz-target';
import { pytorchTarget } from './pytorch-target';
import { safetensorsTarget } from './safetensors-target';
import { skeletonTarget } from './skeleton-target';
import type { Target } from './target';

export const TARGETS: readonly Target[] = [
  safetensorsTarget,
  pytorchTarget,
  npzTarget,
  npyTarget,
  ggufTarget,
  skeletonTarget,
];

/** The target called `name`. Throws TypeError for another word. */
export function targetNamed(name: string): Target {
  const target = TARGETS.find((one) => one.name === name);
  if (!target) throw new TypeError(`"${name}" is no target; targets are ${TARGETS.map((one) => one.name).join(', ')}`);
  return target;
}

/** The target that the extension of a path names; undefined for other extensions. */
export function targetOfPath(path: string): Target | undefined {
  const lower = path.toLowerCase();
  return TARGETS.find(({ extensions }) => extensions.some((extension) => lower.endsWith(extension)));
}
