/** What outputs in folders are called. */
import { basename, dirname } from 'node:path';
import type { Target } from './target';

/** Files that are taken for checkpoints where nobody says which are; names of outputs do not keep it. */
export const WEIGHTS = /\.(?:bin|pt|pth|ckpt|safetensors|npz|npy|pth\.tar|pt\.tar)$/i;

/** `pytorch_model*.bin` becomes `model*.safetensors`, as Hugging Face calls them; all others keep their stem. */
export function outputName(input: string, target: Target): string {
  const stem = basename(input).replace(WEIGHTS, '');
  const renamed = target.name === 'safetensors' ? stem.replace(/^pytorch_model(?=$|[-.])/, 'model') : stem;
  return beside(input, `${renamed}${target.extensions[0]}`);
}

/** The path of the file called `name` in the folder that `path` is in. */
export function beside(path: string, name: string): string {
  const folder = dirname(path);
  return folder === '.' ? name : `${folder}/${name}`;
}
