/** NumPy's files: `.npy` for one tensor, `.npz` for many, a zip of them. NumPy has no bfloat16 and no float8: they widen to float32. */
import { Readable } from 'node:stream';
import { ZipFile } from 'yazl';
import { npyHeader, numpyTypeString } from '../container/npy';
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import { chunksOf, type StorageBytes } from '../tensor/storage';
import { StreamBytes } from '../tensor/stream-bytes';
import type { Tensor } from '../tensor/tensor';
import { type Named, untie } from './aliases';
import { type Choice, denseEntries } from './choose';
import { type Encoding, encodedBytes } from './elements';
import { payloadOf } from './payload';
import type { Dropped, Plan, Target, TargetOptions } from './target';
import { partsFile } from './write';

/** The first moment that a zip can tell: the same tensors are the same bytes whenever they are written. */
const ZIP_EPOCH = new Date(1980, 0, 1);

interface Member {
  readonly name: string;
  readonly header: Buffer;
  readonly payload: StorageBytes;
  readonly byteLength: number;
}

export const npyTarget: Target = {
  name: 'npy',
  extensions: ['.npy'],
  readable: true,
  plan(choice, options) {
    const { members, dropped, aliases } = membersOf(choice, options);
    const [member] = members;
    if (!member || members.length > 1) {
      throw new CheckpointError('UNSAVABLE', `${members.length} tensors were chosen, and an .npy file holds one`, {
        hint: 'select one of them, or write an .npz file',
      });
    }
    const file = partsFile(undefined, [
      { payload: member.header, byteLength: member.header.length },
      { payload: member.payload, byteLength: member.byteLength },
    ]);
    return { tensors: 1, aliases, dropped, files: [file], stored: storedOf(members) } satisfies Plan;
  },
};

export const npzTarget: Target = {
  name: 'npz',
  extensions: ['.npz'],
  readable: true,
  async plan(choice, options) {
    const { members, dropped, aliases } = membersOf(choice, options);
    const refused: Dropped[] = [];
    const legal = members.filter(({ name }) => {
      const reason = nameRefusal(name);
      if (reason !== undefined) refused.push({ path: name, reason });
      return reason === undefined;
    });
    const bytes = await zipOf(legal).totalBytes;
    // Every pass makes a new zip: yazl's is used up by being read.
    const file = partsFile(undefined, [
      { payload: new StreamBytes(bytes, () => zipOf(legal).stream()), byteLength: bytes },
    ]);
    return {
      tensors: legal.length,
      aliases,
      dropped: [...dropped, ...refused],
      files: [file],
      stored: storedOf(legal),
    } satisfies Plan;
  },
};

/** All names by default: NumPy has no place to say that one stands for another. */
function membersOf(
  choice: Choice,
  options: TargetOptions,
): { members: Member[]; dropped: readonly Dropped[]; aliases: ReadonlyMap<string, string> } {
  const { dense, dropped } = denseEntries(choice, ({ dtype }) =>
    numpyDtype(dtype, options.dtype) ? undefined : `NumPy has no dtype for ${dtype.name}`,
  );
  const { kept, aliases } = untie(dense, options.aliases ?? 'duplicate');
  return { members: kept.map((entry) => memberOf(entry, options.dtype)), dropped, aliases };
}

function storedOf(members: readonly Member[]): Plan['stored'] {
  return members.map(({ name, byteLength }) => ({ name, bytes: byteLength, file: undefined }));
}

/** The dtype itself where NumPy has it, else the next wider one. */
function numpyDtype(dtype: DType, wanted: Encoding | undefined): DType | undefined {
  if (wanted === 'q8_0') throw new TypeError('q8_0 is a type of GGUF, which NumPy does not have');
  const target = wanted && dtype.isFloatingPoint ? wanted : dtype;
  if (numpyTypeString(target) !== undefined) return target;
  if (target.isFloatingPoint) return DType.float32;
  return target === DType.complex32 ? DType.complex64 : undefined;
}

function memberOf({ name, tensor }: Named<Tensor>, wanted: Encoding | undefined): Member {
  const dtype = numpyDtype(tensor.dtype, wanted) as DType;
  // A cast to what NumPy does not have still rounds the values.
  const through =
    wanted !== undefined && wanted !== 'q8_0' && tensor.dtype.isFloatingPoint && wanted !== dtype ? wanted : undefined;
  return {
    name: name === '' ? 'arr_0' : name,
    header: npyHeader(numpyTypeString(dtype) as string, tensor.shape),
    payload: payloadOf(tensor, dtype, through),
    byteLength: encodedBytes(dtype, tensor.numel),
  };
}

/** What yazl refuses and programs that unpack zips would fall over. */
function nameRefusal(name: string): string | undefined {
  const path = `${name}.npy`;
  if (/^[a-zA-Z]:|^\/|\\/.test(path) || path.split('/').includes('..')) return 'the name leads out of a zip archive';
  if (path.includes('\0') || !path.isWellFormed()) return 'the name is none that a zip archive can hold';
  return Buffer.byteLength(path) > 65_535 ? 'the name is too long for a zip archive' : undefined;
}

function zipOf(members: readonly Member[]): { totalBytes: Promise<number>; stream(): AsyncIterable<Uint8Array> } {
  const zip = new ZipFile();
  for (const { name, header, payload, byteLength } of members) {
    const size = header.length + byteLength;
    zip.addReadStreamLazy(
      `${name}.npy`,
      { mtime: ZIP_EPOCH, forceDosTimestamp: true, mode: 0o100644, compress: false, size },
      (done) => {
        const pieces = Readable.from(memberPieces(header, payload, byteLength), { objectMode: false });
        // yazl does not listen: without this a file cut short would end the process.
        pieces.on('error', (error) => zip.emit('error', error));
        done(null, pieces);
      },
    );
  }
  // yazl tells the size of archives whose members all are stored, before it reads any of them.
  const totalBytes = new Promise<number>((resolve, reject) => {
    zip.on('error', reject);
    // The types forget that the size is what the callback is given.
    const end = zip.end.bind(zip) as unknown as (
      options: { forceZip64Format: boolean },
      sized: (size: number) => void,
    ) => void;
    end({ forceZip64Format: hasLongDirectory(members) }, (size) =>
      size < 0 ? reject(new RangeError('the size of the archive is not known')) : resolve(size),
    );
  });
  totalBytes.catch(() => undefined);
  return {
    totalBytes,
    async *stream() {
      let failure: unknown;
      zip.on('error', (error) => {
        failure = error;
        (zip.outputStream as Readable).destroy(error as Error);
      });
      try {
        yield* zip.outputStream as unknown as AsyncIterable<Uint8Array>;
      } catch (error) {
        throw failure ?? error;
      }
    },
  };
}

/** Bytes of a directory entry without its name, with all extra fields. */
const DIRECTORY_ENTRY_BYTES = 46 + 28;

/**
 * yazl 3.3 counts the 64-bit end records in from 65,535 bytes of directory on and writes them from 2^32 on. Asked for, they
 * are both counted and written.
 */
function hasLongDirectory(members: readonly Member[]): boolean {
  return members.reduce((sum, { name }) => sum + DIRECTORY_ENTRY_BYTES + Buffer.byteLength(name) + 4, 0) >= 0xffff;
}

async function* memberPieces(
  header: Buffer,
  payload: StorageBytes,
  byteLength: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield header;
  if (byteLength === 0) return;
  // Pieces are the producer's again at the next step, and a stream keeps them for a while.
  if (payload.open) for await (const piece of payload.open()) yield piece.slice();
  else yield* chunksOf(payload, 1 << 20);
}
