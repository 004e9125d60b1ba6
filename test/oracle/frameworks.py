"""Makes folders with the real frameworks, and compares what they became.

`make FOLDER` writes what the installed ones give and prints their names; `check FOLDER` prints what is wrong with it.
"""
import importlib.util
import json
import os
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")

import torch  # noqa: E402


def has(module):
    return importlib.util.find_spec(module) is not None


def models():
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "vocab_size": 300}
    return {
        "gpt2": GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=300, n_positions=32)),
        "bert": BertForMaskedLM(BertConfig(intermediate_size=64, **sizes)),
        "llama": LlamaForCausalLM(LlamaConfig(intermediate_size=64, tie_word_embeddings=True, **sizes)).bfloat16(),
    }


def make(folder):
    if has("transformers"):
        from huggingface_hub import split_torch_state_dict_into_shards

        for name, model in models().items():
            model.save_pretrained(f"{folder}/safetensors/{name}", max_shard_size="40KB")
            place = f"{folder}/bin/{name}"
            model.config.save_pretrained(place)
            state = model.state_dict()
            split = split_torch_state_dict_into_shards(
                state, filename_pattern="pytorch_model{suffix}.bin", max_shard_size=40_000
            )
            for file, keys in split.filename_to_tensors.items():
                torch.save({key: state[key] for key in keys}, f"{place}/{file}")
            with open(f"{place}/pytorch_model.bin.index.json", "w") as index:
                json.dump({"metadata": split.metadata, "weight_map": split.tensor_to_filename}, index)
    print(json.dumps([name for name in ("safetensors", "bin") if os.path.isdir(f"{folder}/{name}")]))


def check(folder):
    """The folder as transformers loads it, tied weights tied, against the model it came from."""
    wrong = []
    for name, model in models().items():
        loaded, info = type(model).from_pretrained(f"{folder}/{name}", dtype="auto", output_loading_info=True)
        wrong += [f"{name}: {kind} {list(keys)}" for kind, keys in info.items() if keys]
        state = loaded.state_dict()
        for key, tensor in model.state_dict().items():
            other = state.get(key)
            if other is None or other.dtype != tensor.dtype or not torch.equal(
                other.flatten().view(torch.uint8), tensor.flatten().view(torch.uint8)
            ):
                wrong.append(f"{name}: {key}")
    print(json.dumps(wrong))


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
