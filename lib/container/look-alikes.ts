/**
 * Files that no reader takes for a checkpoint, and that their first bytes alone do not tell for certain: what an answer of a
 * server says, what a tool left behind. Looked at once nothing else was found, by whoever opens a file and by `diagnose`. One
 * row per kind; the first that matches wins.
 */
import type { ByteSource } from '../source/byte-source';
import { startsWith } from './magic';

export interface LookAlike {
  readonly kind: string;
  readonly message: string;
  readonly hint?: string;
}

interface Row extends LookAlike {
  /** `text`: the head as Latin-1, without a byte order mark and leading white space. */
  matches(head: Uint8Array, text: string, bytes: ByteSource): boolean;
}

export const DOWNLOAD_AGAIN = 'download it again, in binary mode';

const ROWS: readonly Row[] = [
  {
    kind: 'git-conflict',
    message: 'the file holds the two sides of a Git merge conflict',
    hint: 'choose one side: git checkout --ours FILE or --theirs FILE, then git lfs pull where they are LFS pointers',
    matches: (_head, text) => text.startsWith('<<<<<<< '),
  },
  {
    kind: 'http-response',
    message: 'the file begins with the headers of an HTTP response',
    hint: 'they were saved along with the body: download it again without them (curl without -i)',
    matches: (_head, text) => /^HTTP\/[\d.]+ \d{3}/.test(text),
  },
  {
    kind: 'multipart',
    message: 'the file begins with the boundary of a multipart message: an upload was saved as it came',
    hint: 'the server that took it must take the parts apart',
    matches: (_head, text) => /^--[\w'()+,./:=?-]{1,70}\r?\nContent-/i.test(text),
  },
  {
    kind: 'xml',
    message: 'the file is an error of a server in XML',
    hint: DOWNLOAD_AGAIN,
    matches: (_head, text) => /^<Error\b/.test(text),
  },
  {
    kind: 'base64',
    message: 'the file is Base64 text of something else',
    hint: 'decode it first: base64 -d FILE > OUT',
    matches: (head, text) =>
      head.length >= 200 && /^(?:[A-Za-z0-9+/]{60,}={0,2}\r?\n?)+[A-Za-z0-9+/=\r\n]*$/.test(text),
  },
  {
    kind: 'url',
    message: 'the file is a URL, not what it leads to',
    hint: 'download what stands there',
    matches: (_head, text, { byteLength }) => byteLength < 2048 && /^(?:https?|s3|gs|hf):\/\/\S+\s*$/.test(text),
  },
  {
    kind: 'python',
    message: 'the file is Python source text',
    hint: 'the program that makes the model, not its weights; those are in another file',
    matches: (_head, text) =>
      /^(?:#!.*python.*|#.*|"""|import \w|from \w[\w.]* import )/.test(text) &&
      /^(?:import|from) \w|^def \w|^class \w/m.test(text),
  },
  {
    kind: 'aria2',
    message: 'the file is the control file of an aria2 download that has not finished',
    hint: 'run the same aria2c command again; the data is in the file without .aria2',
    matches: (head, _text, { name }) => /\.aria2$/i.test(name ?? '') && startsWith(head, [0, 1]),
  },
  {
    kind: 'tensorflow',
    message: 'the file is the index of a TensorFlow checkpoint, not a PyTorch checkpoint',
    matches: (_head, _text, bytes) => endsWith(bytes, [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb]),
  },
  { kind: 'onnx', message: 'the file is an ONNX Runtime model (.ort)', matches: (head) => startsWith(head, 'ORTM', 4) },
  {
    kind: 'pe',
    message: 'the file is a Windows program or library',
    matches: (head) => startsWith(head, 'MZ'),
  },
  { kind: 'mp4', message: 'the file is a video (MP4)', matches: (head) => startsWith(head, 'ftyp', 4) },
  {
    kind: 'msgpack',
    message: 'the file is MessagePack, as Flax and spaCy write, not a PyTorch checkpoint',
    matches: (head) =>
      head.length > 2 &&
      ((head[0] as number) & 0xf0) === 0x80 &&
      /^[\xa1-\xbf][a-z_]+/.test(latin1(head.subarray(1, 16))),
  },
];

export function lookAlike(head: Uint8Array, bytes: ByteSource): LookAlike | undefined {
  const text = latin1(head)
    .replace(/^\xef\xbb\xbf/, '')
    .trimStart();
  if (head.length > 0 && text === '') return { kind: 'text', message: 'the file is nothing but white space' };
  const row = ROWS.find(({ matches }) => matches(head, text, bytes));
  if (!row) return undefined;
  const { kind, message, hint } = row;
  const said = kind === 'xml' ? xmlSaid(text) : '';
  return { kind, message: message + said, ...(hint === undefined ? {} : { hint }) };
}

/** What a page or an error says of itself, to be put behind the message. */
export function saidBy(kind: string, head: Uint8Array): string {
  const text = new TextDecoder().decode(head);
  switch (kind) {
    case 'html': {
      const title = /<title[^>]*>\s*([^<]{1,200}?)\s*<\/title>/i.exec(text)?.[1];
      return title === undefined ? '' : `, titled ${quoted(title)}`;
    }
    case 'xml':
      return xmlSaid(text);
    case 'json': {
      const said = /"(?:message|error|detail|error_description|errors)"\s*:\s*("(?:[^"\\]|\\.){1,200}")/.exec(
        text,
      )?.[1];
      return said === undefined ? '' : `, which says ${said}`;
    }
    default:
      return '';
  }
}

function xmlSaid(text: string): string {
  const said = ['Code', 'Message'].map((tag) => new RegExp(`<${tag}>([^<]{1,200})</${tag}>`).exec(text)?.[1]);
  const parts = said.filter((part) => part !== undefined);
  return parts.length === 0 ? '' : `, which says ${quoted(parts.join(': '))}`;
}

function quoted(text: string): string {
  return JSON.stringify(text.replace(/\s+/g, ' '));
}

function endsWith(bytes: ByteSource, signature: readonly number[]): boolean {
  const start = bytes.byteLength - signature.length;
  return start >= 0 && startsWith(bytes.read(start, signature.length), signature);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
