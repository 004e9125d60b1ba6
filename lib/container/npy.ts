/**
 * NumPy's .npy, version 1.0: magic, header length, a Python dict as text, then the elements in C order
 * (numpy/lib/format.py). The header is padded so that the elements begin at a multiple of 64 bytes.
 */
import { DType } from '../dtype';

const ALIGNMENT = 64;
const PREFIX_BYTES = 10;

/** NumPy's type string of a dtype; undefined where NumPy has none. */
const TYPE_STRINGS: ReadonlyMap<DType, string> = new Map([
  [DType.float64, '<f8'],
  [DType.float32, '<f4'],
  [DType.float16, '<f2'],
  [DType.int64, '<i8'],
  [DType.int32, '<i4'],
  [DType.int16, '<i2'],
  [DType.int8, '|i1'],
  [DType.uint64, '<u8'],
  [DType.uint32, '<u4'],
  [DType.uint16, '<u2'],
  [DType.uint8, '|u1'],
  [DType.bool, '|b1'],
  [DType.complex64, '<c8'],
  [DType.complex128, '<c16'],
]);

export function numpyTypeString(dtype: DType): string | undefined {
  return TYPE_STRINGS.get(dtype);
}

export function npyHeader(typeString: string, shape: readonly number[]): Buffer {
  const tuple = `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`;
  const dict = `{'descr': '${typeString}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const unpadded = PREFIX_BYTES + dict.length + 1;
  const total = Math.ceil(unpadded / ALIGNMENT) * ALIGNMENT;
  const header = Buffer.alloc(total, ' ');
  header.write('\x93NUMPY\x01\x00', 0, 'latin1');
  header.writeUInt16LE(total - PREFIX_BYTES, 8);
  header.write(dict, PREFIX_BYTES, 'latin1');
  header.write('\n', total - 1, 'latin1');
  return header;
}
