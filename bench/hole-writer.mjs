/** A file whose runs of zeros are holes. */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { Writable } from 'node:stream';

const ZEROS = Buffer.alloc(16 << 20);
/** Runs of zeros are looked for in pieces of this many bytes; what is shorter is written. */
const PIECE = 1 << 16;

export class HoleWriter extends Writable {
  #fd;
  #length = 0;

  constructor(path) {
    super({ highWaterMark: 16 << 20 });
    this.#fd = openSync(path, 'w');
  }

  _write(chunk, _encoding, done) {
    if (!isZero(chunk)) this.#writePieces(chunk);
    this.#length += chunk.length;
    done();
  }

  #writePieces(chunk) {
    for (let at = 0; at < chunk.length; at += PIECE) {
      const piece = chunk.subarray(at, at + PIECE);
      if (!isZero(piece)) writeSync(this.#fd, piece, 0, piece.length, this.#length + at);
    }
  }

  _final(done) {
    ftruncateSync(this.#fd, this.#length);
    closeSync(this.#fd);
    done();
  }
}

function isZero(bytes) {
  return bytes.length <= ZEROS.length && ZEROS.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}
