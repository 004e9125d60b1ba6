/** Key-value pairs as GGUF stores them. */

export type GgufValue =
  | { readonly type: 'uint32' | 'float32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] };

/** gguf_metadata_value_type */
const TYPE_NUMBERS = { uint32: 4, float32: 6, bool: 7, string: 8, strings: 9 } as const;

/** A length of 64 bits, then UTF-8. */
export function ggufString(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([length, bytes]);
}

export function encodePairs(pairs: ReadonlyMap<string, GgufValue>): Buffer {
  return Buffer.concat(
    [...pairs].flatMap(([key, value]) => [ggufString(key), uint32(TYPE_NUMBERS[value.type]), encode(value)]),
  );
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function encode(value: GgufValue): Buffer {
  switch (value.type) {
    case 'uint32':
      return uint32(value.value);
    case 'float32': {
      const bytes = Buffer.alloc(4);
      bytes.writeFloatLE(value.value);
      return bytes;
    }
    case 'bool':
      return Buffer.from([value.value ? 1 : 0]);
    case 'string':
      return ggufString(value.value);
    case 'strings': {
      const count = Buffer.alloc(8);
      count.writeBigUInt64LE(BigInt(value.value.length));
      return Buffer.concat([uint32(TYPE_NUMBERS.string), count, ...value.value.map(ggufString)]);
    }
  }
}
