/**
 * How tensors and storages stand in a pickle: the calls of torch/_tensor.py `_reduce_ex_internal` and the persistent ids
 * of torch/serialization.py, written opcode by opcode. What PyTorch makes anew at each save (argument tuples, sizes,
 * the OrderedDict of hooks) gets a memo number of its own each time and is never referred to.
 */
import { DType } from '../dtype';
import { locationTag } from '../location';
import { NestedTensor } from '../tensor/nested';
import { QuantizedTensor } from '../tensor/quantized';
import { SparseTensor } from '../tensor/sparse';
import type { Storage } from '../tensor/storage';
import { Parameter, Tensor } from '../tensor/tensor';
import { Op } from './opcodes';
import { type PickleWriter, refuse, type Steps } from './pickle-writer';
import { Size, Tuple } from './values';

/** How a storage was written the first time. The object stands for the string of the key in the memo. */
interface Written {
  /** uint8 for an untyped one: PyTorch refuses a second dtype over the same bytes. */
  readonly dtype: DType;
  readonly key: string;
}

type AnyTensor = Tensor | SparseTensor | NestedTensor;

export interface TensorWriter {
  tensor(tensor: Tensor | SparseTensor | NestedTensor): Steps | undefined;
  bareStorage(storage: Storage): undefined;
}

/** Locations that PyTorch takes from one constant string; others, such as `cuda:0`, are made anew each time. */
const CONSTANT_LOCATIONS: ReadonlySet<string> = new Set(['cpu', 'mps', 'meta']);

export function makeTensorWriter(pickler: PickleWriter): TensorWriter {
  const { out } = pickler;
  const { target } = pickler;
  const old = target.torchVersion === '1.13';
  /** True when 1.13 itself is to read the file. A file of that layout may be of 2.0, which keeps what 1.13 loses. */
  const limited = old && target.versionAsked;
  const written = new Map<Storage, Written>();

  function persistentId(storage: Storage, dtype: DType, untyped: boolean): void {
    if (untyped && target.legacy)
      throw refuse(
        'PyTorch cannot read an untyped storage from the legacy stream, nor a tensor of a dtype that needs one; save as zip',
      );
    const name = untyped ? 'UntypedStorage' : (dtype.storageClass as string);
    const type = untyped ? DType.uint8 : dtype;
    const numel = untyped ? storage.nbytes : dtype.numelIn(storage.nbytes) / dtype.elementsPerByte;
    let known = written.get(storage);
    if (!known) written.set(storage, (known = { dtype: type, key: target.storageKey(storage, numel) }));
    else if (known.dtype !== type && storage.nbytes > 0)
      throw refuse('Cannot save multiple tensors or storages that view the same data as different types');
    const location = locationTag(storage);
    pickler.mark();
    pickler.string('storage');
    pickler.global(untyped ? 'torch.storage' : 'torch', name);
    if (target.legacy) pickler.freshString(known.key);
    // One string object per key, apart from every equal string of the user.
    else pickler.string(known.key, known);
    if (CONSTANT_LOCATIONS.has(location)) pickler.string(location);
    else pickler.freshString(location);
    pickler.int(numel);
    if (target.legacy) out.u8(Op.NONE);
    pickler.tupleOf(4);
    out.u8(Op.BINPERSID);
  }

  /** A tuple of sizes or strides, made anew. */
  function dims(values: readonly number[]): void {
    if (values.length === 0) return out.u8(Op.EMPTY_TUPLE);
    if (values.length > 3) pickler.mark();
    for (const value of values) pickler.int(value);
    pickler.tupleOf(values.length);
  }

  /** The `OrderedDict()` of backward hooks. */
  function hooks(): void {
    pickler.global('collections', 'OrderedDict');
    out.u8(Op.EMPTY_TUPLE);
    out.u8(Op.REDUCE);
    pickler.memoizeFresh();
  }

  /** True when the dtype has no typed storage class and goes through `_rebuild_tensor_v3`. */
  const isV3 = (dtype: DType): boolean => dtype.storageClass === undefined;

  function demandSavable({ dtype, isMeta }: Tensor): void {
    if (!isV3(dtype)) return;
    if (limited) throw refuse(`a tensor of ${dtype} cannot be written in the layout of PyTorch 1.13`);
    if (dtype.array === undefined && !isMeta) throw refuse(`a tensor of ${dtype} cannot be saved by PyTorch`);
  }

  /** The function of a plain tensor's reduction. */
  function rebuildFunction(tensor: AnyTensor): string {
    if (tensor instanceof NestedTensor) return '_rebuild_nested_tensor';
    if (tensor instanceof SparseTensor) {
      return tensor.layout.name === 'sparse_csr' && old ? '_rebuild_sparse_csr_tensor' : '_rebuild_sparse_tensor';
    }
    if (tensor.isMeta) return '_rebuild_meta_tensor_no_storage';
    if (tensor instanceof QuantizedTensor) return '_rebuild_qtensor';
    return isV3(tensor.dtype) ? '_rebuild_tensor_v3' : '_rebuild_tensor_v2';
  }

  /** The arguments of a plain tensor's reduction; scales of a quantized one are tensors themselves. */
  function* rebuildArgs(tensor: AnyTensor, requiresGrad: boolean): Steps {
    if (tensor instanceof SparseTensor) return yield* sparseArgs(tensor);
    if (tensor instanceof NestedTensor) return yield* nestedArgs(tensor);
    const { dtype } = tensor;
    demandSavable(tensor);
    pickler.mark();
    if (tensor.isMeta) {
      pickler.global('torch', dtype.name);
      dims(tensor.shape);
      dims(tensor.stride);
      pickler.bool(requiresGrad);
      return pickler.tupleOf(4);
    }
    const { storage, storageOffset } = target.relocate(tensor);
    persistentId(storage, dtype, isV3(dtype));
    pickler.int(storageOffset);
    dims(tensor.shape);
    dims(tensor.stride);
    if (tensor instanceof QuantizedTensor) yield* quantizer(tensor);
    pickler.bool(requiresGrad);
    hooks();
    if (isV3(dtype)) pickler.global('torch', dtype.name);
    if (tensor.conj || tensor.neg) bits(tensor);
    pickler.tupleOf(4);
  }

  function* quantizer(tensor: QuantizedTensor): Steps {
    const params = tensor.quantizer;
    if ('scale' in params) {
      pickler.global('torch', params.qscheme.name);
      pickler.float(params.scale);
      pickler.int(params.zeroPoint);
      return pickler.tupleOf(3);
    }
    pickler.mark();
    const { name } = params.qscheme;
    // PyTorch writes one name for both and looks at the zero points.
    pickler.global('torch', name === 'per_channel_affine_float_qparams' ? 'per_channel_affine' : name);
    yield [params.scales, undefined, 'scales'];
    yield [params.zeroPoints, undefined, 'zeroPoints'];
    pickler.int(params.axis);
    pickler.tupleOf(4);
  }

  /** `{'conj': True}` or `{'neg': True}`; of both, PyTorch's hash map gives the latter first. */
  function bits(tensor: Tensor): void {
    if (limited)
      throw refuse(
        'a lazily conjugated or negated tensor cannot be written in the layout of PyTorch 1.13; use its clone()',
      );
    out.u8(Op.EMPTY_DICT);
    pickler.memoizeFresh();
    const both = tensor.conj && tensor.neg;
    if (both) out.u8(Op.MARK);
    for (const [name, set] of [
      ['neg', tensor.neg],
      ['conj', tensor.conj],
    ] as const) {
      if (!set) continue;
      pickler.freshString(name);
      pickler.bool(true);
    }
    out.u8(both ? Op.SETITEMS : Op.SETITEM);
  }

  /** `identity`: what the memo knows the result as; null for one that is made for the occasion. */
  function* plain(tensor: AnyTensor, identity: object | null, requiresGrad: boolean): Steps {
    pickler.global('torch._utils', rebuildFunction(tensor));
    yield* rebuildArgs(tensor, requiresGrad);
    out.u8(Op.REDUCE);
    remember(identity);
  }

  /** The memo number of an object, or of one that PyTorch makes anew and nothing refers to. */
  function remember(identity: object | null): void {
    if (identity) pickler.memoize(identity);
    else pickler.memoizeFresh();
  }

  /** A subclass, or a tensor that carries attributes. */
  function* typed(tensor: AnyTensor): Steps {
    pickler.global('torch._tensor', '_rebuild_from_type_v2');
    pickler.mark();
    pickler.global('torch._utils', rebuildFunction(tensor));
    if (tensor.pythonType) yield [tensor.pythonType, undefined, ''];
    else pickler.global('torch', 'Tensor');
    yield* rebuildArgs(tensor, tensor.requiresGrad);
    yield [tensor.attributes ?? null, undefined, '__attrs__'];
    pickler.tupleOf(4);
    out.u8(Op.REDUCE);
    pickler.memoizeMade(tensor);
  }

  function* parameter(tensor: AnyTensor): Steps {
    const withState = hasAttributes(tensor) && !limited;
    pickler.global('torch._utils', withState ? '_rebuild_parameter_with_state' : '_rebuild_parameter');
    if (withState) pickler.mark();
    // `parameter.data` is a new tensor object without gradient.
    yield* plain(tensor, null, false);
    pickler.bool(tensor.requiresGrad);
    hooks();
    if (withState) yield [tensor.attributes, undefined, '__attrs__'];
    pickler.tupleOf(withState ? 4 : 3);
    out.u8(Op.REDUCE);
    pickler.memoizeMade(tensor);
  }

  function hasAttributes(tensor: AnyTensor): boolean {
    const { attributes } = tensor;
    return attributes !== undefined && attributes !== null && !(attributes instanceof Map && attributes.size === 0);
  }

  /** The layout, and a tuple of the components, the size and, for COO, whether they are coalesced. */
  function* sparseArgs(tensor: SparseTensor): Steps {
    yield [tensor.layout, undefined, ''];
    const isCoo = tensor.layout.name === 'sparse_coo';
    const items: unknown[] = [...Object.values(tensor.components), Size.from(tensor.shape)];
    const withCoalesced = isCoo && !limited && (!old || tensor.isCoalesced !== undefined);
    if (withCoalesced) items.push(tensor.isCoalesced ?? false);
    yield [Tuple.from(items as object[]), undefined, ''];
    pickler.tupleOf(2);
  }

  function* nestedArgs(tensor: NestedTensor): Steps {
    if (limited) throw refuse('a nested tensor cannot be written in the layout of PyTorch 1.13');
    if (target.legacy) throw refuse('PyTorch cannot read a nested tensor from the legacy stream; save as zip');
    const { buffer, sizes, strides, storageOffsets } = tensor.components;
    yield [Tuple.from<object>([buffer, sizes, strides, storageOffsets]), undefined, ''];
  }

  return {
    tensor(tensor) {
      if (
        tensor instanceof Parameter ||
        ((!(tensor instanceof Tensor) || tensor instanceof QuantizedTensor) && tensor.isParameter)
      ) {
        return parameter(tensor);
      }
      // PyTorch 1.13 keeps attributes of subclasses only.
      if (tensor.pythonType || (hasAttributes(tensor) && !limited)) return typed(tensor);
      return plain(tensor, tensor, tensor.requiresGrad);
    },
    bareStorage(storage) {
      target.keepWhole?.(storage);
      persistentId(storage, storage.dtype, storage.untyped || storage.dtype.storageClass === undefined);
      return undefined;
    },
  };
}
