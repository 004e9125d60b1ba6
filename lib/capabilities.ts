/** What this host can do: the facts that decide between a view and a copy. */
import { addon } from './binding';

/** What this host can do; see `capabilities`. */
export interface Capabilities {
  /** Storages of local files can be viewed without a copy. */
  zeroCopy: boolean;
  /** The host lets native code hand out its own memory. False in Electron; `zeroCopy` may be true by other means. */
  externalBuffers: boolean;
  /** Bytes of the longest array that a storage can be viewed as. */
  maxArrayBytes: number;
  /** The host has Float16Array; without it float16 comes as the bits, in Uint16Array. */
  float16Array: boolean;
  /** The values that the `io` option takes here. */
  io: ('mmap' | 'read')[];
  /** Instruction sets in use for conversions and checksums; empty when the plain code runs. */
  simd: string[];
}

/** What this host can do. Throws NATIVE_MISSING when the addon cannot be loaded. */
export function capabilities(): Capabilities {
  const { externalBuffers, overlay, maxArrayBytes, simd } = addon().capabilities();
  return {
    zeroCopy: externalBuffers || overlay,
    externalBuffers,
    maxArrayBytes,
    float16Array: 'Float16Array' in globalThis,
    io: ['mmap', 'read'],
    simd,
  };
}
