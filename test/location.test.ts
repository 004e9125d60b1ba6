/** Promise: mapLocation takes PyTorch's forms in PyTorch's order, and fails with PyTorch's texts. */
import { describe, expect, test } from 'vitest';
import type { CheckpointError } from '../lib/errors';
import { type LoadOptions, loadSync, openSync } from '../lib/load';
import { type DeviceBackend, type MapLocation, registerDevice } from '../lib/location';
import { Device, Tuple } from '../lib/pickle/values';
import { Storage } from '../lib/tensor/storage';
import type { Tensor } from '../lib/tensor/tensor';
import { dict, floats, legacyCheckpoint, py, tensor, zipCheckpoint } from './container-samples';

/** One tensor on each location, all of the same four numbers. */
function saved(...locations: string[]): Uint8Array {
  const entries = Object.fromEntries(
    locations.map((location, i) => [`t${i}`, tensor({ key: String(i), numel: 4, location })]),
  );
  const records = Object.fromEntries(locations.map((_location, i) => [`data/${i}`, floats(1, 2, 3, 4)]));
  return zipCheckpoint({ 'data.pkl': py.pickle(dict(entries)), ...records });
}

function locations(bytes: Uint8Array, options: LoadOptions): string[] {
  return [...(loadSync(bytes, options) as Map<string, Tensor>).values()].map((t) => {
    if (!t.isMeta) expect([...t.toFloat32Array()]).toEqual([1, 2, 3, 4]);
    expect(String(t.device)).toBe(t.storage.location);
    return t.storage.location;
  });
}

function failure(location: string, mapLocation?: MapLocation): string {
  try {
    loadSync(saved(location), mapLocation === undefined ? {} : { mapLocation });
  } catch (error) {
    expect((error as CheckpointError).code).toBe('LOCATION');
    return (error as Error).message;
  }
  throw new Error('it was placed');
}

const CPU =
  "If you are running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map your storages to the CPU.";

describe('forms', () => {
  test('none: the CPU stays, another device is an error and never a silent move', () => {
    expect(locations(saved('cpu'), {})).toEqual(['cpu']);
    expect(failure('cuda:0')).toContain(
      `Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. ${CPU}`,
    );
  });
  test('a string, for every tag', () =>
    expect(locations(saved('cpu', 'cuda:0', 'foo'), { mapLocation: 'cpu' })).toEqual(['cpu', 'cpu', 'cpu']));
  test('a Device', () => expect(locations(saved('cuda:3'), { mapLocation: new Device('cpu') })).toEqual(['cpu']));
  test('a Map and an object; what they do not name falls through', () => {
    expect(locations(saved('cuda:0', 'cpu'), { mapLocation: new Map([['cuda:0', 'cpu']]) })).toEqual(['cpu', 'cpu']);
    expect(locations(saved('cuda:0', 'cpu'), { mapLocation: { 'cuda:0': 'cpu' } })).toEqual(['cpu', 'cpu']);
    expect(failure('cuda:1', { 'cuda:0': 'cpu' })).toContain('torch.cuda.is_available() is False');
    expect(failure('toString', {})).toContain('(tagged with toString)');
  });
  test('meta gives shapes without bytes', () => {
    const root = loadSync(saved('cuda:0'), { mapLocation: 'meta' }) as Map<string, Tensor>;
    const t = root.get('t0') as Tensor;
    expect([t.isMeta, t.shape, t.storage.nbytes]).toEqual([true, [4], 16]);
    expect(() => t.toFloat32Array()).toThrow(expect.objectContaining({ code: 'NO_DATA' }));
  });
  test('a function is called once per storage in order of first use, with the storage on the CPU', () => {
    const calls: [key: string, at: string, tag: string, nbytes: number][] = [];
    const entries = {
      a: tensor({ key: '1', numel: 4, location: 'cuda:1' }),
      b: tensor({ key: '0', numel: 4, location: 'cuda:0' }),
      c: tensor({ key: '1', numel: 4, location: 'cuda:1' }),
    };
    const bytes = zipCheckpoint({ 'data.pkl': py.pickle(dict(entries)), 'data/1': floats(5, 6, 7, 8) });
    const root = loadSync(bytes, {
      mapLocation(storage, location) {
        calls.push([storage.key, storage.location, location, storage.nbytes]);
        return storage;
      },
    }) as Map<string, Tensor>;
    expect(calls).toEqual([
      ['1', 'cpu', 'cuda:1', 16],
      ['0', 'cpu', 'cuda:0', 16],
    ]);
    expect(root.get('a')?.storage).toBe(root.get('c')?.storage);
  });
  test('null and undefined from a function mean the default; what it returns is used as it is', () => {
    expect(locations(saved('cpu'), { mapLocation: () => null })).toEqual(['cpu']);
    expect(locations(saved('cpu'), { mapLocation: () => undefined })).toEqual(['cpu']);
    expect(failure('cuda', () => null)).toContain('Attempting to deserialize object on a CUDA device');
    expect(locations(saved('cpu'), { mapLocation: (storage) => storage.withLocation('cuda:7') })).toEqual(['cuda:7']);
    expect(() => loadSync(saved('cpu'), { mapLocation: (() => 'cpu') as unknown as MapLocation })).toThrow(TypeError);
  });
  test.each<[type: string, value: unknown]>([
    ['int', 5],
    ['float', 1.5],
    ['bool', true],
    // Regression: these were taken for tables in which no tag is found.
    ['list', ['cpu']],
    ['tuple', Tuple.of('cpu')],
    ['set', new Set(['cpu'])],
    ['bytes', Buffer.from('cpu')],
  ])('anything else is taken for a function, as in PyTorch: %s', (type, value) => {
    expect(() => loadSync(saved('cpu'), { mapLocation: value as MapLocation })).toThrow(
      new TypeError(`'${type}' object is not callable`),
    );
  });
  test("an error of the function is the caller's own", () => {
    const own = new Error('mine');
    expect(() =>
      loadSync(saved('cpu'), {
        mapLocation() {
          throw own;
        },
      }),
    ).toThrow(own);
  });
});

describe('texts', () => {
  test.each([
    ['cuda', `Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. ${CPU}`],
    ['cuda:15', 'Attempting to deserialize object on a CUDA device'],
    ['cuda0', "Invalid device string: 'cuda0'"],
    ['xpu:0', 'Attempting to deserialize object on a XPU device but torch.xpu.is_available() is False.'],
    ['mtia', 'Attempting to deserialize object on a MTIA device but torch.mtia.is_available() is False.'],
    ['mps', 'torch.UntypedStorage(): Storage device not recognized: mps'],
    ['hpu', `The HPU device module is not registered. ${CPU}`],
    ['privateuseone:0', `The PRIVATEUSEONE device module is not registered. ${CPU}`],
    ['foo', "don't know how to restore data location of torch.storage.UntypedStorage (tagged with foo)"],
    ['cpu:0', "don't know how to restore data location of torch.storage.UntypedStorage (tagged with cpu:0)"],
    ['CPU', '(tagged with CPU)'],
    ['cudagraph', '(tagged with cudagraph)'],
    ['cuda:007', "Invalid device string: 'cuda:007'"],
    ['xpus', '(tagged with xpus)'],
    ['hpux', '(tagged with hpux)'],
    ['xpu0', "Invalid device string: 'xpu0'"],
    ['', '(tagged with )'],
  ])('%s', (location, text) => {
    expect(failure(location)).toContain(text);
    expect(failure('cpu', location)).toContain(text);
  });
});

test('open places nothing unless asked', () => {
  const tags = (options: LoadOptions) =>
    [...openSync(saved('cuda:0', 'weird', 'cpu'), options).tensors()].map(([, t]) => (t as Tensor).storage.location);
  expect(tags({})).toEqual(['cuda:0', 'weird', 'cpu']);
  expect(tags({ mapLocation: 'cpu' })).toEqual(['cpu', 'cpu', 'cpu']);
  expect([...(openSync(saved('cuda:0')).get('t0') as Tensor).toFloat32Array()]).toEqual([1, 2, 3, 4]);
});

test('legacy streams are placed by the same rules', () => {
  const bytes = legacyCheckpoint(dict({ w: tensor({ key: '7', numel: 2, location: 'cuda:1' }) }), [
    { key: '7', numel: 2, bytes: floats(1, 2) },
  ]);
  expect(() => loadSync(bytes)).toThrow('torch.cuda.is_available() is False');
  const w = (loadSync(bytes, { mapLocation: { 'cuda:1': 'cpu' } }) as Map<string, Tensor>).get('w') as Tensor;
  expect([w.storage.location, ...w.toFloat32Array()]).toEqual(['cpu', 1, 2]);
});

describe('registerDevice', () => {
  const fake = (tag: string, priority: number, log: string[]): DeviceBackend => ({
    tag,
    priority,
    tagOf: (storage) => (storage.location.startsWith(tag) ? storage.location : null),
    restore(storage, location) {
      log.push(tag);
      expect(storage).toBeInstanceOf(Storage);
      return location.startsWith(tag) ? storage.withLocation(location) : null;
    },
  });

  test('the lowest priority that answers wins; built-in devices keep theirs', () => {
    const log: string[] = [];
    const remove = [
      registerDevice(fake('npu', 30, log)),
      registerDevice(fake('npu-late', 40, log)),
      registerDevice(fake('silent', 5, log)),
    ];
    try {
      expect(locations(saved('npu:1'), {})).toEqual(['npu:1']);
      expect(log).toEqual(['silent', 'npu']);
      expect(locations(saved('cuda:0'), { mapLocation: 'npu:0' })).toEqual(['npu:0']);
    } finally {
      for (const undo of remove) undo();
    }
    expect(failure('npu:1')).toContain('(tagged with npu:1)');
  });

  test('an error of a device goes to the caller', () => {
    const remove = registerDevice({
      tag: 'bad',
      priority: 1,
      tagOf: () => null,
      restore: () => {
        throw new RangeError('no such card');
      },
    });
    try {
      expect(() => loadSync(saved('cpu'))).toThrow(new RangeError('no such card'));
    } finally {
      remove();
    }
  });

  test('what is no device is a TypeError', () => {
    expect(() => registerDevice({ tag: 'x', priority: Number.NaN, tagOf: () => null, restore: () => null })).toThrow(
      TypeError,
    );
    expect(() => registerDevice({ tag: 'x' } as unknown as DeviceBackend)).toThrow(TypeError);
  });
});
