/** `torch.nn.MultiheadAttention`. */
import type { Parameter } from '../tensor/tensor';
import { builtin } from './builtin';
import { xavierNormal, xavierUniform, zeros } from './init';
import { type FactoryOptions, NonDynamicallyQuantizableLinear } from './linear';
import { constantFill } from './module-fill';

export interface AttentionOptions extends FactoryOptions {
  dropout?: number;
  bias?: boolean;
  addBiasKv?: boolean;
  addZeroAttn?: boolean;
  kdim?: number | null;
  vdim?: number | null;
  batchFirst?: boolean;
}

interface AttentionParts {
  outProj: NonDynamicallyQuantizableLinear;
  inProjWeight: Parameter | null;
  inProjBias: Parameter | null;
}

export class MultiheadAttention extends builtin<[embedDim: number, numHeads: number], AttentionOptions, AttentionParts>(
  {
    python: 'torch.nn.modules.activation.MultiheadAttention',
    signature:
      'embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None, vdim=None, batch_first=False, device=None, dtype=None',
    build(module, call) {
      const [embed, heads] = [call.int('embed_dim'), call.int('num_heads')];
      if (embed <= 0 || heads <= 0)
        throw new RangeError(
          `embed_dim and num_heads must be greater than 0, got embed_dim=${embed} and num_heads=${heads} instead`,
        );
      if (embed % heads !== 0) throw new RangeError('embed_dim must be divisible by num_heads');
      const kdim = call.isNone('kdim') ? embed : call.size('kdim');
      const vdim = call.isNone('vdim') ? embed : call.size('vdim');
      const same = kdim === embed && vdim === embed;
      module.keep('embed_dim');
      module.set('kdim', kdim);
      module.set('vdim', vdim);
      module.set('_qkv_same_embed_dim', same);
      module.keep('num_heads', 'dropout', 'batch_first');
      module.set('head_dim', embed / heads);
      if (same) {
        module.parameter('in_proj_weight', [3 * embed, embed], xavierUniform);
        module.noParameter('q_proj_weight', 'k_proj_weight', 'v_proj_weight');
      } else {
        module.parameter('q_proj_weight', [embed, embed], xavierUniform);
        module.parameter('k_proj_weight', [embed, kdim], xavierUniform);
        module.parameter('v_proj_weight', [embed, vdim], xavierUniform);
        module.noParameter('in_proj_weight');
      }
      const bias = call.flag('bias');
      if (bias) module.parameter('in_proj_bias', [3 * embed], zeros);
      else module.noParameter('in_proj_bias');
      const projection = new NonDynamicallyQuantizableLinear(embed, embed, {
        bias,
        device: call.device,
        dtype: call.dtype,
      });
      if (projection.bias) constantFill(projection.bias, 0);
      module.child('out_proj', projection);
      if (call.flag('add_bias_kv')) {
        module.parameter('bias_k', [1, 1, embed], xavierNormal);
        module.parameter('bias_v', [1, 1, embed], xavierNormal);
      } else {
        // Plain attributes here, as PyTorch has them, and not parameters that are None.
        module.set('bias_k', null);
        module.set('bias_v', null);
      }
      module.keep('add_zero_attn');
    },
  },
) {}
