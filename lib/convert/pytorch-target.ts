/**
 * PyTorch's zip. From another pickle the whole graph goes over, less what was pruned: epochs, optimizers and objects stay.
 * From anything else, and where names were chosen or changed, it is a state dict.
 */

import type { DType } from '../dtype';
import { anyAbove, anyOf } from '../glob';
import type { MapLocation } from '../location';
import { Device, OrderedDict, type PyValue } from '../pickle/values';
import { save } from '../save';
import type { Storage } from '../tensor/storage';
import { Tensor } from '../tensor/tensor';
import { walkTensors } from '../walk';
import { compareGraph } from './check';
import { type Choice, distinct } from './choose';
import { denseParts, retyper } from './retype';
import { rewrite } from './rewrite';
import type { Plan, PlannedFile, Target, TargetOptions } from './target';

/** What a record takes beside its bytes: header, padding, descriptor, directory entry and its tensor in the pickle. */
const RECORD_OVERHEAD_BYTES = 400;

export const pytorchTarget: Target = {
  name: 'pt',
  extensions: ['.pt', '.pth', '.bin', '.ckpt'],
  readable: true,
  plan(choice, options) {
    const value = rooted(choice, options);
    const tensors = [...walkTensors(value)];
    const stored = tensors.map(([name, tensor]) => ({
      name,
      bytes: tensor instanceof Tensor ? tensor.nbytes : 0,
      file: undefined,
    }));
    const file: PlannedFile = {
      name: undefined,
      bytes: forecast(value),
      write: async (output, { fsync, signal, onProgress }) => {
        const report = await save(value, output, {
          compact: true,
          fsync,
          ...(signal ? { signal } : {}),
          ...(onProgress ? { onProgress } : {}),
        });
        return { bytes: report.bytes, kernelBytes: report.kernelBytes, writtenBytes: report.writtenBytes };
      },
      verify: (path, signal) => compareGraph(path, value, signal),
    };
    return {
      tensors: tensors.length,
      aliases: new Map(),
      dropped: [...choice.model.unread],
      files: [file],
      stored,
    } satisfies Plan;
  },
};

function rooted(choice: Choice, options: TargetOptions): PyValue {
  if (options.dtype === 'q8_0') throw new TypeError('q8_0 is a type of GGUF, which PyTorch does not have');
  const { root, model, renamed, entries, options: chosen } = choice;
  const dtype: DType | undefined = options.dtype;
  const asGraph = model.isGraph && !renamed;
  const value = asGraph
    ? root
    : new OrderedDict<PyValue>(distinct(entries).map(({ name, tensor }): [PyValue, PyValue] => [name, tensor]));
  const excluded = asGraph ? anyOf(chosen.exclude) : undefined;
  const pruned = asGraph ? anyAbove(chosen.prune) : undefined;
  const mapLocation = tagging(options.mapLocation);
  if (!dtype && mapLocation === undefined && !excluded && !pruned) return value;
  return rewrite(value, {
    drops: (path) => (excluded?.(path) ?? false) || (pruned?.(path) ?? false),
    replace: dtype || mapLocation !== undefined ? retyper(value, dtype, mapLocation) : (tensor) => tensor,
  });
}

/** Devices of PyTorch with memory of their own. */
const ACCELERATORS: ReadonlySet<string> = new Set(['cuda', 'mps', 'xpu', 'hpu']);

/** A file may say that it is for a device which this machine lacks: nothing is put there when it is written. */
function tagging(mapLocation: MapLocation | undefined): MapLocation | undefined {
  if (typeof mapLocation !== 'string' && !(mapLocation instanceof Device)) return mapLocation;
  const device = new Device(mapLocation);
  if (!ACCELERATORS.has(device.type)) return mapLocation;
  // PyTorch writes an index where there can be several.
  const tag = String(device.type === 'cuda' ? new Device('cuda', device.index ?? 0) : device);
  return (storage) => storage.withLocation(tag);
}

/** About the size of the file: what the tensors reach of each storage, at most all of it. */
function forecast(value: PyValue): number {
  const bytes = new Map<Storage, number>();
  let count = 0;
  const meet = (tensor: Tensor): void => {
    count++;
    const { storage } = tensor;
    bytes.set(storage, Math.min(storage.nbytes, (bytes.get(storage) ?? 0) + tensor.nbytes));
  };
  for (const [, tensor] of walkTensors(value)) denseParts(tensor).forEach(meet);
  return (
    [...bytes.values()].reduce((sum, one) => sum + one, 0) + RECORD_OVERHEAD_BYTES * (bytes.size + 8) + 100 * count
  );
}
