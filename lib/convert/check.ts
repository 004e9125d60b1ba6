/** Outputs read again and compared with what they were made from, piece by piece. */
import { open as openFile } from 'node:fs/promises';
import { CheckpointError } from '../errors';
import { open } from '../load';
import type { PyValue } from '../pickle/values';
import type { Payload } from '../sink/record-sink';
import { gatherBlocks } from '../tensor/gather';
import { chunksOf, type Storage } from '../tensor/storage';
import type { Tensor } from '../tensor/tensor';
import { walkTensors } from '../walk';
import { denseParts } from './retype';

/** A run of bytes of a file. */
export interface Part {
  readonly payload: Payload;
  readonly byteLength: number;
}

function differs(path: string, what: string, byteOffset?: number): CheckpointError {
  return new CheckpointError('CRC_MISMATCH', what, {
    path,
    byteOffset,
    hint: 'the disk or memory of this machine may be faulty; convert again',
  });
}

/** Throws CRC_MISMATCH where the file is not these parts. */
export async function compareFile(
  path: string,
  parts: readonly Part[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = await openFile(path);
  try {
    let at = 0;
    let read = Buffer.alloc(0);
    for (const { payload, byteLength } of parts) {
      if (byteLength === 0) continue;
      for await (const piece of piecesOf(payload)) {
        signal?.throwIfAborted();
        if (read.length < piece.length) read = Buffer.alloc(piece.length);
        const { bytesRead } = await file.read(read, 0, piece.length, at);
        if (bytesRead < piece.length || read.compare(piece, 0, piece.length, 0, piece.length) !== 0)
          throw differs(path, 'the bytes written are not those of the input', at);
        at += piece.length;
      }
    }
    const { size } = await file.stat();
    if (size !== at) throw differs(path, `${size} bytes are in the file, ${at} were written`);
  } finally {
    await file.close();
  }
}

async function* piecesOf(payload: Payload): AsyncGenerator<Uint8Array, void, undefined> {
  if (payload instanceof Uint8Array) yield payload;
  else yield* payload.open?.() ?? chunksOf(payload);
}

/** Throws CRC_MISMATCH where the checkpoint at `path` has other tensors than `value`. */
export async function compareGraph(path: string, value: PyValue, signal: AbortSignal | undefined): Promise<void> {
  const written = await open(path, { classes: new Map(), ...(signal ? { signal } : {}) });
  try {
    const others = walkTensors(written.root);
    const streamed = new Set<Storage>();
    for (const [name, tensor] of walkTensors(value)) {
      signal?.throwIfAborted();
      const other = others.next().value;
      if (!other || other[0] !== name) throw differs(path, `tensor "${name}" is missing`);
      await compareTensors(path, name, denseParts(tensor), denseParts(other[1]), streamed);
    }
    if (!others.next().done) throw differs(path, 'there are more tensors than were written');
  } finally {
    written.close();
  }
}

async function compareTensors(
  path: string,
  name: string,
  expected: readonly Tensor[],
  actual: readonly Tensor[],
  streamed: Set<Storage>,
): Promise<void> {
  for (const [i, tensor] of expected.entries()) {
    const other = actual[i];
    const alike =
      other &&
      other.dtype === tensor.dtype &&
      String(other.shape) === String(tensor.shape) &&
      other.isMeta === tensor.isMeta;
    if (!alike) throw differs(path, `tensor "${name}" has another dtype or shape`);
    if (tensor.isMeta || tensor.numel === 0) continue;
    const { source } = tensor.storage;
    if (!source.asyncOnly) {
      if (!sameElements(tensor, other)) throw differs(path, `tensor "${name}" has other elements`);
    } else if (!streamed.has(tensor.storage)) {
      // A storage that is cast on the way is written whole, and compared whole once.
      streamed.add(tensor.storage);
      if (!(await sameStream(source.open?.() ?? chunksOf(source), other.storage)))
        throw differs(path, `the storage of tensor "${name}" has other elements`);
    }
  }
}

/** Bit for bit, so that NaNs count. Both are cut alike, whatever their strides. */
function sameElements(a: Tensor, b: Tensor): boolean {
  if (a.dtype.elementsPerByte > 1) return Buffer.compare(a.toBytes(), b.toBytes()) === 0;
  const flat = a.isContiguous() && b.isContiguous();
  const others = gatherBlocks(b, flat);
  for (const { bytes } of gatherBlocks(a, flat)) {
    const other = others.next().value;
    if (!other || Buffer.compare(bytes, other.bytes) !== 0) return false;
  }
  return true;
}

async function sameStream(pieces: AsyncIterable<Uint8Array>, storage: Storage): Promise<boolean> {
  let at = 0;
  for await (const piece of pieces) {
    const read = new Uint8Array(piece.length);
    if ((await storage.read(read, at)) < piece.length || Buffer.compare(read, piece) !== 0) return false;
    at += piece.length;
  }
  return at === storage.nbytes;
}
