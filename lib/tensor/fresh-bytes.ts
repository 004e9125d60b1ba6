/** Memory: for what is given out, and for work of our own. */
import { constants } from 'node:buffer';
import { addon } from '../binding';
import { CheckpointError } from '../errors';

/** Shorter arrays are cleared faster than they are asked for in another way. */
const LARGE_BYTES = 1 << 20;
/** From here on results come from the system and go back to it, unless malloc is told to keep them for the next ones. */
const REUSED_BYTES = 1 << 16;

/** Shorter than this, memory is cut from a piece that Node.js keeps for many. */
const SMALL_BYTES = 2048;

let blocksKept = false;

function keepFreedBlocks(): void {
  if (blocksKept) return;
  blocksKept = true;
  addon().keepFreedBlocks();
}

/**
 * Memory that the caller overwrites whole before anyone sees it: it is not cleared first, so that what was freed a moment
 * ago is used again as it is. Throws ARRAY_TOO_LARGE where the host has no array of this length.
 */
export function freshBytes(byteLength: number): Uint8Array<ArrayBuffer> {
  if (byteLength >= REUSED_BYTES) keepFreedBlocks();
  try {
    return byteLength < LARGE_BYTES || byteLength > constants.MAX_LENGTH
      ? new Uint8Array(byteLength)
      : new Uint8Array(Buffer.allocUnsafeSlow(byteLength).buffer as ArrayBuffer);
  } catch {
    throw tooLarge(byteLength);
  }
}

/**
 * Memory that nobody else gets to see, with whatever it held before: its buffer may be longer than it is. Throws
 * ARRAY_TOO_LARGE as `freshBytes`.
 */
export function workingBytes(byteLength: number): Uint8Array<ArrayBuffer> {
  if (byteLength < SMALL_BYTES) {
    const { buffer, byteOffset } = Buffer.allocUnsafe(byteLength);
    return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
  }
  try {
    return addon().workingBytes(byteLength);
  } catch {
    throw tooLarge(byteLength);
  }
}

export function tooLarge(byteLength: number): CheckpointError {
  return new CheckpointError('ARRAY_TOO_LARGE', `${byteLength} bytes are more than one array holds on this host`, {
    hint: 'use storage.chunks() or storage.read()',
  });
}
