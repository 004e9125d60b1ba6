/** What a source is by its name alone: a path on this machine, a folder, the index over the shards of a model. */
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from '../errors';

/** The path of a `file:` URL. Throws UNSUPPORTED where its bytes are no text: Node.js has no string for such a path. */
export function pathOfFileUrl(url: string | URL): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    if (!(cause instanceof URIError)) throw cause;
    throw new CheckpointError('UNSUPPORTED', 'the path of the URL is not UTF-8', {
      path: String(url),
      hint: 'open it with node:fs, which takes a path as bytes, and pass the FileHandle',
      cause,
    });
  }
}

/** Undefined for URLs of servers, and for what is no name. */
export function pathOf(input: unknown): string | undefined {
  if (typeof input === 'string')
    return /^(?:https?|s3):\/\//i.test(input) ? undefined : input.startsWith('file:') ? pathOfFileUrl(input) : input;
  return input instanceof URL && input.protocol === 'file:' ? pathOfFileUrl(input) : undefined;
}

export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** As Hugging Face calls it: `model.safetensors.index.json`, of a variant `model.safetensors.index.fp16.json`. */
export function isIndexName(path: string): boolean {
  return /\.index(?:\.[\w-]+)?\.json$/i.test(path);
}
