/**
 * What a file is when it is no checkpoint.
 *
 * Most "corrupt checkpoints" in bug reports are something else entirely: a login page, a Git LFS pointer, an archive
 * around the checkpoint, a download that never ended. One row per kind; the first that matches wins, so that precise
 * signatures stand before guesses.
 */
import type { ErrorCode } from '../errors';
import { isFlatbufferModule, SNIFF_BYTES, startsWith } from './magic';

export interface Sniffed {
  /** Short name for programs: `html`, `git-lfs-pointer`, `gzip`. */
  readonly kind: string;
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  /** Size of the file that a pointer stands for. */
  readonly expectedSize?: number;
}

interface Row {
  readonly kind: string;
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  /** `text` is the head as Latin-1, without a byte order mark and leading white space. */
  matches(head: Uint8Array, text: string, byteLength: number): boolean;
}

const at =
  (signature: string | readonly number[], offset = 0) =>
  (head: Uint8Array): boolean =>
    startsWith(head, signature, offset);
const anyOf =
  (...signatures: string[]) =>
  (head: Uint8Array): boolean =>
    signatures.some((signature) => startsWith(head, signature));

const UNPACK = 'unpack it and load the file inside';
const DOWNLOAD_AGAIN =
  'download it again; the URL may need a login or a token, or may be that of a page about the file';

/** Files that hold a checkpoint in a wrapping. */
const compressed = (kind: string, signature: string | readonly number[], command: string): Row => ({
  kind,
  code: 'COMPRESSED',
  message: `the file is ${kind} data`,
  hint: command ? `unpack it first: ${command}` : UNPACK,
  matches: at(signature),
});

const foreign = (kind: string, message: string, matches: Row['matches'], hint?: string): Row => ({
  kind,
  code: 'NOT_A_CHECKPOINT',
  message,
  matches,
  ...(hint === undefined ? {} : { hint }),
});

/** What was compiled for one machine or runtime has its weights no more as they were. */
const FROM_SOURCE = 'take the checkpoint that it was made from';

const ROWS: readonly Row[] = [
  {
    kind: 'html',
    code: 'HTML_PAGE',
    message: 'the file is an HTML page, not a checkpoint',
    hint: DOWNLOAD_AGAIN,
    matches: (_head, text) =>
      /^(?:<!--.{0,2000}?-->\s*|<\?xml.{0,200}?\?>\s*)*<(?:!doctype\s+html|html|head|body|title|script)\b/is.test(text),
  },
  compressed('gzip', [0x1f, 0x8b, 0x08], 'gunzip'),
  compressed('bzip2', 'BZh', 'bunzip2'),
  compressed('xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], 'unxz'),
  compressed('zstd', [0x28, 0xb5, 0x2f, 0xfd], 'unzstd'),
  compressed('7z', [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], '7z x'),
  compressed('rar', 'Rar!\x1a\x07', 'unrar x'),
  compressed('lz4', [0x04, 0x22, 0x4d, 0x18], 'unlz4'),
  { ...compressed('lzma', [0x5d, 0, 0], 'unlzma'), matches: isLzma },
  {
    kind: 'zlib',
    code: 'COMPRESSED',
    message: 'the file is zlib data: joblib and others compress their pickles',
    hint: 'load it with joblib, and save it without compression',
    matches: isZlib,
  },
  {
    kind: 'torchscript-flatbuffer',
    code: 'UNSUPPORTED',
    message: 'the file is a TorchScript module in the flatbuffer format',
    hint: 'save it again in the zip format: torch.jit.save, or _save_for_lite_interpreter without _use_flatbuffer=True',
    matches: isFlatbufferModule,
  },
  {
    kind: 'pytorch-preview',
    code: 'UNSUPPORTED',
    message: 'File is an unsupported archive format from the preview release.',
    matches: at('PYTORCH1'),
  },
  foreign('hdf5', 'the file is HDF5 (Keras and others write .h5), not a PyTorch checkpoint', (head) =>
    [0, 512, 1024, 2048].some((offset) => at('\x89HDF\r\n\x1a\n', offset)(head)),
  ),
  foreign('gguf', 'the file is a GGUF model, not a PyTorch checkpoint', at('GGUF')),
  foreign(
    'ggml',
    'the file is a GGML model (the format before GGUF), not a PyTorch checkpoint',
    anyOf('lmgg', 'fmgg', 'tjgg', 'ggjt', 'ggml'),
  ),
  foreign(
    'executorch',
    'the file is a program or data of ExecuTorch (.pte, .ptd), not a PyTorch checkpoint',
    isExecuTorch,
    FROM_SOURCE,
  ),
  foreign(
    'torch7',
    'the file is a Lua Torch7 object (.t7), not a PyTorch checkpoint',
    isTorch7,
    'read it with torchfile in Python, or torch.utils.serialization.load_lua of PyTorch 0.4, and save it with torch.save',
  ),
  foreign(
    'darknet',
    'the file is the weights of Darknet (YOLO), not a PyTorch checkpoint',
    isDarknet,
    'its numbers have no names: the program that reads its .cfg file can save a state dict',
  ),
  foreign('tensorrt', 'the file is a TensorRT engine, not a PyTorch checkpoint', at('ptrt'), FROM_SOURCE),
  foreign(
    'tensorboard',
    'the file is a log of TensorBoard, not a checkpoint',
    isEvents,
    'the checkpoints of the run are other files',
  ),
  foreign('matlab', 'the file is MATLAB data (.mat), not a PyTorch checkpoint', at('MATLAB 5.0 MAT-file')),
  foreign(
    'sentencepiece',
    'the file is a SentencePiece tokenizer, not a checkpoint',
    isSentencePiece,
    'the weights are in another file beside it',
  ),
  foreign('npy', 'the file is a NumPy array (.npy), not a PyTorch checkpoint', at('\x93NUMPY')),
  foreign('tflite', 'the file is a TensorFlow Lite model, not a PyTorch checkpoint', at('TFL3', 4)),
  foreign('pdf', 'the file is a PDF document', at('%PDF-')),
  foreign('png', 'the file is a PNG image', at('\x89PNG\r\n\x1a\n')),
  foreign('jpeg', 'the file is a JPEG image', at([0xff, 0xd8, 0xff])),
  foreign('gif', 'the file is a GIF image', anyOf('GIF87a', 'GIF89a')),
  foreign('riff', 'the file is RIFF media (WAV, AVI, WebP)', at('RIFF')),
  foreign('elf', 'the file is an ELF program or library', at('\x7fELF')),
  foreign('mach-o', 'the file is a Mach-O program or library', anyOf('\xcf\xfa\xed\xfe', '\xce\xfa\xed\xfe')),
  foreign('sqlite', 'the file is an SQLite database', at('SQLite format 3\0')),
  foreign('parquet', 'the file is a Parquet table', at('PAR1')),
  foreign('arrow', 'the file is an Arrow table', anyOf('ARROW1', 'FEA1')),
  foreign('onnx', 'the file is an ONNX model, not a PyTorch checkpoint', (head) => isOnnx(head)),
  foreign('tensorflow', 'the file is a TensorFlow model (protobuf), not a PyTorch checkpoint', (head) =>
    isTensorFlow(head),
  ),
  foreign(
    'json',
    'the file is the index of a model in several files, not one of them',
    (_head, text) => text.startsWith('{') && /"weight_map"\s*:/.test(text),
    'convert, inspect, show, diff, verify and extract take it, or its folder, for the model where it is called .index.json',
  ),
  foreign(
    'json',
    'the file is JSON text',
    (_head, text) => /^(?:\{\s*(?:"|\})|\[\s*(?:["[{\]\d-]|true|false|null))/.test(text),
    'a JSON file beside the checkpoint (config, tokenizer) may have been taken for it; a server may also have answered with an error in JSON',
  ),
  foreign(
    'xml',
    'the file is XML text',
    (_head, text) => text.startsWith('<?xml'),
    'cloud storages answer errors in XML: look into it',
  ),
  foreign(
    'zeros',
    'the file begins with nothing but zero bytes: space was reserved and never filled',
    (head) => head.length > 0 && head.every((byte) => byte === 0),
    'the download or copy did not finish; do it again',
  ),
];

/** Tells what the beginning of a file says it is; undefined where it may be a checkpoint, or nobody knows. */
export function sniff(head: Uint8Array, byteLength: number): Sniffed | undefined {
  if (byteLength === 0)
    return {
      kind: 'empty',
      code: 'EMPTY_FILE',
      message: 'the file is empty',
      hint: 'the download or save that made it did not finish',
    };
  const looked = head.subarray(0, SNIFF_BYTES);
  const latin1 = Buffer.from(looked.buffer, looked.byteOffset, looked.byteLength).toString('latin1');
  const text = latin1.replace(/^\xef\xbb\xbf/, '').trimStart();
  const pointer = gitLfsPointer(text);
  if (pointer) return pointer;
  const row = ROWS.find(({ matches }) => matches(looked, text, byteLength));
  if (!row) return undefined;
  const { kind, code, message, hint } = row;
  return { kind, code, message, ...(hint === undefined ? {} : { hint }) };
}

/** For what no signature and no pickle explains: readable text, or bytes of no known kind. */
export function describeUnknown(head: Uint8Array): Sniffed {
  const looked = head.subarray(0, SNIFF_BYTES);
  const text = readableText(looked);
  if (text !== undefined) {
    const line = JSON.stringify(text.trimStart().split(/\r?\n/, 1)[0]?.slice(0, 60) ?? '');
    return {
      kind: 'text',
      code: 'NOT_A_CHECKPOINT',
      message: `the file is text that begins with ${line}`,
      hint: DOWNLOAD_AGAIN,
    };
  }
  const bytes = Buffer.from(looked.subarray(0, 8))
    .toString('hex')
    .replace(/..(?=.)/g, '$& ');
  return {
    kind: 'unknown',
    code: 'NOT_A_CHECKPOINT',
    message: `the file is neither a zip, a tar, a pickle nor safetensors; it begins with the bytes ${bytes}`,
    hint: 'it may be damaged, encrypted, or of another program',
  };
}

/** https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: three lines of text. */
function gitLfsPointer(text: string): Sniffed | undefined {
  if (!/^version https:\/\/(?:git-lfs\.github\.com|hawser\.github\.com)\/spec\//.test(text)) return undefined;
  const oid = /^oid (\S{1,100})/m.exec(text)?.[1];
  const size = /^size (\d{1,15})/m.exec(text)?.[1];
  return {
    kind: 'git-lfs-pointer',
    code: 'GIT_LFS_POINTER',
    message: `the file is a Git LFS pointer to ${size ?? 'an unknown number of'} bytes (${oid ?? 'no oid'}), not the file itself`,
    hint: 'run "git lfs pull" in the repository, or download the file by its media URL',
    ...(size === undefined ? {} : { expectedSize: Number(size) }),
  };
}

/** The header of LZMA alone: properties, size of the dictionary, and a size that nobody knew. */
function isLzma(head: Uint8Array): boolean {
  return startsWith(head, [0x5d, 0, 0]) && startsWith(head, new Array<number>(8).fill(0xff), 5);
}

/** RFC 1950: two bytes that 31 divides. `x^2` begins like that, too. */
function isZlib(head: Uint8Array): boolean {
  const isHeader = head[0] === 0x78 && [0x01, 0x5e, 0x9c, 0xda].includes(head[1] ?? 0);
  return isHeader && readableText(head.subarray(0, 64)) === undefined;
}

/** Flatbuffers tell their kind behind the offset of their root. */
function isExecuTorch(head: Uint8Array): boolean {
  return /^(?:ET|FT)\d\d$/.test(Buffer.from(head.subarray(4, 8)).toString('latin1'));
}

/** The type of an object with a class (4), its number, and the version: as int32, or each on a line. */
function isTorch7(head: Uint8Array): boolean {
  return startsWith(head, [4, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0x56, 0x20]) || startsWith(head, '4\n1\n3\nV ');
}

/** Version 0.1 or 0.2 as three int32, then the images seen. */
function isDarknet(head: Uint8Array, _text: string, byteLength: number): boolean {
  const isVersion = [1, 2, 5].some((minor) => startsWith(head, [0, 0, 0, 0, minor, 0, 0, 0, 0, 0, 0, 0]));
  return isVersion && byteLength >= 20 && byteLength % 4 === 0;
}

/** TFRecord: a length of 8 bytes and its checksum of 4, then an Event with its time and version. */
function isEvents(head: Uint8Array): boolean {
  return startsWith(head, [0, 0, 0, 0, 0, 0], 2) && startsWith(head, 'brain.Event:', 23);
}

/** ModelProto of sentencepiece_model.proto: pieces, of which the first is a control symbol such as `<unk>`. */
function isSentencePiece(head: Uint8Array): boolean {
  const length = head[3] ?? 0;
  return (
    head[0] === 0x0a && head[2] === 0x0a && head[4] === 0x3c && head[3 + length] === 0x3e && head[4 + length] === 0x15
  );
}

/** ModelProto of onnx.proto: ir_version (field 1), then producer, domain, version, doc string, graph or opset. */
function isOnnx(head: Uint8Array): boolean {
  const irVersion = head[1] ?? 0;
  if (head[0] !== 0x08 || irVersion < 1 || irVersion > 32) return false;
  const text = Buffer.from(head.subarray(0, 64)).toString('latin1');
  // A string (producer name) of fitting length, or the graph itself.
  const producer = head[2] === 0x12 && /^[\w .:/+-]*$/.test(text.slice(4, 4 + Math.min(head[3] ?? 0, 60)));
  return producer
    ? (head[3] as number) > 0 && (head[3] as number) < 0x80
    : head[2] === 0x3a || (head[2] === 0x42 && (head[3] ?? 0xff) < 0x40);
}

/** SavedModel (schema version, then meta graphs), or a GraphDef (a node, with a name and then an operation). */
function isTensorFlow(head: Uint8Array): boolean {
  if (startsWith(head, [0x08, 0x01, 0x12])) return true;
  // The node's length takes one byte or two.
  for (const at of [2, 3]) {
    const nameEnd = at + 2 + (head[at + 1] ?? 0);
    const opEnd = nameEnd + 2 + (head[nameEnd + 1] ?? 0);
    if (head[0] !== 0x0a || head[at] !== 0x0a || head[nameEnd] !== 0x12 || opEnd > head.length) continue;
    const name = Buffer.from(head.subarray(at + 2, nameEnd)).toString('latin1');
    const op = Buffer.from(head.subarray(nameEnd + 2, opEnd)).toString('latin1');
    if (/^[\w./:-]+$/.test(name) && /^[A-Z]\w+$/.test(op)) return true;
  }
  return false;
}

/** The bytes as text, unless they hold what no text holds. The last character may be cut. */
function readableText(bytes: Uint8Array): string | undefined {
  // Tab to carriage return, and escape for coloured logs.
  if (bytes.some((byte) => byte < 0x20 && (byte < 0x09 || byte > 0x0d) && byte !== 0x1b)) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return undefined;
  }
}
