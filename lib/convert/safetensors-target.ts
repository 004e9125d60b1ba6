/**
 * safetensors: an 8-byte length, a JSON header, the tensors. The bytes are those of the reference implementation
 * (safetensors/src/tensor.rs, `serialize`): tensors by the size of their elements, largest first, then by name.
 */
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import type { Tensor } from '../tensor/tensor';
import { type Named, overlapWarnings, untie } from './aliases';
import type { Part } from './check';
import { denseEntries } from './choose';
import { type Encoding, encodedBytes } from './elements';
import { payloadOf } from './payload';
import { factsFor, indexText, shardNames, shardsOf } from './shards';
import type { Plan, PlannedFile, Target } from './target';
import { partsFile } from './write';

/** The reference's names, in the order of its enumeration, by which it sorts. */
const DTYPES: readonly (readonly [dtype: DType, name: string])[] = [
  [DType.bool, 'BOOL'],
  [DType.float4_e2m1fn_x2, 'F4'],
  [DType.uint8, 'U8'],
  [DType.int8, 'I8'],
  [DType.float8_e5m2, 'F8_E5M2'],
  [DType.float8_e4m3fn, 'F8_E4M3'],
  [DType.float8_e8m0fnu, 'F8_E8M0'],
  [DType.float8_e4m3fnuz, 'F8_E4M3FNUZ'],
  [DType.float8_e5m2fnuz, 'F8_E5M2FNUZ'],
  [DType.int16, 'I16'],
  [DType.uint16, 'U16'],
  [DType.float16, 'F16'],
  [DType.bfloat16, 'BF16'],
  [DType.int32, 'I32'],
  [DType.uint32, 'U32'],
  [DType.float32, 'F32'],
  [DType.complex64, 'C64'],
  [DType.float64, 'F64'],
  [DType.int64, 'I64'],
  [DType.uint64, 'U64'],
];
const RANKS: ReadonlyMap<DType, number> = new Map(DTYPES.map(([dtype], i) => [dtype, i]));
const METADATA = '__metadata__';
/** The reference refuses longer ones. */
const MAX_HEADER_BYTES = 100_000_000;
const FORMAT = 'format';

interface Row {
  readonly name: string;
  readonly nameBytes: Buffer;
  readonly tensor: Tensor;
  readonly dtype: DType;
  readonly byteLength: number;
}

export const safetensorsTarget: Target = {
  name: 'safetensors',
  extensions: ['.safetensors'],
  readable: true,
  plan(choice, options) {
    const { dense, dropped } = denseEntries(choice, refusal);
    const recordable = (name: string): boolean =>
      name !== FORMAT && !options.metadata.has(name) && !choice.model.metadata.has(name);
    const { kept, aliases } = untie(dense, options.aliases ?? 'keep-first', recordable);
    const rows = kept.map((entry) => rowOf(entry, options.dtype));
    const metadata = new Map([...choice.model.metadata, ...options.metadata, [FORMAT, 'pt'] as const, ...aliases]);
    const { maxShardBytes, stem } = options;
    const shards = maxShardBytes === undefined ? [rows] : shardsOf(rows, maxShardBytes);
    const names = shardNames(stem, '.safetensors', shards.length);
    const files = shards.map(
      (shard, i): PlannedFile =>
        partsFile(names[i], shardParts(shard, shards.length === 1 ? metadata : metadataOf(shard, metadata, aliases))),
    );
    const stored = shards.flatMap((shard, i) =>
      shard.map(({ name, byteLength }) => ({ name, bytes: byteLength, file: names[i] })),
    );
    if (shards.length > 1)
      files.push(
        indexFile(`${stem}.safetensors.index.json`, stored, factsFor(choice.model.indexFacts, choice.options)),
      );
    const warnings = options.aliases === 'duplicate' ? [] : overlapWarnings(kept);
    return { tensors: rows.length, aliases, dropped, warnings, files, stored } satisfies Plan;
  },
};

function refusal({ dtype, shape }: Tensor): string | undefined {
  if (!RANKS.has(dtype)) return `safetensors has no dtype for ${dtype.name}`;
  return dtype === DType.float4_e2m1fn_x2 && shape.length === 0
    ? 'safetensors counts pairs of elements along a dimension'
    : undefined;
}

function rowOf({ name, tensor }: Named<Tensor>, wanted: Encoding | undefined): Row {
  if (wanted === 'q8_0') throw new TypeError('q8_0 is a type of GGUF, which safetensors does not have');
  if (name === METADATA || !name.isWellFormed()) {
    throw new CheckpointError(
      'UNSAVABLE',
      `safetensors has no place for a tensor called ${JSON.stringify(name.slice(0, 500))}`,
      { hint: 'rename or exclude it' },
    );
  }
  const dtype = wanted && tensor.dtype.isFloatingPoint ? wanted : tensor.dtype;
  return { name, nameBytes: Buffer.from(name), tensor, dtype, byteLength: encodedBytes(dtype, tensor.numel) };
}

/** In a shard stand only the aliases of its own tensors. */
function metadataOf(
  shard: readonly Row[],
  metadata: ReadonlyMap<string, string>,
  aliases: ReadonlyMap<string, string>,
): Map<string, string> {
  const names = new Set(shard.map(({ name }) => name));
  return new Map([...metadata].filter(([key, value]) => !aliases.has(key) || names.has(value)));
}

function shardParts(shard: readonly Row[], metadata: ReadonlyMap<string, string>): Part[] {
  const rank = ({ dtype }: Row): number => RANKS.get(dtype) as number;
  const rows = [...shard].sort((a, b) => rank(b) - rank(a) || Buffer.compare(a.nameBytes, b.nameBytes));
  const header = headerBytes(rows, metadata);
  return [
    { payload: header, byteLength: header.length },
    ...rows.map(({ tensor, dtype, byteLength }) => ({ payload: payloadOf(tensor, dtype), byteLength })),
  ];
}

function headerBytes(rows: readonly Row[], metadata: ReadonlyMap<string, string>): Buffer {
  const sorted = [...metadata].sort(([a], [b]) => (a < b ? -1 : 1));
  // Written by hand: an object would not keep the order of names that look like numbers.
  const texts = [
    `${JSON.stringify(METADATA)}:{${sorted.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`,
  ];
  let start = 0;
  for (const { name, tensor, dtype, byteLength } of rows) {
    const shape =
      dtype === DType.float4_e2m1fn_x2 ? tensor.shape.with(-1, (tensor.shape.at(-1) as number) * 2) : tensor.shape;
    const type = DTYPES[RANKS.get(dtype) as number]?.[1];
    texts.push(
      `${JSON.stringify(name)}:{"dtype":"${type}","shape":[${shape.join()}],"data_offsets":[${start},${start + byteLength}]}`,
    );
    start += byteLength;
  }
  const json = Buffer.from(`{${texts.join(',')}}`);
  // Padded so that the tensors begin at a multiple of 8 bytes.
  const length = Math.ceil(json.length / 8) * 8;
  if (length > MAX_HEADER_BYTES)
    throw new CheckpointError(
      'UNSAVABLE',
      `the header would have ${length} bytes, safetensors allows ${MAX_HEADER_BYTES}`,
      { hint: 'split the model into shards' },
    );
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length), 0);
  json.copy(header, 8);
  return header;
}

export function indexFile(name: string, stored: Plan['stored'], facts: ReadonlyMap<string, unknown>): PlannedFile {
  const payload = Buffer.from(indexText(stored, facts));
  return partsFile(name, [{ payload, byteLength: payload.length }]);
}
