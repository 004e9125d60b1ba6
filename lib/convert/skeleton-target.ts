/** JSON that shows the structure of a checkpoint without its weights: small enough to share, complete enough to find a fault. */
import type { Checkpoint } from '../checkpoint';
import { CheckpointError } from '../errors';
import { walkTensors } from '../walk';
import { type Choice, distinct } from './choose';
import { describe } from './skeleton';
import type { Plan, Target } from './target';
import { partsFile } from './write';

export const skeletonTarget: Target = {
  name: 'skeleton',
  extensions: ['.json'],
  readable: false,
  plan(choice) {
    const payload = Buffer.from(`${jsonOf(choice)}\n`);
    const tensors = choice.renamed ? choice.entries.length : [...walkTensors(choice.root)].length;
    return {
      tensors,
      aliases: new Map(),
      dropped: [...choice.model.unread],
      files: [partsFile(undefined, [{ payload, byteLength: payload.length }])],
      stored: [],
    } satisfies Plan;
  },
};

function jsonOf({ model, root, entries, renamed }: Choice): string {
  const value = renamed ? new Map(distinct(entries).map(({ name, tensor }) => [name, tensor] as const)) : root;
  try {
    return JSON.stringify(
      {
        skeleton: 1,
        ...(model.checkpoint ? factsOf(model.checkpoint) : {}),
        metadata: [...model.metadata],
        ...describe(value),
      },
      undefined,
      1,
    );
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new CheckpointError('LIMIT_EXCEEDED', 'the checkpoint is nested too deep, or too large, for one JSON text', {
      cause: error,
    });
  }
}

function factsOf({ format, info }: Checkpoint): object {
  const {
    fileBytes,
    byteOrder,
    formatVersion,
    storageAlignment,
    archiveName,
    writer,
    pickleProtocol,
    globals,
    records,
  } = info;
  return {
    format,
    fileBytes,
    byteOrder,
    formatVersion,
    storageAlignment,
    archiveName,
    writer,
    pickleProtocol,
    globals: globals.map(({ spelled, verdict }) => ({ global: spelled, verdict })),
    records: records.map(({ name, byteOffset, byteLength, storedLength, compressed, crc32 }) => ({
      name,
      byteOffset,
      byteLength,
      ...(compressed ? { storedLength } : {}),
      crc32,
    })),
  };
}
