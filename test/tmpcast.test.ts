import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { DType } from '../lib/dtype';
import { castElements } from '../lib/tensor/elements';
import { Tensor } from '../lib/tensor/tensor';
test('casts', () => {
  const ix = JSON.parse(readFileSync('/tmp/cast/ix.json','utf8')) as [string,string,number][];
  const res: string[] = [];
  for (const [s,d,n] of ix) {
    const S=DType.of(s)!, D=DType.of(d)!;
    const src=new Uint8Array(readFileSync('/tmp/cast/'+s));
    const want=new Uint8Array(readFileSync(`/tmp/cast/${s}-${d}`));
    const got=new Uint8Array(want.length);
    castElements(S,src,D,got,n);
    let bad=0, ex=''; const w=D.itemsize;
    for(let i=0;i<n;i++){ let same=true; for(let b=0;b<w;b++) if(got[i*w+b]!==want[i*w+b]) same=false;
      if(!same){bad++; if(bad<=2) { ex+=` [${i}] src ${Buffer.from(src.subarray(i*S.itemsize,(i+1)*S.itemsize)).reverse().toString('hex')} got ${Buffer.from(got.subarray(i*w,i*w+w)).reverse().toString('hex')} want ${Buffer.from(want.subarray(i*w,i*w+w)).reverse().toString('hex')}`;} } }
    if(bad) res.push(`${s}->${d}: ${bad}/${n}${ex}`);
    if (d==='float32' && S.kernel!==undefined && s!=='float32') {
      const t=Tensor.from(src.slice(),{dtype:DType.uint8}); 
      const u=new Tensor(t.storage,S,[n],[1],0).toFloat32Array();
      const wf=new Float32Array(want.buffer); let k=0; for(let i=0;i<n;i++) if(!Object.is(u[i],wf[i])) k++;
      if(k) res.push(`native ${s}->f32: ${k}`);
    }
  }
  console.log(ix.length+' pairs\n'+res.join('\n'));
}, 300000);
