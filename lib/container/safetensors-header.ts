/**
 * The header of a safetensors file: parsed, then validated as the reference does (safetensors/src/tensor.rs, `validate`),
 * before any of its numbers is used.
 */
import { DType } from '../dtype';
import { CheckpointError } from '../errors';

/** The reference's names. Bits, because FP4 elements are half a byte. */
const DTYPES: ReadonlyMap<string, readonly [dtype: DType, bits: number]> = new Map([
  ['BOOL', [DType.bool, 8]],
  ['U8', [DType.uint8, 8]],
  ['I8', [DType.int8, 8]],
  ['F8_E5M2', [DType.float8_e5m2, 8]],
  ['F8_E4M3', [DType.float8_e4m3fn, 8]],
  ['F8_E8M0', [DType.float8_e8m0fnu, 8]],
  ['F8_E4M3FNUZ', [DType.float8_e4m3fnuz, 8]],
  ['F8_E5M2FNUZ', [DType.float8_e5m2fnuz, 8]],
  ['F4', [DType.float4_e2m1fn_x2, 4]],
  ['I16', [DType.int16, 16]],
  ['U16', [DType.uint16, 16]],
  ['F16', [DType.float16, 16]],
  ['BF16', [DType.bfloat16, 16]],
  ['I32', [DType.int32, 32]],
  ['U32', [DType.uint32, 32]],
  ['F32', [DType.float32, 32]],
  ['C64', [DType.complex64, 64]],
  ['F64', [DType.float64, 64]],
  ['I64', [DType.int64, 64]],
  ['U64', [DType.uint64, 64]],
]);
/** Named by the format, with no dtype in PyTorch. */
const FOREIGN_DTYPES = new Set(['F6_E2M3', 'F6_E3M2']);
const METADATA = '__metadata__';
const MAX_DIMS = 1024;

export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** From the end of the header. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface SafetensorsHeader {
  /** In the order of their data. */
  readonly entries: readonly SafetensorsEntry[];
  readonly metadata: ReadonlyMap<string, string> | undefined;
  /** Bytes of all tensors: what must follow the header, exactly. */
  readonly dataBytes: number;
}

export function parseSafetensorsHeader(bytes: Uint8Array): SafetensorsHeader {
  const header = parseObject(bytes);
  const entries: SafetensorsEntry[] = [];
  let metadata: Map<string, string> | undefined;
  for (const [name, value] of Object.entries(header)) {
    if (name === METADATA) metadata = parseMetadata(value);
    else entries.push(parseEntry(name, value));
  }
  entries.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = 0;
  for (const { name, byteOffset, byteLength } of entries) {
    if (byteOffset !== end)
      throw corrupt(
        `its data begins at ${byteOffset}, the data before it ends at ${end}; tensors must follow one another`,
        name,
      );
    end = byteOffset + byteLength;
  }
  return { entries, metadata, dataBytes: end };
}

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new CheckpointError('SAFETENSORS_CORRUPT', 'the header is not UTF-8', { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError('SAFETENSORS_CORRUPT', `the header is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isObject(value)) throw new CheckpointError('SAFETENSORS_CORRUPT', 'the header is not a JSON object');
  const twice = findDuplicateKey(text);
  if (twice !== undefined) throw corrupt('the header has this key twice', twice);
  return value;
}

function parseMetadata(value: unknown): Map<string, string> {
  if (!isObject(value)) throw corrupt('an object of strings was expected', METADATA);
  const metadata = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw corrupt(`the value of "${key.slice(0, 100)}" is no string`, METADATA);
    metadata.set(key, text);
  }
  return metadata;
}

function parseEntry(name: string, value: unknown): SafetensorsEntry {
  if (!isObject(value)) throw corrupt('an object with dtype, shape and data_offsets was expected', name);
  const { dtype: dtypeName, shape, data_offsets: offsets } = value;
  if (typeof dtypeName !== 'string') throw corrupt('dtype is missing', name);
  const row = DTYPES.get(dtypeName);
  if (!row) {
    const code = FOREIGN_DTYPES.has(dtypeName) ? 'UNSUPPORTED' : 'SAFETENSORS_CORRUPT';
    throw new CheckpointError(code, `dtype "${dtypeName.slice(0, 40)}" is not known`, { record: name.slice(0, 500) });
  }
  if (!isCounts(shape) || shape.length > MAX_DIMS) throw corrupt('shape is no list of counts', name);
  if (!isCounts(offsets) || offsets.length !== 2) throw corrupt('data_offsets is no pair of counts', name);
  const [start, end] = offsets as [number, number];
  const [dtype, bits] = row;
  let numel = 1;
  for (const size of shape) {
    // Checked at each step, as the reference does: a later zero does not excuse an overflow.
    numel *= size;
    if (!Number.isSafeInteger(numel * bits)) throw corrupt(`shape [${shape.join(', ')}] overflows`, name);
  }
  if ((numel * bits) % 8 !== 0) throw corrupt(`${numel} elements of ${bits} bits do not end at a byte`, name);
  const byteLength = (numel * bits) / 8;
  if (end < start || end - start !== byteLength) {
    throw corrupt(`${end - start} bytes stored, ${byteLength} needed for ${dtypeName} [${shape.join(', ')}]`, name);
  }
  return { name, dtype, shape: bits === 4 ? packedShape(shape, name) : [...shape], byteOffset: start, byteLength };
}

/** PyTorch's dtype holds two FP4 elements in one of its own, along the last dimension. */
function packedShape(shape: readonly number[], name: string): number[] {
  const last = shape.at(-1);
  if (last === undefined || last % 2 !== 0)
    throw corrupt(`F4 of shape [${shape.join(', ')}] cannot be packed in pairs`, name);
  return [...shape.slice(0, -1), last / 2];
}

/** The first key that an object of the header's two upper levels has twice. `text` is valid JSON. */
function findDuplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/gs;
  for (let match = tokens.exec(text); match; match = tokens.exec(text)) {
    const [token] = match;
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(undefined);
    else if (token === '}' || token === ']') open.pop();
    else if (match[1] !== undefined) {
      const key = JSON.parse(token.slice(0, token.length - match[1].length)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0);
}

function corrupt(what: string, name: string): CheckpointError {
  return new CheckpointError('SAFETENSORS_CORRUPT', what, { record: name.slice(0, 500) });
}
