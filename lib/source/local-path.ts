/** What a source is by its name alone: a path on this machine, a folder, the index over the shards of a model. */
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Undefined for URLs of servers, and for what is no name. */
export function pathOf(input: unknown): string | undefined {
  if (typeof input === 'string')
    return /^(?:https?|s3):\/\//i.test(input) ? undefined : input.startsWith('file:') ? fileURLToPath(input) : input;
  return input instanceof URL && input.protocol === 'file:' ? fileURLToPath(input) : undefined;
}

export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** As Hugging Face calls it: `model.safetensors.index.json`, of a variant `model.safetensors.index.fp16.json`. */
export function isIndexName(path: string): boolean {
  return /\.index(?:\.[\w-]+)?\.json$/i.test(path);
}
