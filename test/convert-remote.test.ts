// Promise: tensors on a server are converted in bounded memory, whatever their strides.
import { expect, test } from 'vitest';
import { EncodedBytes } from '../lib/convert/payload';
import { DType } from '../lib/dtype';
import { Storage, type StorageBytes } from '../lib/tensor/storage';
import { Tensor } from '../lib/tensor/tensor';

/** float32 whose element i is i % 1000, made when it is asked for, as a server gives it: by ranges, never at once. */
class Served implements StorageBytes {
  readonly byteLength: number;
  readonly zeroCopy = false;
  readonly asyncOnly = true;
  readonly log: { bytes: number; most: number };
  readonly #start: number;

  constructor(byteLength: number, start = 0, log = { bytes: 0, most: 0 }) {
    this.byteLength = byteLength;
    this.log = log;
    this.#start = start;
  }

  bytes(): Uint8Array {
    throw new Error('the bytes are on a server');
  }

  span(): Uint8Array {
    return this.bytes();
  }

  read(target: Uint8Array, byteOffset: number): Promise<number> {
    const count = Math.min(target.byteLength, this.byteLength - byteOffset);
    const first = (this.#start + byteOffset) / 4;
    new Float32Array(target.buffer, target.byteOffset, count / 4).forEach((_, i, all) => {
      all[i] = (first + i) % 1000;
    });
    this.log.bytes += count;
    this.log.most = Math.max(this.log.most, count);
    return Promise.resolve(count);
  }

  slice(byteOffset: number, byteLength: number): StorageBytes {
    return new Served(byteLength, this.#start + byteOffset, this.log);
  }
}

const PIECE_BYTES = 4 << 20;
const ROWS = 4000;
const COLUMNS = 5000;

// 80 MB is more than is kept in memory.
test.each([
  ['transposed', [COLUMNS, ROWS], [1, COLUMNS], 0, ROWS * COLUMNS],
  ['some columns', [ROWS, 10], [COLUMNS, 1], 20, (ROWS - 1) * COLUMNS + 10],
  ['some rows', [100, COLUMNS], [COLUMNS, 1], 50 * COLUMNS, 100 * COLUMNS],
] as const)('%s', async (_what, shape, stride, offset, reached) => {
  const served = new Served(4 * ROWS * COLUMNS);
  const storage = new Storage('0', 'cpu', DType.float32, served);
  const encoded = new EncodedBytes(new Tensor(storage, DType.float32, shape, stride, offset), DType.float64);
  let index = 0;
  let largest = 0;
  let wrong = 0;
  for await (const piece of encoded.open()) {
    largest = Math.max(largest, piece.byteLength);
    for (const value of new Float64Array(piece.slice().buffer)) {
      const [row, column] = [Math.floor(index / shape[1]), index % shape[1]];
      if (value !== (offset + row * stride[0] + column * stride[1]) % 1000) wrong++;
      index++;
    }
  }
  expect([index, wrong]).toEqual([shape[0] * shape[1], 0]);
  expect(served.log.most).toBeLessThanOrEqual(PIECE_BYTES);
  expect(largest).toBeLessThanOrEqual(2 * PIECE_BYTES);
  // What lies outside of what the tensor reaches is not fetched.
  expect(served.log.bytes).toBe(4 * reached);
});
