/** Risk: tensors that are read in one step, and storages that are made when asked for, differ from those of the slow way. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { load, loadSync, OrderedDict, openSync, type PyValue, save, Tensor, Tuple, toBytes } from '../lib';
import { zipCheckpoint } from './container-samples';

const dir = mkdtempSync(join(tmpdir(), 'fast-path-'));
afterAll(() => rmSync(dir, { recursive: true }));

function stateDict(): OrderedDict<Tensor> {
  const shared = Tensor.from(Float32Array.of(0, 1, 2, 3, 4, 5));
  const state = new OrderedDict<Tensor>();
  state.set('first', Tensor.from(Float32Array.of(1, 2)));
  state.set('whole', shared);
  state.set('part', shared.narrow(0, 2, 3));
  state.set('matrix', shared.view(2, 3).transpose(0, 1));
  state.set('integer', Tensor.from(BigInt64Array.of(7n)));
  state.set('deep', Tensor.from(new Float32Array(16)).view(2, 2, 2, 2));
  return state;
}

/** The records of a file, by name. */
function partsOf(file: Uint8Array): Record<string, Uint8Array> {
  return Object.fromEntries(
    openSync(file).info.records.map(({ name, byteOffset, byteLength }) => [
      name,
      file.subarray(byteOffset, byteOffset + byteLength),
    ]),
  );
}

describe('what a pickle recalls of a dict of tensors', () => {
  test('every memo number gives what Python stored under it', async () => {
    // The list ends with `K 7 e .`; a GET of a memo number in the place of the integer recalls any entry.
    const file = await toBytes([stateDict(), 7]);
    const kinds = new Map<string, number>();
    for (let index = 0; index < 80; index++) {
      const bytes = Buffer.from(file);
      const at = bytes.indexOf('K\x07e.', 0, 'latin1');
      expect(at).toBeGreaterThan(0);
      bytes[at] = 'h'.charCodeAt(0);
      bytes[at + 1] = index;
      let list: PyValue[];
      try {
        list = loadSync<PyValue[]>(bytes);
      } catch (error) {
        expect((error as Error).message).toContain('was never stored');
        kinds.set('none', (kinds.get('none') ?? 0) + 1);
        continue;
      }
      const [state, recalled] = list as [OrderedDict<Tensor>, PyValue];
      expect([...state.keys()]).toEqual([...stateDict().keys()]);
      for (const [key, tensor] of stateDict()) expect((state.get(key) as Tensor).equal(tensor)).toBe(true);
      const kind = recalled instanceof Tuple ? 'Tuple' : recalled instanceof Tensor ? 'Tensor' : typeof recalled;
      if (recalled instanceof Tensor) expect([...state.values()]).toContain(recalled);
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
    // 6 tensors; for each a persistent id, a shape, a stride and arguments (shape and stride of one dimension are two).
    expect(kinds.get('Tensor')).toBe(6);
    expect(kinds.get('Tuple')).toBe(24);
    // Keys of the dict and of four storages, 'storage' and 'cpu'.
    expect(kinds.get('string')).toBe(12);
    expect(kinds.get('none')).toBeGreaterThan(0);
  });

  test('a number that is stored out of order, in the middle of a tensor, holds what Python stored last', async () => {
    const bytes = Buffer.from(await toBytes([stateDict(), 7]));
    // The storage key `X "3" q n`, which no other tensor recalls, goes to memo number 0, which the list at the end then recalls.
    const key = bytes.indexOf('X\x01\0\0\x003q', 0, 'latin1');
    const end = bytes.indexOf('K\x07e.', 0, 'latin1');
    expect(Math.min(key, end)).toBeGreaterThan(0);
    bytes[key + 7] = 0;
    bytes.write('h\0', end, 'latin1');
    const [state, recalled] = loadSync<[OrderedDict<Tensor>, PyValue]>(bytes);
    expect(recalled).toBe('3');
    expect([...state.values()].map(({ storage }) => storage.key)).toEqual(['0', '1', '1', '1', '2', '3']);
  });

  test('a number that is stored ahead of the order holds what the order stores there later', async () => {
    const file = await toBytes([stateDict(), 7]);
    const parts = partsOf(file);
    const pickle = Buffer.from(parts['data.pkl'] as Uint8Array).toString('latin1');
    const ending = pickle.indexOf('K\x07e.');
    /** The list itself is stored under another number too where `ahead`; the list then ends with what is recalled from there. */
    const recalledFrom = (index: number, ahead: boolean): PyValue => {
      const store = ahead ? `q${String.fromCharCode(index)}` : '';
      const changed = `${pickle.slice(0, 5)}${store}${pickle.slice(5, ending)}h${String.fromCharCode(index)}e.`;
      const list = loadSync<PyValue[]>(zipCheckpoint({ ...parts, 'data.pkl': Buffer.from(changed, 'latin1') }));
      const keys = [...(list[0] as OrderedDict<Tensor>).keys()];
      expect(keys).toEqual([...stateDict().keys()]);
      return list[1] === list ? 'the list' : String(list[1]);
    };
    expect(pickle.slice(2, 5)).toBe(']q\0');
    let beyond = 0;
    for (let index = 1; index < 80; index++) {
      let expected: PyValue;
      try {
        expected = recalledFrom(index, false);
      } catch {
        expected = 'the list';
        beyond++;
      }
      expect(recalledFrom(index, true), `memo number ${index}`).toBe(expected);
    }
    expect(beyond).toBeGreaterThan(0);
    expect(beyond).toBeLessThan(40);
  });

  test('a frame may end in the middle of a tensor', async () => {
    const file = await toBytes(stateDict());
    const { records } = openSync(file).info;
    const parts = Object.fromEntries(
      records.map(({ name, byteOffset, byteLength }) => [name, file.subarray(byteOffset, byteOffset + byteLength)]),
    );
    const pickle = Buffer.from(parts['data.pkl'] as Uint8Array);
    // Behind the storage key `X "3" q n` of the last tensor, counted from what follows PROTO.
    const frameBytes = pickle.indexOf('X\x01\0\0\x003q', 0, 'latin1') + 8 - 2;
    const frame = Buffer.alloc(9, 0x95);
    frame.writeBigUInt64LE(BigInt(frameBytes), 1);
    const framed = Buffer.concat([pickle.subarray(0, 2), frame, pickle.subarray(2)]);
    const state = loadSync<OrderedDict<Tensor>>(zipCheckpoint({ ...parts, 'data.pkl': framed }));
    for (const [key, tensor] of stateDict()) expect((state.get(key) as Tensor).equal(tensor)).toBe(true);
  });

  test('a key that stands in two dicts stays one string, an equal one stays another', async () => {
    const path = join(dir, 'ema.pt');
    const key = 'model.weight';
    const ema = new OrderedDict<Tensor>([[key, Tensor.from(Float32Array.of(3))]]);
    const model = new OrderedDict<Tensor>([
      ['other', Tensor.from(Float32Array.of(1))],
      [key, Tensor.from(Float32Array.of(2))],
    ]);
    await save(
      new Map<string, PyValue>([
        ['model', model],
        ['ema', ema],
      ]),
      path,
    );
    await save(await load(path), join(dir, 'ema-2.pt'));
    const pickle = openSync(path).info.records.find(({ name }) => name === 'data.pkl');
    const second = openSync(join(dir, 'ema-2.pt')).info.records.find(({ name }) => name === 'data.pkl');
    expect(second?.crc32).toBe(pickle?.crc32);
  });
});

describe('storages of a file', () => {
  const path = join(dir, 'state.pt');

  test('are one object however they are reached, and know their key, location, dtype and bytes', async () => {
    await save(stateDict(), path);
    for (const source of [path, await toBytes(stateDict())]) {
      const state = await load<OrderedDict<Tensor>>(source);
      const whole = state.get('whole') as Tensor;
      expect((state.get('part') as Tensor).storage).toBe(whole.storage);
      expect((state.get('matrix') as Tensor).storage).toBe(whole.storage);
      expect(whole.storage).toBe(whole.storage);
      expect([...state.values()].map(({ storage }) => storage.key)).toEqual(['0', '1', '1', '1', '2', '3']);
      expect(whole.storage).toMatchObject({ location: 'cpu', nbytes: 24, untyped: false });
      expect(String((state.get('integer') as Tensor).storage.dtype)).toBe('torch.int64');
      whole.asTypedArray()[2] = 9;
      expect((state.get('part') as Tensor).toArray()).toEqual([9, 3, 4]);
    }
  });

  test('share one window, whichever is looked at first', async () => {
    await save(stateDict(), path);
    const state = await load<OrderedDict<Tensor>>(path);
    const views = ['deep', 'first', 'integer'].map((key) => (state.get(key) as Tensor).storage.bytes());
    expect(new Set(views.map(({ buffer }) => buffer)).size).toBe(1);
  });

  test('still tell what they are after close', async () => {
    await save(stateDict(), path);
    const checkpoint = openSync(path);
    const tensor = checkpoint.get('integer') as Tensor;
    checkpoint.close();
    expect(tensor.storage).toMatchObject({ key: '2', nbytes: 8 });
    expect(() => tensor.storage.bytes()).toThrow(expect.objectContaining({ code: 'CLOSED' }));
  });

  test('are found by the UTF-8 of their keys', async () => {
    const { 'data.pkl': pickle, 'data/3': bytes, ...others } = partsOf(await toBytes(stateDict()));
    const key = Buffer.from('X\x02\0\0\0\u00e9').toString('latin1');
    const changed = Buffer.from(pickle as Uint8Array)
      .toString('latin1')
      .replace('X\x01\0\0\x003', key);
    const file = zipCheckpoint({
      'data.pkl': Buffer.from(changed, 'latin1'),
      'data/\u00e9': bytes as Uint8Array,
      ...others,
    });
    expect(loadSync<OrderedDict<Tensor>>(file).get('deep')?.storage.key).toBe('\u00e9');
  });

  test('mapLocation sees each of them once and in order, and retags them', async () => {
    await save(stateDict(), path);
    const seen: string[] = [];
    await load(path, {
      mapLocation: (storage, location) => {
        seen.push(`${storage.key} ${location}`);
        return storage;
      },
    });
    expect(seen).toEqual(['0 cpu', '1 cpu', '2 cpu', '3 cpu']);
    const meta = await load<OrderedDict<Tensor>>(path, { mapLocation: 'meta' });
    expect((meta.get('first') as Tensor).isMeta).toBe(true);
  });

  test('a record of another size is refused by name', async () => {
    const parts = partsOf(await toBytes(new OrderedDict([['a', Tensor.from(Float32Array.of(1, 2, 3, 4))]])));
    writeFileSync(path, zipCheckpoint({ ...parts, 'data/0': new Uint8Array(12) }));
    expect(() => loadSync(path)).toThrow(/record size \(12 bytes\) does not match expected size \(16 bytes/);
  });
});
