/** The shards of a model as one checkpoint: to be looked at, while each file stays one of its records. */
import { dirname, join } from 'node:path';
import { Checkpoint } from '../checkpoint';
import { checkShard, readShardIndex, strayShards } from '../convert/shards-model';
import { CheckpointError } from '../errors';
import type { PyValue } from '../pickle/values';
import type { ByteSource } from '../source/byte-source';
import type { Opened } from './opening';

/** Throws CheckpointError where a shard cannot be read, and NOT_FOUND for a tensor that only the index or a shard has. */
export async function openShardSet(path: string, openShard: (path: string) => Promise<Opened>): Promise<Opened> {
  const index = readShardIndex(path);
  const shards: Checkpoint[] = [];
  const close = (): void => {
    for (const shard of shards) shard.close();
  };
  try {
    const root = new Map<PyValue, PyValue>();
    const metadata = new Map<string, string>();
    const warnings: string[] = [];
    for (const file of index.files) {
      const opened = await openShard(join(dirname(path), file));
      shards.push(opened.checkpoint);
      const tensors = [...opened.checkpoint.tensors()];
      checkShard(
        index,
        file,
        tensors.map(([name]) => name),
      );
      for (const [name, tensor] of tensors) root.set(name, tensor);
      for (const [key, value] of opened.checkpoint.info.metadata) metadata.set(key, value);
      warnings.push(...opened.warnings);
    }
    for (const file of strayShards(index))
      warnings.push(`"${file}" lies beside the shards, and the index does not name it: it is left out`);
    const infos = shards.map(({ info }) => info);
    const records = infos.map(({ fileBytes }, i) => ({
      name: index.files[i] as string,
      byteOffset: 0,
      byteLength: fileBytes,
      storedLength: fileBytes,
      crc32: 0,
      compressed: false,
    }));
    const globals = new Map(infos.flatMap((info) => info.globals.map((global) => [global.spelled, global])));
    const byteOrder = infos[0]?.byteOrder ?? 'little';
    const contents = { root, byteOrder, writer: infos[0]?.writer, records, metadata };
    const byteLength = records.reduce((sum, record) => sum + record.byteLength, 0);
    const source = withoutBytes(path, byteLength, close);
    const checkpoint = new Checkpoint(
      source,
      'shards',
      root,
      contents,
      [...globals.values()],
      infos[0]?.pickleProtocol,
    );
    return { checkpoint, warnings };
  } catch (error) {
    close();
    throw error;
  }
}

/** Tensors read from the shards they are in: of all together there are no bytes. */
function withoutBytes(name: string, byteLength: number, close: () => void): ByteSource {
  const refuse = (): never => {
    throw new CheckpointError('UNSUPPORTED', 'a model in several files is read shard by shard', { path: name });
  };
  return { name, byteLength, file: undefined, closed: false, read: refuse, storageBytes: refuse, close };
}
