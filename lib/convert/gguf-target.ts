/**
 * GGUF version 3 (ggml/docs/gguf.md): magic, counts, key-value pairs, tensor infos, then the tensors at multiples of the
 * alignment. Names stay as they are; dimensions are written innermost first.
 */
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import type { Tensor } from '../tensor/tensor';
import { type Named, untie } from './aliases';
import { Q8_0_BLOCK_ELEMENTS } from './casts';
import type { Part } from './check';
import { denseEntries } from './choose';
import { type Encoding, encodedBytes } from './elements';
import { modelPairs } from './gguf-config';
import { encodePairs, type GgufValue, ggufString } from './gguf-values';
import { payloadOf } from './payload';
import type { Plan, Target, TargetOptions } from './target';
import { partsFile } from './write';

const MAGIC = 0x46554747;
const VERSION = 3;
const ALIGNMENT = 32;
/** GGML_MAX_DIMS */
const MAX_DIMS = 4;

/** ggml_type, for what is written as it is. */
const TYPES: ReadonlyMap<Encoding, number> = new Map<Encoding, number>([
  [DType.float32, 0],
  [DType.float16, 1],
  ['q8_0', 8],
  [DType.int8, 24],
  [DType.int16, 25],
  [DType.int32, 26],
  [DType.int64, 27],
  [DType.float64, 28],
  [DType.bfloat16, 30],
]);
/** What ggml has no type for, and the narrowest that holds all its values. */
const WIDER: ReadonlyMap<DType, DType> = new Map([
  [DType.bool, DType.int8],
  [DType.uint8, DType.int16],
  [DType.uint16, DType.int32],
  [DType.uint32, DType.int64],
]);
/** llama_ftype: what most elements are. */
const FILE_TYPES: ReadonlyMap<Encoding, number> = new Map<Encoding, number>([
  [DType.float32, 0],
  [DType.float16, 1],
  ['q8_0', 7],
  [DType.bfloat16, 32],
]);

interface Row {
  readonly name: string;
  readonly tensor: Tensor;
  readonly encoding: Encoding;
  readonly byteLength: number;
  readonly byteOffset: number;
}

export const ggufTarget: Target = {
  name: 'gguf',
  extensions: ['.gguf'],
  readable: false,
  plan(choice, options) {
    const { dense, dropped } = denseEntries(choice, refusal);
    const { kept, aliases } = untie(dense, options.aliases ?? 'keep-first');
    const rows = rowsOf(kept, options.dtype);
    const header = headerBytes(rows, pairsOf(rows, options, aliases));
    const parts: Part[] = [{ payload: header, byteLength: header.length }];
    for (const { tensor, encoding, byteLength } of rows) {
      parts.push({ payload: payloadOf(tensor, encoding), byteLength });
      const padding = new Uint8Array(aligned(byteLength) - byteLength);
      if (padding.length > 0) parts.push({ payload: padding, byteLength: padding.length });
    }
    const stored = rows.map(({ name, byteLength }) => ({ name, bytes: byteLength, file: undefined }));
    return { tensors: rows.length, aliases, dropped, files: [partsFile(undefined, parts)], stored } satisfies Plan;
  },
};

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function refusal({ dtype, shape }: Tensor): string | undefined {
  if (shape.length > MAX_DIMS) return `GGUF has ${MAX_DIMS} dimensions at most, the tensor ${shape.length}`;
  return encodingOf(dtype, shape, undefined) ? undefined : `GGUF has no type for ${dtype.name}`;
}

/** Q8_0 takes rows of whole blocks in matrices; vectors and the rest stay as precise as they were. */
function encodingOf(dtype: DType, shape: readonly number[], wanted: Encoding | undefined): Encoding | undefined {
  if (!dtype.isFloatingPoint) return TYPES.has(dtype) ? dtype : WIDER.get(dtype);
  if (wanted === 'q8_0') {
    if (shape.length >= 2 && (shape.at(-1) as number) % Q8_0_BLOCK_ELEMENTS === 0) return 'q8_0';
    return dtype === DType.float16 ? dtype : DType.float32;
  }
  const target = wanted ?? dtype;
  return TYPES.has(target) ? target : DType.float32;
}

function rowsOf(entries: readonly Named<Tensor>[], wanted: Encoding | undefined): Row[] {
  if (wanted !== undefined && !TYPES.has(wanted))
    throw new TypeError(`GGUF has no type for ${String(wanted)}; choose float32, float16, bfloat16 or q8_0`);
  let byteOffset = 0;
  return entries.map(({ name, tensor }) => {
    if (!name.isWellFormed())
      throw new CheckpointError(
        'UNSAVABLE',
        `${JSON.stringify(name.slice(0, 500))} is no UTF-8, as names in GGUF are`,
        { hint: 'rename or exclude it' },
      );
    const encoding = encodingOf(tensor.dtype, tensor.shape, wanted) as Encoding;
    const byteLength = encodedBytes(encoding, tensor.numel);
    const row: Row = { name, tensor, encoding, byteLength, byteOffset };
    byteOffset += aligned(byteLength);
    return row;
  });
}

function pairsOf(
  rows: readonly Row[],
  options: TargetOptions,
  aliases: ReadonlyMap<string, string>,
): Map<string, GgufValue> {
  const counts = new Map<Encoding, number>();
  for (const { encoding, tensor } of rows) counts.set(encoding, (counts.get(encoding) ?? 0) + tensor.numel);
  const most = [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? DType.float32;
  const pairs = modelPairs(options.config);
  const fileType = FILE_TYPES.get(most);
  if (fileType !== undefined) pairs.set('general.file_type', { type: 'uint32', value: fileType });
  if (counts.has('q8_0')) pairs.set('general.quantization_version', { type: 'uint32', value: 2 });
  pairs.set('general.alignment', { type: 'uint32', value: ALIGNMENT });
  for (const [key, value] of options.metadata) pairs.set(key, { type: 'string', value });
  if (aliases.size > 0) pairs.set('torch_checkpoint.aliases', { type: 'strings', value: [...aliases].flat() });
  return pairs;
}

function headerBytes(rows: readonly Row[], pairs: ReadonlyMap<string, GgufValue>): Buffer {
  const start = Buffer.alloc(24);
  start.writeUInt32LE(MAGIC, 0);
  start.writeUInt32LE(VERSION, 4);
  start.writeBigUInt64LE(BigInt(rows.length), 8);
  start.writeBigUInt64LE(BigInt(pairs.size), 16);
  const infos = rows.map(({ name, tensor, encoding, byteOffset }) => {
    // A tensor without dimensions is a vector of one element to ggml.
    const dims = tensor.shape.length === 0 ? [1] : [...tensor.shape].reverse();
    const info = Buffer.alloc(4 + 8 * dims.length + 4 + 8);
    let at = info.writeUInt32LE(dims.length, 0);
    for (const size of dims) at = info.writeBigUInt64LE(BigInt(size), at);
    at = info.writeUInt32LE(TYPES.get(encoding) as number, at);
    info.writeBigUInt64LE(BigInt(byteOffset), at);
    return Buffer.concat([ggufString(name), info]);
  });
  const header = Buffer.concat([start, encodePairs(pairs), ...infos]);
  return Buffer.concat([header, Buffer.alloc(aligned(header.length) - header.length)]);
}
