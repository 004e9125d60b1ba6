/** Values written into parameters that a module already has. */
import { Tensor } from '../tensor/tensor';
import { copyInto } from './copy';
import type { Init } from './init';

/** Fills a parameter in place from a distribution; one on the meta device stays without values. */
export function fill(target: Tensor, init: Init): void {
  if (target.isMeta) return;
  const values = new Float32Array(target.numel);
  const next = init(target.shape);
  for (let i = 0; i < values.length; i++) values[i] = next();
  copyInto(target, Tensor.from(values, { shape: target.shape }));
}

export function constantFill(target: Tensor, value: number): void {
  fill(target, () => () => value);
}
