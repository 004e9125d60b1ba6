/** A growing run of bytes, with the number formats of pickles and the framing of protocol 4. */

/** Python ends a frame at the first object boundary after this many bytes, and gives larger strings no frame at all. */
const FRAME_TARGET_BYTES = 64 * 1024;
/** A frame shorter than this is written without its header. */
const FRAME_MIN_BYTES = 4;
const FRAME_HEADER_BYTES = 9;
const FRAME_OPCODE = 0x95;

/** What Python's `nan` is. */
export const USUAL_NAN = 0x7ff8000000000000n;

export class ByteWriter {
  #bytes = Buffer.allocUnsafe(4096);
  #length = 0;
  #framing = false;
  /** Where the header of the open frame stands; -1 when there is none. */
  #frameAt = -1;

  get length(): number {
    return this.#length;
  }

  /** The bytes written so far, as a view that the next write may invalidate. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#framing && this.#frameAt < 0) {
      this.#frameAt = this.#length;
      this.#grow(FRAME_HEADER_BYTES);
      this.#length += FRAME_HEADER_BYTES;
    }
    this.#grow(count);
  }

  #grow(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + count));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  /** An opcode and its one-byte argument. */
  opU8(op: number, value: number): void {
    this.#reserve(2);
    this.#bytes[this.#length++] = op;
    this.#bytes[this.#length++] = value;
  }

  opU16(op: number, value: number): void {
    this.#reserve(3);
    const at = this.#length;
    this.#bytes[at] = op;
    this.#bytes[at + 1] = value;
    this.#bytes[at + 2] = value >> 8;
    this.#length = at + 3;
  }

  opU32(op: number, value: number): void {
    this.#reserve(5);
    const at = this.#length;
    this.#bytes[at] = op;
    this.#bytes[at + 1] = value;
    this.#bytes[at + 2] = value >> 8;
    this.#bytes[at + 3] = value >> 16;
    this.#bytes[at + 4] = value >>> 24;
    this.#length = at + 5;
  }

  opI32(op: number, value: number): void {
    this.u8(op);
    this.#reserve(4);
    this.#length = this.#bytes.writeInt32LE(value, this.#length);
  }

  opU64(op: number, value: number): void {
    this.u8(op);
    this.#reserve(8);
    this.#length = this.#bytes.writeBigUInt64LE(BigInt(value), this.#length);
  }

  /** A float, big-endian. A NaN has the given bits: which ones a NaN of JavaScript has is the machine's affair. */
  opF64(op: number, value: number, nanBits = USUAL_NAN): void {
    this.u8(op);
    this.#reserve(8);
    this.#length = Number.isNaN(value)
      ? this.#bytes.writeBigUInt64BE(nanBits, this.#length)
      : this.#bytes.writeDoubleBE(value, this.#length);
  }

  raw(data: Uint8Array): void {
    this.#reserve(data.length);
    this.#bytes.set(data, this.#length);
    this.#length += data.length;
  }

  /** Text that is known to be Latin-1: names and constants. */
  latin1(text: string): void {
    this.#reserve(text.length);
    this.#length += this.#bytes.write(text, this.#length, 'latin1');
  }

  /**
   * A string opcode with its length of one or four bytes and the text, which has less than 256 characters. False, with
   * nothing written, when one of them is not ASCII.
   */
  shortAscii(text: string, op: number, lengthBytes: 1 | 4): boolean {
    const { length } = text;
    for (let i = 0; i < length; i++) if (text.charCodeAt(i) > 0x7f) return false;
    this.#reserve(1 + lengthBytes + length);
    const bytes = this.#bytes;
    let at = this.#length;
    bytes[at++] = op;
    bytes[at++] = length;
    for (let i = 1; i < lengthBytes; i++) bytes[at++] = 0;
    for (let i = 0; i < length; i++) bytes[at++] = text.charCodeAt(i);
    this.#length = at;
    return true;
  }

  /** The payload of a string or bytes opcode after `header` has written the opcode; large ones stand outside of frames. */
  payload(data: Uint8Array, header: () => void): void {
    const bypass = data.length >= FRAME_TARGET_BYTES && this.#framing;
    if (bypass) {
      this.closeFrame();
      this.#framing = false;
    }
    header();
    this.raw(data);
    if (bypass) this.#framing = true;
  }

  startFraming(): void {
    this.#framing = true;
  }

  /** Between two objects: ends the frame when it is long enough. */
  boundary(): void {
    if (this.#frameAt >= 0 && this.#length - this.#frameAt - FRAME_HEADER_BYTES >= FRAME_TARGET_BYTES)
      this.closeFrame();
  }

  closeFrame(): void {
    if (this.#frameAt < 0) return;
    const at = this.#frameAt;
    const length = this.#length - at - FRAME_HEADER_BYTES;
    if (length < FRAME_MIN_BYTES) {
      this.#bytes.copyWithin(at, at + FRAME_HEADER_BYTES, this.#length);
      this.#length -= FRAME_HEADER_BYTES;
    } else {
      this.#bytes[at] = FRAME_OPCODE;
      this.#bytes.writeBigUInt64LE(BigInt(length), at + 1);
    }
    this.#frameAt = -1;
  }
}
