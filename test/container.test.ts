/** Risk: a file taken for what it is not, or read beyond what it has. Every sample is made here, by hand. */

import { deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { ReadContext } from '../lib/container/container';
import { detect } from '../lib/container/detect';
import { sniff } from '../lib/container/signatures';
import { DType } from '../lib/dtype';
import { CheckpointError, type ErrorCode } from '../lib/errors';
import { DEFAULT_LIMITS, type Limits } from '../lib/limits';
import { type LoadOptions, loadSync, openSync } from '../lib/load';
import { GlobalResolver } from '../lib/pickle/globals';
import type { Host } from '../lib/pickle/rules';
import { unpickle } from '../lib/pickle/unpickler';
import { MemorySource } from '../lib/source/memory';
import { Storage } from '../lib/tensor/storage';
import type { Tensor } from '../lib/tensor/tensor';
import {
  bytesOf,
  dict,
  floats,
  i64,
  LEGACY_MAGIC,
  legacyCheckpoint,
  py,
  safetensors,
  storageId,
  tar,
  tensor,
  u32,
  zip,
  zipCheckpoint,
} from './container-samples';

const format = (bytes: Uint8Array): string => detect(new MemorySource(bytes)).format;

function failure(bytes: Uint8Array, options: LoadOptions = {}): CheckpointError {
  try {
    openSync(bytes, options);
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    return error as CheckpointError;
  }
  throw new Error('nothing was thrown');
}

const get = (bytes: Uint8Array, path: string, options: LoadOptions = {}): Tensor =>
  openSync(bytes, options).get(path) as Tensor;

describe('what a file is', () => {
  const text = (value: string): Buffer => Buffer.from(value);
  const cases: Record<string, [bytes: Uint8Array, code: ErrorCode, kind: string]> = {
    empty: [text(''), 'EMPTY_FILE', 'empty'],
    html: [text('\ufeff\n<!DOCTYPE html>\n<html><head>'), 'HTML_PAGE', 'html'],
    'html after a comment': [text('<!-- x -->\n<html lang="en">'), 'HTML_PAGE', 'html'],
    'git lfs': [
      text('version https://git-lfs.github.com/spec/v1\noid sha256:0123abcd\nsize 535727290\n'),
      'GIT_LFS_POINTER',
      'git-lfs-pointer',
    ],
    gzip: [gzipSync('x'), 'COMPRESSED', 'gzip'],
    bzip2: [text('BZh91AY&SY......'), 'COMPRESSED', 'bzip2'],
    xz: [bytesOf([0xfd], '7zXZ\0.....'), 'COMPRESSED', 'xz'],
    zstd: [bytesOf([0x28, 0xb5, 0x2f, 0xfd], '.......'), 'COMPRESSED', 'zstd'],
    '7z': [bytesOf('7z', [0xbc, 0xaf, 0x27, 0x1c], '......'), 'COMPRESSED', '7z'],
    rar: [text('Rar!\x1a\x07\0.....'), 'COMPRESSED', 'rar'],
    lzma: [bytesOf([0x5d, 0, 0, 0x80, 0], new Array(8).fill(0xff), '......'), 'COMPRESSED', 'lzma'],
    zlib: [deflateSync('x'.repeat(50)), 'COMPRESSED', 'zlib'],
    lz4: [bytesOf([4, 0x22, 0x4d, 0x18], '......'), 'COMPRESSED', 'lz4'],
    flatbuffer: [bytesOf([0x18, 0, 0, 0], 'PTMF........'), 'UNSUPPORTED', 'torchscript-flatbuffer'],
    preview: [text('PYTORCH1........'), 'UNSUPPORTED', 'pytorch-preview'],
    hdf5: [bytesOf([0x89], 'HDF\r\n\x1a\n....'), 'NOT_A_CHECKPOINT', 'hdf5'],
    'hdf5 after a user block': [bytesOf(Buffer.alloc(512), [0x89], 'HDF\r\n\x1a\n....'), 'NOT_A_CHECKPOINT', 'hdf5'],
    gguf: [bytesOf('GGUF', [3, 0, 0, 0]), 'NOT_A_CHECKPOINT', 'gguf'],
    ggml: [text('tjgg....'), 'NOT_A_CHECKPOINT', 'ggml'],
    npy: [bytesOf([0x93], 'NUMPY\x01\0v\0{}'), 'NOT_A_CHECKPOINT', 'npy'],
    onnx: [bytesOf([8, 7, 0x12, 7], 'pytorch', [0x1a, 5], '2.1.0'), 'NOT_A_CHECKPOINT', 'onnx'],
    'tensorflow graph': [
      bytesOf([0x0a, 0x30, 0x0a, 5], 'input', [0x12, 11], 'Placeholder', '......'),
      'NOT_A_CHECKPOINT',
      'tensorflow',
    ],
    'saved model': [bytesOf([8, 1, 0x12, 0xff, 1], '......'), 'NOT_A_CHECKPOINT', 'tensorflow'],
    tflite: [bytesOf([0x1c, 0, 0, 0], 'TFL3....'), 'NOT_A_CHECKPOINT', 'tflite'],
    executorch: [bytesOf([0x20, 0, 0, 0], 'ET12eh00....'), 'NOT_A_CHECKPOINT', 'executorch'],
    'data of executorch': [bytesOf([0x20, 0, 0, 0], 'FT01........'), 'NOT_A_CHECKPOINT', 'executorch'],
    torch7: [bytesOf(u32(4), u32(1), u32(3), 'V 1', u32(17), 'torch.FloatTensor'), 'NOT_A_CHECKPOINT', 'torch7'],
    'torch7 as text': [text('4\n1\n3\nV 1\n17\ntorch.FloatTensor\n'), 'NOT_A_CHECKPOINT', 'torch7'],
    darknet: [bytesOf(u32(0), u32(2), u32(0), i64(32_013_312), '........'), 'NOT_A_CHECKPOINT', 'darknet'],
    tensorrt: [text('ptrt............'), 'NOT_A_CHECKPOINT', 'tensorrt'],
    tensorboard: [
      bytesOf(i64(24), u32(77), [9], i64(1), [0x1a, 13], 'brain.Event:2....'),
      'NOT_A_CHECKPOINT',
      'tensorboard',
    ],
    matlab: [text('MATLAB 5.0 MAT-file, Platform: GLNXA64'), 'NOT_A_CHECKPOINT', 'matlab'],
    sentencepiece: [
      bytesOf([0x0a, 14, 0x0a, 5], '<unk>', [0x15, 0, 0, 0, 0, 0x18, 2]),
      'NOT_A_CHECKPOINT',
      'sentencepiece',
    ],
    json: [text('{\n  "error": "Repository not found"\n}'), 'NOT_A_CHECKPOINT', 'json'],
    'json list': [text('[1, 2]'), 'NOT_A_CHECKPOINT', 'json'],
    xml: [text('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'), 'NOT_A_CHECKPOINT', 'xml'],
    pdf: [text('%PDF-1.7\n'), 'NOT_A_CHECKPOINT', 'pdf'],
    png: [bytesOf([0x89], 'PNG\r\n\x1a\n....'), 'NOT_A_CHECKPOINT', 'png'],
    jpeg: [bytesOf([0xff, 0xd8, 0xff, 0xe0], '....'), 'NOT_A_CHECKPOINT', 'jpeg'],
    elf: [bytesOf([0x7f], 'ELF.....'), 'NOT_A_CHECKPOINT', 'elf'],
    sqlite: [text('SQLite format 3\0...'), 'NOT_A_CHECKPOINT', 'sqlite'],
    parquet: [text('PAR1....'), 'NOT_A_CHECKPOINT', 'parquet'],
    zeros: [Buffer.alloc(100_000), 'NOT_A_CHECKPOINT', 'zeros'],
  };
  test.each(Object.entries(cases))('%s', (_name, [bytes, code, kind]) => {
    expect(sniff(bytes, bytes.byteLength)).toMatchObject({ kind, code });
    expect(failure(bytes).code).toBe(code);
  });

  test('what no row knows: text and other bytes', () => {
    expect(failure(text('hello there, this is a log\n'))).toMatchObject({
      code: 'NOT_A_CHECKPOINT',
      message: expect.stringContaining('text that begins with "hello there'),
    });
    expect(failure(bytesOf([0x99, 0x27, 0x26, 0x2e, 0xbf, 1, 2, 3]))).toMatchObject({
      code: 'NOT_A_CHECKPOINT',
      message: expect.stringContaining('99 27 26 2e'),
    });
    expect(failure(text('a')).code).toBe('NOT_A_CHECKPOINT');
  });

  test('a dump of joblib, whose arrays stand between the opcodes', () => {
    const wrapper = bytesOf([0x80, 4, 0x8c, 19], 'joblib.numpy_pickle', [0x94, 0x8c, 17], 'NumpyArrayWrapper');
    const dump = bytesOf(
      wrapper,
      [0x94, 0x93, 0x94, 0x29, 0x81, 0x94, 3],
      [0xff, 0xff, 0xff],
      new Array(16).fill(0),
      '.',
    );
    expect(failure(dump)).toMatchObject({
      code: 'NOT_A_CHECKPOINT',
      message: expect.stringContaining('the file is a dump of joblib'),
      hint: expect.stringContaining('numpy.savez'),
    });
  });

  test('a part of torch.distributed.checkpoint is no checkpoint of its own, and text that begins like zlib no zlib', () => {
    const part = new MemorySource(bytesOf(zipCheckpoint(), zipCheckpoint()), '__0_0.distcp');
    expect(() => detect(part)).toThrow(/torch\.distributed\.checkpoint.*dcp_to_torch FOLDER/);
    expect(sniff(text('x^2 + y^2'), 9)).toBeUndefined();
  });

  test('a Git LFS pointer tells what it points to', () => {
    const error = failure(cases['git lfs']?.[0] ?? text(''));
    expect(error.message).toContain('535727290');
    expect(error.message).toContain('sha256:0123abcd');
  });

  test('no sample of a checkpoint is taken for anything else', () => {
    for (const bytes of [zipCheckpoint(), LEGACY_MAGIC, safetensors({}), py.pickle('N')])
      expect(sniff(bytes, bytes.length)).toBeUndefined();
    expect(format(zipCheckpoint())).toBe('zip');
    expect(format(legacyCheckpoint(Buffer.from('N'), []))).toBe('legacy');
    expect(format(safetensors({}))).toBe('safetensors');
    expect(format(py.pickle('N'))).toBe('pickle');
    expect(format(text('(dp0\nS"a"\np1\nI1\ns.'))).toBe('pickle');
    expect(format(text('L119547037146038801333356L\n.'))).toBe('legacy');
    expect(format(bytesOf('\x80\x04\x95', i64(13), LEGACY_MAGIC.subarray(2)))).toBe('legacy');
  });

  const zipped = (...names: string[]): Buffer => zip(names.map((name) => ({ name, bytes: Buffer.from('{}') })));
  test.each<[string, Buffer, ErrorCode, string]>([
    ['npz', zipped('a.npy', 'b.npy'), 'NOT_A_CHECKPOINT', 'NumPy archive'],
    ['Stable-Baselines3', zipped('data', 'policy.pth', '_stable_baselines3_version'), 'NOT_A_CHECKPOINT', 'policy.pth'],
    ['Keras', zipped('metadata.json', 'config.json', 'model.weights.h5'), 'NOT_A_CHECKPOINT', 'Keras'],
    ['pt2', zipped('m/archive_format', 'm/models/model.json'), 'UNSUPPORTED', 'torch.export'],
    ['old pt2', zipped('serialized_exported_program.json', 'version'), 'UNSUPPORTED', 'torch.export'],
    [
      'torch.package',
      zipped('p/.data/extern_modules', 'p/.data/version', 'p/model/model.pkl'),
      'UNSUPPORTED',
      'torch.package',
    ],
    ['a zipped checkpoint', zipped('weights/model.pt', 'README.md'), 'NOT_A_CHECKPOINT', 'load "weights/model.pt"'],
    ['no records', zip([]), 'ZIP_CORRUPT', 'archive does not contain any files'],
    ['encrypted', zip([{ name: 'a/data.pkl', bytes: py.pickle('N'), flags: 0x801 }]), 'UNSUPPORTED', 'encrypted'],
  ])('a zip that is %s', (_name, bytes, code, words) => {
    const error = failure(bytes);
    expect(error.code).toBe(code);
    expect(error.message).toContain(words);
  });

  test('a tar of something else', () => {
    expect(failure(tar({ 'model.pt': Buffer.from('x') }))).toMatchObject({
      code: 'NOT_A_CHECKPOINT',
      hint: expect.stringContaining('model.pt'),
    });
  });

  test('a tar of PyTorch 0.1 that was cut between two members', () => {
    // It was taken for a tar of something else, to be unpacked.
    const error = failure(tar({ sys_info: Buffer.from('x'), pickle: Buffer.from('x') }));
    expect(error.code).toBe('TRUNCATED');
    expect(error.message).toContain('before its storages, tensors');
  });
});

describe('zip', () => {
  test('a tensor, its storage and the facts of the archive', () => {
    const opened = openSync(zipCheckpoint({ '.format_version': '1', '.storage_alignment': '64' }, 'name/'));
    const w = opened.get('w') as Tensor;
    expect(w.storage).toMatchObject({ key: '0', location: 'cpu', dtype: DType.float32, nbytes: 16, zeroCopy: true });
    expect([...w.asTypedArray()]).toEqual([1, 2, 3, 4]);
    expect(opened.info.byteOrder).toBe('little');
  });

  test('mentions of a key share one storage; a later one may count other elements of the same bytes', () => {
    const a = { key: '0', numel: 4 };
    const root = py.pickle(
      dict({
        a: tensor(a),
        b: tensor(a),
        c: storageId({ key: '0', cls: 'UntypedStorage', module: 'torch.storage', numel: 16 }),
      }),
    );
    const opened = openSync(zipCheckpoint({ 'data.pkl': root }));
    const storage = (opened.get('a') as Tensor).storage;
    expect((opened.get('b') as Tensor).storage).toBe(storage);
    expect(opened.get('c')).toBe(storage);
    const lie = py.pickle(dict({ a: tensor(a), b: tensor({ key: '0', cls: 'DoubleStorage', numel: 4 }) }));
    expect(failure(zipCheckpoint({ 'data.pkl': lie })).code).toBe('TENSOR_CORRUPT');
  });

  test('each storage is placed once, an empty one at each mention', () => {
    const full = { key: '0', numel: 4 };
    const empty = { key: '1', numel: 0, location: 'cuda:3' };
    const root = py.pickle(dict({ a: tensor(full), b: tensor(full), c: tensor(empty), d: tensor(empty) }));
    const calls: string[] = [];
    const mapLocation = (storage: Storage, location: string): Storage => {
      calls.push(`${storage.key}@${location}`);
      return storage.withLocation('cpu');
    };
    loadSync(zipCheckpoint({ 'data.pkl': root, 'data/1': '' }), { mapLocation });
    expect(calls).toEqual(['0@cpu', '1@cuda:3', '1@cuda:3']);
  });

  test('keys and locations that Python 2 wrote as bytes', () => {
    const pid = bytesOf(
      py.tuple(py.bytes2('storage'), py.global('torch', 'FloatStorage'), py.bytes2('0'), py.bytes2('cpu'), py.int(4)),
      'Q',
    );
    for (const encoding of ['latin1', 'bytes'] as const) {
      const storage = loadSync<Storage>(zipCheckpoint({ 'data.pkl': py.pickle(pid) }), { encoding });
      expect(storage).toBeInstanceOf(Storage);
      expect(storage.key).toBe('0');
    }
  });

  const dataPickle = (sample: Parameters<typeof tensor>[0]): Buffer => py.pickle(dict({ w: tensor(sample) }));
  test.each<[string, Uint8Array, ErrorCode, string]>([
    [
      'a short record',
      zipCheckpoint({ 'data/0': floats(1, 2) }),
      'TENSOR_CORRUPT',
      'record size (8 bytes) does not match expected size (16 bytes = 4 elements * 4 bytes/element) for dtype Float',
    ],
    ['a long record', zipCheckpoint({ 'data/0': floats(1, 2, 3, 4, 5) }), 'TENSOR_CORRUPT', 'record size (20 bytes)'],
    [
      'a short record of an untyped storage',
      zipCheckpoint({
        'data.pkl': py.pickle(storageId({ key: '0', cls: 'UntypedStorage', module: 'torch.storage', numel: 17 })),
      }),
      'TENSOR_CORRUPT',
      'record size (16 bytes) does not match expected size (17 bytes = 17 elements * 1 bytes/element) for dtype Byte',
    ],
    [
      'a missing record',
      zipCheckpoint({ 'data/0': null }),
      'ZIP_CORRUPT',
      'PytorchStreamReader failed locating file data/0: file not found',
    ],
    [
      'no data.pkl',
      zipCheckpoint({ 'data.pkl': null }),
      'NOT_A_CHECKPOINT',
      'PytorchStreamReader failed locating file data.pkl: file not found',
    ],
    [
      'version 11',
      zipCheckpoint({ version: '11\n' }),
      'UNSUPPORTED',
      'Attempted to read a PyTorch file with version 11, but the maximum supported version for reading is 10.',
    ],
    [
      'version 0',
      zipCheckpoint({ version: '0\n' }),
      'UNSUPPORTED',
      'Attempted to read a PyTorch file with version 0, but the minimum supported version for reading is 1.',
    ],
    // Regression: stoull takes a sign, and the text was said to be no number.
    [
      'version -1',
      zipCheckpoint({ version: '-1\n' }),
      'UNSUPPORTED',
      'Attempted to read a PyTorch file with version -1',
    ],
    ['version abc', zipCheckpoint({ version: 'abc\n' }), 'ZIP_CORRUPT', "Couldn't parse the version abc as Long Long."],
    ['an odd byte order', zipCheckpoint({ byteorder: 'mid' }), 'ZIP_CORRUPT', 'Unknown endianness type: mid'],
    ['no folder', zipCheckpoint({}, ''), 'ZIP_CORRUPT', 'file in archive is not in a subdirectory: data.pkl'],
    [
      'two folders',
      zip([
        { name: 'archive/data.pkl', bytes: py.pickle('N') },
        { name: 'x/byteorder', bytes: Buffer.from('little') },
      ]),
      'ZIP_CORRUPT',
      'file in archive is not in a subdirectory archive/: x/byteorder',
    ],
    [
      'two records of a name',
      zip([1, 2].map(() => ({ name: 'a/data.pkl', bytes: py.pickle('N') }))),
      'ZIP_CORRUPT',
      'a/data.pkl',
    ],
    [
      'another kind of id',
      zipCheckpoint({ 'data.pkl': py.pickle(py.tuple(py.text('module'), 'N', 'N', 'N'), 'Q') }),
      'PICKLE_CORRUPT',
      "Unknown typename for persistent_load, expected 'storage' but got 'module'",
    ],
    [
      'an id that is no tuple',
      zipCheckpoint({ 'data.pkl': py.pickle(py.text('5'), 'Q') }),
      'PICKLE_CORRUPT',
      'persistent id',
    ],
    [
      'a negative size',
      zipCheckpoint({ 'data.pkl': dataPickle({ key: '0', numel: -4 }) }),
      'PICKLE_CORRUPT',
      'size of storage "0"',
    ],
    ['an unknown method', zipCheckpoint({ 'data/0': { method: 12 } }), 'UNSUPPORTED', 'unsupported method'],
  ])('%s', (_name, bytes, code, words) => {
    const error = failure(bytes);
    expect(error.message).toContain(words);
    expect(error.code).toBe(code);
  });

  test('names are never joined with a path', () => {
    expect(failure(zipCheckpoint({ 'data.pkl': dataPickle({ key: '../../etc/passwd', numel: 4 }) })).message).toContain(
      'file not found',
    );
  });

  test('missing records that PyTorch can do without', () => {
    expect(get(zipCheckpoint({ version: null, byteorder: null }), 'w').shape).toEqual([4]);
    expect(get(zipCheckpoint({ version: null, '.data/version': '6' }), 'w').shape).toEqual([4]);
  });

  test('big-endian: typed storages are swapped by their class, untyped ones by the tensor', () => {
    const swapped = Buffer.from(floats(1, 2, 3, 4)).swap32();
    expect([...get(zipCheckpoint({ byteorder: 'big', 'data/0': swapped }), 'w').asTypedArray()]).toEqual([1, 2, 3, 4]);
    const complex = zipCheckpoint({
      byteorder: 'big',
      'data/0': swapped,
      'data.pkl': dataPickle({ key: '0', cls: 'ComplexFloatStorage', numel: 2 }),
    });
    expect([...get(complex, 'w').asTypedArray()]).toEqual([1, 2, 3, 4]);
    const bytes = zipCheckpoint({
      byteorder: 'big',
      'data/0': Buffer.from([1, 2]),
      'data.pkl': dataPickle({ key: '0', cls: 'ByteStorage', numel: 2 }),
    });
    expect([...get(bytes, 'w').asTypedArray()]).toEqual([1, 2]);
  });
});

describe('deflated records', () => {
  const zeros = new Uint8Array(400_000);
  const deflated = (change: object = {}) =>
    zipCheckpoint({
      'data.pkl': { deflate: true, bytes: py.pickle(dict({ w: tensor({ key: '0', numel: 100_000 }) })) },
      'data/0': { bytes: zeros, deflate: true, ...change },
    });

  test('are inflated once, when looked at', async () => {
    const { storage } = get(deflated(), 'w');
    expect(storage.zeroCopy).toBe(false);
    const target = new Uint8Array(10).fill(1);
    expect(await storage.read(target, 399_995)).toBe(5);
    expect(target).toEqual(new Uint8Array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]));
    expect(storage.bytes()).toBe(storage.bytes());
    expect(storage.bytes().byteLength).toBe(400_000);
  });

  test('that are longer or shorter than the directory says', () => {
    // The size in the pickle agrees with the lie, so that only inflating finds it.
    const lie = (byteLength: number) => {
      const bytes = zipCheckpoint({
        'data.pkl': py.pickle(
          storageId({ key: '0', cls: 'UntypedStorage', module: 'torch.storage', numel: byteLength }),
        ),
        'data/0': { bytes: zeros.subarray(0, 1000), deflate: true, byteLength },
      });
      return () => loadSync<Storage>(bytes).bytes();
    };
    expect(lie(999)).toThrow(expect.objectContaining({ code: 'ZIP_CORRUPT', record: 'data/0' }));
    expect(lie(1001)).toThrow(expect.objectContaining({ code: 'ZIP_CORRUPT', record: 'data/0' }));
    expect(lie(1000)().byteLength).toBe(1000);
  });

  test('bombs: by ratio and in all', async () => {
    expect(() => get(deflated(), 'w', { limits: { maxInflateRatio: 10 } }).storage.bytes()).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED' }),
    );
    const { storage } = get(deflated(), 'w', { limits: { maxInflatedBytes: 300_000 } });
    expect(() => storage.bytes()).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }));
    await expect(storage.read(new Uint8Array(1))).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
    expect(failure(zipCheckpoint(), { limits: { maxPickleBytes: 20 } }).code).toBe('LIMIT_EXCEEDED');
  });

  // Regression: 390 KB inflated to 400 MB of empty dicts, which took 20 seconds and 3 GB.
  test('bombs: a pickle asks for no more than its bytes in the file are worth', () => {
    const holding = (value: Buffer): Buffer =>
      zipCheckpoint({ 'data.pkl': { deflate: true, bytes: bytesOf('\x80\x03', value, '.') } });
    const length = (bytes: Uint8Array, limits: Partial<Limits> = {}): number =>
      (openSync(bytes, { limits }).root as { length: number }).length;
    const size = 40 << 20;
    const zeros = holding(bytesOf('\x8e', i64(size), Buffer.alloc(size)));
    const { code, message, hint } = failure(zeros);
    expect([code, hint]).toEqual(['LIMIT_EXCEEDED', 'raise the limit if the file is trusted']);
    expect(message).toContain('limits.maxInflateRatio (100)');
    expect(length(zeros, { maxInflateRatio: 1100 })).toBe(size);

    const dicts = bytesOf('(', '}'.repeat(600_000), 't');
    expect(failure(holding(dicts)).message).toContain('limits.maxObjectBytes');
    expect(length(holding(dicts), { maxObjectBytes: 2 ** 28 })).toBe(600_000);
    // As long in the file as in memory.
    expect(length(bytesOf('\x80\x03', dicts, '.'))).toBe(600_000);
  });

  test('damaged ones', () => {
    const bytes = zipCheckpoint({ 'data/0': { bytes: Buffer.alloc(16, 0xff), method: 8 } });
    expect(() => get(bytes, 'w').storage.bytes()).toThrow(expect.objectContaining({ code: 'ZIP_CORRUPT' }));
  });
});

describe('legacy', () => {
  const sample = { key: '77', numel: 4, view: 'N' } as const;
  const data = { key: '77', numel: 4, bytes: floats(1, 2, 3, 4) };

  test('tensors share the storage of a key; views are parts of it', () => {
    const view = { ...sample, view: py.tuple(py.text('78'), py.int(1), py.int(2)) };
    const opened = openSync(
      legacyCheckpoint(dict({ a: tensor(sample), b: tensor(sample), v: tensor(view, 2) }), [data]),
    );
    const [a, b, v] = ['a', 'b', 'v'].map((name) => opened.get(name) as Tensor) as [Tensor, Tensor, Tensor];
    expect(a.storage).toBe(b.storage);
    expect([...a.asTypedArray()]).toEqual([1, 2, 3, 4]);
    expect(v.storage.key).toBe('78');
    expect([...v.asTypedArray()]).toEqual([2, 3]);
    v.storage.bytes()[0] = 1;
    expect(a.storage.bytes()[4]).toBe(v.storage.bytes()[0]);
  });

  test('placement comes before the data; looking at bytes then is an error', () => {
    const bytes = legacyCheckpoint(dict({ a: tensor(sample) }), [data]);
    const mapLocation = (storage: Storage): Storage => storage.withLocation('cpu');
    const looking = (storage: Storage): Storage => {
      storage.bytes();
      return storage;
    };
    const loaded = loadSync<Map<string, Tensor>>(bytes, { mapLocation });
    expect([...(loaded.get('a') as Tensor).asTypedArray()]).toEqual([1, 2, 3, 4]);
    expect(() => loadSync(bytes, { mapLocation: looking })).toThrow(expect.objectContaining({ code: 'NO_DATA' }));
  });

  test('module ids give the class and keep the source text', () => {
    const module = bytesOf(
      py.tuple(py.text('module'), py.global('vdsr', 'Net'), py.text('vdsr.py'), py.text('class Net: pass\n')),
      'Q',
    );
    const contents = detect(new MemorySource(legacyCheckpoint(module, []))).read(
      new MemorySource(legacyCheckpoint(module, [])),
      plainContext(),
    );
    expect(contents.moduleSources).toEqual([{ className: 'vdsr.Net', file: 'vdsr.py', source: 'class Net: pass\n' }]);
  });

  test('of several saves in one stream the first is read', () => {
    const first = legacyCheckpoint(dict({ a: tensor(sample) }), [data]);
    const two = new MemorySource(Buffer.concat([first, legacyCheckpoint(py.text('second'), [])]));
    expect(detect(two).read(two, plainContext()).byteEnd).toBe(first.length);
  });

  const object = dict({ a: tensor(sample) });
  test.each<[string, Uint8Array, ErrorCode, string]>([
    ['another protocol', legacyCheckpoint(object, [data], 1000), 'LEGACY_CORRUPT', 'Invalid protocol version: 1000'],
    [
      'another size',
      legacyCheckpoint(object, [{ ...data, numel: 5, bytes: floats(1, 2, 3, 4, 5) }]),
      'LEGACY_CORRUPT',
      'storage "77" has wrong byte size: expected 16 got 20',
    ],
    [
      'a negative size',
      legacyCheckpoint(object, [{ ...data, numel: -1 }]),
      'LEGACY_CORRUPT',
      'the size of storage "77" is -1',
    ],
    [
      'a key without a mention',
      legacyCheckpoint(object, [data, { key: '9', numel: 0, bytes: floats() }]),
      'LEGACY_CORRUPT',
      'does not mention',
    ],
    ['a mention without a key', legacyCheckpoint(object, []), 'TRUNCATED', 'expected 16 more bytes'],
    [
      'a mention without a key, and bytes behind',
      Buffer.concat([legacyCheckpoint(object, []), Buffer.alloc(100)]),
      'LEGACY_CORRUPT',
      'its data is missing',
    ],
    ['a key twice', legacyCheckpoint(object, [data, data]), 'LEGACY_CORRUPT', 'twice'],
    [
      'an unknown id',
      legacyCheckpoint(bytesOf(py.tuple(py.text('thing')), 'Q'), []),
      'LEGACY_CORRUPT',
      'Unknown saved id type: thing',
    ],
    [
      'a view beyond its storage',
      legacyCheckpoint(dict({ a: tensor({ ...sample, view: py.tuple(py.text('78'), py.int(3), py.int(2)) }) }), [data]),
      'LEGACY_CORRUPT',
      'ends at element 5',
    ],
    [
      'data cut short',
      legacyCheckpoint(object, [data]).subarray(0, -6),
      'TRUNCATED',
      'unexpected EOF, expected 6 more bytes. The file might be corrupted.',
    ],
  ])('%s', (_name, bytes, code, words) => {
    const error = failure(bytes);
    expect(error.message).toContain(words);
    expect(error.code).toBe(code);
  });

  test('cut anywhere, it is a CheckpointError', () => {
    const whole = legacyCheckpoint(object, [data]);
    for (let length = 0; length < whole.length; length++) failure(whole.subarray(0, length));
  });
});

describe('tar', () => {
  const storages = bytesOf(
    py.pickle(py.int(1)),
    py.pickle(py.tuple(py.int(1), py.text('cpu'), py.global('torch', 'FloatStorage'))),
    i64(4),
    floats(1, 2, 3, 4),
    py.pickle(py.list(py.tuple(py.int(2), py.int(1), py.int(1), py.int(2)))),
  );
  const tensorEntry = (key: number, storage: number, numel: number): Buffer =>
    bytesOf(
      py.pickle(py.tuple(py.int(key), py.int(storage), py.global('torch', 'FloatTensor'))),
      [1, 0, 0, 0, 0, 0, 0, 0],
      i64(numel),
      i64(1),
      i64(0),
    );
  const tensors = bytesOf(py.pickle(py.int(2)), tensorEntry(10, 1, 4), tensorEntry(11, 2, 2));
  const members = {
    sys_info: py.pickle('}'),
    pickle: py.pickle(dict({ a: bytesOf(py.text('10'), 'Q'), v: Buffer.from('P11\n') })),
    tensors,
    storages,
  };

  test('tensors and views', () => {
    const opened = openSync(tar(members));
    expect(opened.format).toBe('tar');
    expect([...(opened.get('a') as Tensor).asTypedArray()]).toEqual([1, 2, 3, 4]);
    expect([...(opened.get('v') as Tensor).asTypedArray()]).toEqual([2, 3]);
  });

  test('is refused when only weights are allowed, in the words of PyTorch', () => {
    const error = failure(tar(members), { weightsOnly: true });
    expect(error.code).toBe('WEIGHTS_ONLY');
    expect(error.message).toContain('Cannot use ``weights_only=True`` with files saved in the legacy .tar format. ');
  });

  test.each<[string, Partial<typeof members>, string]>([
    ['a tensor beyond its storage', { tensors: bytesOf(py.pickle(py.int(1)), tensorEntry(10, 1, 5)) }, 'out of bounds'],
    ['a tensor on nothing', { tensors: bytesOf(py.pickle(py.int(1)), tensorEntry(10, 9, 1)) }, 'storage 9'],
    ['more storages than bytes', { storages: bytesOf(py.pickle(bytesOf('J', [0xff, 0xff, 0xff, 0x7f]))) }, 'truncated'],
    ['an unknown id', { pickle: py.pickle(bytesOf(py.text('99'), 'Q')) }, '"99"'],
  ])('%s', (_name, change, words) => {
    expect(failure(tar({ ...members, ...change })).message).toContain(words);
  });

  test('cut short', () => {
    const whole = tar(members);
    expect(failure(whole.subarray(0, whole.length - 1024 - 512))).toMatchObject({ code: 'TRUNCATED' });
  });
});

describe('a bare pickle', () => {
  test('any protocol, with or without bytes behind it', () => {
    expect(loadSync(py.pickle(py.list(py.int(1), py.text('a'))))).toEqual([1, 'a']);
    expect(loadSync(Buffer.concat([py.pickle(py.int(7)), Buffer.from('trailing')]))).toBe(7);
    expect(loadSync(Buffer.from('(lp0\nI5\naI01\na.'))).toEqual([5, true]);
  });

  test('with whole checkpoints inside', () => {
    const nested = (blob: Buffer): Buffer =>
      bytesOf(
        py.global('torch.storage', '_load_from_bytes'),
        'B',
        [blob.length & 255, blob.length >> 8, 0, 0],
        blob,
        '\x85R',
      );
    const legacy = legacyCheckpoint(storageId({ key: '5', numel: 2, view: 'N' }), [
      { key: '5', numel: 2, bytes: floats(1, 2) },
    ]);
    const [first, second] = loadSync<Storage[]>(bytesOf('\x80\x03', py.list(nested(legacy), nested(legacy)), '.')) as [
      Storage,
      Storage,
    ];
    expect([first.key, second.key]).toEqual(['nested0/5', 'nested1/5']);
    expect([...new Float32Array(second.bytes().slice().buffer)]).toEqual([1, 2]);
    let deep = legacyCheckpoint(Buffer.from('N'), []);
    for (let i = 0; i < 40; i++) deep = legacyCheckpoint(nested(deep), []);
    expect(failure(bytesOf('\x80\x03', nested(deep), '.')).code).toBe('LIMIT_EXCEEDED');
  });

  // Regression: the checkpoints inside had no part in close, and could be read from ever after.
  test('what is inside is closed with it', () => {
    const blob = legacyCheckpoint(storageId({ key: '5', numel: 2, view: 'N' }), [
      { key: '5', numel: 2, bytes: floats(1, 2) },
    ]);
    const length = [blob.length & 255, blob.length >> 8, 0, 0];
    const opened = openSync(
      bytesOf('\x80\x03', py.global('torch.storage', '_load_from_bytes'), 'B', length, blob, '\x85R.'),
    );
    const storage = opened.root as Storage;
    expect(storage.bytes()).toHaveLength(8);
    opened.close();
    expect(() => storage.bytes()).toThrow(expect.objectContaining({ code: 'CLOSED' }));
  });

  test('one checkpoint that is asked for over and over is refused before it takes minutes', () => {
    const blob = legacyCheckpoint(storageId({ key: '5', numel: 15_000, view: 'N' }), [
      { key: '5', numel: 15_000, bytes: new Uint8Array(60_000) },
    ]);
    const asked = (times: number): Buffer =>
      bytesOf(
        '\x80\x03](',
        py.global('torch.storage', '_load_from_bytes'),
        'q\x01B',
        [blob.length & 255, blob.length >> 8, 0, 0],
        blob,
        'q\x00',
        'h\x01h\x00\x85R'.repeat(times),
        'e.',
      );
    expect(loadSync<unknown[]>(asked(50))).toHaveLength(52);
    expect(failure(asked(1000))).toMatchObject({ code: 'LIMIT_EXCEEDED' });
  });
});

describe('safetensors', () => {
  const entry = (dtype: string, shape: unknown[], start: number, end: number) => ({
    dtype,
    shape,
    data_offsets: [start, end],
  });

  test('tensors in the order of their data, and the metadata', () => {
    const header = {
      __metadata__: { format: 'pt' },
      '1': entry('F32', [2], 4, 12),
      a: entry('BF16', [1, 2], 0, 4),
      empty: entry('I64', [0, 3], 4, 4),
      __proto__x: entry('BOOL', [], 12, 13),
    };
    const source = new MemorySource(safetensors(header, bytesOf([1, 2, 3, 4], floats(5, 6), 1)));
    const { root, metadata } = detect(source).read(source, plainContext());
    const tensors = root as Map<string, Tensor>;
    expect([...tensors.keys()]).toEqual(['a', 'empty', '1', '__proto__x']);
    expect(tensors.get('1')?.storage).toMatchObject({ key: '1', nbytes: 8, location: 'cpu' });
    expect([...(tensors.get('1') as Tensor).toTypedArray()]).toEqual([5, 6]);
    expect(tensors.get('a')).toMatchObject({ dtype: DType.bfloat16, shape: [1, 2] });
    expect(metadata).toEqual(new Map([['format', 'pt']]));
  });

  test('every dtype that PyTorch has', () => {
    const names = [
      'BOOL',
      'U8',
      'I8',
      'F8_E5M2',
      'F8_E4M3',
      'F8_E8M0',
      'I16',
      'U16',
      'F16',
      'BF16',
      'I32',
      'U32',
      'F32',
      'C64',
      'F64',
      'I64',
      'U64',
    ];
    for (const name of names) expect(get(safetensors({ t: entry(name, [0], 0, 0) }), 't').shape).toEqual([0]);
    expect(get(safetensors({ t: entry('F4', [2, 4], 0, 4) }, Buffer.alloc(4)), 't')).toMatchObject({
      dtype: DType.float4_e2m1fn_x2,
      shape: [2, 2],
    });
    expect(failure(safetensors({ t: entry('F6_E2M3', [4], 0, 3) }, Buffer.alloc(3))).code).toBe('UNSUPPORTED');
  });

  const four = Buffer.alloc(4);
  test.each<[string, Uint8Array, ErrorCode]>([
    ['a hole', safetensors({ a: entry('U8', [2], 0, 2), b: entry('U8', [1], 3, 4) }, four), 'SAFETENSORS_CORRUPT'],
    ['a hole at the start', safetensors({ a: entry('U8', [2], 2, 4) }, four), 'SAFETENSORS_CORRUPT'],
    ['an overlap', safetensors({ a: entry('U8', [3], 0, 3), b: entry('U8', [2], 2, 4) }, four), 'SAFETENSORS_CORRUPT'],
    ['an end before its start', safetensors({ a: entry('U8', [0], 4, 0) }, four), 'SAFETENSORS_CORRUPT'],
    ['bytes behind the last', safetensors({ a: entry('U8', [2], 0, 2) }, four), 'SAFETENSORS_CORRUPT'],
    ['bytes missing', safetensors({ a: entry('U8', [9], 0, 9) }, four), 'TRUNCATED'],
    ['a shape of other bytes', safetensors({ a: entry('F32', [2], 0, 4) }, four), 'SAFETENSORS_CORRUPT'],
    ['a shape that overflows', safetensors({ a: entry('F32', [2 ** 40, 2 ** 40, 0], 0, 0) }), 'SAFETENSORS_CORRUPT'],
    ['a negative size', safetensors({ a: entry('U8', [-4], 0, 4) }, four), 'SAFETENSORS_CORRUPT'],
    ['a fraction', safetensors({ a: entry('U8', [4.5], 0, 4) }, four), 'SAFETENSORS_CORRUPT'],
    ['half a byte', safetensors({ a: entry('F4', [3], 0, 1) }, four), 'SAFETENSORS_CORRUPT'],
    ['an unknown dtype', safetensors({ a: entry('F128', [1], 0, 4) }, four), 'SAFETENSORS_CORRUPT'],
    [
      'a name twice',
      safetensors(
        '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"\\u0061":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        four,
      ),
      'SAFETENSORS_CORRUPT',
    ],
    [
      'a field twice',
      safetensors('{"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}', four),
      'SAFETENSORS_CORRUPT',
    ],
    ['metadata that is no text', safetensors({ __metadata__: { a: 1 } }), 'SAFETENSORS_CORRUPT'],
    ['no JSON', safetensors('{"a":'), 'SAFETENSORS_CORRUPT'],
    [
      'no UTF-8',
      safetensors('{"a\xff": 1}'.replace('\xff', '\udc80')).map((byte) => (byte === 0xef ? 0xff : byte)),
      'SAFETENSORS_CORRUPT',
    ],
    ['a header cut short', bytesOf(i64(500), '{"a": {"dtype"'), 'TRUNCATED'],
  ])('%s', (_name, bytes, code) => {
    expect(failure(bytes).code).toBe(code);
  });
});

describe('TorchScript', () => {
  const records = [
    { name: 'm/data/0', bytes: floats(1, 2) },
    { name: 'm/data.pkl', bytes: py.pickle(dict({ w: tensor({ key: '0', numel: 2 }) })) },
    { name: 'm/code/__torch__.py', bytes: Buffer.from('def forward(self): pass\n'), deflate: true },
    { name: 'm/constants/0', bytes: floats(3) },
    { name: 'm/constants.pkl', bytes: py.pickle(tensor({ key: '0', numel: 1 }), '\x85') },
    { name: 'm/version', bytes: Buffer.from('3\n') },
  ];

  test('the module, its constants and its sources', () => {
    const source = new MemorySource(zip(records));
    const kind = detect(source);
    expect(kind.format).toBe('torchscript');
    const opened = openSync(zip(records));
    expect([...(opened.get('w') as Tensor).asTypedArray()]).toEqual([1, 2]);
    const all = [...opened.tensors()].map(([path, found]) => [path, (found as Tensor).storage.key]);
    expect(all).toEqual([
      ['w', '0'],
      ['constants[0]', 'constants/0'],
    ]);
    const contents = kind.read(source, plainContext());
    expect(contents.readCode?.()).toEqual(new Map([['code/__torch__.py', 'def forward(self): pass\n']]));
  });

  test('is refused when only weights are allowed, in the words of PyTorch', () => {
    const error = failure(zip(records), { weightsOnly: true });
    expect(error.code).toBe('WEIGHTS_ONLY');
    expect(error.message).toContain(
      'Cannot use ``weights_only=True`` with TorchScript archives passed to ``torch.load``. ',
    );
  });

  const model = {
    protoVersion: '3',
    mainModule: {
      name: 'm',
      parameters: [{ name: 'w', tensorId: '0' }],
      submodules: [{ name: 'sub', parameters: [{ name: 'b', tensorId: 0, isBuffer: true }] }],
    },
    tensors: [
      {
        dims: ['2'],
        strides: ['1'],
        offset: '1',
        dataType: 'FLOAT',
        requiresGrad: true,
        device: 'cpu',
        data: { key: 'tensors/0' },
      },
    ],
  };
  const old = (json: unknown): Buffer =>
    zip([
      { name: 'm/version', bytes: Buffer.from('1\n') },
      { name: 'm/tensors/0', bytes: floats(1, 2, 3) },
      { name: 'm/model.json', bytes: Buffer.from(JSON.stringify(json)) },
    ]);

  test('of 2019, described by model.json', () => {
    const opened = openSync(old(model));
    const w = opened.get('w') as Tensor;
    expect([...w.asTypedArray()]).toEqual([2, 3]);
    expect(w).toMatchObject({ requiresGrad: true, storage: { key: 'tensors/0' } });
    expect((opened.get('sub.b') as Tensor).storage).toBe(w.storage);
    expect(failure(old({ ...model, tensors: [] })).code).toBe('ZIP_CORRUPT');
    expect(failure(old({ ...model, tensors: [{ ...model.tensors[0], dims: ['3'] }] })).code).toBe('TENSOR_CORRUPT');
  });
});

/** What the containers ask of the stage above: here without placement. */
function plainContext(): ReadContext {
  const resolver = new GlobalResolver({
    weightsOnly: false,
    safeGlobals: new Set(),
    unsafeGlobals: 'inert',
    classes: new Map(),
  });
  const refuse = (): never => {
    throw new Error('not in these samples');
  };
  const host: Host = {
    classes: new Map(),
    loadNested: refuse,
    placeDevice: refuse,
    swapped: refuse,
    tensorFromId: refuse,
  };
  return {
    limits: DEFAULT_LIMITS,
    weightsOnly: false,
    place: (storage) => storage,
    plainPlacement: (location) => location,
    warn: refuse,
    unpickle: (bytes, options = {}) =>
      unpickle(bytes, { limits: DEFAULT_LIMITS, host, resolver, encoding: 'utf-8', weightsOnly: false, ...options }),
  };
}
