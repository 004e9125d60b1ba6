/** Whether what was written is what should have been: looked at after the cell has ended, by opening it. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { open } from '../dist/index.mjs';

/** Tensors of a checkpoint, their bytes, and a hash of the first and last of them. */
export async function tensorFacts(path) {
  const checkpoint = await open(path);
  try {
    const tensors = [...checkpoint.tensors()].sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      tensors: tensors.length,
      tensorBytes: tensors.reduce((sum, [, { nbytes }]) => sum + nbytes, 0),
      ends: [tensors[0], tensors.at(-1)].map(([name, tensor]) => [name, sha256(tensor.toBytes())]),
    };
  } finally {
    checkpoint.close();
  }
}

/** The same over all files of a folder that hold tensors. */
export async function folderFacts(folder) {
  const sum = { files: 0, tensors: 0, tensorBytes: 0 };
  const ends = [];
  for (const name of existsSync(folder) ? readdirSync(folder).sort() : []) {
    if (!/\.(bin|pt|safetensors)$/.test(name)) continue;
    const facts = await tensorFacts(join(folder, name));
    sum.files++;
    sum.tensors += facts.tensors;
    sum.tensorBytes += facts.tensorBytes;
    ends.push(...facts.ends);
  }
  return { ...sum, ends };
}

export function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}
