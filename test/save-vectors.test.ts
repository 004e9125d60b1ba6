// Promise: values made in JavaScript are saved to the very bytes that torch.save writes for the same values in Python.
// Length and SHA-256 are those of torch.save(object, BytesIO) of PyTorch 1.13, 2.6 and 2.13 on 64-bit Linux.
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { DType, OrderedDict, Parameter, Tensor, Tuple, toBytes } from '../lib/index';

const f32 = (values: number[], shape = [values.length]): Tensor => Tensor.from(Float32Array.from(values), { shape });

/** A state dict with the `_metadata` of the modules at these paths. */
function stateDict(modules: string[], entries: [string, Tensor][]): OrderedDict {
  const metadata = new OrderedDict(modules.map((path): [string, object] => [path, new Map([['version', 1]])]));
  const dict = new OrderedDict(entries);
  dict.attributes = new Map([['_metadata', metadata]]);
  return dict;
}

const OBJECTS: Record<string, () => unknown> = {
  A: () => f32([1, 2, 3]),
  B: () => ({ a: 1 }),
  C: () =>
    stateDict(
      [''],
      [
        ['weight', f32([0, 1, 2, 3, 4, 5], [2, 3])],
        ['bias', f32([0.5, -0.5])],
      ],
    ),
  D: () =>
    stateDict(
      ['', '0', '1', '2'],
      [
        ['0.weight', f32([1, 1, 1, 1], [2, 2])],
        ['0.bias', f32([2, 2])],
        ['2.weight', f32([3, 3], [1, 2])],
        ['2.bias', f32([4])],
      ],
    ),
  E: () => Array.from({ length: 12 }, (_, i) => f32([i])),
  F: () => {
    const a = Tensor.from(BigInt64Array.of(0n, 1n, 2n, 3n, 4n, 5n));
    return { x: a, y: a.narrow(0, 2, 2), z: a.view(2, 3).transpose(0, 1) };
  },
  G: () => [
    f32([]),
    Tensor.from([true, false]),
    Tensor.from(Int16Array.of(7), { shape: [] }),
    Tensor.from([1.5], { dtype: DType.bfloat16 }),
    Tensor.from(Float32Array.of(1, 2), { dtype: DType.complex64 }),
  ],
  H: () => new Map(Array.from({ length: 1000 }, (_, i) => [i, null])),
  I: () => new OrderedDict(Array.from({ length: 1001 }, (_, i): [string, number] => [`${i}k`, i])),
  J: () => ({
    epoch: 3,
    lr: 0.1,
    big: 2 ** 40,
    neg: -5,
    s: 'héllo',
    b: Uint8Array.of(0, 255),
    t: Tuple.of(1, 2, 3, 4),
    n: null,
    T: true,
    l: [1, [2, [3]]],
  }),
  K: () => Tensor.from(Uint8Array.of(0x50, 0x4b, 7, 8, 1, 2, 3, 4, 5)),
  L: () => new Parameter(f32([0, 0])),
};

const VERSIONS = ['1.13', '2.6', '2.13'] as const;
type Expected = Record<(typeof VERSIONS)[number], readonly [byteLength: number, sha256: string]>;
const EXPECTED: Record<string, Expected> = {
  A: {
    '1.13': [747, '0f3036323d0baf0a4da8e1a865512e3e7fa3c1631aa7e7ebfa2839406fd72a35'],
    '2.6': [1180, '1de7d297a3e99afe139aeab581e8eaa790c3e026d2a4b545c71d59e953193848'],
    '2.13': [1577, '225e7dd1c0bb46ae23b4e9e172ae23339c7391aeae88a159dfdb63fa966d8490'],
  },
  B: {
    '1.13': [431, 'a0029291c7a56ec6dc7107600ad684c955e88871d3475fb8ea2fe0ca089f9abc'],
    '2.6': [864, '57b8b5df8d258d54db63fcf8c4858068458985aec2664eb633ed57d0e37c977e'],
    '2.13': [1261, 'd869aad1e3787dea6c3afeb9c72516854bf6b753ec613b9b5e8b62bf31c6d912'],
  },
  C: {
    '1.13': [1063, 'bb0f4a317398a39d121702da6298e9d9191c9b89d7d3324f3155118b924b1391'],
    '2.6': [1496, '0227798fe2175a726641c231d3e21a20b23bc54f7620b3c5fc714bfe787bed8f'],
    '2.13': [1893, '9ade212ef32fb63fdfe1130b713e141b8981dd3d7b0d33e5581b630f34a0deaa'],
  },
  D: {
    '1.13': [1631, '3a87d0a3a3544d709f558ca68de73862a6dce8110b33446d50908ff84ba81912'],
    '2.6': [2064, '4eff320b40bfe81613b197979e6622fdc792536a4b48ec750474eba5f4a0a9fb'],
    '2.13': [2461, 'c3d3b1929a26a42624e1aefd15ddfb4c48ac1b01d9bd41c8b94e5fcb71214c3e'],
  },
  E: {
    '1.13': [3329, '9605608c5daf1230621ac76a009aa062df9efbdb7ef6b7d7062776d6953bfdcb'],
    '2.6': [3762, 'da17af34293c2f4bfa8ff3caa03cc4982affe09cee977c2c2d8b57f6ecc103ef'],
    '2.13': [4223, '158dede394dd27c41ecdba807a6857c989cb7fdb7c347078f4b38c9733165c23'],
  },
  F: {
    '1.13': [875, 'ecb90792f8dbb7a24ed737f604d33f9a2e2f0ff49eafbeafef9de42452514fa0'],
    '2.6': [1308, 'e87cbf13a8cf374bcf86f43de1201e4d8c842ff1d3fd8e954e870dd65bf5dbfc'],
    '2.13': [1705, 'a3b78e1176d958a536563c253a520e8d5b43a4d3d022ab3cc8a666c0dc0be0fe'],
  },
  G: {
    '1.13': [1691, '0920b6b00f9a52eef1cf32c6bd54bb943357a029c3e54ea93c401e1a167306ff'],
    '2.6': [2124, '56a1d82373c1743dca5cae431113c6295d71b333b2fa7b38d2845a029713749c'],
    '2.13': [2521, 'fb8637ac262222c3aa0bae4acb67c2826a661538c5b4bc6cbfe39b4058fd8e52'],
  },
  H: {
    '1.13': [4143, 'ae2ec1b3d274f9d4ddcf5d564b157160146ad30a20e24ad809b2d7314045a504'],
    '2.6': [4576, 'a200aa3bcb73c1d30151caf9c4ae134b28b56742045cabfef0655f0b6ac24a74'],
    '2.13': [4973, '88e58878079becf3064ad3aa4f40228ad81b9c37a8336fb31f93ef3114882f3d'],
  },
  I: {
    '1.13': [16303, 'dcdccff0b1ddd7691542a105d5ef5cfbd1174bf8a3683f8051018d10ccb5200d'],
    '2.6': [16736, '1fce77444ab996b3a5919fe9f778f4db38cfca18e69e1110a8cbd37807ced4d2'],
    '2.13': [17133, '45e2a0ddecf6e3ce634649bae048142b1c56134f13f6f60071011403458e61bb'],
  },
  J: {
    '1.13': [623, '5c6f12369b6cd7ce6457dace1620d818dacba9dabd203bad82e3675eb6e1933d'],
    '2.6': [1056, '9b62dd3933a855bff81ef1caaac68ef0cd35c499497d6b190da836d1e161da45'],
    '2.13': [1453, '5546f349c91dded48756e4fda6e9c540ab78caf595e81a158cc21bd446126872'],
  },
  K: {
    '1.13': [747, '005f77834af96e201510429959fd22e34ec9578ae1726f8995aad0331f926387'],
    '2.6': [1180, '6de6a58d14c616122fddbed47ad92b0aa695cab825a708687075c150cd37a60f'],
    '2.13': [1577, 'e99d5ed24026792c72d43ba1dc6dca064dad3c79587a299f1155d8efe0016230'],
  },
  L: {
    '1.13': [811, '172b56822c349def7962362a1c2c6c5740c57f2e84fcf86f9dc78560ca5d144f'],
    '2.6': [1244, '906038f342a507983ef558cda175ac1dd81177fc12a7bec4dc3f644880e6b4ac'],
    '2.13': [1641, '64ffeb5fcc8d5d9c9475079f265f7fa6b607d6ff4b73275596f2f62363914891'],
  },
};

test.each(Object.keys(EXPECTED).flatMap((id) => VERSIONS.map((version) => [id, version] as const)))(
  'object %s in the layout of %s',
  async (id, torchVersion) => {
    const bytes = await toBytes((OBJECTS[id] as () => unknown)(), { torchVersion });
    const [byteLength, sha256] = (EXPECTED[id] as Expected)[torchVersion];
    expect(bytes.length).toBe(byteLength);
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256);
  },
);

test('without a version the newest layout is written', async () => {
  expect((await toBytes(f32([1, 2, 3]))).length).toBe(1577);
});
