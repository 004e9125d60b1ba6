// Promise: casts to narrow dtypes are PyTorch's and ggml's, bit for bit. Recorded with PyTorch 2.13 (x86, contiguous) and gguf 0.19.
import { expect, test } from 'vitest';
import { castFromFloat32, float32ToQ8_0 } from '../lib/convert/casts';
import { encodedPieces } from '../lib/convert/elements';
import { payloadOf } from '../lib/convert/payload';
import { DType } from '../lib/dtype';
import { miniFloat } from '../lib/tensor/minifloat';
import { MemoryBytes, Storage } from '../lib/tensor/storage';
import { Tensor } from '../lib/tensor/tensor';
import { sha256 } from './expected';

/** A linear congruential generator that Python repeats in one line. */
function* randomWords(seed: number): Generator<number, never, undefined> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state;
  }
}

/** Every upper half of a float32 with four lower ones, every float16 and what lies around its rounding limits, random bits. */
function castInput(): Float32Array {
  const words: number[] = [];
  for (const low of [0, 1, 0x8000, 0x7fff])
    for (let high = 0; high < 65536; high++) words.push(((high << 16) | low) >>> 0);
  const word = new DataView(new ArrayBuffer(4));
  const halves = Array.from({ length: 65536 }, (_, bits) => {
    // NaNs keep their payload: JavaScript's own would not.
    if ((bits & 0x7c00) === 0x7c00)
      return (
        (((bits & 0x8000) << 16) | 0x7f800000 | ((bits & 0x3ff) << 13) | ((bits & 0x3ff) === 0 ? 0 : 0x400000)) >>> 0
      );
    word.setFloat32(0, miniFloat(DType.float16)!.decode(bits));
    return word.getUint32(0);
  });
  for (const more of [0, 4095, 4096, 4097]) for (const half of halves) words.push((half + more) >>> 0);
  const random = randomWords(12345);
  for (let i = 0; i < 200_000; i++) words.push(random.next().value);
  return new Float32Array(Uint32Array.from(words).buffer);
}

const input = castInput();

test('the input is the one that was recorded', () => {
  expect([input.length, sha256(new Uint8Array(input.buffer))]).toEqual([
    724_288,
    '2c82e8f77ec8aee127f9c4c3344629d79baface8f01dcda838357cbff45bda3a',
  ]);
});

test.each([
  ['float16', 'a5df063f6c32b43952adbce68736c94dd968ef939482178a643d478d5931b2df'],
  ['bfloat16', '993c44506b689aaafda515e5e2f6fdd4a2f5bd64600fcaf69c55c77090e01893'],
  ['float8_e4m3fn', '53537f453f448edfbfd882257f571877ab291990bd160adabd04a0635368fd6c'],
  ['float8_e5m2', '394147da1ecfbc0576c8078cda0f31a9a71d1cf868128e8bd91ff302f25349b0'],
  ['float8_e4m3fnuz', 'c6c270a7750ffdc6805268038da3ee08ba42da0d26684c6a260418cb6e51fe95'],
  ['float8_e5m2fnuz', '939ae7ebe1290f63a463e52bd8594c34fc05af55baed4c6aefb5d88860b1a463'],
  ['float8_e8m0fnu', '72920eb68ad8fd8551465eaec7ce211c90847afa534643b090ce09335194bd8f'],
  ['float64', '463bfc6d2cebe0ea1f716b25a56908cd4227826d5fd4ad4795b44016032fbf70'],
])('float32 to %s', (name, expected) => {
  const dtype = DType.of(name) as DType;
  const target = new Uint8Array(dtype.byteLength(input.length));
  castFromFloat32(dtype)?.(input, target);
  expect(sha256(target)).toBe(expected);
});

// Recorded of tensors of 4096 elements, both signs: torch.full((4096,), bits).view(dtype).to(torch.bfloat16).
test.each([
  ['float64', [0x7ff8_0000_0000_0000n, 0xfff8_0000_0000_0000n], 0xffff],
  ['float32', [0x7fc0_0000n, 0xffc0_0000n], 0xffff],
  ['float16', [0x7e00n, 0xfe00n, 0x7c01n], 0x7fc0],
  ['float8_e4m3fn', [0x7fn, 0xffn], 0x7fc0],
  ['float8_e5m2', [0x7dn, 0x7fn, 0xffn], 0x7fc0],
  ['float8_e4m3fnuz', [0x80n], 0x7fc0],
] as const)('NaN of %s to bfloat16', (name, codes, expected) => {
  const dtype = DType.of(name) as DType;
  for (const code of codes) {
    const bytes = Buffer.alloc(8 * 41);
    for (let i = 0; i < 40; i++) bytes.writeBigUInt64LE(code, i * dtype.itemsize);
    const storage = new Storage('0', 'cpu', dtype, new MemoryBytes(bytes.subarray(0, 40 * dtype.itemsize)), true);
    const tensor = new Tensor(storage, dtype, [40], [1], 0);
    const cast = Buffer.concat([...encodedPieces(tensor, DType.bfloat16)]);
    expect([...new Set(new Uint16Array(new Uint8Array(cast).buffer))]).toEqual([expected]);
  }
});

test('float32 to Q8_0', () => {
  const random = randomWords(777);
  const source = Float32Array.from({ length: 32 * 40 }, () => ((random.next().value >>> 8) / 2 ** 24) * 8 - 4);
  source.fill(0, 0, 32);
  for (let i = 32; i < 64; i++) source[i] = source[i]! * Math.fround(1e-6);
  for (let i = 64; i < 96; i++) source[i] = source[i]! * Math.fround(1e4);
  for (let i = 96; i < 128; i++) source[i] = [127, 63.5, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5][i % 8]!;
  expect(sha256(new Uint8Array(source.buffer))).toBe(
    '77d6a1b3802932a8306524e5f40f9d866c1aae53e865ece77a0b548124e1fe36',
  );
  const target = new Uint8Array(40 * 34);
  float32ToQ8_0(source, target);
  expect(sha256(target)).toBe('97fee1222d0bb6b1fc1417e25637b5b17256f6f65866613e6c22db0741b34d00');
});

// Regression: of a tensor on a server or in a stream, all bytes were collected before the first was cast.
test.each([DType.bfloat16, 'q8_0'] as const)('to %s, piece by piece as a stream gives them', async (encoding) => {
  const numel = 32 * 1000;
  const values = Float32Array.from({ length: numel }, (_, i) => Math.sin(i));
  const bytes = new Uint8Array(values.buffer);
  let taken = 0;
  const streamed = Tensor.fromStream({ dtype: DType.float32, shape: [1000, 32] }, async function* () {
    // Pieces that end inside elements.
    for (; taken < bytes.length; taken += 999) yield bytes.subarray(taken, taken + 999);
  });
  const payload = payloadOf(streamed, encoding);
  const pieces: Uint8Array[] = [];
  for await (const piece of payload.open?.() ?? []) {
    if (pieces.length === 0) expect(taken).toBeLessThan(10_000);
    pieces.push(piece.slice());
  }
  const whole = payloadOf(Tensor.from(values, { shape: [1000, 32] }), encoding);
  const expected: Uint8Array[] = [];
  for await (const piece of whole.open?.() ?? []) expected.push(piece.slice());
  expect(Buffer.concat(pieces).equals(Buffer.concat(expected))).toBe(true);
});
