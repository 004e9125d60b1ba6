/** Runs of elements in another form, piece by piece: gathered where strided, cast where asked. */
import { native } from '../binding';
import { DType } from '../dtype';
import { castElements } from '../tensor/elements';
import { gatherBlocks } from '../tensor/gather';
import type { Tensor } from '../tensor/tensor';
import { castFromFloat32, float32ToQ8_0, Q8_0_BLOCK_BYTES, Q8_0_BLOCK_ELEMENTS } from './casts';

/** How elements are stored in an output: as a dtype, or in blocks of ggml's. */
export type Encoding = DType | 'q8_0';

export function encodedBytes(encoding: Encoding, numel: number): number {
  return encoding === 'q8_0' ? (numel / Q8_0_BLOCK_ELEMENTS) * Q8_0_BLOCK_BYTES : encoding.byteLength(numel);
}

/** The elements in C order, encoded, rounded to `through` before. Each piece is the caller's until the next step. */
export function* encodedPieces(
  tensor: Tensor,
  encoding: Encoding,
  through?: DType,
): Generator<Uint8Array, void, undefined> {
  const encode = through
    ? chained(encoderOf(tensor.dtype, through), encoderOf(through, encoding))
    : encoderOf(tensor.dtype, encoding);
  if (encoding !== 'q8_0') {
    for (const { bytes, numel } of gatherBlocks(tensor)) yield encode(bytes, numel);
    return;
  }
  // Pieces of a strided tensor may end inside a row, and blocks may not: the rest waits for the next piece.
  let rest = new Uint8Array(0);
  const blockBytes = Q8_0_BLOCK_ELEMENTS * tensor.dtype.itemsize;
  for (const { bytes } of gatherBlocks(tensor)) {
    const joined = rest.length === 0 ? bytes : new Uint8Array(Buffer.concat([rest, bytes]));
    const whole = joined.length - (joined.length % blockBytes);
    rest = joined.slice(whole);
    if (whole > 0) yield encode(joined.subarray(0, whole), whole / tensor.dtype.itemsize);
  }
}

type Encode = (bytes: Uint8Array, numel: number) => Uint8Array;

function chained(first: Encode, second: Encode): Encode {
  return (bytes, numel) => second(first(bytes, numel), numel);
}

function encoderOf(from: DType, to: Encoding): Encode {
  if (from === to) return (bytes) => bytes;
  const { kernel } = from;
  const cast = to === 'q8_0' ? float32ToQ8_0 : to.isFloatingPoint ? castFromFloat32(to, from) : undefined;
  if (kernel === undefined || !cast || (to === DType.float64 && !from.isFloatingPoint)) {
    const dtype = to as DType;
    return (bytes, numel) => {
      const target = new Uint8Array(dtype.byteLength(numel));
      castElements(from, bytes, dtype, target, numel);
      return target;
    };
  }
  let floats = new Float32Array(0);
  let target = new Uint8Array(0);
  return (bytes, numel) => {
    const byteLength = encodedBytes(to, numel);
    if (target.length < byteLength) target = new Uint8Array(byteLength);
    if (floats.length < numel && !(from === DType.float32 && bytes.byteOffset % 4 === 0))
      floats = new Float32Array(numel);
    const source =
      from === DType.float32 && bytes.byteOffset % 4 === 0
        ? new Float32Array(bytes.buffer, bytes.byteOffset, numel)
        : floats.subarray(0, numel);
    if (source.buffer === floats.buffer) native({}, (addon) => addon.toFloat32(kernel, bytes, source));
    const encoded = target.subarray(0, byteLength);
    cast(source, encoded);
    return encoded;
  };
}
