// Promise: tensors of every dtype give their elements exactly, views share memory, and errors are PyTorch's.
import { describe, expect, test } from 'vitest';
import { DType, type TypedArray } from '../lib/dtype';
import { isCheckpointError } from '../lib/errors';
import { Complex, Layout, QScheme } from '../lib/pickle/values';
import '../lib/repr';
import { NestedTensor } from '../lib/tensor/nested';
import { QuantizedTensor } from '../lib/tensor/quantized';
import { SparseTensor } from '../lib/tensor/sparse';
import { MemoryBytes, Storage } from '../lib/tensor/storage';
import { StreamBytes } from '../lib/tensor/stream-bytes';
import { checkBounds, Parameter, Tensor } from '../lib/tensor/tensor';

function code(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return isCheckpointError(error) ? error.code : `${(error as Error).name}: ${(error as Error).message}`;
  }
  return 'nothing was thrown';
}

/** A tensor of `dtype` over pattern bytes. */
function patterned(dtype: DType, shape: number[], stride: number[], storageOffset = 0): Tensor {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => (dtype === DType.bool ? i & 1 : (i * 37) & 0x7f));
  return new Tensor(new Storage('0', 'cpu', dtype, new MemoryBytes(bytes)), dtype, shape, stride, storageOffset);
}

const savable = DType.all().filter((dtype) => dtype.array);
const plain = savable.filter((dtype) => dtype.elementsPerByte === 1);

describe.each(plain.map((dtype) => [dtype.name, dtype] as const))('%s', (_, dtype) => {
  test('array types, views and copies', () => {
    const tensor = patterned(dtype, [2, 3], [3, 1], 1);
    const view = tensor.asTypedArray();
    expect(view).toBeInstanceOf(dtype.array);
    expect(view.buffer).toBe(tensor.storage.bytes().buffer);
    expect(view.length).toBe(6 * dtype.arrayPerElement);
    expect(view.byteOffset).toBe(dtype.itemsize);
    const copy = tensor.toTypedArray();
    expect(copy).toEqual(view);
    expect(copy.buffer).not.toBe(view.buffer);
    expect(tensor.nbytes).toBe(6 * dtype.itemsize);
  });
  test('a transposed window is gathered, by the loop here and by native code', () => {
    const tensor = patterned(dtype, [2, 3], [3, 1]);
    const whole = tensor.toBytes();
    const { itemsize } = dtype;
    const expected = [0, 3, 1, 4, 2, 5].flatMap((i) => [...whole.subarray(i * itemsize, (i + 1) * itemsize)]);
    expect([...tensor.t().toBytes()]).toEqual(expected);
    const large = patterned(dtype, [1, 3, 2, 50], [0, 1, 3, 0]);
    const bytes = large.toBytes();
    for (let i = 0; i < 6; i++) {
      const from = (Math.floor(i / 2) + 3 * (i % 2)) * itemsize;
      expect(bytes.subarray(i * 50 * itemsize, (i * 50 + 1) * itemsize)).toEqual(whole.subarray(from, from + itemsize));
    }
    expect(code(() => tensor.t().asTypedArray())).toBe('UNSUPPORTED');
  });
  test('float32 from native code equals the elements read here', () => {
    const tensor = patterned(dtype, [4, 3], [3, 1]);
    if (dtype.kernel === undefined) {
      expect(() => tensor.toFloat32Array()).toThrow(TypeError);
      return;
    }
    const elements = (t: Tensor): number[] =>
      (t.flatten().toArray() as (number | bigint | boolean)[]).map((value) => Math.fround(Number(value)));
    expect([...tensor.toFloat32Array()]).toEqual(elements(tensor));
    expect([...tensor.t().toFloat32Array()]).toEqual(elements(tensor.t()));
    const into = new Float32Array(12);
    expect(tensor.toFloat32Array(into)).toBe(into);
    expect(() => tensor.toFloat32Array(new Float32Array(3))).toThrow(RangeError);
  });
  test('equals its clone, whatever the strides', () => {
    // Small numbers in every dtype: patterns would have NaN in some, which equals nothing.
    const isNumber = dtype.kind !== 'bits' && dtype.kind !== 'quantized';
    const tensor = isNumber
      ? Tensor.from([
          [1, 2, 0.5],
          [1, 1, 2],
        ]).to(dtype)
      : patterned(dtype, [2, 3], [3, 1]);
    expect(tensor.clone().equal(tensor)).toBe(true);
    expect(tensor.t().clone().equal(tensor.t())).toBe(true);
    expect(tensor.t().equal(tensor)).toBe(false);
  });
  test('empty, 0-dim and meta', () => {
    expect(patterned(dtype, [0, 3], [3, 1], 9999).asTypedArray()).toHaveLength(0);
    expect(patterned(dtype, [0, 3], [3, 1]).toBytes()).toHaveLength(0);
    expect(patterned(dtype, [], []).toBytes()).toHaveLength(dtype.itemsize);
    const meta = patterned(dtype, [2], [1]).to('meta');
    expect([meta.isMeta, meta.nbytes, String(meta.device)]).toEqual([true, 2 * dtype.itemsize, 'meta']);
    for (const work of [
      () => meta.toBytes(),
      () => meta.asTypedArray(),
      () => meta.item(),
      () => meta.to('cpu'),
      () => meta.toArray(),
    ]) {
      expect(code(work)).toMatch(/NO_DATA|cannot be converted to Scalar/);
    }
  });
});

describe('casts', () => {
  const bits = (values: number[], dtype: DType): number[] =>
    [...(Tensor.from(values).to(dtype).toTypedArray() as Uint16Array)].map(Number);
  test('round to nearest, ties to even, and overflow as PyTorch 2.13 does', () => {
    const values = [1, -0, 65504, 65520, 1e-8, 2 ** -24, 2 ** -25, 2049, 2051];
    const half = [0x3c00, 0x8000, 0x7bff, 0x7c00, 0, 1, 0, 0x6800, 0x6802];
    // On hosts with Float16Array the array shows numbers, so that the bytes are compared.
    const bytes = Tensor.from(values).to(DType.float16).toBytes();
    expect([...new Uint16Array(bytes.buffer, bytes.byteOffset, values.length)]).toEqual(half);
    expect(bits([1, 1.00390625, 1.01171875, 3.4e38], DType.bfloat16)).toEqual([0x3f80, 0x3f80, 0x3f82, 0x7f80]);
    expect(bits([448, 449, 1e9, Number.NaN, -500, 2 ** -9, 2 ** -10], DType.float8_e4m3fn)).toEqual([
      0x7e, 0x7e, 0x7e, 0x7f, 0xfe, 1, 0,
    ]);
    expect(bits([240, 1e9, -0, Number.NaN], DType.float8_e4m3fnuz)).toEqual([0x7f, 0x80, 0, 0x80]);
    expect(bits([57344, 1e9, -0], DType.float8_e5m2)).toEqual([0x7b, 0x7c, 0x80]);
    expect(bits([1, 3, 6, 0, Number.NaN], DType.float8_e8m0fnu)).toEqual([127, 129, 130, 0, 255]);
  });
  test('floats truncate to integers, integers wrap', () => {
    expect(Tensor.from([1.9, -1.9, 300.5]).to(DType.uint8).toArray()).toEqual([1, 255, 44]);
    expect(
      Tensor.from([2n ** 40n + 5n, -1n])
        .to(DType.int32)
        .toArray(),
    ).toEqual([5, -1]);
    expect(Tensor.from([0.5, 0, Number.NaN]).to(DType.bool).toArray()).toEqual([true, false, true]);
    expect(Tensor.from([-1n]).to(DType.uint64).item()).toBe(2n ** 64n - 1n);
  });
  test('large integers are rounded once', () => {
    // 2^54 + 2^30 + 1: by way of a double the last bit is lost, and the tie would go down.
    expect(
      Tensor.from([2n ** 54n + 2n ** 30n + 1n])
        .to(DType.float16)
        .item(),
    ).toBe(Number.POSITIVE_INFINITY);
    const bytes = Tensor.from([2n ** 54n + 2n ** 30n + 1n]);
    expect(bytes.to(DType.complex64).item()).toEqual(new Complex(2 ** 54 + 2 ** 31, 0));
    expect(bytes.to(DType.float32).item()).toBe(2 ** 54 + 2 ** 31);
  });
  test('every pair of dtypes keeps 0 and 1', () => {
    const castable = plain.filter(({ kind }) => kind !== 'bits' && kind !== 'quantized');
    for (const from of castable) {
      for (const to of castable) {
        const zero = to === DType.float8_e8m0fnu || from === DType.float8_e8m0fnu ? 1 : 0;
        const cast = Tensor.from([1, zero]).to(from).to(to);
        expect(cast.equal(Tensor.from([1, zero]).to(to)), `${from.name} to ${to.name}`).toBe(true);
      }
    }
  });
  test('requiresGrad is lost where it cannot be, a cast to itself is itself', () => {
    const weight = new Parameter(Tensor.from([1.5]));
    expect(weight.to(DType.float64).requiresGrad).toBe(true);
    expect(weight.to(DType.int32).requiresGrad).toBe(false);
    expect(weight.to('float32')).toBe(weight);
    expect(code(() => Tensor.from([1]).to(DType.qint8))).toMatch(/^TypeError/);
  });
});

describe('views', () => {
  const tensor = Tensor.arange(24).reshape(2, 3, 4);
  test('share the storage and show the right elements', () => {
    const views = [
      tensor.select(1, -1),
      tensor.narrow(2, 1, 2),
      tensor.view(-1, 12),
      tensor.reshape([4, 6]),
      tensor.transpose(0, 2),
      tensor.permute(2, 0, 1),
      tensor.flatten(1),
      tensor.unsqueeze(0).squeeze(),
      tensor.detach(),
      tensor.select(0, 1).t(),
      tensor.unsqueeze(-1).expand(-1, -1, -1, 2),
    ];
    for (const view of views) expect(view.storage).toBe(tensor.storage);
    expect(tensor.select(1, -1).toArray()).toEqual([
      [8, 9, 10, 11],
      [20, 21, 22, 23],
    ]);
    expect(tensor.transpose(0, 2).select(0, 3).toArray()).toEqual([
      [3, 15],
      [7, 19],
      [11, 23],
    ]);
    expect(tensor.unsqueeze(1).stride).toEqual([12, 12, 4, 1]);
    expect(tensor.narrow(1, -1, 1).shape).toEqual([2, 1, 4]);
    expect(Tensor.arange(3).expand(2, -1).toArray()).toEqual([
      [0, 1, 2],
      [0, 1, 2],
    ]);
  });
  test('copies have a storage of their own', () => {
    const copy = tensor.transpose(0, 1).contiguous();
    expect(copy.storage).not.toBe(tensor.storage);
    expect(tensor.contiguous()).toBe(tensor);
    expect(tensor.transpose(0, 1).reshape(-1).toArray()).toEqual(copy.flatten().toArray());
  });
  test('errors are those of PyTorch', () => {
    const errors: [() => unknown, string][] = [
      [() => tensor.select(3, 0), 'Dimension out of range (expected to be in range of [-3, 2], but got 3)'],
      [() => tensor.select(0, 5), 'select(): index 5 out of range for tensor of size [2, 3, 4] at dimension 0'],
      [() => tensor.narrow(1, 1, 5), 'start (1) + length (5) exceeds dimension size (3).'],
      [() => tensor.narrow(1, 4, 0), 'start out of range (expected to be in range of [-3, 3], but got 4)'],
      [() => tensor.view(5), "shape '[5]' is invalid for input of size 24"],
      [() => tensor.view(-1, -1), 'only one dimension can be inferred'],
      [() => tensor.view(-2), 'invalid shape dimension -2 at index 0 of shape [-2]'],
      [
        () => tensor.transpose(0, 1).view(24),
        "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous subspaces). Use .reshape(...) instead.",
      ],
      [
        () => Tensor.zeros([0]).view(-1, 0),
        'cannot reshape tensor of 0 elements into shape [-1, 0] because the unspecified dimension size -1 can be any value and is ambiguous',
      ],
      [() => tensor.permute(0, 0, 1), 'permute(): duplicate dims are not allowed.'],
      [() => tensor.t(), 't() expects a tensor with <= 2 dimensions, but self is 3D'],
      [
        () => Tensor.arange(3).expand(2, 4),
        'The expanded size of the tensor (4) must match the existing size (3) at non-singleton dimension 1.  Target sizes: [2, 4].  Tensor sizes: [3]',
      ],
      [() => tensor.flatten(1, 0), 'flatten() has invalid args: start_dim cannot come after end_dim'],
      [() => tensor.item(), 'a Tensor with 24 elements cannot be converted to Scalar'],
      [() => tensor.requiresGrad_(), 'only Tensors of floating point dtype can require gradients'],
      [() => tensor.to('meta').to('cpu'), 'Cannot copy out of meta tensor; no data!'],
    ];
    for (const [work, text] of errors) expect(work).toThrow(text);
  });
});

describe('from', () => {
  test('a typed array is shared and gives the dtype', () => {
    const data = new Float32Array([1, 2, 3, 4]);
    const tensor = Tensor.from(data.subarray(1), { shape: [3, 1] });
    data[1] = 9;
    expect([tensor.dtype, tensor.toArray()]).toEqual([DType.float32, [[9], [3], [4]]]);
    expect(Tensor.from(new Uint16Array([0x3f80]), { dtype: DType.bfloat16 }).item()).toBe(1);
    expect(Tensor.from(new Uint8Array([2]), { dtype: DType.float32 }).item()).toBe(2);
    expect(Tensor.from(new Float32Array([1, 2]), { dtype: DType.complex64, shape: [1] }).item()).toEqual(
      new Complex(1, 2),
    );
    expect(Tensor.from(new Float32Array([5]), { shape: [] }).shape).toEqual([]);
    expect(() => Tensor.from(data, { shape: [5] })).toThrow("shape '[5]' is invalid for input of size 4");
    expect(() => Tensor.from(new DataView(data.buffer) as unknown as TypedArray)).toThrow(TypeError);
  });
  test('nested arrays', () => {
    const dtypes = [[1, 2], [true], [1n], [new Complex(1, 2)], []].map((data) => Tensor.from(data).dtype.name);
    expect(dtypes).toEqual(['float32', 'bool', 'int64', 'complex64', 'float32']);
    expect(
      Tensor.from(
        [
          [1, 2],
          [3, 4],
        ],
        { dtype: DType.complex128 },
      ).toArray(),
    ).toEqual([new Complex(1, 2), new Complex(3, 4)]);
    expect(Tensor.from(7).ndim).toBe(0);
    expect(Tensor.from([-1, 2 ** 40], { dtype: DType.uint8 }).toArray()).toEqual([255, 0]);
    expect(() =>
      Tensor.from([
        [1, 2],
        [1, 2, 3],
      ]),
    ).toThrow('expected sequence of length 2 at dim 1 (got 3)');
    expect(() => Tensor.from(['a' as unknown as number])).toThrow(TypeError);
  });
  test('a stream is read in order, and must give what was promised', async () => {
    const open = async function* (): AsyncGenerator<Uint8Array> {
      yield Uint8Array.of(1, 2, 3);
      yield Uint8Array.of(4, 5, 6, 7, 8);
    };
    expect(() => Tensor.fromStream({ dtype: 'float32' as unknown as DType, shape: [2] }, open)).toThrow(
      'such as DType.float32',
    );
    const tensor = Tensor.fromStream({ dtype: DType.float32, shape: [2] }, open);
    expect(tensor.storage.nbytes).toBe(8);
    expect(code(() => tensor.toBytes())).toBe('NO_DATA');
    const chunks: Uint8Array[] = [];
    for await (const chunk of tensor.storage.chunks(5)) chunks.push(chunk);
    expect(Buffer.concat(chunks)).toEqual(Buffer.from([1, 2, 3, 4, 5, 6, 7, 8]));
    await expect(tensor.storage.read(new Uint8Array(1), 3)).rejects.toMatchObject({ code: 'NO_DATA' });
    for (const length of [7, 9]) {
      const bytes = new StreamBytes(length, open);
      await expect(drain(bytes)).rejects.toMatchObject({ code: 'TENSOR_CORRUPT' });
    }
  });
});

async function drain(bytes: StreamBytes): Promise<void> {
  for await (const chunk of bytes.open()) void chunk;
}

test('equality is of values', () => {
  const nan = Tensor.from([Number.NaN]);
  expect(nan.equal(nan)).toBe(false);
  expect(Tensor.from([0]).equal(Tensor.from([-0]))).toBe(true);
  expect(Tensor.from([1n]).equal(Tensor.from([1]))).toBe(true);
  expect(Tensor.from([1, 2]).equal(Tensor.from([[1, 2]]))).toBe(false);
  const large = Tensor.arange(600_000, { dtype: DType.float32 }).reshape(600, 1000);
  expect(large.t().contiguous().t().equal(large)).toBe(true);
  expect(large.t().to(DType.float64).equal(large.t())).toBe(true);
});

test('lazy bits are resolved in every copy and never shown in a view', () => {
  const tensor = Tensor.from([new Complex(1, 2)]);
  tensor.conj = true;
  expect(tensor.item()).toEqual(new Complex(1, -2));
  expect([...(tensor.toTypedArray() as Float32Array)]).toEqual([1, -2]);
  expect(tensor.clone().conj).toBe(false);
  expect(code(() => tensor.asTypedArray())).toBe('UNSUPPORTED');
  const negated = Tensor.from([1, -2]);
  negated.neg = true;
  expect([...negated.toFloat32Array()]).toEqual([-1, 2]);
  expect(String(negated)).toBe('tensor([-1.,  2.])');
});

describe('bounds from a file', () => {
  const check = (bytes: number, shape: unknown[], stride: unknown[], offset: number, dtype = DType.float32): string =>
    code(() => checkBounds(bytes, dtype, shape as number[], stride as number[], offset));
  test('what fits', () => {
    const fits: [number, number[], number[], number][] = [
      [48, [3, 4], [4, 1], 0],
      [4, [], [], 0],
      [0, [0], [1], 7],
      [4, [2 ** 20], [0], 0],
      [8, [1], [2 ** 52], 1],
    ];
    for (const [bytes, shape, stride, offset] of fits)
      expect(check(bytes, shape, stride, offset)).toBe('nothing was thrown');
    expect(check(3, [5], [1], 0, DType.quint4x2)).toBe('nothing was thrown');
  });
  test('what does not', () => {
    expect(() => checkBounds(40, DType.float32, [3, 4], [4, 1], 0)).toThrow(
      'setStorage: sizes [3, 4], strides [4, 1], storage offset 0, and itemsize 4 requiring a storage size of 48 are out of bounds for storage of size 40',
    );
    const wrong: [number, unknown[], unknown[], number][] = [
      [48, [3, 4], [4], 0],
      [48, [-1], [1], 0],
      [48, [1.5], [1], 0],
      [48, [2], [-1], 0],
      [4, [1], [1], 1],
      [4, [2 ** 53], [0], 0],
      [4, [2 ** 52, 4], [0, 0], 0],
      [48, [2 ** 40, 2 ** 40], [2 ** 40, 1], 0],
      [4, [1], [1], Number.NaN],
      [4, [1], [1], 2 ** 60],
      [4, ['1'], [1], 0],
      [4, new Array(2000).fill(1), new Array(2000).fill(1), 0],
    ];
    for (const [bytes, shape, stride, offset] of wrong)
      expect(check(bytes, shape, stride, offset), String(shape.slice(0, 3))).toBe('TENSOR_CORRUPT');
    expect(check(2, [5], [1], 0, DType.quint4x2)).toBe('TENSOR_CORRUPT');
  });
});

describe('sparse', () => {
  const dense = [
    [0, 5, 0, 0],
    [7, 0, 0, 8],
  ];
  const ints = (data: number[], shape?: number[]): Tensor => Tensor.from(data, { dtype: DType.int64, shape });
  test('every layout gives the dense tensor', () => {
    const values = (data: number[], shape?: number[]): Tensor => Tensor.from(data, { shape });
    const layouts = {
      sparse_coo: { indices: ints([0, 1, 1, 1, 0, 3], [2, 3]), values: values([5, 7, 8]) },
      sparse_csr: { crowIndices: ints([0, 1, 3]), colIndices: ints([1, 0, 3]), values: values([5, 7, 8]) },
      sparse_csc: { ccolIndices: ints([0, 1, 2, 2, 3]), rowIndices: ints([1, 0, 1]), values: values([7, 5, 8]) },
      sparse_bsr: {
        crowIndices: ints([0, 2]),
        colIndices: ints([0, 1]),
        values: values([0, 5, 7, 0, 0, 0, 0, 8], [2, 2, 2]),
      },
      sparse_bsc: {
        ccolIndices: ints([0, 1, 2]),
        rowIndices: ints([0, 0]),
        values: values([0, 5, 7, 0, 0, 0, 0, 8], [2, 2, 2]),
      },
    };
    for (const [name, components] of Object.entries(layouts)) {
      expect(new SparseTensor(Layout.of(name), components, [2, 4]).toDense().toArray(), name).toEqual(dense);
    }
  });
  test('equal indices add up; indices outside are refused', () => {
    const coo = (index: number[]): SparseTensor =>
      new SparseTensor(Layout.of('sparse_coo'), { indices: ints(index, [1, 2]), values: Tensor.from([1, 2]) }, [3]);
    expect(coo([1, 1]).toDense().toArray()).toEqual([0, 3, 0]);
    expect(coo([1, 1]).nnz).toBe(2);
    for (const index of [
      [0, 3],
      [-1, 0],
    ])
      expect(code(() => coo(index).toDense())).toBe('TENSOR_CORRUPT');
    const csr = new SparseTensor(
      Layout.of('sparse_csr'),
      { crowIndices: ints([0, 9]), colIndices: ints([0]), values: Tensor.from([1]) },
      [1, 1],
    );
    expect(code(() => csr.toDense())).toBe('TENSOR_CORRUPT');
    const repeated = ints([0]).expand(2 ** 40);
    expect(
      code(() =>
        new SparseTensor(
          Layout.of('sparse_coo'),
          { indices: repeated.view(1, -1), values: Tensor.from([1]).expand(2 ** 40) },
          [3],
        ).toDense(),
      ),
    ).toBe('TENSOR_CORRUPT');
  });
});

describe('quantized', () => {
  const storage = (dtype: DType, bytes: number[]): Storage =>
    new Storage('', 'cpu', dtype, new MemoryBytes(Uint8Array.from(bytes)));
  test('per tensor', () => {
    const quantizer = { qscheme: QScheme.of('per_tensor_affine'), scale: 0.5, zeroPoint: 10 };
    const tensor = new QuantizedTensor(
      storage(DType.quint8, [12, 10, 8, 255]),
      DType.quint8,
      [2, 2],
      [2, 1],
      0,
      quantizer,
    );
    expect([...tensor.toFloat32Array()]).toEqual([1, 0, -1, 122.5]);
    expect(tensor.t().toArray()).toEqual([
      [1, -1],
      [0, 122.5],
    ]);
    expect((tensor.t() as QuantizedTensor).dequantize().toArray()).toEqual([
      [1, -1],
      [0, 122.5],
    ]);
    expect(tensor.intRepr().dtype).toBe(DType.uint8);
    expect(tensor.select(0, 1).select(0, 1).item()).toBe(122.5);
    expect(tensor.clone().equal(tensor)).toBe(true);
    expect([tensor.scale, tensor.zeroPoint, tensor.axis]).toEqual([0.5, 10, undefined]);
  });
  test('per channel, packed', () => {
    const quantizer = {
      qscheme: QScheme.of('per_channel_affine_float_qparams'),
      scales: Tensor.from([1, 2]),
      zeroPoints: Tensor.from([0, 1]),
      axis: 0,
    };
    const tensor = new QuantizedTensor(
      storage(DType.quint4x2, [0x21, 0x43, 0x65]),
      DType.quint4x2,
      [2, 3],
      [3, 1],
      0,
      quantizer,
    );
    expect(tensor.toArray()).toEqual([
      [1, 2, 3],
      [6, 8, 10],
    ]);
    expect([...(tensor.intRepr().toTypedArray() as Uint8Array)]).toEqual([0x21, 0x43, 0x65]);
    expect(code(() => tensor.t())).toBe('UNSUPPORTED');
    expect(code(() => tensor.asTypedArray())).toBe('UNSUPPORTED');
  });
});

describe('nested', () => {
  const ints = (data: number[], shape?: number[]): Tensor => Tensor.from(data, { dtype: DType.int64, shape });
  const nested = (offset: number): NestedTensor =>
    new NestedTensor({
      buffer: Tensor.from([1, 2, 3]),
      sizes: ints([1, 2], [2, 1]),
      strides: ints([1, 1], [2, 1]),
      storageOffsets: ints([0, offset]),
    });
  test('unbinds to views, inside the buffer only', () => {
    expect(
      nested(1)
        .unbind()
        .map((tensor) => tensor.toArray()),
    ).toEqual([[1], [2, 3]]);
    expect(code(() => nested(2).unbind())).toBe('TENSOR_CORRUPT');
    expect(String(nested(2))).toBe('nested_tensor(...)');
  });
});
