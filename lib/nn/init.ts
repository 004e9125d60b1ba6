/**
 * Initial values of parameters: the distributions of `torch.nn.init`, from a generator of our own.
 *
 * The stream is not PyTorch's; ranges and moments are. `manualSeed` makes it repeat.
 */
import type { DType } from '../dtype';
import { Parameter, Tensor } from '../tensor/tensor';
import type { Call } from './arguments';

/** sfc32: 128 bits of state, fast in 32-bit arithmetic, passes PractRand. */
class Generator {
  #a = 0;
  #b = 0;
  #c = 0;
  #counter = 0;

  seed(seed: number): void {
    this.#a = seed | 0;
    this.#b = Math.floor(seed / 2 ** 32) | 0;
    this.#c = 0x9e3779b9 | 0;
    this.#counter = 1;
    for (let i = 0; i < 16; i++) this.#next();
  }

  #next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** In [0, 1), with the 24 bits that a float32 can hold. */
  uniform(): number {
    return (this.#next() >>> 8) * 2 ** -24;
  }

  /** Mean 0, variance 1 (Box and Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }
}

const generator = new Generator();
generator.seed(Math.floor(Math.random() * 2 ** 53));

/** Makes the parameters of the modules that are created from here on the same in every run. */
export function manualSeed(seed: number): void {
  if (!Number.isSafeInteger(seed)) throw new TypeError(`a seed is an integer, not ${String(seed)}`);
  generator.seed(seed);
}

/** Gives the elements of a new parameter, one after the other. */
export type Init = (shape: readonly number[]) => () => number;

export const zeros: Init = () => () => 0;
export const ones: Init = () => () => 1;

export function constant(value: number): Init {
  return () => () => value;
}

/** Evenly from [-bound, bound). */
export function uniform(bound: number): Init {
  // The ends as float32, so that rounding cannot lead outside.
  const limit = Math.fround(bound) > bound ? bound * (1 - 2 ** -24) : bound;
  return () => () => (2 * generator.uniform() - 1) * limit;
}

export const normal: Init = () => () => generator.normal();

/** Inputs and outputs of one element: dimensions 1 and 0, each times the size of the kernel. */
function fans(shape: readonly number[]): [fanIn: number, fanOut: number] {
  const kernel = shape.slice(2).reduce((product, size) => product * size, 1);
  return [(shape[1] ?? 0) * kernel, (shape[0] ?? 0) * kernel];
}

export function fanIn(shape: readonly number[]): number {
  return fans(shape)[0];
}

/** `kaiming_uniform_` with a = sqrt(5), which is `1 / sqrt(fan_in)`. */
export const kaimingUniform: Init = (shape) => uniform(1 / Math.sqrt(Math.max(fanIn(shape), 1)))(shape);

export const xavierUniform: Init = (shape) => {
  const [inputs, outputs] = fans(shape);
  return uniform(Math.sqrt(6 / Math.max(inputs + outputs, 1)))(shape);
};

export const xavierNormal: Init = (shape) => {
  const [inputs, outputs] = fans(shape);
  const deviation = Math.sqrt(2 / Math.max(inputs + outputs, 1));
  return () => deviation * generator.normal();
};

/** A new tensor in the dtype and on the device that the call asks for. */
export function newTensor(call: Call, shape: readonly number[], init: Init, dtype: DType = call.dtype): Tensor {
  const { device } = call;
  if (device === 'meta') return Tensor.zeros(shape, { dtype, device });
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  const next = init(shape);
  if (init !== zeros) for (let i = 0; i < values.length; i++) values[i] = next();
  const tensor = Tensor.from(values, { shape }).to(dtype);
  return device === 'cpu' ? tensor : tensor.to(device);
}

export function newParameter(call: Call, shape: readonly number[], init: Init): Parameter {
  return new Parameter(newTensor(call, shape, init));
}
