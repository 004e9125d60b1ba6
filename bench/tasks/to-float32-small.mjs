import { inPython } from '../python.mjs';

const COUNT = 1000;
const elements = (size) => Number(/^(\d+)-elements$/.exec(size)[1]);
/** What element i is: small integers, exact in bfloat16. */
const valueAt = (i) => i % 128;

const TORCH = `
import sys, torch
from cell import repeated
n, count = int(sys.argv[1]), ${COUNT}
tensors = [(torch.arange(n) % 128).to(torch.bfloat16) for _ in range(count)]
def work():
    total = 0.0
    for v in tensors:
        total += float(v.float()[-1])
    return {"items": count, "total": total}
repeated(work)
`;

export default {
  about: `convert ${COUNT} small bfloat16 tensors to float32, again and again in one process: the cost of a call`,
  sizes: ['16-elements', '1024-elements', '65536-elements'],
  smoke: '16-elements',
  guard: { size: '1024-elements', contenders: ['ours', 'plain-javascript'] },
  prepare: async () => [],
  expected: (_dir, size) => ({ total: COUNT * valueAt(elements(size) - 1) }),
  contenders: {
    ours: {
      async run({ size, repeated }) {
        const { DType, Tensor } = await import('../../dist/index.mjs');
        const tensors = Array.from({ length: COUNT }, () =>
          Tensor.from(Float32Array.from({ length: elements(size) }, (_, i) => valueAt(i))).to(DType.bfloat16),
        );
        return repeated(() => {
          let total = 0;
          for (const tensor of tensors) total += tensor.toFloat32Array().at(-1);
          return { items: COUNT, total };
        });
      },
    },
    'plain-javascript': {
      run({ size, repeated }) {
        const tensors = Array.from({ length: COUNT }, () =>
          Uint16Array.from(Uint32Array.from(new Uint32Array(elements(size)), (_, i) => bitsOf(valueAt(i)) >>> 16)),
        );
        return repeated(() => {
          let total = 0;
          for (const halves of tensors) {
            const bits = new Uint32Array(halves.length);
            for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
            total += new Float32Array(bits.buffer).at(-1);
          }
          return { items: COUNT, total };
        });
      },
    },
    torch: inPython(TORCH, ({ size }) => [String(elements(size))]),
  },
};

function bitsOf(number) {
  return new Uint32Array(Float32Array.of(number).buffer)[0];
}
