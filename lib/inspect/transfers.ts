/** What went wrong with a file on the way here. */
import { DOWNLOAD_AGAIN, type LookAlike } from '../container/look-alikes';
import type { CheckpointError } from '../errors';
import type { ByteSource } from '../source/byte-source';
import { mapZip } from './zip-map';

/** A zip that something stands before, or whose beginning is missing: its directory still counts from where it was. */
export function shiftedZip(bytes: ByteSource): LookAlike | undefined {
  const map = mapZip(bytes);
  if (!map || map.prefixBytes === 0) return undefined;
  if (map.prefixBytes < 0) {
    return {
      kind: 'truncated',
      message: `the beginning is missing: the directory at the end counts from ${-map.prefixBytes} bytes further ahead`,
      hint: 'download or copy it again, from its start',
    };
  }
  return {
    kind: 'prefixed',
    message: `${map.prefixBytes} bytes of something else stand before the zip`,
    hint: `cut them off: tail -c +${map.prefixBytes + 1} FILE > OUT`,
  };
}

/** A zip that more follows than a comment could be; the error says where it ends. */
export function trailedZip({ message }: CheckpointError): LookAlike | undefined {
  const [, said, end] = /(the zip ends at byte (\d+), and \d+ bytes(?: of zeros)? follow it)/.exec(message) ?? [];
  return said === undefined
    ? undefined
    : { kind: 'trailed', message: said, hint: `cut them off: truncate -s ${end} FILE, or head -c ${end} FILE > OUT` };
}

const PROBE_BYTES = 1 << 18;
/** So many line feeds by chance would have one without a carriage return before it. */
const ENOUGH_LINE_FEEDS = 16;

/** Binary data that went through something that took it for text. */
export function textMode(bytes: ByteSource): LookAlike | undefined {
  const probe = Buffer.from(bytes.read(0, Math.min(PROBE_BYTES, bytes.byteLength)));
  const text = probe.toString('latin1');
  const replaced = text.split('\xef\xbf\xbd').length - 1;
  if (replaced >= ENOUGH_LINE_FEEDS) {
    return {
      kind: 'text-mode',
      message: 'the file was read as UTF-8 text on its way: bytes that are no text were replaced and are lost',
      hint: DOWNLOAD_AGAIN,
    };
  }
  const feeds = text.split('\n').length - 1;
  if (feeds >= ENOUGH_LINE_FEEDS && text.split('\r\n').length - 1 === feeds) {
    return {
      kind: 'text-mode',
      message:
        'every line feed has a carriage return before it: the file was transferred as text (FTP in ASCII mode, Git with autocrlf)',
      hint: DOWNLOAD_AGAIN,
    };
  }
  if (/[\x80-\xff]/.test(text) && isUtf8(probe)) {
    return {
      kind: 'text-mode',
      message: 'the bytes are UTF-8 throughout: the file was converted from Latin-1 text on its way',
      hint: DOWNLOAD_AGAIN,
    };
  }
  return undefined;
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}

/** Zero bytes at the end: room that was reserved and not filled. */
export function trailingZeros(bytes: ByteSource): number {
  const PIECE_BYTES = 1 << 20;
  for (let end = bytes.byteLength; end > 0; end -= PIECE_BYTES) {
    const start = Math.max(0, end - PIECE_BYTES);
    const piece = bytes.read(start, end - start);
    for (let i = piece.length - 1; i >= 0; i--) if (piece[i] !== 0) return bytes.byteLength - start - i - 1;
  }
  return bytes.byteLength;
}
