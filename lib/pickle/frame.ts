/**
 * Where the frame ends that a pickle of protocol 4 or later is in.
 *
 * Python's reader takes a frame into its buffer, and what an opcode then lacks from behind the frame, passing over the bytes
 * that were left: an opcode across the end of a frame would be other bytes to it than it is here.
 */
export class Frame {
  /** Behind all bytes where there is none: a small integer, for it is compared with at each opcode. */
  end: number;
  readonly #none: number;

  /** `byteLength`: of the bytes that the pickle is in. */
  constructor(byteLength: number) {
    this.#none = byteLength + 1;
    this.end = this.#none;
  }

  get isOpen(): boolean {
    return this.end !== this.#none;
  }

  /** False, with nothing changed, inside another frame. */
  enter(start: number, byteLength: number): boolean {
    if (this.isOpen) return false;
    this.end = start + byteLength;
    return true;
  }

  /** At the first opcode that does not begin inside the frame; false where the one before goes on behind its end. */
  leave(pos: number): boolean {
    const isWhole = pos === this.end;
    this.end = this.#none;
    return isWhole;
  }
}
