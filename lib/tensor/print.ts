/** The text PyTorch prints for a tensor of any kind: elements, then what cannot be seen from them. */
import { DType } from '../dtype';
import { isCheckpointError } from '../errors';
import { Layout } from '../pickle/values';
import { NestedTensor } from './nested';
import { elementsText, printOptions } from './print-elements';
import { floatRepr, tupleRepr } from './print-number';
import { QuantizedTensor } from './quantized';
import { SparseTensor } from './sparse';
import { Parameter, Tensor } from './tensor';

export type { PrintOptions } from './print-elements';
export { setPrintOptions } from './print-elements';

/** Anything that prints as `tensor(...)`. */
export type AnyTensor = Tensor | SparseTensor | NestedTensor;

export function isAnyTensor(value: unknown): value is AnyTensor {
  return value instanceof Tensor || value instanceof SparseTensor || value instanceof NestedTensor;
}

/** `repr(tensor)`. */
export function tensorText(tensor: AnyTensor): string {
  if (tensor instanceof NestedTensor) return nestedText(tensor);
  if (tensor instanceof SparseTensor) return sparseText(tensor);
  const subclass = subclassName(tensor);
  const prefix = `${subclass ?? 'tensor'}(`;
  const suffixes = deviceSuffix(tensor);
  let body: string | undefined;
  if (tensor instanceof QuantizedTensor) {
    suffixes.push(`size=${tupleRepr(tensor.shape)}`, ...dtypeSuffix(tensor.dtype), ...quantizerSuffixes(tensor));
    body = bodyOrUndefined(tensor, prefix.length) ?? '...';
  } else {
    if (!tensor.isMeta) body = bodyOrUndefined(tensor, prefix.length);
    // Without elements to tell, size and dtype are spelled out.
    if (body === undefined || (body === '[]' ? tensor.ndim !== 1 : printOptions.edgeitems === 0)) {
      suffixes.push(`size=${tupleRepr(tensor.shape)}`);
    }
    if (body === undefined || body === '[]') {
      if (tensor.dtype !== DType.float32) suffixes.push(`dtype=${tensor.dtype}`);
    } else {
      suffixes.push(...dtypeSuffix(tensor.dtype));
    }
  }
  if (tensor.requiresGrad) suffixes.push('requires_grad=True');
  const text = withSuffixes(prefix + (body ?? '...'), suffixes, prefix.length, false);
  if (!(tensor instanceof Parameter)) return text;
  return subclass === undefined ? `Parameter containing:\n${text}` : `Parameter(${text})`;
}

/** The class name of a tensor subclass; PyTorch's own classes print as plain tensors. */
function subclassName(tensor: Tensor): string | undefined {
  const global = tensor.pythonType?.global;
  if (global === undefined || /^torch\.(_tensor\.)?Tensor$|^torch\.nn\.parameter\.Parameter$/.test(global))
    return undefined;
  return global.slice(global.lastIndexOf('.') + 1);
}

/** Printing never throws for what a file or a closed checkpoint cannot give: that shows as a meta tensor does. */
function bodyOrUndefined(tensor: Tensor, indent: number): string | undefined {
  try {
    return elementsText(tensor, indent);
  } catch (error) {
    if (isCheckpointError(error)) return undefined;
    throw error;
  }
}

/** The storage's tag, which in a broken file may be no device. */
function deviceSuffix(tensor: AnyTensor): string[] {
  const strided =
    tensor instanceof Tensor
      ? tensor
      : tensor instanceof SparseTensor
        ? tensor.components.values
        : tensor.components.buffer;
  const { location } = strided.storage;
  return location === 'cpu' ? [] : [`device='${location}'`];
}

function dtypeSuffix(dtype: DType): string[] {
  const isDefault =
    dtype === DType.float32 || dtype === DType.complex64 || dtype === DType.int64 || dtype === DType.bool;
  return isDefault ? [] : [`dtype=${dtype}`];
}

function quantizerSuffixes({ quantizer }: QuantizedTensor): string[] {
  const scheme = `quantization_scheme=${quantizer.qscheme}`;
  if ('scale' in quantizer) return [scheme, `scale=${floatRepr(quantizer.scale)}`, `zero_point=${quantizer.zeroPoint}`];
  const { scales, zeroPoints, axis } = quantizer;
  return [scheme, `scale=${tensorText(scales)}`, `zero_point=${tensorText(zeroPoints)}`, `axis=${axis}`];
}

function withSuffixes(text: string, suffixes: readonly string[], indent: number, newlineFirst: boolean): string {
  let result = text;
  let column = text.length - text.lastIndexOf('\n') + 1;
  let forced = newlineFirst;
  for (const suffix of suffixes) {
    if (forced || column + suffix.length + 2 > printOptions.linewidth) {
      result += `,\n${' '.repeat(indent)}${suffix}`;
      column = indent + suffix.length;
      forced = false;
    } else {
      result += `, ${suffix}`;
      column += suffix.length + 2;
    }
  }
  return `${result})`;
}

function sparseText(tensor: SparseTensor): string {
  const prefix = 'tensor(';
  const { components } = tensor;
  const suffixes = [...deviceSuffix(tensor), `size=${tupleRepr(tensor.shape)}`];
  if (!tensor.isMeta) suffixes.push(`nnz=${tensor.nnz}`);
  suffixes.push(...dtypeSuffix(tensor.dtype));
  const isCoo = 'indices' in components;
  const parts: [string, Tensor][] = isCoo
    ? [['indices', components.indices]]
    : 'crowIndices' in components
      ? [
          ['crow_indices', components.crowIndices],
          ['col_indices', components.colIndices],
        ]
      : [
          ['ccol_indices', components.ccolIndices],
          ['row_indices', components.rowIndices],
        ];
  parts.push(['values', components.values]);
  const texts = parts.map(([name, part]) => partText(`${name}=tensor(`, part, prefix.length));
  if (tensor.layout !== Layout.strided) suffixes.push(`layout=${tensor.layout}`);
  if (tensor.requiresGrad) suffixes.push('requires_grad=True');
  return withSuffixes(prefix + texts.join(`,\n${' '.repeat(prefix.length)}`), suffixes, prefix.length, isCoo);
}

function partText(name: string, part: Tensor, indent: number): string {
  const body = part.isMeta ? undefined : bodyOrUndefined(part, indent + name.length);
  const size = body === undefined || part.numel === 0 ? `, size=${tupleRepr(part.shape)}` : '';
  return `${name}${body ?? '...'}${size})`;
}

function nestedText(tensor: NestedTensor): string {
  const prefix = 'nested_tensor(';
  const suffixes = deviceSuffix(tensor);
  if (tensor.requiresGrad) suffixes.push('requires_grad=True');
  let body = '...';
  try {
    const texts = tensor.unbind().map((part) => tensorText(part.detach()).replace(/^/gm, '  '));
    body = `[\n${texts.join(',\n')}\n]`;
  } catch (error) {
    if (!isCheckpointError(error)) throw error;
  }
  return withSuffixes(prefix + body, suffixes, prefix.length, false);
}
