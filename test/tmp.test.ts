import { test } from 'vitest';
import { addon } from '../lib/binding';
import { DType } from '../lib/dtype';
import { Storage, type StorageBytes } from '../lib/tensor/storage';
import { Tensor } from '../lib/tensor/tensor';
import { QuantizedTensor } from '../lib/tensor/quantized';
import { QScheme } from '../lib/pickle/values';
import { repr } from '../lib/repr';
test('x', () => {
  const a=addon(); console.log(JSON.stringify(a.capabilities()));
  for (const io of ['mmap','read'] as const) {
  const f=a.fileOpen('/tmp/sparse.bin', io);
  const src: StorageBytes = { byteLength: 6*2**30, zeroCopy: true, bytes(){ throw new Error('no'); }, span(){ return [f,0,6*2**30]; }, read(){ throw new Error('no'); }, slice(){ return src; } };
  const st=new Storage('0','cpu',DType.float32,src);
  const t=new Tensor(st,DType.float32,[3*2**19,1024],[1024,1],0);
  let t0=performance.now(); const s=repr(t); console.log(io, performance.now()-t0,'ms', s.length);
  t0=performance.now(); repr(t.t()); console.log('transposed', performance.now()-t0,'ms');
  t0=performance.now(); try { t.to(DType.bfloat16); } catch (e) { console.log((e as Error).message); } 
  const p=t.narrow(0,0,1000).t(); t0=performance.now(); p.toFloat32Array(); console.log('t().f32 1M', performance.now()-t0);
  t0=performance.now(); console.log(p.equal(p)); console.log('equal 1M', performance.now()-t0);
  a.fileClose(f);
  try { t.toBytes(); } catch (e) { console.log((e as Error).message); }
  try { console.log(repr(t)); } catch (e) { console.log((e as Error).message); }
  }
  const st=Tensor.zeros([4]).storage; const shape=[2,2], stride=[2,1];
  for (let r=0;r<3;r++){ const keep: Tensor[]=[]; const t0=performance.now(); for(let i=0;i<1e6;i++) keep.push(new Tensor(st,DType.float32,shape,stride,0)); console.log('1M constructors', performance.now()-t0,'ms'); }
  const big=Tensor.arange(4e6,{dtype:DType.float32}); let t0=performance.now(); big.to(DType.bfloat16); console.log('cast 4M f32->bf16', performance.now()-t0); t0=performance.now(); big.to(DType.int64); console.log('f32->i64', performance.now()-t0);
  void QuantizedTensor; void QScheme;
}, 100000);
