/**
 * The `.data/serialization_id` record: 40 digits that PyTorch derives from the names and checksums of the records.
 *
 * The digits depend on the iteration order of a `std::unordered_set<std::string>` of libstdc++ on 64-bit Linux, which is
 * emulated here: its hash (MurmurHash64A), its bucket counts and where it links new elements. Nobody checks the id, but a
 * file is not byte-identical without it.
 */

export const SERIALIZATION_ID = '.data/serialization_id';

const MASK = 0xffffffffffffffffn;
const MURMUR_MULTIPLIER = 0xc6a4a7935bd1e995n;
const MURMUR_SEED = 0xc70f6907n;

/** Bucket counts of libstdc++ as an empty set grows by one element at a time, from its table of primes. */
const BUCKET_COUNTS = [
  13, 29, 59, 127, 257, 541, 1109, 2357, 5087, 10273, 20753, 42043, 85229, 172933, 351061, 712697, 1447153, 2938679,
  5967347,
];

const mul = (a: bigint, b: bigint): bigint => (a * b) & MASK;

/** `std::hash<std::string>` of libstdc++ on a 64-bit little-endian machine. */
export function hashName(name: string): bigint {
  const bytes = Buffer.from(name, 'utf8');
  const whole = bytes.length & ~7;
  let hash = MURMUR_SEED ^ mul(BigInt(bytes.length), MURMUR_MULTIPLIER);
  for (let i = 0; i < whole; i += 8) {
    let block = mul(bytes.readBigUInt64LE(i), MURMUR_MULTIPLIER);
    block = mul(block ^ (block >> 47n), MURMUR_MULTIPLIER);
    hash = mul(hash ^ block, MURMUR_MULTIPLIER);
  }
  if (bytes.length > whole) {
    let tail = 0n;
    for (let i = bytes.length - 1; i >= whole; i--) tail = (tail << 8n) | BigInt(bytes[i] as number);
    hash = mul(hash ^ tail, MURMUR_MULTIPLIER);
  }
  hash = mul(hash ^ (hash >> 47n), MURMUR_MULTIPLIER);
  return hash ^ (hash >> 47n);
}

/** `c10::hash_combine`, modulo 2^64. */
export function combine(seed: bigint, value: bigint): bigint {
  return seed ^ ((value + 0x9e3779b9n + ((seed << 6n) & MASK) + (seed >> 2n)) & MASK);
}

/** The elements of the set in iteration order, as indexes into `hashes`. */
function iterationOrder(hashes: readonly bigint[]): Int32Array {
  // A singly linked list: next[i] follows i, next[HEAD] is the first. before[b] is the node that the first node of bucket b follows.
  const head = hashes.length;
  const next = new Int32Array(head + 1).fill(-1);
  const buckets = new Int32Array(hashes.length);
  let before = new Map<number, number>();
  let bucketCount = 1;

  const link = (node: number, bucket: number): void => {
    buckets[node] = bucket;
    const previous = before.get(bucket);
    if (previous !== undefined) {
      // In front of the first element of its bucket.
      next[node] = next[previous] as number;
      next[previous] = node;
      return;
    }
    const first = next[head] as number;
    next[node] = first;
    next[head] = node;
    if (first >= 0) before.set(buckets[first] as number, node);
    before.set(bucket, head);
  };

  for (let i = 0; i < hashes.length; i++) {
    if (i + 1 > bucketCount) {
      bucketCount = BUCKET_COUNTS.find((count) => count > i) ?? (BUCKET_COUNTS.at(-1) as number);
      // Growing walks the old list and links every element into a new one.
      const divisor = BigInt(bucketCount);
      let node = next[head] as number;
      next[head] = -1;
      before = new Map();
      while (node >= 0) {
        const following = next[node] as number;
        link(node, Number((hashes[node] as bigint) % divisor));
        node = following;
      }
    }
    link(i, Number((hashes[i] as bigint) % BigInt(bucketCount)));
  }
  const order = new Int32Array(hashes.length);
  for (let i = 0, node = next[head] as number; node >= 0; node = next[node] as number) order[i++] = node;
  return order;
}

/** The half of an id that comes from the names alone. A file of another platform has other digits for the same names. */
export interface NameDigits {
  /** The names, made when asked for: hardly any checkpoint is saved again. */
  readonly names: () => readonly string[];
  readonly digits: string;
}

const DIGITS = 20;

/** What a loaded id says of the names beside it; undefined when it is no id. */
export function nameDigitsOf(id: string, names: () => readonly string[]): NameDigits | undefined {
  return /^\d{40}$/.test(id) ? { names, digits: id.slice(0, DIGITS) } : undefined;
}

/**
 * The id. `names` are the records in writing order, without archive name and without the id's own record; `checksums`
 * are the words that passed the archive's write hook, in order: the CRC-32 of each record with bytes. `known` are the
 * digits of the file that the values came from: they are kept while the names are the same.
 */
export function serializationId(names: readonly string[], checksums: Iterable<number>, known?: NameDigits): string {
  let contentHash = 0n;
  for (const checksum of checksums) contentHash = combine(contentHash, BigInt(checksum));
  const before = known?.names();
  const same = before?.length === names.length && names.every((name, i) => name === before[i]);
  return (known && same ? known.digits : nameDigits(names)) + contentHash.toString().padStart(DIGITS, '0');
}

function nameDigits(names: readonly string[]): string {
  const hashes = names.map(hashName);
  let nameHash = 0n;
  for (const index of iterationOrder(hashes)) nameHash = combine(nameHash, hashes[index] as bigint);
  return nameHash.toString().padStart(DIGITS, '0');
}
