/**
 * TorchScript before PyTorch 1.2: `model.json` describes the modules and their tensors, `attributes.pkl` holds the other
 * attributes, which name tensors by number.
 */
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { OrderedDict, type PyValue } from '../pickle/values';
import { checkBounds } from '../tensor/geometry';
import { Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import type { ReadContext } from './container';
import type { ZipArchive } from './zip-archive';

/** caffe2/proto/caffe2.proto, TensorProto.DataType. */
const DTYPES: Readonly<Record<string, DType>> = {
  FLOAT: DType.float32,
  DOUBLE: DType.float64,
  INT64: DType.int64,
  INT32: DType.int32,
  UINT8: DType.uint8,
  INT8: DType.int8,
  INT16: DType.int16,
  FLOAT16: DType.float16,
  BOOL: DType.bool,
  BFLOAT16: DType.bfloat16,
};
const RECORD = 'model.json';
const MAX_MODEL_JSON_BYTES = 256 << 20;
const MAX_DIMS = 1024;

type Json = Record<string, unknown>;

/** The main module as a dict of its parameters, attributes and submodules. */
export function readModelJson(archive: ZipArchive, context: ReadContext): PyValue {
  const model = parse(archive);
  const tensors = list(model.tensors);
  const built = buildTensors(archive, context, tensors);
  const attributes = archive.has('attributes.pkl')
    ? context.unpickle(archive.read('attributes.pkl'), {
        record: 'attributes.pkl',
        storedLength: archive.storedLength('attributes.pkl'),
        tensorFromId: (id) => pick(built, id, 'tensor'),
      }).value
    : [];
  const root = new OrderedDict();
  // Modules are a tree of any depth: walked with a list of what is left to do.
  const left: { module: Json; into: OrderedDict }[] = [{ module: object(model.mainModule ?? {}), into: root }];
  for (let next = left.pop(); next; next = left.pop()) {
    const { module, into } = next;
    for (const item of list(module.parameters)) into.set(name(item), pick(built, integer(item.tensorId), 'tensor'));
    for (const item of list(module.attributes)) into.set(name(item), pick(attributes, integer(item.id), 'attribute'));
    for (const item of list(module.submodules)) {
      const child = new OrderedDict();
      into.set(name(item), child);
      left.push({ module: item, into: child });
    }
  }
  return root;
}

function parse(archive: ZipArchive): Json {
  const text = Buffer.from(archive.read(RECORD, MAX_MODEL_JSON_BYTES)).toString('utf8');
  try {
    return object(JSON.parse(text));
  } catch (cause) {
    throw new CheckpointError('ZIP_CORRUPT', `the record is no JSON object: ${(cause as Error).message}`, {
      path: archive.source.name,
      record: RECORD,
      cause,
    });
  }
}

function buildTensors(archive: ZipArchive, context: ReadContext, entries: readonly Json[]): Tensor[] {
  const storages = new Map<string, Storage>();
  return entries.map((entry) => {
    const dtype = DTYPES[String(entry.dataType)];
    if (!dtype) throw corrupt(`dataType ${String(entry.dataType).slice(0, 40)} is not known`);
    const key = object(entry.data).key;
    if (typeof key !== 'string') throw corrupt('a tensor has no data key');
    const storage =
      storages.get(key) ??
      context.place(new Storage(key, String(entry.device ?? 'cpu'), dtype, archive.bytes(key, dtype.swapWidth)));
    storages.set(key, storage);
    const shape = integers(entry.dims);
    const stride = integers(entry.strides);
    const storageOffset = integer(entry.offset ?? 0);
    checkBounds(storage.nbytes, dtype, shape, stride, storageOffset);
    return new Tensor(storage, dtype, shape, stride, storageOffset, entry.requiresGrad === true);
  });
}

/** Protobuf writes 64-bit numbers as strings. */
function integer(value: unknown): number {
  const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value;
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number;
  throw corrupt(`a count was expected, found ${JSON.stringify(value)?.slice(0, 40)}`);
}

function integers(value: unknown): number[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > MAX_DIMS) throw corrupt('a list of counts was expected');
  return value.map(integer);
}

function object(value: unknown): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw corrupt('an object was expected');
}

function list(value: unknown): Json[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value.map(object);
  throw corrupt('a list was expected');
}

function name(item: Json): string {
  if (typeof item.name === 'string') return item.name;
  throw corrupt('a parameter, attribute or submodule has no name');
}

function pick(values: PyValue, index: number, what: string): PyValue {
  if (Array.isArray(values) && index < values.length) return values[index] as PyValue;
  throw corrupt(`${what} ${index} is not there`);
}

function corrupt(what: string): CheckpointError {
  return new CheckpointError('ZIP_CORRUPT', what, { record: RECORD });
}
