/** `Module.to`: every parameter and buffer replaced by what a function makes of it. */
import { Parameter, Tensor } from '../tensor/tensor';
import {
  attributesOf,
  buffersOf,
  type ModuleObject,
  nonPersistentOf,
  parametersOf,
  setBuffer,
  setParameter,
} from './attributes';
import { namedModules } from './traverse';

/**
 * A parameter whose device stays is changed in place, so that an optimizer that holds it sees the new dtype. One that
 * moves is replaced, since a tensor knows its device for good. Tied parameters and buffers stay tied.
 */
export function convertTensors(root: ModuleObject, convert: (tensor: Tensor) => Tensor): void {
  const converted = new Map<Tensor, Tensor>();
  const once = (tensor: Tensor): Tensor => {
    let made = converted.get(tensor);
    if (!made) converted.set(tensor, (made = replacement(tensor, convert)));
    return made;
  };
  for (const [, module] of namedModules(root)) {
    const attributes = attributesOf(module);
    for (const [name, value] of [...parametersOf(module)])
      if (value instanceof Tensor) setParameter(attributes, name, once(value));
    const transient = nonPersistentOf(module);
    for (const [name, value] of [...buffersOf(module)])
      if (value instanceof Tensor) setBuffer(attributes, name, once(value), !transient.has(name));
  }
}

function replacement(tensor: Tensor, convert: (tensor: Tensor) => Tensor): Tensor {
  const made = convert(tensor);
  if (made === tensor || !(tensor instanceof Parameter)) return made;
  if (made.storage.location !== tensor.storage.location) {
    const moved = new Parameter(made, tensor.requiresGrad);
    if (tensor.attributes !== undefined) moved.attributes = tensor.attributes;
    return moved;
  }
  tensor.become(made);
  return tensor;
}
