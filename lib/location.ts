/**
 * Where storages go: PyTorch's location tags, `map_location` in all its forms, and the table of devices.
 *
 * A location is a label here: the bytes stay where they are, in the file or in memory. The CPU is the only built-in
 * device with memory, so a storage saved on another one is PyTorch's own error unless `mapLocation` sends it elsewhere.
 * Rules, order and texts are those of torch/serialization.py (2.13): `_package_registry`, `_get_restore_location`,
 * `_validate_device`.
 */
import { CheckpointError } from './errors';
import { Device, pythonName } from './pickle/values';
import { MetaBytes, Storage } from './tensor/storage';

/** The forms of PyTorch's `map_location`. */
export type MapLocation =
  | string
  | Device
  | ReadonlyMap<string, string>
  | Readonly<Record<string, string>>
  /** Given the storage on the CPU and its tag; null or undefined leaves it to the default. */
  | ((storage: Storage, location: string) => Storage | null | undefined);

/** One way to tag and restore storages, as `torch.serialization.register_package` takes them. */
export interface DeviceBackend {
  /** Name of the device type: `cpu`, `cuda`. */
  readonly tag: string;
  /** Lower runs first. PyTorch's own are 10 (cpu), 20 (cuda) to 26 (mtia). */
  readonly priority: number;
  /** The tag to save the storage with, or null when it is not on this device. */
  tagOf(storage: Storage): string | null;
  /** The storage on this device, or null when `location` is another device's. Errors are thrown. */
  restore(storage: Storage, location: string): Storage | null;
}

function locationError(text: string, storage: Storage): CheckpointError {
  return new CheckpointError('LOCATION', `storage "${storage.key}": ${text}`, {
    hint: 'pass mapLocation: "cpu", or open() the file to look at it without placing anything',
  });
}

/** A device that is not here: what PyTorch says on a machine without it. */
function absent(
  name: string,
  priority: number,
  handles: (location: string) => boolean,
  message: (location: string) => string,
): DeviceBackend {
  return {
    tag: name,
    priority,
    tagOf: (storage) => (handles(storage.location) ? storage.location : null),
    restore(storage, location) {
      if (!handles(location)) return null;
      throw locationError(message(location), storage);
    },
  };
}

const useCpu =
  "If you are running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map your storages to the CPU.";

function unavailable(name: string): (location: string) => string {
  return (location) =>
    /^[a-z]+(:(0|[1-9]\d*))?$/.test(location)
      ? `Attempting to deserialize object on a ${name.toUpperCase()} device but torch.${name}.is_available() is False. ${useCpu}`
      : `Invalid device string: '${location}'`;
}

const unregistered = (name: string) => () => `The ${name.toUpperCase()} device module is not registered. ${useCpu}`;
/** As `_deserialize` finds its devices: `xpu`, `xpu:0` and `xpu0`, but not `xpus`. */
const isOn = (name: string) => (location: string) => new RegExp(`^${name}($|:|[0-9])`).test(location);

const CPU: DeviceBackend = {
  tag: 'cpu',
  priority: 10,
  tagOf: (storage) => (storage.location === 'cpu' ? 'cpu' : null),
  restore: (storage, location) => (location === 'cpu' ? onLocation(storage, 'cpu') : null),
};

const backends: DeviceBackend[] = [
  CPU,
  absent('cuda', 20, isOn('cuda'), unavailable('cuda')),
  absent(
    'mps',
    21,
    (location) => location.startsWith('mps'),
    () => 'torch.UntypedStorage(): Storage device not recognized: mps',
  ),
  {
    tag: 'meta',
    priority: 22,
    tagOf: (storage) => (storage.location === 'meta' ? 'meta' : null),
    restore(storage, location) {
      return location === 'meta'
        ? new Storage(storage.key, 'meta', storage.dtype, new MetaBytes(storage.nbytes), storage.untyped)
        : null;
    },
  },
  absent('privateuseone', 23, isOn('privateuseone'), unregistered('privateuseone')),
  absent('hpu', 24, isOn('hpu'), unregistered('hpu')),
  absent('xpu', 25, isOn('xpu'), unavailable('xpu')),
  absent('mtia', 26, isOn('mtia'), unavailable('mtia')),
];

function onLocation(storage: Storage, location: string): Storage {
  return storage.location === location ? storage : storage.withLocation(location);
}

/**
 * Adds a device, as `torch.serialization.register_package` does; the lowest priority that answers wins. Returns a
 * function that takes it out again.
 */
export function registerDevice(backend: DeviceBackend): () => void {
  if (
    typeof backend?.tag !== 'string' ||
    !Number.isFinite(backend.priority) ||
    typeof backend.tagOf !== 'function' ||
    typeof backend.restore !== 'function'
  ) {
    throw new TypeError('a device needs a tag, a priority, tagOf(storage) and restore(storage, location)');
  }
  backends.push(backend);
  backends.sort((a, b) => a.priority - b.priority);
  return () => {
    const at = backends.indexOf(backend);
    if (at >= 0) backends.splice(at, 1);
  };
}

/** The tag that a storage is saved with. */
export function locationTag(storage: Storage): string {
  for (const backend of backends) {
    const tag = backend.tagOf(storage);
    if (tag !== null) return tag;
  }
  // A checkpoint opened without placing keeps tags of devices that PyTorch knows and this machine does not.
  return storage.location;
}

/** PyTorch's `default_restore_location`. */
export function restoreLocation(storage: Storage, location: string): Storage {
  for (const backend of backends) {
    const restored = backend.restore(storage, location);
    if (restored) return restored;
  }
  throw locationError(
    `don't know how to restore data location of torch.storage.UntypedStorage (tagged with ${location})`,
    storage,
  );
}

/**
 * Where every storage at `location` goes when nothing but its tag decides; undefined where each must be asked. `placement`
 * then gives the storage itself, under this location.
 */
export function plainPlacement(mapLocation: MapLocation | undefined, location: string): string | undefined {
  const toCpu = mapLocation === undefined || mapLocation === null ? location : mapLocation;
  if (typeof toCpu !== 'string' && !(toCpu instanceof Device)) return undefined;
  return String(toCpu) === 'cpu' && backends[0] === CPU ? 'cpu' : undefined;
}

/** What `mapLocation` does to a storage, whose location is still the tag in the file. */
export function placement(mapLocation: MapLocation | undefined): (storage: Storage) => Storage {
  if (mapLocation === undefined || mapLocation === null)
    return (storage) => restoreLocation(onLocation(storage, 'cpu'), storage.location);
  if (typeof mapLocation === 'string' || mapLocation instanceof Device) {
    const target = String(mapLocation);
    return (storage) => restoreLocation(onLocation(storage, 'cpu'), target);
  }
  if (typeof mapLocation === 'function') {
    return (storage) => {
      const onCpu = onLocation(storage, 'cpu');
      const chosen = mapLocation(onCpu, storage.location);
      if (chosen === null || chosen === undefined) return restoreLocation(onCpu, storage.location);
      if (!(chosen instanceof Storage))
        throw new TypeError('a mapLocation function must return a Storage, null or undefined');
      return chosen;
    };
  }
  if (mapLocation instanceof Map || isPlainObject(mapLocation)) {
    const table: ReadonlyMap<string, unknown> =
      mapLocation instanceof Map ? mapLocation : new Map(Object.entries(mapLocation));
    return (storage) => {
      const target = table.get(storage.location) ?? storage.location;
      return restoreLocation(onLocation(storage, 'cpu'), String(target));
    };
  }
  // PyTorch takes anything else for a function.
  throw new TypeError(`'${pythonName(mapLocation)}' object is not callable`);
}

function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** The same for a tensor that carries a device name instead of a storage; PyTorch has no callback for those. */
export function devicePlacement(mapLocation: MapLocation | undefined): (storage: Storage) => Storage {
  if (typeof mapLocation !== 'function') return placement(mapLocation);
  return (storage) => {
    throw locationError(
      'Callable map_location not supported with _rebuild_wrapper_subclass or _rebuild_device_tensor_from_numpy',
      storage,
    );
  };
}
