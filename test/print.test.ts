import { expect, test } from 'vitest';
import { repr } from '../lib/repr';
import { Tensor } from '../lib/tensor/tensor';
test('x', () => { expect(repr(Tensor.from([1,2,3]))).toBe('tensor([1., 2., 3.])'); expect(Tensor.from([1,2,3]).toFloat32Array()).toEqual(new Float32Array([1,2,3])); expect(Tensor.from([1n,2n,3n]).toFloat32Array()).toEqual(new Float32Array([1,2,3]))});
