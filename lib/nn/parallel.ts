/** `torch.nn.DataParallel`, which checkpoints know by the `module.` in front of every key. */
import { builtin } from './builtin';
import { Module } from './module';

interface ParallelOptions {
  deviceIds?: readonly number[] | null;
  outputDevice?: number | null;
  dim?: number;
}

/** As PyTorch makes it on a machine without accelerators: it only wraps its module. */
export class DataParallel extends builtin<[module: Module], ParallelOptions, { module: Module }>({
  python: 'torch.nn.parallel.data_parallel.DataParallel',
  signature: 'module, device_ids=None, output_device=None, dim=0',
  build(module, call) {
    const wrapped = call.value('module');
    if (!(wrapped instanceof Module)) throw new TypeError('DataParallel wraps a Module');
    module.child('module', wrapped);
    module.set('device_ids', []);
  },
}) {}
