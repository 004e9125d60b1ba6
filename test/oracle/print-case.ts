/** Tensors from the JSON that print.py writes. */
import { DType } from '../../lib/dtype';
import { Layout, QScheme } from '../../lib/pickle/values';
import { NestedTensor } from '../../lib/tensor/nested';
import type { AnyTensor } from '../../lib/tensor/print';
import { QuantizedTensor } from '../../lib/tensor/quantized';
import { type SparseComponents, SparseTensor } from '../../lib/tensor/sparse';
import { MemoryBytes, Storage } from '../../lib/tensor/storage';
import { Parameter, Tensor } from '../../lib/tensor/tensor';

interface Description {
  kind: 'strided' | 'meta' | 'quantized' | 'sparse' | 'nested';
  dtype: string;
  shape: number[];
  stride: number[];
  offset: number;
  bytes: string;
  requires_grad: boolean;
  conj?: boolean;
  neg?: boolean;
  parameter?: boolean;
  qscheme: string;
  scale?: number;
  zero_point: number;
  scales: Description;
  zero_points: Description;
  axis: number;
  layout: string;
  components: Description[] | Record<string, Description>;
}

export interface PrintCase {
  options: { precision: number; threshold: number; edgeitems: number; linewidth: number; sci_mode: boolean | null };
  tensor: Description;
  text: string;
}

export function build(of: Description): AnyTensor {
  if (of.kind === 'nested') {
    const [buffer, sizes, strides, storageOffsets] = (of.components as Description[]).map(strided) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    return new NestedTensor({ buffer, sizes, strides, storageOffsets }, of.requires_grad);
  }
  if (of.kind === 'sparse') {
    const components = Object.fromEntries(Object.entries(of.components).map(([name, part]) => [name, strided(part)]));
    return new SparseTensor(Layout.of(of.layout), components as unknown as SparseComponents, of.shape, {
      requiresGrad: of.requires_grad,
    });
  }
  return strided(of);
}

function strided(of: Description): Tensor {
  const dtype = DType.of(of.dtype);
  if (!dtype) throw new Error(`no dtype ${of.dtype}`);
  if (of.kind === 'meta') return Tensor.zeros(of.shape, { dtype, device: 'meta' });
  const storage = new Storage('', 'cpu', dtype, new MemoryBytes(new Uint8Array(Buffer.from(of.bytes, 'base64'))));
  if (of.kind === 'quantized') {
    const qscheme = QScheme.of(of.qscheme);
    const quantizer =
      of.scale === undefined
        ? { qscheme, scales: strided(of.scales), zeroPoints: strided(of.zero_points), axis: of.axis }
        : { qscheme, scale: of.scale, zeroPoint: of.zero_point };
    return new QuantizedTensor(storage, dtype, of.shape, of.stride, of.offset, quantizer, of.requires_grad);
  }
  const tensor = new Tensor(storage, dtype, of.shape, of.stride, of.offset, of.requires_grad);
  tensor.conj = of.conj ?? false;
  tensor.neg = of.neg ?? false;
  return of.parameter ? new Parameter(tensor, of.requires_grad) : tensor;
}
