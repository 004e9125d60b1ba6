/** First bytes of what we read. */
import { Op } from '../pickle/opcodes';

/** How much of the beginning of a file is looked at to tell what it is. */
export const SNIFF_BYTES = 4096;

export function startsWith(bytes: Uint8Array, signature: readonly number[] | string, at = 0): boolean {
  if (bytes.length < at + signature.length) return false;
  for (let i = 0; i < signature.length; i++) {
    if (bytes[at + i] !== (typeof signature === 'string' ? signature.charCodeAt(i) : signature[i])) return false;
  }
  return true;
}

/** A zip that begins with a record, as PyTorch demands; `PK\5\6` is an archive without records. */
export function isZip(bytes: Uint8Array): boolean {
  return startsWith(bytes, 'PK\x03\x04') || startsWith(bytes, 'PK\x05\x06');
}

/** 0x1950a86a20f9469cfc6c as LONG1 holds it. */
const MAGIC_BYTES = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const MAGIC_TEXT = 'L119547037146038801333356';

/** True when the first pickle is the magic number of torch.save, in any protocol. */
export function isLegacyStream(bytes: Uint8Array): boolean {
  // Protocols 0 and 1 spell it out; Python 2 and 3 alike end it with L.
  if (startsWith(bytes, MAGIC_TEXT)) return true;
  if (bytes[0] !== Op.PROTO) return false;
  const frame = bytes[2] === Op.FRAME ? 9 : 0;
  return startsWith(bytes, [Op.LONG1, MAGIC_BYTES.length, ...MAGIC_BYTES, Op.STOP], 2 + frame);
}

/** What torch/csrc/jit/serialization/mobile flatbuffers have at byte 4. */
export function isFlatbufferModule(bytes: Uint8Array): boolean {
  return startsWith(bytes, 'PTMF', 4);
}

/** The header length of a safetensors file; undefined when the bytes are not the start of one. */
export function safetensorsHeaderLength(bytes: Uint8Array, maxHeaderBytes: number): number | undefined {
  if (bytes.length < 9 || bytes[8] !== 0x7b) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  return length >= 2 && length <= maxHeaderBytes ? length : undefined;
}
