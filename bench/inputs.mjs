/**
 * The files that tasks read, made once by this package itself and kept in the bench directory. All are streamed: making
 * 16 GiB takes no more memory than making 16 MiB.
 *
 * Sizes: '4GiB' and '64MiB' are float32 tensors of that many bytes in all; '100k' and '1m' are so many tensors of 16
 * bytes; '600x16MiB' says it itself. With '-sparse' at the end the storages are holes in the file: they take no disk and
 * read as zeros, for what depends on the size of a file and not on its bytes.
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoleWriter } from './hole-writer.mjs';
import { readRecord } from './zip-record.mjs';

/** Only where a file is made: cells know the paths alone, and those of other programs must not load the package. */
const ours = () => import('../dist/index.mjs');
const MIB = 1 << 20;
const ROW = 4096; // Bytes; every large tensor is so wide, so that its size is a number of pages.
const SHARDS = 16;
/** Until some hundred tensors, as models have; small sizes get few, so that tensors stay large against their records. */
const countOf = (bytes) => (bytes >= 1024 * MIB ? 140 : bytes >= 64 * MIB ? 16 : 4);

/** { tensors, tensorBytes (of one), bytes (of all) } of a size. */
export function describe(size) {
  const [, a, unit, grid] = /^(\d+)(k|m|MiB|GiB|x(\d+)MiB)(?:-sparse)?$/.exec(size) ?? [];
  if (a === undefined)
    throw new Error(`a size is like 64MiB, 4GiB, 100k, 1m, 600x16MiB or 16GiB-sparse, not "${size}"`);
  if (unit === 'k' || unit === 'm') {
    const tensors = Number(a) * (unit === 'k' ? 1e3 : 1e6);
    return { tensors, tensorBytes: 16, bytes: tensors * 16 };
  }
  const total = Number(a) * MIB * (unit === 'GiB' ? 1024 : grid ? Number(grid) : 1);
  const tensors = grid ? Number(a) : countOf(total);
  const tensorBytes = Math.floor(total / tensors / ROW) * ROW;
  return { tensors, tensorBytes, bytes: tensors * tensorBytes };
}

/** Where an input is; `kind` 'edited' is the same file with the last element of the last tensor changed. */
export function inputPath(dir, size, { dtype = 'float32', extension = 'pt', kind = '' } = {}) {
  return join(dir, `${size}-${dtype}${kind && `-${kind}`}.${extension}`);
}

/** Makes an input where there is none yet, and gives its path. */
export async function makeInput(dir, size, { dtype = 'float32' } = {}) {
  const path = inputPath(dir, size, { dtype });
  if (existsSync(path)) return path;
  const { save } = await ours();
  const state = await stateOf(size, dtype);
  if (!size.endsWith('-sparse')) await save(state, path, { fsync: false });
  else {
    const writer = new HoleWriter(`${path}.part`);
    await save(state, writer, { crc32: false });
    renameSync(`${path}.part`, path);
  }
  return path;
}

export async function makeSafetensors(dir, size) {
  const path = inputPath(dir, size, { extension: 'safetensors' });
  if (existsSync(path)) return path;
  const { convert } = await ours();
  await convert(await makeInput(dir, size), path, { fsync: false });
  return path;
}

/** The input once more, with its last number changed: whoever compares has to come to the end. */
export async function makeEdited(dir, size) {
  const path = inputPath(dir, size, { kind: 'edited' });
  if (existsSync(path)) return path;
  const { open, save } = await ours();
  const checkpoint = await open(await makeInput(dir, size));
  const [, last] = [...checkpoint.tensors()].at(-1);
  const values = last.asTypedArray();
  values[values.length - 1] += 1;
  // Records are named after the file: here after that of the other, so that nothing else differs.
  await save(checkpoint.root, path, { fsync: false, recordPrefix: `${size}-float32` });
  checkpoint.close();
  return path;
}

/** A training checkpoint: one half of the bytes is the model, the other what its optimizer remembers. */
export async function makeTraining(dir, size) {
  const path = inputPath(dir, size, { kind: 'training' });
  if (existsSync(path)) return path;
  const { OrderedDict, save } = await ours();
  const model = new OrderedDict();
  const remembered = new Map();
  const parameters = [];
  for (const [name, tensor] of await stateOf(size, 'float32')) {
    if (model.size === remembered.size) {
      parameters.push(model.size);
      model.set(name, tensor);
    } else
      remembered.set(
        remembered.size,
        new Map([
          ['step', 300],
          ['exp_avg', tensor],
        ]),
      );
  }
  const optimizer = new Map([
    ['state', remembered],
    [
      'param_groups',
      [
        new Map([
          ['lr', 0.001],
          ['params', parameters],
        ]),
      ],
    ],
  ]);
  const checkpoint = new Map([
    ['epoch', 3],
    ['model_state_dict', model],
    ['optimizer_state_dict', optimizer],
  ]);
  await save(checkpoint, path, { fsync: false });
  return path;
}

/** A folder with the weights of one model in 16 files and the index over them. */
export async function makeShards(dir, size) {
  const folder = join(dir, `${size}-shards`);
  const index = join(folder, 'pytorch_model.bin.index.json');
  if (existsSync(index)) return folder;
  mkdirSync(folder, { recursive: true });
  const { OrderedDict, save } = await ours();
  const { tensorBytes, tensors } = describe(shardSize(size));
  const weightMap = {};
  for (let shard = 0; shard < SHARDS; shard++) {
    const name = `pytorch_model-${String(shard + 1).padStart(5, '0')}-of-000${SHARDS}.bin`;
    const state = new OrderedDict();
    for (let i = 0; i < tensors; i++) {
      const key = `layers.${shard}.${i}.weight`;
      state.set(key, await noisyTensor('float32', tensorBytes, shard * tensors + i));
      weightMap[key] = name;
    }
    await save(state, join(folder, name), { fsync: false });
  }
  const total = SHARDS * tensors * tensorBytes;
  writeFileSync(index, JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }));
  return folder;
}

/** Tensors and their bytes in a folder of shards. */
export function describeShards(size) {
  const { tensors, bytes } = describe(shardSize(size));
  return { tensors: tensors * SHARDS, bytes: bytes * SHARDS };
}

const shardSize = (size) => {
  const total = /^(\d+)(M|G)iB$/.exec(size);
  return `${(Number(total[1]) * (total[2] === 'G' ? 1024 : 1)) / SHARDS}MiB`;
};

/** The pickle of an input as a file of its own, for readers that know only pickles. */
export async function makePickle(dir, size) {
  const path = inputPath(dir, size, { extension: 'pkl' });
  if (existsSync(path)) return path;
  writeFileSync(path, await readRecord(await makeInput(dir, size), 'data.pkl'));
  return path;
}

async function stateOf(size, dtype) {
  const { OrderedDict, Tensor } = await ours();
  const { tensors, tensorBytes } = describe(size);
  const sparse = size.endsWith('-sparse');
  const state = new OrderedDict();
  for (let i = 0; i < tensors; i++) {
    if (tensorBytes === 16)
      state.set(`layers.${Math.floor(i / 10)}.block.${i % 10}.weight`, Tensor.from(Float32Array.of(i, 1, 2, 3)));
    else if (sparse) state.set(`blocks.${i}.weight`, await streamed(dtype, tensorBytes, () => zeros(tensorBytes)));
    else state.set(`blocks.${i}.weight`, await noisyTensor(dtype, tensorBytes, i));
  }
  return state;
}

const noisyTensor = (dtype, bytes, seed) => streamed(dtype, bytes, () => noise(bytes, seed));

async function streamed(dtypeName, bytes, source) {
  const { DType, Tensor } = await ours();
  const dtype = DType[dtypeName];
  return Tensor.fromStream({ dtype, shape: [bytes / ROW, ROW / dtype.itemsize] }, source);
}

/** Pseudo-random halves of ordinary size: bytes that are numbers in float32, float16 and bfloat16 alike. */
async function* noise(bytes, seed) {
  const chunk = new Uint16Array(Math.min(bytes, 8 * MIB) / 2);
  let x = 0x9e3779b9 ^ seed;
  for (let i = 0; i < chunk.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    chunk[i] = 0x3c00 | (x >>> 22);
  }
  yield* repeat(new Uint8Array(chunk.buffer), bytes);
}

async function* zeros(bytes) {
  yield* repeat(new Uint8Array(Math.min(bytes, 8 * MIB)), bytes);
}

function* repeat(chunk, bytes) {
  for (let at = 0; at < bytes; at += chunk.length) yield chunk.subarray(0, Math.min(chunk.length, bytes - at));
}

/** A file or folder that contenders write. */
export function outputPath(dir, name) {
  return join(dir, `output-${name}`);
}

export function removeOutput(dir, name) {
  rmSync(outputPath(dir, name), { force: true, recursive: true });
}
