/**
 * A file on this machine: mapped where that works, read by position where it does not.
 *
 * Opening reads nothing. Storages are described by `MappedBytes`, which cost no native call until looked at; then
 * windows are planned over all of them at once (see `windows.ts`). Where the host or the file refuses a window, the
 * bytes are read once into ordinary memory and kept, so that a storage is one array either way.
 */
import { existsSync, statSync } from 'node:fs';
import { addon, type NativeBinding, type NativeFile, type NativeFileInfo, native, type Span } from '../binding';
import { CheckpointError } from '../errors';
import { freshBytes, workingBytes } from '../tensor/fresh-bytes';
import type { StorageBytes } from '../tensor/storage';
import { type ByteSource, checkRange, closedError, type Range, WIDEST_ITEM_BYTES } from './byte-source';
import { holds, type PlannedWindow, planWindows } from './windows';

export type IoMode = 'auto' | 'mmap' | 'read';

/** Asked once: the answer is found by a self-test when the addon loads. */
let known: ReturnType<NativeBinding['capabilities']> | undefined;
function host(): ReturnType<NativeBinding['capabilities']> {
  known ??= addon().capabilities();
  return known;
}

export class LocalFile implements ByteSource {
  readonly name: string | undefined;
  readonly file: NativeFile;
  readonly info: NativeFileInfo;
  #closed = false;
  /** Ranges that no window was planned for yet, and the windows of all others. */
  #pending: Range[] = [];
  #announced: (() => Iterable<Range>)[] = [];
  readonly #windows: FileWindow[] = [];

  private constructor(file: NativeFile, name: string | undefined) {
    this.file = file;
    this.name = name;
    this.info = native({ path: name }, (addon) => addon.fileInfo(file));
  }

  /** Opens a path, or duplicates an open descriptor. `name` is what errors say. */
  static open(
    path: string | number,
    io: IoMode = 'auto',
    name = typeof path === 'string' ? path : undefined,
  ): LocalFile {
    const real = typeof path === 'string' ? outsideAsar(path) : path;
    return new LocalFile(
      native({ path: name }, (addon) => addon.fileOpen(real, io)),
      name,
    );
  }

  get byteLength(): number {
    return this.info.byteLength;
  }

  get closed(): boolean {
    return this.#closed;
  }

  read(byteOffset: number, byteLength: number): Uint8Array {
    if (this.#closed) throw closedError(this.name);
    checkRange(this, byteOffset, byteLength);
    const bytes = workingBytes(byteLength);
    this.readInto(byteOffset, bytes);
    return bytes;
  }

  /** Fills `target`; throws TRUNCATED when the file has become shorter. */
  readInto(byteOffset: number, target: Uint8Array): void {
    if (target.byteLength === 0) return;
    const count = native({ path: this.name }, (addon) => addon.fileReadSync(this.file, byteOffset, target));
    if (count < target.byteLength) throw this.#cutShort(byteOffset + target.byteLength);
  }

  storageBytes(byteOffset: number, byteLength: number, alignment = WIDEST_ITEM_BYTES): StorageBytes {
    checkRange(this, byteOffset, byteLength);
    const bytes = new MappedBytes(this, byteOffset, byteLength, alignment);
    if (byteLength > 0) this.#pending.push(bytes);
    return bytes;
  }

  announceStorages(ranges: () => Iterable<Range>): void {
    this.#announced.push(ranges);
  }

  /** A window that holds the range, planned now if it must be. @internal */
  windowOf(range: Range): FileWindow {
    const known = this.#windows.find((window) => holds(window, range));
    if (known) return known;
    // A slice of a storage that is too long for any array was not registered.
    const ranges = [range, ...this.#pending, ...this.#announced.flatMap((announced) => [...announced()])];
    this.#pending = [];
    this.#announced = [];
    const { windowBytes, pageBytes } = host();
    for (const plan of planWindows(ranges, windowBytes, pageBytes)) this.#windows.push(new FileWindow(this, plan));
    return this.#windows.find((window) => holds(window, range)) as FileWindow;
  }

  /** Throws TRUNCATED when the file has become shorter: a look at a page behind its end would kill the process. */
  demandWhole(byteEnd: number): void {
    if (native({ path: this.name }, (addon) => addon.fileState(this.file)) === 'truncated')
      throw this.#cutShort(byteEnd);
  }

  #cutShort(byteEnd: number): CheckpointError {
    return new CheckpointError(
      'TRUNCATED',
      `the file has become shorter than the ${byteEnd} bytes it must have; it had ${this.byteLength} when it was opened`,
      {
        path: this.name,
        hint: 'replace checkpoints by renaming a new file over them, never by truncating in place',
      },
    );
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pending = [];
    this.#announced = [];
    addon().fileClose(this.file);
  }
}

/** One array buffer over a range of the file, made on first use. */
class FileWindow implements PlannedWindow {
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly pageAligned: boolean;
  readonly #file: LocalFile;
  #view: Uint8Array | null | undefined;

  constructor(file: LocalFile, plan: PlannedWindow) {
    this.#file = file;
    this.byteOffset = plan.byteOffset;
    this.byteLength = plan.byteLength;
    this.pageAligned = plan.pageAligned;
  }

  /** Null where the host has no zero-copy view for this range. */
  get view(): Uint8Array | null {
    if (this.#view === undefined) this.#view = this.#open();
    return this.#view;
  }

  #open(): Uint8Array | null {
    const file = this.#file;
    if (!windowsPossible(file, this.pageAligned)) return null;
    file.demandWhole(this.byteOffset + this.byteLength);
    return native({ path: file.name, byteOffset: this.byteOffset }, (addon) =>
      addon.fileWindow(file.file, this.byteOffset, this.byteLength),
    );
  }
}

/** An external buffer may begin at any byte; an overlay lies over whole pages, so that only aligned windows can be one. */
function windowsPossible(file: LocalFile, pageAligned: boolean): boolean {
  const { externalBuffers, overlay } = host();
  if (!file.info.mapped) return false;
  return externalBuffers || (overlay && pageAligned);
}

/** A run of a local file, as the bytes of a storage. */
export class MappedBytes implements StorageBytes, Range {
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly alignment: number;
  readonly #file: LocalFile;
  /** A slice looks through the view of its whole, so that both show the same writes. */
  readonly #whole: MappedBytes | undefined;
  #view: Uint8Array | undefined;
  /** The view is a copy in ordinary memory. */
  #copied = false;

  constructor(file: LocalFile, byteOffset: number, byteLength: number, alignment: number, whole?: MappedBytes) {
    this.#file = file;
    this.byteOffset = byteOffset;
    this.byteLength = byteLength;
    this.alignment = alignment;
    this.#whole = whole;
  }

  get name(): string | undefined {
    return this.#file.name;
  }

  get zeroCopy(): boolean {
    if (this.#whole && fitsArray(this.#whole)) return this.#whole.zeroCopy;
    if (this.#view) return !this.#copied;
    return fitsArray(this) && windowsPossible(this.#file, this.byteOffset % this.alignment === 0);
  }

  bytes(): Uint8Array {
    if (this.#file.closed) throw closedError(this.#file.name);
    this.#view ??= this.#look();
    return this.#view;
  }

  #look(): Uint8Array {
    if (this.byteLength === 0) return new Uint8Array(0);
    if (!fitsArray(this)) {
      throw new CheckpointError(
        'ARRAY_TOO_LARGE',
        `a storage of ${this.byteLength} bytes is longer than any array of this host, which end at ${host().maxArrayBytes}`,
        {
          path: this.#file.name,
          byteOffset: this.byteOffset,
          hint: 'use read() or chunks() on it',
        },
      );
    }
    if (this.#whole && fitsArray(this.#whole)) {
      const start = this.byteOffset - this.#whole.byteOffset;
      return this.#whole.bytes().subarray(start, start + this.byteLength);
    }
    const window = this.#file.windowOf(this);
    const { view } = window;
    if (view) {
      const start = view.byteOffset + this.byteOffset - window.byteOffset;
      return new Uint8Array(view.buffer, start, this.byteLength);
    }
    const copy = this.#allocate();
    this.#file.readInto(this.byteOffset, copy);
    this.#copied = true;
    return copy;
  }

  #allocate(): Uint8Array {
    try {
      return freshBytes(this.byteLength);
    } catch (cause) {
      throw new CheckpointError('ARRAY_TOO_LARGE', `no memory for a copy of ${this.byteLength} bytes`, {
        path: this.#file.name,
        byteOffset: this.byteOffset,
        hint: 'use read() or chunks() on the storage',
        cause,
      });
    }
  }

  /** The copy that writes go to, where there is one; else the mapping is the truth. */
  #copy(): Uint8Array | undefined {
    if (this.#copied) return this.#view;
    const whole = this.#whole;
    if (whole === undefined) return undefined;
    return whole.#copied ? this.bytes() : undefined;
  }

  span(): Span {
    if (this.#file.closed) throw closedError(this.#file.name);
    return this.#copy() ?? [this.#file.file, this.byteOffset, this.byteLength];
  }

  file(): NativeFile | undefined {
    return this.#copy() ? undefined : this.#file.file;
  }

  async read(target: Uint8Array, byteOffset: number): Promise<number> {
    const file = this.#file;
    if (file.closed) throw closedError(file.name);
    const count = Math.max(0, Math.min(target.byteLength, this.byteLength - byteOffset));
    const into = target.subarray(0, count);
    const copy = this.#copy();
    if (copy) into.set(copy.subarray(byteOffset, byteOffset + count));
    else if (count > 0)
      await native({ path: file.name }, (addon) => addon.fileRead(file.file, this.byteOffset + byteOffset, into));
    return count;
  }

  slice(byteOffset: number, byteLength: number): StorageBytes {
    return new MappedBytes(this.#file, this.byteOffset + byteOffset, byteLength, this.alignment, this.#whole ?? this);
  }
}

function fitsArray(bytes: MappedBytes): boolean {
  return bytes.byteLength <= host().maxArrayBytes;
}

/**
 * Electron packs an application into `app.asar`, where only its patched `fs` can look; native code cannot. Packagers
 * unpack chosen files beside it, under the same name in `app.asar.unpacked`.
 */
function outsideAsar(path: string): string {
  const match = /^(.*?\.asar)[\\/]/i.exec(path);
  if (!match) return path;
  const archive = match[1] as string;
  const unpacked = `${archive}.unpacked${path.slice(archive.length)}`;
  if (existsSync(unpacked)) return unpacked;
  if (!isArchive(archive)) return path;
  throw new CheckpointError(
    'UNSUPPORTED',
    `the file is inside the Electron archive "${archive}", where it cannot be mapped`,
    {
      path,
      hint: 'list it under asarUnpack, or pass the bytes: load(fs.readFileSync(path))',
    },
  );
}

function isArchive(path: string): boolean {
  // Electron shows an archive as a folder unless it is told not to.
  const electron = process as { noAsar?: boolean };
  const before = electron.noAsar;
  electron.noAsar = true;
  try {
    return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
  } finally {
    if (before === undefined) delete electron.noAsar;
    else electron.noAsar = before;
  }
}
