/**
 * The rules of `torch.load(weights_only=True)` and its messages (PyTorch 2.6 to 2.13, torch/_weights_only_unpickler.py).
 */
import { DType } from '../dtype';
import { CheckpointError, type ErrorDetails } from '../errors';

const UTILS = [
  '_rebuild_tensor',
  '_rebuild_tensor_v2',
  '_rebuild_tensor_v3',
  '_rebuild_parameter',
  '_rebuild_parameter_with_state',
  '_rebuild_qtensor',
  '_rebuild_sparse_tensor',
  '_rebuild_meta_tensor_no_storage',
  '_rebuild_nested_tensor',
  '_rebuild_wrapper_subclass',
  '_rebuild_device_tensor_from_cpu_tensor',
  '_rebuild_device_tensor_from_numpy',
];
const QSCHEMES = [
  'per_tensor_affine',
  'per_tensor_symmetric',
  'per_channel_affine',
  'per_channel_symmetric',
  'per_channel_affine_float_qparams',
];
const TENSOR_CLASSES = ['Double', 'Float', 'Half', 'BFloat16', 'Long', 'Int', 'Short', 'Char', 'Byte', 'Bool'];
const SPARSE_CLASSES = TENSOR_CLASSES.slice(0, -1);
const CUDA_STORAGES = [...TENSOR_CLASSES, 'ComplexDouble', 'ComplexFloat'];
const STORAGES = [...CUDA_STORAGES, 'QInt8', 'QInt32', 'QUInt8', 'QUInt4x2', 'QUInt2x4'];

const ALLOWED: ReadonlySet<string> = new Set([
  '_codecs.encode',
  'builtins.bytearray',
  'builtins.complex',
  'builtins.set',
  'collections.Counter',
  'collections.OrderedDict',
  'torch.Size',
  'torch.Tensor',
  'torch.device',
  'torch.nn.parameter.Parameter',
  'torch.serialization._get_layout',
  'torch._tensor._rebuild_from_type_v2',
  'torch.storage.TypedStorage',
  'torch.storage.UntypedStorage',
  ...UTILS.map((name) => `torch._utils.${name}`),
  ...DType.all().map((dtype) => `torch.${dtype.name}`),
  ...QSCHEMES.map((name) => `torch.${name}`),
  ...TENSOR_CLASSES.flatMap((name) => [`torch.${name}Tensor`, `torch.cuda.${name}Tensor`]),
  ...SPARSE_CLASSES.flatMap((name) => [`torch.sparse.${name}Tensor`, `torch.cuda.sparse.${name}Tensor`]),
  ...STORAGES.map((name) => `torch.${name}Storage`),
  ...CUDA_STORAGES.map((name) => `torch.cuda.${name}Storage`),
]);

/** What PyTorch allows once the modules of it are imported, and says so. */
const JAGGED: ReadonlySet<string> = new Set([
  'torch.nested._internal.nested_tensor.NestedTensor',
  'torch.nested._internal.nested_tensor._rebuild_njt',
  'torch._dynamo.decorators._DimRange',
]);
const DISTRIBUTED: ReadonlySet<string> = new Set([
  'torch.distributed.device_mesh.DeviceMesh',
  ...['DTensor', '_dtensor_spec.DTensorSpec', '_dtensor_spec.TensorMeta'].map(
    (name) => `torch.distributed.tensor.${name}`,
  ),
  ...['Partial', 'Replicate', 'Shard'].map((name) => `torch.distributed.tensor.placement_types.${name}`),
]);

const BLOCKED_MODULES: ReadonlySet<string> = new Set(['sys', 'os', 'posix', 'nt']);

const UNSAFE =
  'In PyTorch 2.6, we changed the default value of the `weights_only` argument in `torch.load` from `False` to `True`. ' +
  'Re-running `torch.load` with `weights_only` set to `False` will likely succeed, but it can result in arbitrary code execution. ' +
  'Do it only if you got the file from a trusted source.';
const DOCS =
  '\n\nCheck the documentation of torch.load to learn more about types accepted by default with weights_only ' +
  'https://pytorch.org/docs/stable/generated/torch.load.html.';

/** PyTorch 2.13's whole text around an inner message. */
function wrap(inner: string): string {
  if (/GLOBAL (\S+) was not an allowed global by default\./.test(inner)) {
    return (
      'Weights only load failed. This file can still be loaded, to do so you have two options, ' +
      `\x1b[1mdo those steps only if you trust the source of the checkpoint\x1b[0m. \n\t(1) ${UNSAFE}\n\t(2) Alternatively, to load with ` +
      `\`weights_only=True\` please check the recommended steps in the following error message.\n\tWeightsUnpickler error: ${inner}${DOCS}`
    );
  }
  if (/(\S+) must be (\S+) to load/.test(inner)) return `Weights only load failed. ${inner}\n ${UNSAFE}\n`;
  if (/whose module (\S+) is blocked/.test(inner)) return `Weights only load failed. ${UNSAFE}\n\n\n${inner}${DOCS}`;
  return (
    `Weights only load failed. ${UNSAFE}\nPlease file an issue with the following so that we can make \`weights_only=True\` ` +
    `compatible with your use case: WeightsUnpickler error: \n\n${inner}${DOCS}`
  );
}

export function weightsOnlyError(inner: string, details: ErrorDetails = {}): CheckpointError {
  return new CheckpointError('WEIGHTS_ONLY', wrap(inner), {
    ...details,
    hint: 'in this package weightsOnly: false runs no code either, and safeGlobals: ["module.name"] allows single globals',
  });
}

export const TORCHSCRIPT_REFUSED = `Cannot use \`\`weights_only=True\`\` with TorchScript archives passed to \`\`torch.load\`\`. ${UNSAFE}`;
export const TAR_REFUSED = `Cannot use \`\`weights_only=True\`\` with files saved in the legacy .tar format. ${UNSAFE}`;

/** Throws unless PyTorch's list or `safeGlobals` has the global; `global` is in Python 3 names. */
export function checkAllowed(global: string, module: string, safeGlobals: ReadonlySet<string>): void {
  const top = module.split('.')[0] as string;
  if (BLOCKED_MODULES.has(module) || BLOCKED_MODULES.has(top)) {
    throw weightsOnlyError(`Trying to load unsupported GLOBAL ${global} whose module ${module} is blocked.`);
  }
  if (ALLOWED.has(global) || safeGlobals.has(global)) return;
  if (JAGGED.has(global)) {
    throw weightsOnlyError(
      '``torch.nested`` and ``torch._dynamo`` must be imported to load nested jagged tensors (NJTs)',
    );
  }
  if (DISTRIBUTED.has(global)) throw weightsOnlyError('``torch.distributed.tensor`` must be imported to load DTensors');
  const shown = global.replace(/^builtins\./, '');
  throw weightsOnlyError(
    `Unsupported global: GLOBAL ${shown} was not an allowed global by default. Please use \`torch.serialization.add_safe_globals([${shown}])\` ` +
      `or the \`torch.serialization.safe_globals([${shown}])\` context manager to allowlist this global if you trust this class/function.`,
  );
}
