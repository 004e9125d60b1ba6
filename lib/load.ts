/**
 * The read pipeline, top to bottom: source -> container -> pickle -> object graph -> storages placed -> caller.
 */
import { Checkpoint } from './checkpoint';
import type { ContainerContents, Format, PickleOptions, ReadContext } from './container/container';
import { detect } from './container/detect';
import { readNested } from './container/nested';
import { CheckpointError, type ErrorCode } from './errors';
import { DEFAULT_LIMITS, type Limits, limitsOf } from './limits';
import { devicePlacement, type MapLocation, placement, plainPlacement } from './location';
import type { ClassLookup, ClassRegistry } from './pickle/classes';
import { NotUtf8Error, type StringEncoding } from './pickle/decode';
import { GlobalResolver } from './pickle/globals';
import type { GlobalNames } from './pickle/notes';
import { asObjects } from './pickle/objects';
import type { Host } from './pickle/rules';
import { type Unpickled, unpickle } from './pickle/unpickler';
import type { PyValue } from './pickle/values';
import { TAR_REFUSED, TORCHSCRIPT_REFUSED } from './pickle/weights-only';
import { type Provenance, rememberOrigin } from './provenance';
import { registeredClass } from './registry';
import type { ByteSource } from './source/byte-source';
import { type CheckpointSource, openSource, openSourceSync } from './source/open-source';
import type { OnProgress } from './source/progress';
import { Storage, SwappedBytes } from './tensor/storage';

/** Options of `load` and `open`. */
export interface LoadOptions {
  /** Where storages go; `load` follows PyTorch's rules without it, `open` leaves the tags as they are. */
  mapLocation?: MapLocation;
  /** Refuse everything that `torch.load(weights_only=True)` refuses. Default false: nothing here ever runs code. */
  weightsOnly?: boolean;
  /** Globals, `module.name`, to allow beside PyTorch's list, and beside the list of dangerous ones. */
  safeGlobals?: Iterable<string>;
  /** Whether a global such as `os.system` ends the load (default) or stays inert, for tools that look at such files. */
  unsafeGlobals?: 'reject' | 'inert';
  /** Classes to rebuild as JavaScript objects; default: those of `registry()`. The rest become inert `PyObject`s. */
  classes?: ClassRegistry;
  /** How byte strings of Python 2 become strings. Default utf-8, with Latin-1 where a file of Python 2 is not UTF-8. */
  encoding?: StringEncoding;
  /** How bytes are read: by mapping, by position, or (auto) by mapping where the file is local. */
  io?: 'auto' | 'mmap' | 'read';
  /** 'object': dicts whose keys are all strings become null-prototype objects. Default 'map'. */
  dicts?: 'map' | 'object';
  /** Budgets against hostile files; see `Limits` for each with its default. */
  limits?: Partial<Limits>;
  signal?: AbortSignal;
  onProgress?: OnProgress;
}

/** PyTorch's warning where a TorchScript archive is given to `torch.load`. */
const TORCHSCRIPT_WARNING =
  "'torch.load' received a zip file that looks like a TorchScript archive dispatching to 'torch.jit.load' (call 'torch.jit.load' directly to silence this warning)";

/**
 * Reads a checkpoint and gives what `torch.load` gives. From a path the file is mapped and no tensor byte is read until
 * a tensor's bytes are asked for; the mapping lives as long as any storage of it. Throws CheckpointError.
 */
export async function load<T = PyValue>(source: CheckpointSource, options: LoadOptions = {}): Promise<T> {
  const bytes = await openSource(source, sourceOptions(options, 'whole'));
  return read(bytes, options, true).root as T;
}

/** `load` without waiting, for a path or bytes. */
export function loadSync<T = PyValue>(source: string | URL | Uint8Array | ArrayBuffer, options: LoadOptions = {}): T {
  return read(openSourceSync(source, sourceOptions(options, 'whole')), options, true).root as T;
}

/**
 * Opens a checkpoint: headers and object graph now, tensor bytes when asked for. Locations stay as in the file unless
 * `mapLocation` is given, so that a checkpoint of a GPU can be looked at anywhere. Over http(s) only the parts that are
 * needed are fetched.
 */
export async function open(source: CheckpointSource, options: LoadOptions = {}): Promise<Checkpoint> {
  return read(await openSource(source, sourceOptions(options, 'ranges')), options, false);
}

/** `open` without waiting, for a path or bytes. */
export function openSync(source: string | URL | Uint8Array | ArrayBuffer, options: LoadOptions = {}): Checkpoint {
  return read(openSourceSync(source, sourceOptions(options, 'ranges')), options, false);
}

/**
 * The stages above a container, for one that is put together from what is left of a file: pickles are read from where the
 * caller says, globals stay inert. @internal
 */
export function readContext(source: ByteSource): ReadContext & { readonly globals: GlobalResolver['named'] } {
  return new Reader(source, { unsafeGlobals: 'inert', classes: new Map() }, false);
}

/** Throws for options that are no options: a budget that is no number would be no budget. */
function checkOptions(options: LoadOptions): void {
  const choices = {
    dicts: ['map', 'object'],
    encoding: ['utf-8', 'ascii', 'latin1', 'bytes'],
    io: ['auto', 'mmap', 'read'],
    unsafeGlobals: ['reject', 'inert'],
  };
  for (const [name, known] of Object.entries(choices)) {
    const value = options[name as keyof typeof choices];
    if (value !== undefined && !known.includes(value))
      throw new RangeError(`${name} is '${String(value)}', not one of ${known.join(', ')}`);
  }
  for (const [name, value] of Object.entries(options.limits ?? {})) {
    if (!Object.hasOwn(DEFAULT_LIMITS, name)) throw new RangeError(`limits.${name} is no limit; see DEFAULT_LIMITS`);
    if (value !== undefined && (typeof value !== 'number' || !(value >= 0)))
      throw new RangeError(`limits.${name} is ${String(value)}, not a number from 0 up`);
  }
  const { classes, safeGlobals } = options;
  if (classes !== undefined && typeof classes?.get !== 'function')
    throw new TypeError("classes is a Map: new Map([['module.Class', JsClass]])");
  // A string is its characters, none of which is a global.
  if (typeof safeGlobals === 'string') throw new TypeError(`safeGlobals is a list of names: ['${safeGlobals}']`);
}

function sourceOptions(options: LoadOptions, remote: 'whole' | 'ranges') {
  checkOptions(options);
  return {
    io: options.io ?? 'auto',
    limits: limitsOf(options.limits),
    signal: options.signal,
    onProgress: options.onProgress,
    remote,
  } as const;
}

/** What to do about damage, where the stage that met it has no better advice. */
export const DAMAGE_HINT = 'download or copy it again; "torch-checkpoint diagnose" tells more';
const DAMAGE: ReadonlySet<ErrorCode> = new Set([
  'TRUNCATED',
  'ZIP_CORRUPT',
  'LEGACY_CORRUPT',
  'SAFETENSORS_CORRUPT',
  'PICKLE_CORRUPT',
  'TENSOR_CORRUPT',
]);

/** Everything after the bytes are at hand. The source is closed again when reading fails. */
function read(source: ByteSource, options: LoadOptions, loading: boolean): Checkpoint {
  try {
    options.signal?.throwIfAborted();
    return new Reader(source, options, loading).read();
  } catch (error) {
    source.close();
    if (!(error instanceof CheckpointError)) throw error;
    throw error.located({ path: source.name, hint: DAMAGE.has(error.code) ? DAMAGE_HINT : undefined });
  }
}

/** What checkpoints inside a checkpoint may have together: so often what the file has, and some more for small files. */
const NESTED_TIMES = 4;
const NESTED_BYTES = 16 << 20;

class Reader implements ReadContext, Host {
  readonly limits: Limits;
  readonly weightsOnly: boolean;
  readonly place: (storage: Storage) => Storage;
  readonly plainPlacement: (location: string) => string | undefined;
  readonly placeDevice: (storage: Storage) => Storage;
  readonly #source: ByteSource;
  /** For `load`, as opposed to `open`: what torch.load would do and say. */
  readonly #loading: boolean;
  readonly #options: LoadOptions;
  readonly #resolver: GlobalResolver;
  #nested = 0;
  #nestedBytes = 0;
  /** Of the longest pickle so far, which may be compressed in the file. */
  #pickleBytes = 0;
  #protocol: number | undefined;
  #globalNames: GlobalNames | undefined;
  #tensorTable: PickleOptions['tensorFromId'];

  constructor(source: ByteSource, options: LoadOptions, loading: boolean) {
    this.#source = source;
    this.#loading = loading;
    this.#options = options;
    this.limits = limitsOf(options.limits);
    this.weightsOnly = options.weightsOnly ?? false;
    const placed = loading || options.mapLocation !== undefined;
    this.place = placed ? placement(options.mapLocation) : (storage) => storage;
    this.plainPlacement = (location) => (placed ? plainPlacement(options.mapLocation, location) : location);
    this.placeDevice = placed ? devicePlacement(options.mapLocation) : (storage) => storage;
    this.#resolver = new GlobalResolver({
      weightsOnly: this.weightsOnly,
      safeGlobals: new Set(options.safeGlobals),
      unsafeGlobals: options.unsafeGlobals ?? 'reject',
      classes: options.classes ?? { get: registeredClass },
    });
  }

  read(): Checkpoint {
    const kind = detect(this.#source, this.limits);
    if (this.weightsOnly && kind.format === 'torchscript')
      throw new CheckpointError('WEIGHTS_ONLY', TORCHSCRIPT_REFUSED);
    if (this.weightsOnly && kind.format === 'tar') throw new CheckpointError('WEIGHTS_ONLY', TAR_REFUSED);
    const contents = kind.read(this.#source, this);
    if (kind.format === 'torchscript' && this.#loading) this.warn(TORCHSCRIPT_WARNING);
    return this.#checkpoint(kind.format, contents);
  }

  #checkpoint(format: Format, contents: ContainerContents): Checkpoint {
    const root = this.#options.dicts === 'object' ? asObjects(contents.root) : contents.root;
    rememberOrigin(root, this.#provenance(contents));
    return new Checkpoint(this.#source, format, root, contents, this.#resolver.named, this.#protocol);
  }

  /** What a later save of the same root repeats. */
  #provenance(contents: ContainerContents): Provenance {
    const { writer } = contents;
    const torchVersion = writer === '2.1-2.6' ? '2.6' : writer === '1.6-2.0' || writer === '1.4-1.5' ? '1.13' : '2.13';
    return {
      torchVersion,
      pickleProtocol: this.#protocol,
      globalNames: this.#globalNames,
      crc32: contents.checksums ?? true,
      storageAlignment: contents.storageAlignment,
      nameDigits: contents.nameDigits,
    };
  }

  get classes(): ClassLookup {
    return this.#resolver.classes;
  }

  get globals(): GlobalResolver['named'] {
    return this.#resolver.named;
  }

  unpickle: ReadContext['unpickle'] = (bytes, options = {}) => {
    const {
      record,
      byteOffset = 0,
      baseOffset = 0,
      storedLength = bytes.length,
      persistentLoad,
      numberedStorages,
      tensorFromId,
      plain = false,
    } = options;
    this.#pickleBytes = Math.max(this.#pickleBytes, bytes.length);
    const run = (encoding: StringEncoding) =>
      unpickle(bytes, {
        limits: this.limits,
        host: this,
        resolver: this.#resolver,
        encoding,
        weightsOnly: this.weightsOnly,
        byteOffset,
        baseOffset,
        storedLength,
        record,
        persistentLoad,
        numberedStorages,
      });
    this.#tensorTable = tensorFromId;
    const { value, byteEnd, protocol, globalNames } = this.#options.encoding
      ? run(this.#options.encoding)
      : this.#tryUtf8(run);
    if (!plain) {
      this.#protocol ??= protocol;
      this.#globalNames ??= globalNames;
    }
    return { value, byteEnd };
  };

  /** Files of Python 2 may hold byte strings in any encoding: Latin-1 takes them all, for the whole pickle alike. */
  #tryUtf8(run: (encoding: StringEncoding) => Unpickled): Unpickled {
    try {
      return run('utf-8');
    } catch (error) {
      if (!(error instanceof NotUtf8Error)) throw error;
      return run('latin1');
    }
  }

  loadNested(bytes: Uint8Array): PyValue {
    // Five bytes of a pickle can ask for the same megabytes again.
    const most = NESTED_BYTES + NESTED_TIMES * Math.max(this.#source.byteLength, this.#pickleBytes);
    if ((this.#nestedBytes += bytes.length) > most)
      throw new CheckpointError(
        'LIMIT_EXCEEDED',
        `the checkpoints inside this one have more than ${most} bytes together, ${NESTED_TIMES} times what there is: the same are read again and again`,
      );
    const limit = this.limits.maxNestedCheckpoints;
    if (++this.#nested > limit)
      throw new CheckpointError(
        'LIMIT_EXCEEDED',
        `more than limits.maxNestedCheckpoints (${limit}) checkpoints inside this one`,
      );
    return readNested(bytes, this, `nested${this.#nested - 1}/`, this.#source);
  }

  tensorFromId(id: number): PyValue {
    if (!this.#tensorTable)
      throw new CheckpointError('PICKLE_CORRUPT', `tensor ${id} is taken from a table that this file does not have`);
    return this.#tensorTable(id);
  }

  swapped(storage: Storage, width: number): Storage {
    return new Storage(
      storage.key,
      storage.location,
      storage.dtype,
      new SwappedBytes(storage.source, width),
      storage.untyped,
    );
  }

  warn(message: string): void {
    process.emitWarning(message);
  }
}
