/** What GGUF says about a model, from the `config.json` that Hugging Face keeps beside its weights. */
import type { GgufValue } from './gguf-values';

/** Names in `config.json`, the first that is there counts, and the key of GGUF below the architecture. */
const KEYS: readonly (readonly [key: string, type: 'uint32' | 'float32', names: readonly string[]])[] = [
  ['vocab_size', 'uint32', ['vocab_size']],
  ['context_length', 'uint32', ['max_position_embeddings', 'n_positions', 'n_ctx']],
  ['embedding_length', 'uint32', ['hidden_size', 'n_embd', 'd_model']],
  ['block_count', 'uint32', ['num_hidden_layers', 'n_layer', 'n_layers', 'num_layers']],
  ['feed_forward_length', 'uint32', ['intermediate_size', 'n_inner', 'd_ff', 'ffn_dim']],
  ['expert_count', 'uint32', ['num_local_experts', 'num_experts']],
  ['expert_used_count', 'uint32', ['num_experts_per_tok']],
  ['attention.head_count', 'uint32', ['num_attention_heads', 'n_head', 'n_heads', 'num_heads']],
  ['attention.head_count_kv', 'uint32', ['num_key_value_heads']],
  ['attention.key_length', 'uint32', ['head_dim', 'd_kv']],
  ['attention.layer_norm_rms_epsilon', 'float32', ['rms_norm_eps']],
  ['attention.layer_norm_epsilon', 'float32', ['layer_norm_eps', 'layer_norm_epsilon']],
  ['attention.sliding_window', 'uint32', ['sliding_window']],
  ['rope.freq_base', 'float32', ['rope_theta']],
];

/** The pairs in the order they are written. Without a config the architecture is "unknown", which readers ask for. */
export function modelPairs(config: ReadonlyMap<string, unknown> | undefined): Map<string, GgufValue> {
  const type = config?.get('model_type');
  const architecture = typeof type === 'string' && /^[\w.-]{1,64}$/.test(type) ? type : 'unknown';
  const pairs = new Map<string, GgufValue>([['general.architecture', { type: 'string', value: architecture }]]);
  const name = nameOf(config);
  if (name !== undefined) pairs.set('general.name', { type: 'string', value: name });
  const facts = new Map([...nested(config, 'text_config'), ...nested(config, 'rope_parameters'), ...(config ?? [])]);
  for (const [key, kind, names] of KEYS) {
    const value = names
      .map((one) => facts.get(one))
      .find((one): one is number => typeof one === 'number' && Number.isFinite(one));
    if (value === undefined || (kind === 'uint32' && !(Number.isInteger(value) && value >= 0 && value < 2 ** 32)))
      continue;
    pairs.set(`${architecture}.${key}`, { type: kind, value });
  }
  return pairs;
}

/** Models of several parts keep what is said of the text in an object of its own, and newer configs what is said of RoPE. */
function nested(config: ReadonlyMap<string, unknown> | undefined, key: string): [string, unknown][] {
  const value = config?.get(key);
  return typeof value === 'object' && value !== null ? Object.entries(value) : [];
}

function nameOf(config: ReadonlyMap<string, unknown> | undefined): string | undefined {
  const name = config?.get('_name_or_path');
  return typeof name === 'string' && name !== '' && name.isWellFormed()
    ? name.slice(name.lastIndexOf('/') + 1)
    : undefined;
}
