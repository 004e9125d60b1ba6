/** The files that tasks read, made once by this package itself and kept in the bench directory. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const MIB = 1 << 20;

/** '4GiB' is 140 float32 tensors of 4 GiB in all; '100k' is that many small ones; '600x16MiB' says it itself. */
export function inputPath(dir, size, dtype = 'float32') {
  return join(dir, `${size}-${dtype}.pt`);
}

export async function makeInput(dir, size, dtype = 'float32') {
  const path = inputPath(dir, size, dtype);
  if (existsSync(path)) return path;
  const { DType, OrderedDict, Tensor, save } = await import('../dist/index.mjs');
  const state = new OrderedDict();
  const many = /^(\d+)([km])$/.exec(size);
  if (many) {
    const count = Number(many[1]) * (many[2] === 'k' ? 1e3 : 1e6);
    for (let i = 0; i < count; i++)
      state.set(`layers.${Math.floor(i / 10)}.block.${i % 10}.weight`, Tensor.from(Float32Array.of(i, 1, 2, 3)));
  } else {
    const grid = /^(\d+)x(\d+)MiB$/.exec(size);
    const total = /^(\d+)(M|G)iB$/.exec(size);
    const count = grid ? Number(grid[1]) : total[2] === 'G' ? 140 : 4;
    const bytes = grid
      ? Number(grid[2]) * MIB
      : Math.floor((Number(total[1]) * (total[2] === 'G' ? 1024 : 1) * MIB) / count / 4096) * 4096;
    const type = DType[dtype];
    for (let i = 0; i < count; i++)
      state.set(
        `blocks.${i}.weight`,
        Tensor.fromStream({ dtype: type, shape: [bytes / 4096, 4096 / type.itemsize] }, () => noise(bytes, i)),
      );
  }
  await save(state, path, { fsync: false });
  return path;
}

/** Pseudo-random halves of ordinary size: bytes that are numbers in float32, float16 and bfloat16 alike. */
async function* noise(bytes, seed) {
  const chunk = new Uint16Array(4 * MIB);
  let x = 0x9e3779b9 ^ seed;
  for (let i = 0; i < chunk.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    chunk[i] = 0x3c00 | (x >>> 22);
  }
  const view = new Uint8Array(chunk.buffer);
  for (let at = 0; at < bytes; at += view.length) yield view.subarray(0, Math.min(view.length, bytes - at));
}

export function removeOutput(dir, name) {
  rmSync(join(dir, name), { force: true, recursive: true });
}
